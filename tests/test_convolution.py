"""Projections that share a kernel: the dense convolution, the same synapses unshared, and each other."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from clocked_oracle import Oracle, Synapses

import eventnet as en
from eventnet.convolution import Convolution
from eventnet.engine.clocked import ClockedEngine
from eventnet.engine.plan import make_plan
from eventnet.plasticity import STDP, Past, Reconstruction, TrueGradient

Floats = np.ndarray[Any, np.dtype[np.float64]]

GEOMETRIES = [
    # source, target, kernel, stride, padding
    ((5, 6, 2), (3, 4, 3), (3, 3), (1, 1), (0, 0)),
    ((7, 6, 1), (4, 3, 8), (3, 3), (2, 2), (1, 1)),
    ((6, 9, 3), (3, 3, 2), (4, 5), (2, 3), (1, 2)),
    ((8, 7, 2), (2, 3, 5), (2, 1), (4, 3), (0, 0)),
    ((4, 4, 8), (4, 4, 9), (1, 1), (1, 1), (0, 0)),
    ((5, 5, 8), (5, 5, 16), (5, 5), (1, 1), (2, 2)),
]


def convolved(x: Floats, kernel: Floats, stride: Any, padding: Any) -> Floats:
    """The dense convolution, position by position; a kernel without channels is a mean."""
    (height, width), (down, right) = kernel.shape[:2], stride
    padded = np.pad(x, [(padding[0],) * 2, (padding[1],) * 2, (0, 0)])
    rows = range(0, padded.shape[0] - height + 1, down)
    columns = range(0, padded.shape[1] - width + 1, right)
    patches = [[padded[y : y + height, z : z + width] for z in columns] for y in rows]
    return np.array([[np.tensordot(p, kernel, kernel.ndim - 1) for p in row] for row in patches])


def matrix(shared: Convolution, kernel: Floats) -> Floats:
    """The dense convolution as a matrix, (n_in, n_out): what it makes of each single neuron."""
    units = np.eye(math.prod(shared.source)).reshape(-1, *shared.source)
    return np.array([convolved(x, kernel, shared.stride, shared.padding).ravel() for x in units])


def shares(shared: Convolution) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Which weight of the kernel each synapse has, (n_in, n_out); -1: there is none."""
    numbers = 1.0 + np.arange(math.prod(shared.weight_shape)).reshape(shared.weight_shape)
    return np.rint(matrix(shared, numbers)).astype(np.int64) - 1


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_kernel_joins_what_the_dense_convolution_joins(geometry: Any) -> None:
    shared = Convolution(*geometry)
    pre, post, weight = shared.edges
    share = shares(shared)
    np.testing.assert_array_equal(np.argwhere(share >= 0), np.c_[pre, post])
    np.testing.assert_array_equal(share[pre, post], weight)
    assert shared.synapses == len(pre)
    positions = (share >= 0).sum(axis=1) / shared.target[2]
    np.testing.assert_array_equal(shared.positions, positions)


def test_a_pool_is_the_mean_of_each_channel() -> None:
    net = en.Network(tau=0.1)
    net.sensor("a", (4, 6, 2), step=0.1)
    net.layer("b", (2, 3, 2), step=0.1, activation="identity")
    pool = net.connect("a", "b", pool=2)
    assert not pool.plastic
    assert pool.convolution is not None
    assert pool.weights is not None
    pre, post, weight = pool.convolution.edges
    dense = np.zeros((48, 12))
    dense[pre, post] = pool.weights.ravel()[weight]
    x = np.random.default_rng(0).normal(size=(4, 6, 2))
    mean = x.reshape(2, 2, 3, 2, 2).mean(axis=(1, 3))
    np.testing.assert_allclose((x.ravel() @ dense).reshape(2, 3, 2), mean, rtol=1e-12)


