"""NIR: a network's topology and weights as a Neuromorphic Intermediate Representation graph.

A sensor is an ``Input``; a projection a ``Linear`` of ``step*w``, what one spike of its sender adds; a
layer the nearest that NIR has, an ``LIF`` whose r is its tau, so that v is z; an output an ``LI`` and an
``Output``; a delay a ``Delay``. `unsaid` lists what that leaves out, and every network of eventnet leaves
out something: a program that runs the graph runs another network, of the same shape and weights.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventnet.errors import ConfigError
from eventnet.extras import needed
from eventnet.network import Population, Projection
from eventnet.raster import written_aside
from eventnet.simulation import Simulation


def unsaid(sim: Simulation) -> list[str]:
    """Return what NIR cannot say about a simulation's network, a line each."""
    lines = [
        "signed spikes and counts above 1: an LIF neuron sends single, positive ones",
        "the derivative term: eventnet's neurons send what changes, LIF neurons a rate",
        "reset by subtraction: LIF goes back to v_reset and forgets the remainder",
        "coders of sensors, errors and plasticity",
    ]
    layers = [p for p in sim.network.populations if p.kind == "layer"]
    other = sorted({p.activation for p in layers} - {"relu"})
    if other:
        lines.append(f"activations: {', '.join(other)}")
    mixed = [p.name for p in sim.network.populations if len(_taus(sim, p)) > 1]
    if mixed:
        lines.append(f"inputs of several time constants: {', '.join(mixed)} got its own")
    return lines


def graph(sim: Simulation) -> Any:
    """Return the network of a simulation, with its present weights, as a `nir.NIRGraph`.

    Raises
    ------
    ConfigError
        If nir is missing, or a name holds a slash.

    Examples
    --------
    >>> from eventnet.network import Network
    >>> net = Network(tau=0.1)
    >>> _ = net.sensor("gyro", 3, step=0.05), net.output("turn", 2, error_step=0.05)
    >>> _ = net.connect("gyro", "turn", weights=np.ones((3, 2)))
    >>> graph(Simulation(net, engine="actors")).nodes["gyro -> turn"].weight.tolist()
    [[0.05, 0.05, 0.05], [0.05, 0.05, 0.05]]
    """
    nir = needed("nir", "nir", "NIR graphs")
    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str]] = []
    for p in sim.network.populations:
        if "/" in p.name:
            raise ConfigError(f"population {p.name!r}: NIR's names hold no slash; rename it")
        if not p.constant:
            nodes[p.name] = _population(nir, sim, p)
        if p.kind == "output":
            nodes[f"{p.name} output"] = nir.Output({"output": np.array([p.size])})
            edges.append((p.name, f"{p.name} output"))
    for q in sim.network.projections:
        if q.source.constant:  # a learned bias: it is in v_leak
            continue
        nodes[q.name] = nir.Linear(_matrix(sim, q).T * q.source.step)
        way = [q.source.name, q.name, q.target.name]
        if q.delay:
            nodes[f"{q.name} delay"] = nir.Delay(np.full(q.source.size, q.delay))
            way.insert(1, f"{q.name} delay")
        edges += pairwise(way)
    note = "Made by eventnet, which NIR cannot say all about: " + "; ".join(unsaid(sim)) + "."
    return nir.NIRGraph(nodes, edges, metadata={"description": note}, type_check=True)


def write(sim: Simulation, path: Path | str) -> Path:
    """Write `graph` to a file for `nir.read`; an older one is replaced."""
    made = graph(sim)
    with written_aside(Path(path)) as aside:
        needed("nir", "nir", "NIR graphs").write(aside, made)
    return Path(path)


def _taus(sim: Simulation, p: Population) -> set[float]:
    """Return the time constants with which a population decodes what arrives."""
    return {q.source.tau for q in sim.network.projections if q.target is p}


def _population(nir: Any, sim: Simulation, p: Population) -> Any:
    if p.kind in ("sensor", "source"):
        return nir.Input({"input": np.array([p.size])})
    taus = _taus(sim, p)
    tau = np.full(p.size, taus.pop() if len(taus) == 1 else p.tau)
    rest = sim.bias(p)
    if p.kind == "output":
        return nir.LI(tau=tau, r=tau, v_leak=rest)
    reset, threshold = np.zeros(p.size), np.full(p.size, p.step)
    return nir.LIF(tau=tau, r=tau, v_leak=rest, v_reset=reset, v_threshold=threshold)


def _matrix(sim: Simulation, q: Projection) -> NDArray[np.float64]:
    """Return a projection's weights, (n_in, n_out), 0 where there is no synapse."""
    if not q.sparse:
        return sim.weights(q)
    matrix = np.zeros(q.shape)
    matrix[sim.edges(q)] = q.of_synapses(sim.weights(q))
    return matrix
