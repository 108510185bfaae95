"""A scenario file run live: the same network, with readings that come while it runs."""

from __future__ import annotations

import math
import signal as signals
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from eventnet.errors import ConfigError, at_key
from eventnet.experiment.build import network, signals_of, simulation
from eventnet.experiment.parts import Experiment, Signal
from eventnet.experiment.signals import Scaling, hear
from eventnet.live import GAP, LATENESS, Live
from eventnet.record import Record
from eventnet.scenario import LiveOptions, Outcome, Session
from eventnet.wire import JsonWire


def run_live(experiment: Experiment, session: Session, *, base: Path) -> Outcome:
    """Run an experiment on what comes by a wire, until its end, that of the input, or a signal.

    Sensors and teachers that are standardized read their files for that; no other file is read. Lines
    bring values in the unit of the files. What probes read goes out and is not kept.
    """
    if experiment.sources:
        with at_key("sources"):
            raise ConfigError(
                "events of a camera come from files only; leave them out of a live run"
            )
    signals = signals_of(experiment)
    scaling, widths = _prepare(signals, experiment, base)
    net = network(experiment, widths)
    sim = simulation(experiment, net, seed=session.seed, engine=session.engine)
    for key, found in signals.items():
        with at_key(key):
            sim.listen(
                key.split(".")[1],
                lateness=LATENESS if found.lateness is None else found.lateness,
                late=found.late or "drop",
                gap=found.gap or GAP,
                hold=found.hold or math.inf,
            )
    options = session.live or LiveOptions()
    wire = JsonWire(sim.live, options.port, units=scaling, clock=options.clock)
    for name, probe in experiment.probes.items():
        with at_key(f"probes.{name}"):
            sim.stream(name, rate=probe.rate, to=partial(wire.send, name))
    end = session.until or experiment.until or math.inf
    if session.rerun is not None:
        session.rerun.begin(sim, end, session.config)
    try:
        with stopped_by_signals(sim.live):
            record = session.record or Record(session.folder, config=session.config)
            done = sim.run(end, record=record, live=wire)
    finally:
        wire.close()
    if session.rerun is not None:
        session.rerun.end(done)
    told: dict[str, Any] = sim.live.summary()
    told |= {"refused": wire.refused, "unsent": wire.unsent}
    return Outcome(done, {}, arrivals=told.pop("arrivals"), live=told)


def _prepare(
    found: dict[str, Signal], experiment: Experiment, base: Path
) -> tuple[dict[str, Scaling], dict[str, int]]:
    """Return how a signal is scaled, if it is, and how many components it has, if that is known."""
    read = {key: s for key, s in found.items() if s.standardize is not None}
    heard = hear(read, base=base, origin=experiment.origin, seed=0)
    scaling: dict[str, Scaling] = {}
    widths: dict[str, int] = {}
    for key, s in found.items():
        name = key.split(".")[1]
        if key in heard:
            scaling[name], widths[name] = heard[key].scaling, heard[key].width
        else:
            if (s.scale, s.offset) != (1.0, 0.0):
                scaling[name] = Scaling(scale=s.scale, offset=s.offset)
            if s.columns is not None:
                widths[name] = len(s.columns)
    return scaling, widths


@contextmanager
def stopped_by_signals(live: Live) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end a live run in good order."""
    kinds = (signals.SIGINT, signals.SIGTERM)
    before = [signals.signal(kind, lambda *_: live.stop()) for kind in kinds]
    try:
        yield
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signals.signal(kind, handler)
