"""Event cameras: what AEDAT4 files and Tonic's arrays hold, as spikes of a source.

A pixel sends an event when its brightness has risen (on) or fallen (off). An address is down-sampled by
taking ``block`` x ``block`` pixels for one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventnet.errors import ConfigError, DataError
from eventnet.extras import needed
from eventnet.sources import SpikeTrain

Ints = NDArray[np.int64]
Polarity = Literal["split", "signed", "merged"]

PER_CELL = {"split": 2, "signed": 1, "merged": 1}
"""Neurons of a cell of pixels, by what becomes of the sign of its events."""


@dataclass(frozen=True, eq=False)
class Events:
    """Events of a camera.

    Parameters
    ----------
    t : ndarray of int64, shape (n,)
        Microseconds.
    x, y : ndarray of int64, shape (n,)
        Address, from the upper left corner.
    on : ndarray of bool, shape (n,)
    width, height : int
        Pixels.

    Raises
    ------
    DataError
        For an address that is outside.

    Examples
    --------
    >>> seen = np.array([(0, 0, 5, True), (3, 1, 9, False)], "i2,i2,i8,?")
    >>> seen.dtype.names = ("x", "y", "t", "p")
    >>> events = Events.tonic(seen, (4, 2))
    >>> events.spikes(block=2).neurons.tolist(), events.neurons(block=2)
    ([1, 2], 4)
    >>> events.spikes(polarity="signed", t0=5).counts.tolist()
    [1, -1]
    """

    t: Ints
    x: Ints
    y: Ints
    on: NDArray[np.bool_]
    width: int
    height: int

    def __post_init__(self) -> None:
        for axis, size in (("x", self.width), ("y", self.height)):
            given = getattr(self, axis)
            outside = np.flatnonzero((given < 0) | (given >= size))
            if len(outside):
                k = int(outside[0])
                raise DataError(
                    f"event {k} is at {axis}={given[k]}: must be within 0 and {size - 1}"
                )

    @classmethod
    def tonic(cls, array: NDArray[Any], size: tuple[int, int] | None = None) -> Events:
        """Return events of a structured array with the fields x, y, t (us) and p, as Tonic has them.

        Parameters
        ----------
        array : ndarray, shape (n,)
            p > 0: on.
        size : tuple of int
            Width and height, as the first two of Tonic's ``sensor_size``; default: the largest address.

        Raises
        ------
        DataError
            For a field that is missing, an array without events, or an address outside.
        """
        names = array.dtype.names or ()
        if missing := [name for name in "xytp" if name not in names]:
            raise DataError(
                f"events have no {', '.join(missing)}: must have the fields x, y, t and p"
            )
        if not len(array):
            raise DataError("no event: must be one at least")
        t, x, y = (array[name].astype(np.int64) for name in "txy")
        width, height = (int(x.max()) + 1, int(y.max()) + 1) if size is None else size[:2]
        return cls(t, x, y, array["p"] > 0, width, height)

    def __len__(self) -> int:
        return len(self.t)

    def neurons(self, block: int = 1, polarity: Polarity = "split") -> int:
        """Return how many neurons `spikes` needs, whoever of them fires."""
        return PER_CELL[polarity] * -(-self.width // block) * -(-self.height // block)

    def addresses(self, block: int = 1, polarity: Polarity = "split") -> tuple[Ints, Ints]:
        """Return the neuron and the count of every event, (n,) each.

        Parameters
        ----------
        block : int
            Pixels a side that share a neuron; those of an incomplete block at the edge do too.
        polarity : {"split", "signed", "merged"}
            split: neuron ``2*cell + on`` fires once; signed: the cell's neuron fires +1 (on) or -1 (off);
            merged: it fires once. Cells are counted row by row.

        Raises
        ------
        ConfigError
            For a block below 1, or another polarity.
        """
        if block < 1:
            raise ConfigError(f"block={block} pixels: must be at least 1")
        if polarity not in PER_CELL:
            raise ConfigError(f"polarity={polarity!r}: must be {', '.join(PER_CELL)}")
        neurons = self.y // block * -(-self.width // block) + self.x // block
        if polarity == "split":
            neurons = 2 * neurons + self.on
        signed = polarity == "signed"
        return neurons, np.where(self.on, 1, -1) if signed else np.ones_like(neurons)

    def spikes(self, block: int = 1, polarity: Polarity = "split", t0: int = 0) -> SpikeTrain:
        """Return the spikes of a source population, in s since `t0` (us); see `addresses`."""
        return SpikeTrain((self.t - t0) / 1e6, *self.addresses(block, polarity))


def read(path: Path, size: tuple[int | None, int | None] = (None, None)) -> Events:
    """Return the events of a file: AEDAT4, or NPY with an array of Tonic's.

    Parameters
    ----------
    path : Path
    size : tuple of int or None
        Width and height of the camera, where the file does not say them.

    Raises
    ------
    ConfigError, DataError
        As `read_aedat4` and `Events.tonic` do, and for another suffix or a size that the file denies.
    """
    if path.suffix not in (".aedat4", ".npy"):
        raise ConfigError(f"{path.name}: must be .aedat4, or .npy with the fields x, y, t and p")
    if path.suffix == ".aedat4":
        events = read_aedat4(path).events
        for given, there in zip(size, (events.width, events.height), strict=True):
            if given not in (None, there):
                raise ConfigError(f"{given} pixels: {path.name} has {there}; leave it out")
        return events
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        array = np.load(path, allow_pickle=False)
    except Exception as error:  # NumPy hands the header to Python's own parser, for one
        raise DataError(f"{path.name} cannot be read as .npy: {error}") from error
    largest = Events.tonic(array)
    width, height = (
        g or there for g, there in zip(size, (largest.width, largest.height), strict=True)
    )
    return Events.tonic(array, (width, height))


class Recorded(NamedTuple):
    """What a camera recorded.

    Attributes
    ----------
    events : Events
    imu : ndarray
        Of its inertial unit, structured: t (us), temperature, accelerometer_x (g), ..., gyroscope_x
        (degrees/s), ..., magnetometer_x, ...; perhaps empty.
    """

    events: Events
    imu: NDArray[Any]


def read_aedat4(path: Path | str) -> Recorded:
    """Read an AEDAT4 file.

    Raises
    ------
    ConfigError
        If the library `aedat` is missing.
    DataError
        If the file is missing or damaged, or has no events.
    """
    aedat = needed("aedat", "events", "AEDAT4 files")
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    packets: dict[str, list[NDArray[Any]]] = {"events": [], "imus": []}
    try:
        decoder = aedat.Decoder(path)
        streams = {stream["type"]: stream for stream in decoder.id_to_stream().values()}
        for packet in decoder:
            for kind, found in packets.items():
                if kind in packet:
                    found.append(packet[kind])
    except BaseException as error:  # the library raises what comes, and panics
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        said = " ".join(str(error).split())
        raise DataError(f"{path.name} cannot be read as .aedat4: {said}") from error
    if not packets["events"]:
        raise DataError(f"{path.name} has no events")
    events = np.concatenate(packets["events"])
    size = streams["events"]["width"], streams["events"]["height"]
    t, x, y = (events[name].astype(np.int64) for name in "txy")
    imu = np.concatenate(packets["imus"]) if packets["imus"] else np.zeros(0, [("t", np.uint64)])
    return Recorded(Events(t, x, y, events["on"], *size), imu)
