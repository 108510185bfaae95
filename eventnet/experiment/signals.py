"""From the rows of a file to what the network is given: one clock, in order, scaled, late or lost."""

from __future__ import annotations

import copy
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventnet.arrivals import Arrivals, Books, Link, in_order
from eventnet.errors import ConfigError, DataError, at_key
from eventnet.events import Events
from eventnet.events import read as read_events
from eventnet.experiment.parts import UNITS, Signal, Source, Teacher
from eventnet.experiment.tables import Stamps, Table, read
from eventnet.sources import Recording, SpikeTrain, whole, with_hold

Floats = NDArray[np.float64]

GAP_INTERVALS = 10
"""Median intervals without a reading that count as a gap, unless the file says otherwise."""


@dataclass(frozen=True)
class Scaling:
    """From the unit of a file to that of the network: ``(x - center)/spread*scale + offset``."""

    center: Floats | float = 0.0
    spread: Floats | float = 1.0
    scale: float = 1.0
    offset: float = 0.0

    def forward(self, x: Floats) -> Floats:
        """Return values (n, width) in the unit of the network."""
        return (x - self.center) / self.spread * self.scale + self.offset

    def back(self, y: Floats) -> Floats:
        """Return values (n, width) in the unit of the file."""
        return (y - self.offset) / self.scale * self.spread + self.center


@dataclass(frozen=True)
class Heard:
    """The readings of one sensor, or the targets of one output.

    Attributes
    ----------
    stamps, values : ndarray, shape (n,) in s and (n, width)
        As recorded, in order, scaled.
    fed : Recording
        What the network is given: what of them arrives, when it does, until it holds no longer.
    scaling : Scaling
    arrivals : Arrivals
        Its notes, and its books at the end of the recording.
    arrived : ndarray, shape (m,)
        When each that arrives does, s.
    """

    stamps: Floats
    values: Floats
    fed: Recording
    scaling: Scaling
    arrivals: Arrivals
    arrived: Floats

    @property
    def width(self) -> int:
        """Components of a reading."""
        return self.fed.width

    def books(self, until: float) -> Books:
        """Return the books at time `until` (s): what arrives later is pending."""
        books = copy.deepcopy(self.arrivals.books)
        books.pending = int((self.arrived > until).sum())
        books.delivered -= books.pending
        return books


class Seen(NamedTuple):
    """What a source is given: its spikes, and how many neurons it needs."""

    train: SpikeTrain
    neurons: int


def hear(
    signals: Mapping[str, Signal],
    *,
    base: Path,
    origin: float | Literal["first"],
    seed: int,
) -> dict[str, Heard]:
    """Read every file and put all on one clock; see `hear_and_see`."""
    return hear_and_see(signals, {}, base=base, origin=origin, seed=seed)[0]


def hear_and_see(
    signals: Mapping[str, Signal],
    sources: Mapping[str, Source],
    *,
    base: Path,
    origin: float | Literal["first"],
    seed: int,
) -> tuple[dict[str, Heard], dict[str, Seen]]:
    """Read every file and put all on one clock.

    Parameters
    ----------
    signals, sources : mapping
        By the key of a scenario file, as in ``"sensors.gyro"``; errors name it.
    base : Path
        Folder that relative paths start from.
    origin : float or "first"
        Time stamp, s, that is time 0.
    seed : int
        Of jitter and dropout, which are drawn for each signal by itself.
    """
    tables: dict[str, Table] = {}
    for key, signal in signals.items():
        with at_key(key):
            if signal.file is None:
                raise ConfigError("file is missing: name the recording, or run it with --live")
            tables[key] = read(signal, base / signal.file)
    cameras: dict[str, Events] = {}
    for key, source in sources.items():
        with at_key(key):
            cameras[key] = read_events(base / source.file, (source.width, source.height))
    stamps = [table.stamps for table in tables.values() if table.stamps is not None]
    stamps += [camera.t * UNITS["us"] for camera in cameras.values()]
    clock = _Clock(origin, stamps)
    heard, seen = {}, {}
    for key, signal in signals.items():
        with at_key(key):
            rng = np.random.default_rng([seed, zlib.crc32(key.encode())])
            times = clock.seconds(tables[key], signal)
            heard[key] = _heard(key, signal, times, tables[key].values, rng)
    for key, source in sources.items():
        camera = cameras[key]
        times = clock.exact(camera.t * UNITS["us"]) + source.clock_offset
        train = SpikeTrain(times, *camera.addresses(source.block, source.polarity))
        seen[key] = Seen(train, camera.neurons(source.block, source.polarity))
    return heard, seen


