"""Random networks with everything that the engines define, drawn by Hypothesis."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

import eventnet as en
from eventnet.engine import make_engine, prices
from eventnet.engine import plan as plans
from eventnet.engine.plan import Plan, make_plan
from eventnet.engine.prices import Prices
from eventnet.plasticity import stdp


@dataclass
class Case:
    network: en.Network
    sources: dict[int, Any]
    rule: en.Rule
    seed: int
    wide: int = 32
    local: int = 1000
    dtype: Any = np.float64
    price: float = 0.0  # of an addition a second; 0: steps are not learned
    own: bool = False  # each neuron learns a step
    until: float = 0.6


@st.composite
def rules(draw: Any) -> en.Rule:
    """Every rule that both engines have; half of the draws are STDP."""
    lr = draw(st.sampled_from([0.05, 0.3]))
    return draw(
        st.one_of(
            st.sampled_from([en.STDP(lr, cap=cap) for cap in (0.5, 0.1, None)]),
            st.sampled_from([en.STDP(lr), en.Past(lr), en.Reconstruction(lr)]),
            st.just(en.PairSTDP(lr=1e-4, tau_plus=0.03)),
        )
    )


PRICES = (1e-6, 1e-4)
"""Under which steps are learned, by STDP."""


@st.composite
def cases(draw: Any, prices: tuple[float, ...] = (0.0,) * 8 + PRICES) -> Case:
    """A network of depth 1 to 4 with biases, skip connections and coincident sensor times."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    network = en.Network(tau=draw(st.sampled_from([0.02, 0.1, 0.5])))
    price = draw(st.sampled_from(prices))
    rule = draw(st.sampled_from([en.STDP(0.05), en.STDP(0.3, cap=0.1)]) if price else rules())
    lr = st.sampled_from([None, None, 0.02] if rule.error_driven else [None])
    own_taus = draw(st.booleans())
    tau = st.sampled_from([None, 0.02, 0.1, 0.3] if own_taus else [None])
    images = draw(st.sampled_from([True, False, False]))
    frame = (draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 2)))
    sensors = [
        network.sensor(
            f"sensor{k}",
            frame if images and k == 0 else draw(st.integers(1, 4)),
            step=draw(st.sampled_from([0.1, 0.25])),
            tau=draw(tau),
        )
        for k in range(draw(st.integers(1, 3)))
    ]
    if draw(st.sampled_from([True, False, False])):
        sensors.append(network.source("source", 3, step=0.2, tau=draw(tau)))

    kinds = draw(st.sampled_from([["all", "all", "mask", "edges", "fan_in"], ["edges", "fan_in"]]))

    def kernel(source: Any) -> tuple[Any, dict[str, Any]]:
        """A kernel that fits on an image, and the image that it makes."""
        pooling = draw(st.sampled_from([True, False, False]))
        sides = [min(n, draw(st.integers(1, 2))) for n in source.shape[:2]]
        strides = [draw(st.integers(1, 2)) for _ in sides]
        padding = [draw(st.integers(0, 1)) * (k > 1) for k in sides]
        made = [
            (n + 2 * p - k) // s + 1
            for n, k, s, p in zip(source.shape, sides, strides, padding, strict=False)
        ]
        form = {"pool" if pooling else "kernel": sides, "stride": strides, "padding": padding}
        return (*made, source.shape[2] if pooling else draw(st.integers(1, 2))), form

    def synapses(source: Any, target: Any, form: dict[str, Any]) -> dict[str, Any]:
        """Which synapses, and their bounds."""
        chosen: dict[str, Any] = dict(form)
        kind = "" if form else draw(st.sampled_from(kinds))
        mask = rng.random((source.size, target.size)) < 0.7
        if kind == "mask":
            chosen = {"mask": mask, "weights": rng.normal(0, 0.5, mask.shape)}
        elif kind == "edges":
            edges = rng.permutation(np.argwhere(mask))
            chosen = {"edges": edges, "weights": rng.normal(0, 0.5, len(edges))}
        elif kind == "fan_in":
            chosen = {"fan_in": int(rng.integers(1, source.size + 1))}
        chosen["error_step"] = draw(st.sampled_from([None, None, 0.02]))
        if "pool" in form:
            return chosen
        if draw(st.sampled_from([False, False, True])) or not rule.error_driven:
            chosen["bounds"] = (-0.5, 0.5)  # without errors to stop it, pair STDP would run away
            if "weights" in chosen:
                chosen["weights"] = np.clip(chosen["weights"], -0.5, 0.5)
        return chosen

    layers: list[Any] = []
    delayed = draw(st.booleans()) and not price
    delay = st.sampled_from([0.0, 0.0, 0.01, 0.017] if delayed else [0.0])
    for depth in range(draw(st.integers(1, 4))):
        sources = sensors if depth == 0 else [layers[-1]]
        size, form = draw(st.integers(2, 7)), {}
        if images and sources[0].shape is not None and draw(st.sampled_from([True, True, False])):
            size, form = kernel(sources[0])
        layer = network.layer(
            f"layer{depth}",
            size,
            step=draw(st.sampled_from([0.05, 0.1, 0.25])),
            activation=draw(st.sampled_from(["relu", "relu", "leaky", "identity"])),
            bias=rng.normal(0, 0.4, np.prod(size)) * draw(st.booleans()),
            tau=draw(tau),
            error_tau=draw(tau),
            error_step=draw(st.sampled_from([0.01, 0.05])),
            threshold=draw(st.sampled_from([0.5, 0.5, 0.75, 1.0])),
            lr=draw(lr),
        )
        skips = [p for p in [*sensors, *layers] if p not in sources and draw(st.booleans())]
        for source in [*sources, *skips[:1]]:
            network.connect(
                source,
                layer,
                plastic=draw(st.sampled_from([True, True, False])),
                delay=draw(delay),
                error_delay=draw(delay),
                **synapses(source, layer, form if source is sources[0] else {}),
            )
        layers.append(layer)
    if draw(st.sampled_from([True, False, False])) and not price:  # a recurrent projection
        network.connect(
            layers[-1],
            layers[0],
            delay=0.03,
            error_delay=0.02,
            weights=rng.normal(0, 0.1, (layers[-1].size, layers[0].size)),
        )
    loss = draw(st.sampled_from(["squared", "squared", "softmax"]))
    output = network.output(
        "output",
        2,
        loss=loss,
        error_step=0.05,
        bias=rng.normal(0, 0.3, 2),
        bias_step=draw(st.sampled_from([None, None, 0.5])),
        error_tau=draw(tau),
        tolerance=draw(st.sampled_from([None, 0.02])),
    )
    network.connect(
        layers[-1],
        output,
        delay=draw(delay),
        error_delay=draw(delay),
        **synapses(layers[-1], output, {}),
    )
    if len(layers) > 1 and draw(st.booleans()):
        network.connect(layers[0], output)
    recordings: dict[int, Any] = {}
    for population in [*sensors, output]:
        n = draw(st.integers(4, 20))
        if population.kind == "source":
            spikes = 4 * n
            recordings[population.index] = en.SpikeTrain(
                np.round(0.6 * rng.random(spikes), 2),
                rng.integers(0, 3, spikes),
                rng.choice([-2, -1, 1, 1, 3], spikes),
            )
            continue
        on_grid = draw(st.booleans())  # times that coincide with other sensors' and with own spikes
        times = rng.choice(np.arange(60) / 100, n) if on_grid else 0.6 * rng.random(n)
        values = rng.normal(0, 1, (n, population.size))
        if draw(st.booleans()):
            values = np.round(values * 20) / 20  # residuals that meet the threshold exactly
        if population is output and loss == "softmax":
            values = np.eye(2)[rng.integers(0, 2, n)]
        if population is output:
            values[rng.random(values.shape) < 0.1] = np.nan
        recordings[population.index] = en.Recording(np.sort(times), values)
    wide = draw(st.sampled_from([1, 3, 32]))  # targets from which on columns are booked late
    dtype = draw(st.sampled_from([np.float64, np.float64, np.float32]))
    own = price > 0 and draw(st.booleans())  # each neuron learns a step
    # Neurons from which on deliveries are local.
    local = draw(st.sampled_from([1000] if own else [1, 1, 1000]))
    seed = int(rng.integers(2**31))
    return Case(network, recordings, rule, seed, wide, local, dtype, price, own)