def network(shared: bool, **options: Any) -> en.Network:
    """Two convolutions, a pool and a readout; or the same synapses, each with a weight of its own."""
    rng = np.random.default_rng(1)
    net = en.Network(tau=0.1)
    net.sensor("a", (4, 3, 2), step=0.2)
    net.layer("b", (4, 3, 3), step=0.2, error_step=0.02, **options)
    net.layer("c", (2, 2, 2), step=0.2, error_step=0.02, activation="leaky")
    net.layer("d", (1, 1, 2), step=0.2, error_step=0.02, activation="identity")
    net.output("y", 2, error_step=0.05)
    kernels = [
        ("a", "b", {"kernel": 3, "padding": 1}, (3, 3, 2, 3)),
        ("b", "c", {"kernel": (3, 2), "stride": 2, "padding": (1, 1)}, (3, 2, 3, 2)),
        ("c", "d", {"pool": 2}, None),
    ]
    for source, target, form, shape in kernels:
        weights = None if shape is None else rng.normal(0, 0.3, shape)
        if shared:
            net.connect(source, target, weights=weights, **form)
            continue
        like = en.Network(tau=0.1)
        for name in (source, target):
            like.layer(name, net.population(name).shape, step=0.1)
        q = like.connect(source, target, weights=weights, **form)
        assert q.convolution is not None
        assert q.weights is not None
        pre, post, place = q.convolution.edges
        own = q.weights.ravel()[place]
        net.connect(source, target, edges=np.c_[pre, post], weights=own, plastic=q.plastic)
    net.connect("d", "y", weights=rng.normal(0, 1, (2, 2)))
    return net


def simulated(
    net: en.Network, rule: Any, engine: str = "actors", clock: Any = None, **options: Any
) -> en.Simulation:
    rng = np.random.default_rng(2)
    sim = en.Simulation(net, plasticity=rule, engine=engine, clock=clock, seed=0, **options)
    sim.feed("a", en.Recording(np.sort(rng.random(8)) / 5, rng.normal(0, 1, (8, 24))))
    if rule is not None:
        sim.teach("y", en.Periodic(rng.normal(0, 1, (8, 2)), rate=40))
    return sim


ASYNCHRONOUS = ["actors", "compiled"]


@pytest.mark.parametrize("engine", ASYNCHRONOUS)
def test_without_learning_it_is_the_network_whose_synapses_are_its_own(engine: str) -> None:
    ours = simulated(network(True, bias=0.1), None, engine).run(until=0.1)
    theirs = simulated(network(False, bias=0.1), None, engine).run(until=0.1)
    assert len(ours.raster) > 300
    for mine, other in zip(ours.raster.arrays(), theirs.raster.arrays(), strict=True):
        np.testing.assert_array_equal(mine, other)
    for name in ("a -> b", "c -> d"):
        assert ours.cost.projections[name]["forward"] == theirs.cost.projections[name]["forward"]


@pytest.mark.parametrize("engine", ASYNCHRONOUS)
@pytest.mark.parametrize("rule", [STDP, Past, Reconstruction])
def test_a_shared_weight_moves_by_the_sum_over_its_synapses(engine: str, rule: Any) -> None:
    # So slowly that no spike changes: then the two networks differ in nothing else.
    lr = 1e-6
    options = {"cap": None} if rule is STDP else {}
    sims = [simulated(network(shared), rule(lr, **options), engine) for shared in (True, False)]
    before = [[sim.weights(q) for q in ("a -> b", "b -> c")] for sim in sims]
    runs = [sim.run(until=0.2) for sim in sims]
    for mine, other in zip(*(run.raster.arrays() for run in runs), strict=True):
        np.testing.assert_array_equal(mine, other)
    for k, name in enumerate(("a -> b", "b -> c")):
        shared = sims[0].network.projection(name).convolution
        assert shared is not None
        moved, each = (
            (sim.weights(name) - old[k]) / lr for sim, old in zip(sims, before, strict=True)
        )
        total = np.bincount(shared.edges[2], each).reshape(moved.shape)
        assert abs(total).max() > 1e-3
        np.testing.assert_allclose(moved, total, atol=1e-6 * abs(total).max())


TICK = 0.01


