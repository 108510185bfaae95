"""The errors that eventnet raises on purpose: each names the value, the constraint and the remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class EventNetError(Exception):
    """Base class of every deliberate eventnet error; the command line prints it without a traceback."""


class ConfigError(EventNetError, ValueError):
    """A parameter, a name or an array that cannot be used as given."""


class DataError(EventNetError, ValueError):
    """A file or a recording whose content cannot be used."""


class RunFolderError(EventNetError, OSError):
    """A run folder that cannot be written or read."""


class FetchError(EventNetError, OSError):
    """Data that could not be obtained from any of its sources."""


class Diverged(EventNetError, ArithmeticError):
    """The simulation left the range of its numbers.

    Attributes
    ----------
    time : float
        Simulated time of the instant, in seconds.
    population : str
        The population whose state or spike count left its range.
    neuron : int
        The first of its neurons that did.
    """

    def __init__(self, time: float, population: str, neuron: int) -> None:
        # SimPy raises a copy made from `args`, and pickle does the same.
        super().__init__(time, population, neuron)
        self.time = time
        self.population = population
        self.neuron = neuron

    def __str__(self) -> str:
        return (
            f"diverged at t={self.time:.9g} s in population {self.population!r}, neuron {self.neuron}: "
            "its state is not finite or it would send more than 2**24 spikes at once; lower the "
            "learning rate, keep the guard on, or take a larger step"
        )


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM ended a command; a run that had begun, after all was written.

    Attributes
    ----------
    signal : int
    folder : Path, optional
        Its run folder; none if no run had begun.
    time : float
        Simulated time that it had reached, s.
    """

    def __init__(self, signal: int, folder: Path | None = None, time: float = 0.0) -> None:
        super().__init__(signal, folder, time)
        self.signal, self.folder, self.time = signal, folder, time

    def __str__(self) -> str:
        if self.folder is None:
            return "interrupted"
        return (
            f"interrupted at t={self.time:.9g} s; go on with: eventnet run --resume {self.folder}"
        )


@contextmanager
def at_key(key: str) -> Iterator[None]:
    """Let every deliberate error say at which key of a scenario file it happened; keys nest.

    >>> with at_key("sensors.gyro"), at_key("columns"):
    ...     raise DataError("no such column")
    Traceback (most recent call last):
    eventnet.errors.DataError: sensors.gyro.columns: no such column
    """
    try:
        yield
    except (ConfigError, DataError) as error:
        inner, message = getattr(error, "key", ""), getattr(error, "message", str(error))
        full = f"{key}.{inner}" if inner else key
        found = type(error)(f"{full}: {message}")
        found.__dict__.update(key=full, message=message)
        raise found from error