def plan_of(case: Case) -> Plan:
    with local_from(case.local):
        return make_plan(
            case.network, case.rule, np.random.default_rng(case.seed), dtype=case.dtype
        )


def prices_of(case: Case, plan: Plan) -> Prices | None:
    """What learns the steps of a case, if anything does."""
    return Prices(plan, case.price, 0.01, case.own) if case.price else None


class Settled:
    """As much of a world as one needs who looks at an engine."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine

    def settle(self, time: float) -> None:
        self.engine.advance(time, inclusive=True)


@contextmanager
def often_looked_at() -> Iterator[None]:
    """Let steps move by a tenth at each look, and not by half a percent or less."""
    kept = prices.PRICED_RATE, prices.OWN_PRICED_RATE
    prices.PRICED_RATE = prices.OWN_PRICED_RATE = 0.1
    try:
        yield
    finally:
        prices.PRICED_RATE, prices.OWN_PRICED_RATE = kept


@contextmanager
def booked_late_from(targets: int) -> Iterator[None]:
    """Let projections be booked late that are narrower than those that should be."""
    kept, stdp.WIDE = stdp.WIDE, targets
    try:
        yield
    finally:
        stdp.WIDE = kept


@contextmanager
def local_from(neurons: int) -> Iterator[None]:
    """Let populations be local that are smaller than those that should be."""
    kept, plans.LOCAL = plans.LOCAL, neurons
    try:
        yield
    finally:
        plans.LOCAL = kept


def simulate(
    name: str, case: Case, read: dict[int, list[np.ndarray]] | None = None
) -> tuple[list[np.ndarray], list[np.ndarray], Any]:
    """Run a case on one engine: spikes as four arrays, weights, and the engine.

    `read` is given what every population reads now and then, by population, also if the run diverges.
    """
    batches: list[Any] = []
    plan = plan_of(case)
    with booked_late_from(case.wide):
        engine = make_engine(
            name,
            plan,
            lambda *batch: batches.append(batch),
            price=case.price,
            scales="neuron" if case.own else "population",
        )
    for population, source in case.sources.items():
        engine.feed(population, source)
    looks = prices_of(case, plan)
    if looks is not None:
        with often_looked_at():
            while looks.next_time() <= case.until:
                looks.act(Settled(engine), looks.next_time())  # type: ignore[arg-type]
    elif read is not None:
        rng = np.random.default_rng(case.seed)
        samples = np.concatenate([s.block(0, 20)[0] for s in case.sources.values()])
        chosen = [p.index for p in plan.populations if p.kind != "source" and not p.constant]
        draws = [np.append(rng.random(9) * case.until, rng.choice(samples, 3)) for _ in chosen]
        times = [np.unique(t[t <= case.until]) for t in draws]
        engine.watch(chosen, times, lambda k, values: read.setdefault(chosen[k], []).extend(values))
    engine.advance(case.until, inclusive=True)
    spikes = [np.concatenate(column) for column in zip(*batches, strict=True)]
    weights = [engine.weights(q).copy() for q in range(len(plan.projections))]
    return spikes or [np.zeros(0)] * 4, weights, engine