def chain(geometries: list[Any], rule: Any, seed: int = 0, **layer: Any) -> tuple[en.Network, Any]:
    """A network of these convolutions and a readout, and its weights."""
    rng = np.random.default_rng(seed)
    net = en.Network(tau=0.05)
    net.sensor("layer0", geometries[0][0], step=0.2)
    weights = []
    for k, (_, target, kernel, stride, padding) in enumerate(geometries):
        net.layer(f"layer{k + 1}", target, step=0.15, error_step=0.03, **layer)
        shape = (*kernel, net.population(f"layer{k}").shape[2], target[2])
        weights.append(rng.normal(0, 1.4 / math.sqrt(math.prod(shape[:3])), shape))
        form = {"kernel": kernel, "stride": stride, "padding": padding}
        net.connect(f"layer{k}", f"layer{k + 1}", weights=weights[-1], **form)
    size = math.prod(geometries[-1][1])
    net.output("y", 3, error_step=0.05)
    weights.append(rng.normal(0, 1 / math.sqrt(size), (size, 3)))
    net.connect(f"layer{len(geometries)}", "y", weights=weights[-1])
    return net, weights


def oracle_of(
    net: en.Network, weights: Any, rule: str, lr: float, cap: float, leak: float
) -> Oracle:
    alpha = math.exp(-TICK / 0.05)
    *layers, output = [p for p in net.populations if p.kind in ("layer", "output")]
    synapses = []
    for q, w in zip(net.projections, weights, strict=True):
        if q.convolution is None:
            synapses.append(Synapses(q.source.name, q.target.name, w))
            continue
        share = shares(q.convolution)
        seen = (share >= 0).sum(axis=1) / q.target.shape[2]
        dense = matrix(q.convolution, w)
        synapses.append(Synapses(q.source.name, q.target.name, dense, share, seen))
    return Oracle(
        sensors={"layer0": (net.populations[0].size, alpha, 0.2)},
        layers={p.name: (p.size, alpha, p.step) for p in layers},
        errors={p.name: (p.size, alpha, p.error_step) for p in [*layers, output]},
        synapses=synapses,
        rule=rule,
        lr=lr * TICK,
        leak=leak,
        theta={p.name: p.threshold for p in net.populations},
        loss="squared",
        cap=cap,
    )


CHAINS = [
    [GEOMETRIES[1], ((4, 3, 8), (4, 3, 5), (3, 2), (1, 1), (1, 0))][:1],
    [
        ((9, 8, 1), (5, 4, 8), (5, 5), (2, 2), (2, 2)),
        ((5, 4, 8), (3, 2, 16), (3, 3), (2, 2), (1, 1)),
    ],
    [GEOMETRIES[2], ((3, 3, 2), (3, 3, 3), (3, 3), (1, 1), (1, 1))],
]


@pytest.mark.parametrize(
    ("which", "name", "rule", "cap", "layer"),
    [
        (0, "stdp", STDP(0.5, cap=None), math.inf, {}),
        (1, "stdp", STDP(5.0, cap=0.5), 0.5, {"activation": "leaky", "leak": 0.2}),
        (1, "stdp", STDP(0.3, cap=None), math.inf, {"error_tau": 0.05}),
        (1, "stdp", STDP(1.0, cap=None), math.inf, {"threshold": 0.8}),
        (2, "reconstruction", Reconstruction(0.3), math.inf, {}),
        (2, "true", TrueGradient(0.3), math.inf, {}),
    ],
)
@pytest.mark.parametrize("lazy", [True, False])
def test_every_tick_is_that_of_the_dense_convolution(
    which: int, name: str, rule: Any, cap: float, layer: Any, lazy: bool
) -> None:
    net, weights = chain(CHAINS[which], rule, **layer)
    plan = make_plan(net, rule, np.random.default_rng(0))
    engine = ClockedEngine(plan, None, dt=TICK)
    if lazy:
        assert engine._state.lazy.any() == (name == "stdp")
    else:
        for p in range(len(net.populations)):
            engine._wake(p)
    oracle = oracle_of(net, weights, name, rule.lr, cap, layer.get("leak", 0.0))
    rng = np.random.default_rng(5)
    size = net.populations[0].size
    x, y = np.zeros(size), rng.normal(0, 1, 3)
    spikes = 0
    for k in range(36):
        if k % 3 == 0:  # a few pixels change
            x[rng.integers(0, size, 4)] = rng.normal(0, 1, 4)
        if k % 20 == 0:
            y = rng.normal(0, 1, 3)
        engine.write(0, x, engine.time_of(k))
        engine.write(len(net.populations) - 1, y, engine.time_of(k))
        engine.advance(engine.time_of(k), inclusive=True)
        oracle.tick({"layer0": x}, y)
        for p in net.populations[1:]:
            a, b = engine._net.first[p.index : p.index + 2]
            signal = oracle.z[p.name]
            if p.kind == "layer":
                signal = oracle.x[p.name]
                count = engine._scratch.spike_count[a:b]
                np.testing.assert_array_equal(count, oracle.forward[p.name].s)
            np.testing.assert_allclose(engine.read(p.index, 0.0), signal, atol=1e-9)
            errors = oracle.backward[p.name].s
            np.testing.assert_array_equal(engine._scratch.error_count[a:b], errors)
            spikes += int(np.count_nonzero(errors))
    assert spikes > 200
    for q, synapses, w in zip(net.projections, oracle.synapses, weights, strict=True):
        found = engine.weights(q.index)
        dense = found if q.convolution is None else matrix(q.convolution, found)
        np.testing.assert_allclose(dense, synapses.w, atol=1e-9)
        assert abs(found - w).max() > 1e-3
    check_counts(engine, oracle, net)


