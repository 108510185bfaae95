"""The exact engine against the paper's algorithm in small ticks, by an oracle that shares no code.

As the tick goes to zero the clocked algorithm goes to the event-driven one, in first order: a tenth of
the tick gives a tenth of the difference, in the decoded outputs, in what every coder sends, and in the
learned weights. Those are held a second time, to the last digits, to the area under the engine's own
spikes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numba
import numpy as np
import pytest
import ticks

import eventnet as en

LR = 0.03
UNTIL = 0.1
TAU = 0.1
TICKS = (5e-5, 5e-6)
NETWORKS = 100
THETAS = (0.5, 0.5, 0.75, 1.0)
SETS = ("fixed biases", "delays and learned biases", "softmax, some with delays")


def description(seed: int, kind: str) -> ticks.Description:
    """One of the oracle's random networks: half of them have a time constant for each coder."""
    rng = np.random.default_rng(seed)
    spread = 2.0 if seed % 2 else 1.0
    if kind == "fixed biases":
        return ticks.random_network(rng, until=UNTIL, tau=TAU, spread=spread)
    softmax = kind.startswith("softmax")
    net = ticks.random_network(
        rng,
        until=UNTIL,
        # A spike that flips for good flips others downstream: a deep recurrent network shows the
        # order of the method only at ticks that take minutes.
        depth=1 + seed // 2 % 2,
        tau=TAU,
        spread=spread,
        thetas=THETAS,
        delays=not softmax or seed % 3 == 0,
        loss="softmax" if softmax else "squared",
    )
    return with_learned_biases(net, rng)


def with_learned_biases(net: ticks.Description, rng: np.random.Generator) -> ticks.Description:
    """Half the biases become weights from constant sensors; a softmax error is held at .02."""
    populations: list[ticks.Sensor | ticks.Layer | ticks.Output] = []
    projections: list[ticks.Projection] = []
    for p in net.populations:
        if isinstance(p, ticks.Output):
            p = replace(p, tolerance=0.02 if p.loss == "softmax" else 0.0)
        if isinstance(p, ticks.Sensor) or rng.random() < 0.5:
            populations.append(p)
            continue
        one, step = f"{p.name}_bias", float(rng.uniform(0.1, 0.3))
        tau = p.tau if isinstance(p, ticks.Layer) else TAU
        populations.append(replace(p, bias=np.zeros(p.n)))
        populations.append(ticks.Sensor(one, 1, step, np.zeros(1), np.ones((1, 1)), tau))
        projections.append(ticks.Projection(one, p.name, p.bias[None]))
    return ticks.Description(tuple(populations), (*projections, *net.projections))


def build(net: ticks.Description, rule: en.STDP, engine: str = "compiled") -> en.Simulation:
    """The same network for the engines."""
    network = en.Network(tau=TAU)
    given = [p for p in net.populations if not p.name.endswith("_bias")]
    constant = {p.name: p.step for p in net.populations if isinstance(p, ticks.Sensor)}
    learned = {q.target: q.weights[0] for q in net.projections if q.source.endswith("_bias")}
    for p in given:
        if isinstance(p, ticks.Sensor):
            network.sensor(p.name, p.n, step=p.step, tau=p.tau, threshold=p.theta)
            continue
        bias, bias_step = learned.get(p.name, p.bias), constant.get(f"{p.name}_bias")
        if isinstance(p, ticks.Layer):
            network.layer(
                p.name,
                p.n,
                step=p.step,
                bias=bias,
                bias_step=bias_step,
                activation=p.activation,  # type: ignore[arg-type]
                leak=p.leak,
                error_step=p.error_step,
                tau=p.tau,
                error_tau=p.error_tau,
                threshold=p.theta,
            )
        else:
            network.output(
                p.name,
                p.n,
                bias=bias,
                bias_step=bias_step,
                loss=p.loss,
                tolerance=p.tolerance or None,
                error_step=p.error_step,
                error_tau=p.error_tau,
                threshold=p.theta,
            )
    for q in net.projections:
        if not q.source.endswith("_bias"):
            network.connect(
                q.source,
                q.target,
                weights=q.weights,
                plastic=q.plastic,
                delay=q.delay,
                error_delay=q.error_delay,
            )
    sim = en.Simulation(network, plasticity=rule, engine=engine)
    for p in given:
        if isinstance(p, ticks.Sensor):
            sim.feed(p.name, en.Recording(p.times, p.values))
        elif isinstance(p, ticks.Output):
            sim.teach(p.name, en.Recording(p.times, p.targets))
    return sim


def sent(run: en.Run) -> dict[str, ticks.Spikes]:
    """What each coder of the engine sent; errors as ``NAME.error``."""
    spikes = run.raster.arrays()
    return {
        name: ticks.Spikes(*(a[spikes.population_code == k] for a in (spikes[0], *spikes[2:])))
        for k, name in enumerate(run.raster.populations)
    }


def weight_change(net: ticks.Description, weights: list[ticks.Floats]) -> ticks.Floats:
    """All that learning moved, in one array."""
    pairs = zip(weights, net.projections, strict=True)
    return np.concatenate([(w - q.weights).ravel() for w, q in pairs])


