"""A run on its way to disk: its folder, its checkpoints, and how it goes on after it was cut off.

    config.json             what the simulation was made of, with a checksum
    raster/000000.parquet   spikes, in segments that are closed for good (`eventnet.raster`)
    checkpoints/000007.npz  the last two states (`eventnet.checkpoint`), and which segments they know
    weights-start.npz, weights-end.npz, traces.npz
    end.json                comes last and says that all is there

Every file is written aside, synced and renamed. A checkpoint is written after the segments that it
names; a resumed run takes the newest one that is whole, with segments that are whole, removes what
was recorded after it, and goes on: the same spikes, bit for bit, as if it had not been cut off.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
import time as wall
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from eventnet import checkpoint
from eventnet.engine.arrays import Counters
from eventnet.errors import ConfigError, DataError, Diverged, Interrupted, RunFolderError
from eventnet.files import no_link, sync, written_aside
from eventnet.network import positive, unknown
from eventnet.raster import RasterWriter, Segment, first_damaged
from eventnet.runs import sealed, unsealed, versions, writing
from eventnet.signals import handled
from eventnet.sources import SpikeTrain, held_at
from eventnet.world import Sampled, Sampler

if TYPE_CHECKING:
    from eventnet.simulation import Run, Simulation

log = logging.getLogger("eventnet.record")

KEPT = 2
"""Checkpoints that are kept."""

DIVERGENCE = ("stop", "halve-lr")

HALVINGS = 10
"""Times that the learning rate is halved from one checkpoint on, at most."""

FIRST_LOOK = 0.01
"""Share of a run after which its size on disk is estimated; then whenever that has doubled."""


@dataclass
class Begun:
    """What a run knew when it began, before any interruption.

    Attributes
    ----------
    start : float
        Simulated time, s.
    counted : Counters
        The engine's counters.
    seen : dict
        Readings that each probe had taken, by population.
    time : float
        Simulated time from which it goes on, s.
    wall_s : float
        Wall time that it had taken by then.
    since : float
        The wall clock when it went on.
    """

    start: float
    counted: Counters
    seen: dict[str, int]
    time: float
    wall_s: float = 0.0
    since: float = field(default_factory=wall.perf_counter)

    @property
    def elapsed(self) -> float:
        """Wall time since the start, without interruptions, s."""
        return self.wall_s + wall.perf_counter() - self.since


class Record:
    """A run folder to be written.

    Parameters
    ----------
    folder : Path or str
        A new one; with `resume` one that an earlier run has left.
    checkpoint_every : float, optional
        Simulated seconds from one checkpoint to the next. None: only when it is interrupted.
    resume : bool
        Go on from the last checkpoint, in a simulation that was built and fed alike.
    on_divergence : {"stop", "halve-lr"}
        What happens when the network diverges: the run ends, with the last good checkpoint in place, or
        it goes back to that and on with half the learning rate.
    config : dict, optional
        Written into ``config.json`` beside the network's description.

    Examples
    --------
    >>> import tempfile
    >>> import eventnet as en
    >>> def simulation():
    ...     net = en.Network(tau=0.1)
    ...     net.sensor("angle", 1, step=0.1)
    ...     sim = en.Simulation(net, engine="actors")
    ...     sim.feed("angle", en.Periodic(np.sin(np.arange(50)), rate=10))
    ...     return sim
    >>> folder = Path(tempfile.mkdtemp()) / "run"
    >>> first = simulation().run(2.0, record=Record(folder, checkpoint_every=1.0))
    >>> longer = simulation().run(5.0, record=Record(folder, resume=True))
    >>> len(longer.raster) == simulation().run(5.0).cost.events
    True
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        checkpoint_every: float | None = None,
        resume: bool = False,
        on_divergence: Literal["stop", "halve-lr"] = "stop",
        config: dict[str, Any] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.every = (
            None
            if checkpoint_every is None
            else positive(checkpoint_every, "checkpoint_every", "a record", " s")
        )
        if on_divergence not in DIVERGENCE:
            raise unknown("on_divergence", on_divergence, DIVERGENCE)
        if on_divergence == "halve-lr" and checkpoint_every is None:
            raise ConfigError(
                "on_divergence='halve-lr' goes back to a checkpoint: give checkpoint_every"
            )
        self.on_divergence = on_divergence
        self.raster: RasterWriter | None = None
        self.in_parts = False  # several simulations share the folder: each has its own checkpoints
        self._resume = resume
        self._config = config or {}
        self._parts = 0
        self._until = math.inf
        self._mark = math.inf
        self._look = FIRST_LOOK
        self._caught: int | None = None
        self._text = ""
        self._halved: dict[Path, int] = {}  # by the checkpoints gone back to, how often

    # -- beginning ---------------------------------------------------------------------------------

    def begin(self, sim: Simulation, begun: Begun, until: float, live: bool) -> Begun:
        """Open the folder, or go on in it; return what the run knew when it began.

        Only the first simulation of several has its spikes, weights and readings in the folder.

        Raises
        ------
        ConfigError
            If checkpoints are asked for and something cannot be saved, or belongs to another run.
        RunFolderError
            If the folder exists (or, to resume, does not), or cannot be written.
        """
        if self._parts and not self.in_parts:
            raise ConfigError(
                f"{self.folder}: this Record has been used; make another, with resume=True to go on"
            )
        if self.every is not None:
            if live:
                heard = ", ".join(sim.live.channels)
                raise ConfigError(
                    f"checkpoint_every={self.every} s: {heard} is listened to live, and what was heard "
                    "does not come again; leave it out"
                )
            _check_all_saves(sim)
        self._until, self._look = until, FIRST_LOOK
        self._parts += 1
        found = None
        if self._resume:
            found = self._found(sim, begun, until)
            if self._parts == 1:
                self._sweep(found)
        elif self._parts == 1:
            self._make(sim, begun.start)
        self.raster = None
        if self._parts == 1:
            with writing(self.folder):  # it is there now
                self._open(sim, begun.start, found)
        self._halved = {}
        if found is not None:
            begun = self._go_to(sim, found)
        elif self.on_divergence == "halve-lr":
            self.keep(sim, begun, begun.time)
        self._mark = self._next_mark(begun.start, begun.time)
        return begun

    def _go_to(self, sim: Simulation, found: dict[str, Any]) -> Begun:
        """Put a simulation where a checkpoint was."""
        sim.restore(found["simulation"])
        told = found["run"]
        counted = Counters(*told["counted"])
        return Begun(told["start"], counted, told["seen"], told["time"], told["wall_s"])

    def _make(self, sim: Simulation, start: float) -> None:
        """Make the folder; it is there with its configuration, or not at all."""
        if self.folder.exists():
            raise RunFolderError(
                f"{self.folder}: exists already; choose another folder or remove it"
            )
        aside = self.folder.with_name(f".{self.folder.name}.partial")
        shutil.rmtree(aside, ignore_errors=True)
        try:
            aside.mkdir(parents=True)
            self._describe(aside, self._new(sim, start))
            aside.rename(self.folder)
            sync(self.folder.parent)
        except OSError as error:
            if isinstance(error, RunFolderError):
                raise
            raise RunFolderError(
                f"{self.folder}: cannot be made ({error.strerror}); choose another place"
            ) from error

    def _found(
        self, sim: Simulation, begun: Begun, until: float, before: Path | None = None
    ) -> dict[str, Any] | None:
        """Return the newest checkpoint that is whole, with segments that are whole.

        None if there is none at all: the run was cut off before the first. Likewise if there is none
        older than `before`.
        """
        if not self.folder.is_dir():
            raise RunFolderError(f"{self.folder}: no such run folder")
        bad = 0
        for path in _checkpoints(self.folder):
            if before is not None and path >= before:
                continue
            try:
                found = checkpoint.load(path, sim.built())
                told = found["run"]
                if told["start"] != begun.start:
                    continue
                damaged = first_damaged(self.folder, [Segment(*s) for s in told["segments"]])
                if damaged is not None:
                    raise DataError(f"{damaged}: missing or damaged; {path.name} needs it")
            except DataError as error:
                log.warning("%s", error)
                bad += 1
                continue
            except ConfigError:
                if self.in_parts:
                    continue
                raise
            if told["time"] > until:
                raise ConfigError(
                    f"until={until:g} s: {self.folder} stands at {told['time']:g} s; give a later one"
                )
            log.warning("%s: goes on from %g s", path, told["time"])
            return found | {"path": path}
        if before is not None:
            return None
        if bad:
            raise DataError(
                f"{self.folder}: none of its {bad} checkpoints can be used; restore what is damaged, "
                "or remove its checkpoints to begin again"
            )
        log.warning("%s: no checkpoint; begins at %g s", self.folder, begun.start)
        return None

    def _sweep(self, found: dict[str, Any] | None) -> None:
        """Remove later checkpoints, what says that the run has ended, and remains of writes."""
        for path in _checkpoints(self.folder):
            if found is not None and path > found["path"]:
                path.unlink()
        for name in ("end.json", "metrics.json"):
            (self.folder / name).unlink(missing_ok=True)
        for aside in self.folder.glob("**/.*.partial"):
            aside.unlink()

    def _open(self, sim: Simulation, start: float, found: dict[str, Any] | None) -> None:
        """Open what only the first simulation of several writes."""
        self._check_room(sim)
        told = found["run"] if found else None
        if self._resume:
            try:
                described = unsealed(self.folder / "config.json")
            except DataError as error:
                log.warning("%s; what the checkpoint says takes its place", error)
                described = json.loads(told["config"]) if told else self._new(sim, start)
            self._describe(self.folder, described)
        if sim.keeps_raster:
            kept = [Segment(*s) for s in told["segments"]] if told else []
            known = kept if self._resume else None
            self.raster = RasterWriter(self.folder, sim.coder_names, resume=known)
        if not (self.folder / "weights-start.npz").exists():
            self._keep_weights(sim, "start")

    def _new(self, sim: Simulation, start: float) -> dict[str, Any]:
        return {
            "config": self._config,
            **sim.describe(),
            "seed": sim.seed,
            "raster": sim.keeps_raster,
            "start": start,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": versions(),
        }

    def _describe(self, folder: Path, described: dict[str, Any]) -> None:
        """Write ``config.json``; of an earlier run it keeps all but the end."""
        end = self._until if math.isfinite(self._until) else None
        described = described | {"config": self._config or described["config"], "until": end}
        self._text = json.dumps(described)
        with written_aside(folder / "config.json") as aside:
            aside.write_text(sealed(described), encoding="utf-8")

    # -- under way ---------------------------------------------------------------------------------

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Let Ctrl-C and SIGTERM end the run in good order, a second one at once."""

        def catch(kind: int, frame: object) -> None:
            if self._caught is not None:
                raise KeyboardInterrupt
            self._caught = kind

        with handled(catch):
            yield

    @property
    def mark(self) -> float:
        """The simulated time of the next checkpoint, s."""
        return self._mark

    def between(self, sim: Simulation, begun: Begun, time: float) -> None:
        """Do what is due at simulated time `time` (s), when all before it has run.

        Raises
        ------
        Interrupted
            After a signal, when all is on disk.
        RunFolderError
            If what is still to come will not fit the disk, with an estimate.
        """
        if self._caught is not None:
            self._stop(self._caught, sim, begun, time)
        if time >= self._mark:
            self.keep(sim, begun, time)
            self._mark = self._next_mark(begun.start, time)
        done = (time - begun.start) / (self._until - begun.start)
        if self.raster is not None and done >= self._look and self.raster.rows > 0:
            self._look = 2 * done
            self._check_size(sim, begun, time)

    def _stop(self, kind: int, sim: Simulation, begun: Begun, time: float) -> NoReturn:
        """Keep what can be kept, also without checkpoints before, and end."""
        try:
            _check_all_saves(sim)
            self.keep(sim, begun, time)
        except ConfigError as error:
            log.warning("no checkpoint: %s", error)
        raise Interrupted(kind, self.folder, time)

    def back(self, sim: Simulation, begun: Begun, error: Diverged) -> Begun | None:
        """After a divergence, go back to the last checkpoint and halve the learning rate.

        A checkpoint from which that has not helped `HALVINGS` times was spoiled already: it is removed,
        and the one before takes its place. None if there is none, or if it was not asked for.
        """
        if self.on_divergence == "stop" or sim.plan.rule is None:
            return None
        found = self._found(sim, begun, self._until)
        if found is not None and self._halved.get(found["path"]) == HALVINGS:
            spoiled = found["path"]
            found = self._found(sim, begun, self._until, before=spoiled)
            if found is None or self._halved.get(found["path"]) == HALVINGS:
                return None
            log.warning("%s: diverges at %g times the learning rate too", spoiled, sim.slowed)
            spoiled.unlink()
            del self._halved[spoiled]
        if found is None:
            return None
        if self.raster is not None:
            self.raster.abandon()
            known = [Segment(*s) for s in found["run"]["segments"]]
            self.raster = RasterWriter(self.folder, sim.coder_names, resume=known)
        begun = self._go_to(sim, found)
        times = self._halved[found["path"]] = self._halved.get(found["path"], 0) + 1
        sim.slow_down(0.5**times)
        text = "%s; back to %g s, with %g times the learning rate"
        log.warning(text, error, begun.time, sim.slowed)
        self._mark = self._next_mark(begun.start, begun.time)
        return begun

    def keep(self, sim: Simulation, begun: Begun, time: float) -> None:
        """Close the open segment and write a checkpoint."""
        if self.raster is None and sim.keeps_raster:
            return  # spikes in memory: this part of a run starts over
        sim.hand_on()
        if self.raster is not None:
            self.raster.flush()
        there = _checkpoints(self.folder)
        number = int(there[0].stem) + 1 if there else 0
        (self.folder / "checkpoints").mkdir(exist_ok=True)
        run = {
            "start": begun.start,
            "time": time,
            "wall_s": begun.elapsed,
            "counted": list(begun.counted),
            "seen": begun.seen,
            "segments": [] if self.raster is None else [tuple(s) for s in self.raster.segments],
            "config": self._text,
        }
        path = self.folder / "checkpoints" / f"{number:06d}.npz"
        checkpoint.save(path, sim.built(), {"run": run, "simulation": sim.state()})
        for old in there[KEPT - 1 :]:
            old.unlink()

    def _next_mark(self, start: float, time: float) -> float:
        if self.every is None:
            return math.inf
        k = math.floor((time - start) / self.every) + 1
        mark = start + k * self.every
        return mark if mark > time else start + (k + 1) * self.every

    def _check_room(self, sim: Simulation) -> None:
        """Raise if not even weights and checkpoints will fit."""
        weights = sum(math.prod(q.weight_shape) for q in sim.plan.projections)
        copies = 2 + (KEPT + 1) * (self.every is not None)
        _refuse_without_room(self.folder, 8.0 * weights * copies, self._until)

    def _check_size(self, sim: Simulation, begun: Begun, time: float) -> None:
        assert self.raster is not None
        sim.hand_on()
        rate = self.raster.rows / (time - begun.start)
        more = rate * (self._until - time) * self.raster.bytes_a_row()
        try:
            _refuse_without_room(self.folder, more, self._until)
        except RunFolderError:
            self.keep(sim, begun, time)
            raise

    # -- the end -----------------------------------------------------------------------------------

    def end(self, sim: Simulation, begun: Begun, run: Run) -> None:
        """Write what is known at the end; ``end.json`` comes last.

        Raises
        ------
        Interrupted
            If a signal has come since the last event.
        """
        if self.every is not None:
            self.keep(sim, begun, run.until)
        if self._parts == 1:
            self._close(sim, run)
        if self._caught is not None:
            self._stop(self._caught, sim, begun, run.until)

    def _close(self, sim: Simulation, run: Run) -> None:
        self._keep_weights(sim, "end")
        arrays: dict[str, NDArray[np.float64]] = {}
        for name, trace in run.probed.items():
            arrays |= {f"{name}/times": trace.times, f"{name}/values": trace.values}
            source = sim.fed.get(name)
            if source is not None and not isinstance(source, Sampled | SpikeTrain):
                arrays[f"{name}/given"] = held_at(source, trace.times)
        with written_aside(self.folder / "traces.npz") as aside, aside.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        told = {
            "until": run.until,
            "wall_s": run.wall_s,
            "slowed": sim.slowed,
            "cost": run.cost.as_dict(),
        }
        with written_aside(self.folder / "end.json") as aside:
            aside.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")

    def _keep_weights(self, sim: Simulation, when: str) -> None:
        weights = {q.name: sim.weights(q) for q in sim.plan.projections}
        path = self.folder / f"weights-{when}.npz"
        with written_aside(path) as aside, aside.open("wb") as file:
            np.savez(file, **weights)  # type: ignore[arg-type]


def told_by(folder: Path) -> dict[str, Any]:
    """Return the configuration of a run folder, from its newest checkpoint if ``config.json`` is damaged.

    Raises
    ------
    DataError
        If neither can be read.
    """
    try:
        return unsealed(folder / "config.json")
    except DataError as error:
        for path in _checkpoints(folder):
            try:
                found = json.loads(checkpoint.read(path)[1]["run"]["config"])
            except (DataError, LookupError):
                continue
            assert isinstance(found, dict)
            log.warning("%s; %s says what was in it", error, path)
            return found
        raise


def _checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a run folder, the newest first."""
    return sorted(no_link(folder / "checkpoints").glob("[0-9]*.npz"), reverse=True)


def _check_all_saves(sim: Simulation) -> None:
    """Raise ConfigError, naming it, if something that a run changes cannot be saved."""
    for process in sim.world.processes:
        if isinstance(process, Sampler) and not process.remembers:
            raise ConfigError(
                f"the function that feeds {process.population.name} offers no state() and restore(): "
                "what it remembers cannot be saved; give a callable object with both, or a Periodic"
            )
    checkpoint.packed(sim.world.state(), [], "state['world']")


def _refuse_without_room(folder: Path, size: float, until: float) -> None:
    free = shutil.disk_usage(no_link(folder)).free
    if size > free:
        raise RunFolderError(
            f"{folder}: about {size / 1e9:.3g} GB are still to be written until t={until:g} s, and "
            f"{free / 1e9:.3g} GB are free: free space, choose another place or an earlier end"
        )