def check_counts(engine: ClockedEngine, oracle: Oracle, net: en.Network) -> None:
    from eventnet.engine import arrays as ar

    counters = engine.counters
    for q in net.projections:
        row = counters.projection[q.index]
        assert row[ar.FORWARD] == oracle.forward[q.source.name].events
        assert row[ar.COLUMN] == oracle.backward[q.target.name].events


@pytest.mark.parametrize("step", [1e-2, 1e-4])
def test_a_kernel_follows_the_gradient_of_the_dense_convolution(step: float) -> None:
    # Inputs and targets are held, so that every decoded signal comes within a step of the dense one.
    rng = np.random.default_rng(3)
    first, second = GEOMETRIES[2], ((3, 3, 2), (3, 3, 3), (3, 3), (1, 1), (1, 1))
    net = en.Network(tau=0.05)
    net.sensor("x", first[0], step=step)
    for name, geometry in (("h", first), ("g", second)):
        net.layer(name, geometry[1], step=step, error_step=step)
    net.output("y", 2, error_step=step)
    kernels = [rng.normal(0, 0.3, (4, 5, 3, 2)), rng.normal(0, 0.4, (3, 3, 2, 3))]
    readout = rng.normal(0, 0.3, (27, 2))
    net.connect("x", "h", kernel=(4, 5), stride=(2, 3), padding=(1, 2), weights=kernels[0])
    net.connect("h", "g", kernel=3, padding=1, weights=kernels[1])
    net.connect("g", "y", weights=readout, plastic=False)
    lr, ticks = 1e-6, 20
    plan = make_plan(net, STDP(lr, cap=None), np.random.default_rng(0))
    engine = ClockedEngine(plan, None, dt=TICK)
    x, target = rng.normal(0, 1, 162), rng.normal(0, 1, 2)
    engine.write(0, x, 0.0)
    engine.write(3, target, 0.0)
    engine.advance(engine.time_of(60), inclusive=True)
    before = [engine.weights(q) for q in (0, 1)]
    engine.advance(engine.time_of(60 + ticks), inclusive=True)
    moved = [(engine.weights(q) - w) / (-lr * TICK * ticks) for q, w in enumerate(before)]

    shared = [q.convolution for q in net.projections[:2]]
    dense = [matrix(s, k) for s, k in zip(shared, kernels, strict=True) if s is not None]
    h = np.maximum(x @ dense[0], 0.0)
    g = np.maximum(h @ dense[1], 0.0)
    of_g = (readout @ (g @ readout - target)) * (g > 0)
    of_h = (dense[1] @ of_g) * (h > 0)
    for s, found, outer in zip(shared, moved, (np.outer(x, of_h), np.outer(h, of_g)), strict=True):
        assert s is not None
        there = shares(s) >= 0
        gradient = np.bincount(shares(s)[there], outer[there]).reshape(found.shape)
        np.testing.assert_allclose(found, gradient, atol=10 * step * abs(gradient).max())


