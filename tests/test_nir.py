"""What a NIR graph says is the network, and it is told what it does not say."""

from __future__ import annotations

from pathlib import Path

import nir as library
import numpy as np
import pytest

import eventnet as en
from eventnet.errors import ConfigError
from eventnet.export import nir


def network(**layer: object) -> en.Simulation:
    net = en.Network(tau=0.1)
    net.sensor("gyro", 3, step=0.05)
    net.sensor("camera", 4, step=0.25)
    net.layer("hidden", 5, step=0.1, bias=np.arange(5.0), error_step=0.1, **layer)  # type: ignore[arg-type]
    net.output("turn", 2, error_step=0.05, bias_step=0.1)
    net.connect("gyro", "hidden", delay=0.02)
    net.connect("camera", "hidden", mask=np.eye(4, 5, dtype=bool))
    net.connect("hidden", "turn")
    return en.Simulation(net, seed=3, plasticity=en.STDP(lr=0.1))


def test_topology_weights_and_constants_come_back_from_the_file(tmp_path: Path) -> None:
    sim = network()
    sim.set_bias("turn", [0.5, -0.25])
    graph = library.read(nir.write(sim, tmp_path / "net.nir"))
    assert set(graph.inputs) == {"gyro", "camera"}
    assert set(graph.outputs) == {"turn output"}
    assert set(graph.edges) == {
        ("gyro", "gyro -> hidden delay"),
        ("gyro -> hidden delay", "gyro -> hidden"),
        ("gyro -> hidden", "hidden"),
        ("camera", "camera -> hidden"),
        ("camera -> hidden", "hidden"),
        ("hidden", "hidden -> turn"),
        ("hidden -> turn", "turn"),
        ("turn", "turn output"),
    }
    nodes = graph.nodes
    np.testing.assert_array_equal(
        nodes["gyro -> hidden"].weight, 0.05 * sim.weights("gyro -> hidden").T
    )
    sparse = np.diag(sim.weights("camera -> hidden"))
    np.testing.assert_array_equal(nodes["camera -> hidden"].weight[:4], 0.25 * sparse)
    np.testing.assert_array_equal(nodes["gyro -> hidden delay"].delay, [0.02] * 3)
    np.testing.assert_array_equal(nodes["hidden"].v_leak, np.arange(5.0))
    np.testing.assert_array_equal(nodes["hidden"].v_threshold, [0.1] * 5)
    np.testing.assert_array_equal(nodes["turn"].v_leak, [0.5, -0.25])
    for name in ("hidden", "turn"):  # r = tau: a spike moves v by its weight
        np.testing.assert_array_equal(nodes[name].r, nodes[name].tau)
        assert set(nodes[name].tau) == {0.1}
    assert graph.check_types() is True or graph.check_types() is None


def test_what_is_lost_is_said_in_the_file_too(tmp_path: Path) -> None:
    plain, odd = network(), network(activation="identity", tau=0.3)
    said = " ".join(nir.unsaid(plain))
    assert "signed spikes" in said
    assert "derivative term" in said
    assert "reset by subtraction" in said
    assert "activations: identity" in nir.unsaid(odd)
    graph = library.read(nir.write(odd, tmp_path / "net.nir"))
    assert all(line in str(graph.metadata["description"]) for line in nir.unsaid(odd))


def test_two_time_constants_at_one_neuron_are_named() -> None:
    net = en.Network(tau=0.1)
    net.sensor("slow", 1, step=0.1, tau=0.5)
    net.sensor("fast", 1, step=0.1, tau=0.01)
    net.layer("hidden", 1, step=0.1)
    net.connect("slow", "hidden")
    net.connect("fast", "hidden")
    sim = en.Simulation(net)
    assert nir.unsaid(sim)[-1] == "inputs of several time constants: hidden got its own"
    assert nir.graph(sim).nodes["hidden"].tau.tolist() == [0.1]


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "nir", None)
    with pytest.raises(ConfigError, match=r'NIR graphs need nir: pip install "eventnet\[nir\]"'):
        nir.graph(network())