class _Clock:
    """The clock of all files, on which `origin` is 0; exact where all count in whole nanoseconds."""

    def __init__(self, origin: float | Literal["first"], stamps: list[Stamps]) -> None:
        exact = [s for s in stamps if s.dtype == np.int64]
        other = [s for s in stamps if s.dtype != np.int64]
        if origin != "first":
            self.ns, self.s = round(origin * UNITS["s"]), float(origin)
        elif other:
            firsts = [float(s.min()) for s in other] + [int(s.min()) / UNITS["s"] for s in exact]
            self.s = min(firsts)
            self.ns = round(self.s * UNITS["s"])
        else:
            self.ns = min((int(s.min()) for s in exact), default=0)
            self.s = self.ns / UNITS["s"]

    def seconds(self, table: Table, signal: Signal) -> Floats:
        """Return the time stamps of a file, (n,) in s."""
        if table.stamps is None:
            assert signal.rate is not None
            return signal.start + np.arange(len(table.values)) / whole(signal.rate)
        if table.stamps.dtype == np.int64:
            return self.exact(table.stamps)
        return np.asarray(table.stamps - self.s, dtype=np.float64)

    def exact(self, ns: Stamps) -> Floats:
        """Return stamps of whole nanoseconds in s."""
        return (ns - self.ns) / UNITS["s"]


def _heard(
    key: str,
    signal: Signal,
    times: Floats,
    values: Floats,
    rng: np.random.Generator,
) -> Heard:
    steps = np.diff(times)
    median = float(np.median(steps[steps > 0])) if (steps > 0).any() else math.inf
    arrivals = Arrivals(
        key.split(".")[1],
        lateness=signal.lateness or 0.0,
        late=signal.late or "error",
        gap=signal.gap or GAP_INTERVALS * median,
    )
    with at_key("time"):
        stamps, ordered = in_order(arrivals, times, values)
    scaling = scaling_of(signal, stamps, ordered)
    scaled = scaling.forward(ordered)
    link = Link(signal.clock_offset, signal.latency, signal.jitter, signal.dropout)
    arrived, kept = link.carry(stamps, rng)
    lost = int((~kept).sum())
    if lost:
        arrivals.books.delivered -= lost
        arrivals.books.dropped["dropout"] += lost
    fed = Recording(arrived[kept], scaled[kept])
    if signal.hold is not None:
        fed = with_hold(fed, signal.hold, math.nan if isinstance(signal, Teacher) else 0.0)
    return Heard(stamps, scaled, fed, scaling, arrivals, arrived[kept])


def scaling_of(signal: Signal, stamps: Floats, values: Floats) -> Scaling:
    """Return how a signal is scaled, given its readings (n, width) at `stamps` (n,) in s."""
    if signal.standardize is None:
        if signal.scale == 0:
            with at_key("scale"):
                raise ConfigError("0: a reading must keep something of the cell; must not be 0")
        return Scaling(scale=signal.scale, offset=signal.offset)
    with at_key("standardize"):
        if (signal.scale, signal.offset) != (1.0, 0.0):
            raise ConfigError("beside scale or offset: give one or the other")
        first, last = signal.standardize
        window = values[(stamps >= first) & (stamps <= last)]
        window = window[~np.isnan(window).any(axis=1)]
        if not len(window):
            raise DataError(f"no reading between {first:g} and {last:g} s: choose another window")
        center, spread = window.mean(0), window.std(0)
        still = np.flatnonzero(~(spread > 0))
        if len(still):
            raise DataError(
                f"component {still[0]} does not move between {first:g} and {last:g} s: choose another "
                "window, or scale and offset"
            )
        return Scaling(center, spread)