def test_a_lazy_layer_goes_on_as_one_that_is_passed_over_as_a_whole() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(0, 1, (40, 72)) * (rng.random((40, 72)) < 0.1)
    readings, outputs = {}, {}
    for lazy in (True, False):
        net, _ = chain(CHAINS[1], None)
        plan = make_plan(net, STDP(1.0), np.random.default_rng(0))
        engine = ClockedEngine(plan, None, dt=TICK)
        if not lazy:
            for p in range(4):
                engine._wake(p)
        engine.feed(0, en.Periodic(np.cumsum(x, axis=0), rate=1 / TICK))
        engine.feed(3, en.Periodic(rng.normal(0, 1, (1, 3)) * 0 + 1.0, rate=1 / TICK))
        engine.advance(engine.time_of(20))
        saved = engine.state()
        engine.advance(engine.time_of(30))
        engine.restore(saved)
        copy = engine.copy()
        engine.set_bias(2, np.full(96, 0.1))  # a layer with a bias is never silent
        assert bool(engine._state.lazy[1]) is lazy
        assert not engine._state.lazy[2]
        engine.advance(engine.time_of(30))
        readings[lazy] = [engine.read(p, 0.0) for p in range(4)] + [engine.weights(1)]
        copy.feed(0, en.Periodic(np.cumsum(x, axis=0)[20:], rate=1 / TICK))
        outputs[lazy] = copy.outputs(3, 10)
    for mine, other in zip(readings[True], readings[False], strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-9)
    np.testing.assert_allclose(outputs[True], outputs[False], atol=1e-9)


@pytest.mark.parametrize(
    ("target", "form", "message"),
    [
        ((4, 4, 2), {"kernel": 3}, r"make \(2, 2, channels\) of \(4, 4, 1\)"),
        ((2, 2, 2), {"pool": 2}, r"make \(2, 2, 1\) of \(4, 4, 1\)"),
        ((2, 2, 2), {"kernel": 5}, r"kernel=5 on a -> b: larger than the padded image"),
        ((2, 2, 2), {"kernel": 2, "stride": 0}, r"stride=0 on a -> b: must be a whole number"),
        ((2, 2, 2), {"kernel": (2, 2, 1)}, r"kernel=\(2, 2, 1\) on a -> b"),
        ((6, 6, 2), {"kernel": 1, "padding": 1}, r"padding=1 on a -> b: must be smaller"),
        ((2, 2, 1), {"kernel": 3, "pool": 2}, "give one of kernel and pool"),
        ((2, 2, 1), {"pool": 2, "weights": [[1.0]]}, "pool takes means"),
        ((2, 2, 2), {"kernel": 3, "weights": np.zeros((2, 1, 3, 3))}, r"must be \(3, 3, 1, 2\)"),
        ((2, 2, 2), {"kernel": 3, "fan_in": 2}, "a kernel says which synapses there are"),
        ((2, 2, 2), {"stride": 2}, "stride and padding belong to a kernel"),
        (8, {"kernel": 3}, r"give b its \(height, width, channels\) as size"),
        ((2, 2), {"kernel": 3}, r"size=\(2, 2\) on b: must be a whole number"),
    ],
)
def test_impossible_kernels_have_one_clear_message(target: Any, form: Any, message: str) -> None:
    net = en.Network(tau=0.1)
    net.sensor("a", (4, 4, 1), step=0.1)
    with pytest.raises(en.ConfigError, match=message):
        net.connect("a", net.layer("b", target, step=0.1), **form)


def test_past_on_the_clock_refuses_a_kernel_that_learns() -> None:
    net, _ = chain(CHAINS[0], None)
    plan = make_plan(net, Past(0.1), np.random.default_rng(0))
    with pytest.raises(en.ConfigError, match="layer0 -> layer1: on a clock Past keeps no products"):
        ClockedEngine(plan, None, dt=TICK)