def pieces(
    net: ticks.Description, runs: list[dict[str, ticks.Spikes]]
) -> tuple[ticks.Floats, ticks.Floats]:
    """Times at which no output jumps in any of the runs, and how long each stands for.

    Outputs of two runs differ in a few brief pieces, which samples at random would mostly miss.
    """
    arrivals = [
        run[q.source].times + (delay if delay else 0.0)
        for q in net.projections
        if q.target == "output"
        for run, dt in zip(runs, (0.0, *TICKS), strict=True)
        for delay in [q.delay if dt == 0 or q.delay == 0 else max(1, round(q.delay / dt)) * dt]
    ]
    edges = np.unique(np.concatenate([[0.0, UNTIL], *arrivals]))
    edges = edges[edges <= UNTIL]
    lengths = np.diff(edges)
    real = lengths > 1e-9
    return (edges[:-1] + lengths / 2)[real], lengths[real]


@pytest.mark.parametrize("kind", SETS)
@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="millions of ticks")
def test_ticks_converge_to_the_events_in_first_order(
    kind: str, record_property: Callable[[str, object], None]
) -> None:
    differences: list[list[list[float]]] = []
    for seed in range(NETWORKS):
        net = description(seed, kind)
        sim = build(net, en.STDP(lr=LR))
        run = sim.run(until=UNTIL)
        ours = sent(run)
        hidden = sum(ours[p.name].events for p in net.populations if isinstance(p, ticks.Layer))
        if hidden < 20 or ours["output.error"].events < 5:
            continue
        final = [sim.weights(f"{q.source} -> {q.target}") for q in net.projections]
        moved = weight_change(net, final)
        assert np.abs(moved).max() > 0

        clocked = [ticks.simulate(net, dt, UNTIL, [], lr=LR) for dt in TICKS]
        times, lengths = pieces(net, [ours, *(c.forward for c in clocked)])
        sim.reset()
        for q in net.projections:
            sim.set_weights(f"{q.source} -> {q.target}", q.weights)
        sim.probe("output", times=times)
        z = sim.run(until=UNTIL).output("output").values

        found = []
        for dt, theirs in zip(TICKS, clocked, strict=True):
            y = ticks.simulate(net, dt, UNTIL, times, lr=LR).outputs["output"]
            forward = [
                p.step * ticks.distance(ours[p.name], theirs.forward[p.name], p.tau, p.n, UNTIL)
                for p in net.populations
                if isinstance(p, ticks.Layer)
            ]
            errors = [
                p.error_step
                * ticks.distance(
                    ours[f"{p.name}.error"], theirs.errors[p.name], p.error_tau, p.n, UNTIL
                )
                for p in net.populations
                if isinstance(p, ticks.Layer | ticks.Output) and p.name in theirs.errors
            ]
            change = np.abs(weight_change(net, theirs.weights) - moved).sum()
            found.append(
                [
                    float(lengths @ np.abs(y - z).mean(axis=1)) / UNTIL,
                    float(np.mean(forward)),
                    float(np.mean(errors)),
                    float(change / np.abs(moved).sum()),
                ]
            )
        differences.append(found)

    assert len(differences) >= 0.9 * NETWORKS
    log = np.log10(differences)
    slopes = log[:, 0] - log[:, 1]
    deviation = slopes.std(axis=0, ddof=1) / np.sqrt(len(slopes))
    # Now and then a spike flips for good, more often in the coarse ticks. Logarithms keep that from
    # ruling the mean, but a flipped error moves the weights by so much that it takes a median.
    slope = [*slopes.mean(axis=0)[:3], np.median(slopes[:, 3])]
    fine = np.median(differences, axis=0)[1]
    record_property(
        f"tick oracle, {kind}",
        f"{len(slopes)} networks, at {TICKS[1]:g} s and slope: "
        + ", ".join(
            f"{what} {size:.1e} {s:.3f}+-{e:.3f}"
            for what, size, s, e in zip(
                ("outputs", "hidden spikes", "error spikes", "weight change"),
                fine,
                slope,
                deviation,
                strict=True,
            )
        ),
    )
    assert np.all(deviation < 0.08)
    assert all(0.85 <= s <= 1.15 for s in slope)
    assert np.all(fine < 1e-3)


@pytest.mark.parametrize(
    ("kind", "engine", "networks"),
    [(kind, "compiled", 20) for kind in SETS] + [(kind, "actors", 3) for kind in SETS],
)
def test_weights_move_by_the_area_under_the_spikes_of_the_engine(
    kind: str, engine: str, networks: int
) -> None:
    """Of the spikes that arrived by the end and of the errors when they left."""
    lr, moved = 0.1, 0.0
    for seed in range(networks):
        net = description(seed, kind)
        sim = build(net, en.STDP(lr=lr, cap=None), engine)
        spikes = sent(sim.run(until=UNTIL))
        populations = {p.name: p for p in net.populations}
        for q in net.projections:
            final = sim.weights(f"{q.source} -> {q.target}")
            if not q.plastic:
                np.testing.assert_array_equal(final, q.weights)
                continue
            a, b = populations[q.source], populations[q.target]
            assert not isinstance(a, ticks.Output)
            assert not isinstance(b, ticks.Sensor)
            x, e = spikes[a.name], spikes[f"{b.name}.error"]
            arrived = x.times + q.delay <= UNTIL
            area = ticks.reconstruction(
                x.times[arrived] + q.delay,
                np.eye(a.n)[x.neurons[arrived]] * x.counts[arrived, None],
                e.times,
                np.eye(b.n)[e.neurons] * e.counts[:, None],
                a.step,
                b.error_step,
                a.tau,
                b.error_tau,
            )
            np.testing.assert_allclose(final, q.weights - lr * area, rtol=0, atol=1e-12)
            moved = max(moved, float(np.abs(final - q.weights).max()))
    assert moved > 1e-3
