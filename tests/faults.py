"""Cut runs off, spoil their files, and see whether they come out the same after all.

`python -m tests.faults` does it for twenty minutes and writes the table in docs/reliability.md;
`tests/test_faults.py` does a tenth of it. A run is a forked child: nothing is compiled twice, and a
SIGKILL is the kernel's own. Hooks in `eventnet.files` choose the instant.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time as wall
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eventnet import files, scenario
from eventnet.errors import EventNetError
from eventnet.raster import Raster
from tests.pages import put

SMALL = Path(__file__).with_name("small.py")
UNTIL = 1.0  # simulated s, as in tests/small.py
EVERY = 0.2  # simulated s from one checkpoint to the next

VARIANTS: dict[str, tuple[str, list[str]]] = {
    "compiled": ("compiled", []),
    "clocked": ("compiled", ["clock=0.01"]),
    "actors": ("actors", []),
}

HALFWAY = "half"
"""Between "opened" and "written": half of the file is there."""
BEFORE_RENAME = ("opened", HALFWAY, "written", "synced")


@dataclass(frozen=True)
class Row:
    """What was done to one run, and what came of it."""

    fault: str
    variant: str
    seed: int
    instant: str
    said: str
    recovered: bool


class Bench:
    """Uninterrupted runs, and what interrupted ones are compared with."""

    def __init__(self, work: Path, variants: tuple[str, ...] = tuple(VARIANTS)) -> None:
        self.work = work
        self.small = scenario.load(str(SMALL))
        self.whole: dict[str, dict[str, Any]] = {}
        self.writes: dict[str, list[tuple[str, str]]] = {}
        self.wall_s: dict[str, float] = {}
        self.command_s: dict[str, float] = {}
        self.thermometer = work / "thermometer"
        self.thermometer.write_text("0.5")
        self.struck: Counter[str] = Counter()
        for variant in variants:
            self._measure(variant)

    def _measure(self, variant: str) -> None:
        steps: list[tuple[str, str]] = []
        self.run(variant, self.work / f"{variant}-first")  # compiles
        folder = self.work / f"{variant}-whole"
        with hooked(lambda step, path: steps.append((step, path.name))):
            begin = wall.perf_counter()
            self.run(variant, folder)
            self.wall_s[variant] = wall.perf_counter() - begin
        self.whole[variant] = content(folder)
        self.writes[variant] = [
            (s, name)
            for step, name in steps
            for s in ([HALFWAY, step] if step == "written" else [step])
        ]

    def run(self, variant: str, folder: Path, until: float | None = None) -> None:
        engine, settings = VARIANTS[variant]
        settings = [*settings, f"thermometer={self.thermometer}"]
        scenario.execute(
            self.small, settings, engine=engine, out=folder, until=until, checkpoint_every=EVERY
        )

    def goes_on(self, variant: str, folder: Path, until: float | None = None) -> bool:
        """Resume a run, or begin it where nothing is there yet; return whether it came out the same."""
        if (folder / "metrics.json").exists() and until is None:
            pass  # it was killed when all was done
        elif folder.exists():
            scenario.resume(folder, until=until)
        else:
            self.run(variant, folder)
        mine, whole = content(folder), self.whole[variant]
        return mine.keys() == whole.keys() and all(np.array_equal(mine[k], whole[k]) for k in whole)

    # -- faults ------------------------------------------------------------------------------------

    def killed_at(self, variant: str, k: int) -> Row:
        """Kill a run at its k-th step of a write, and resume it."""
        folder = self.work / f"{variant}-killed"
        shutil.rmtree(folder, ignore_errors=True)
        step, name = self.writes[variant][k]

        def strike(path: Path) -> None:
            if step == HALFWAY:
                aside = path.with_name(f".{path.name}.partial")
                os.truncate(aside, aside.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

        code = in_child(lambda: self.run(variant, folder), at=(k, strike))
        assert code == -signal.SIGKILL, (code, step, name)
        self.struck[step] += 1
        return self._row("killed in a write", variant, k, f"{name}: {step}", folder)

    def killed_any_time(self, variant: str, seed: int) -> Row:
        """Kill a run at a random time, and resume it."""
        folder = self.work / f"{variant}-killed"
        shutil.rmtree(folder, ignore_errors=True)
        after = float(np.random.default_rng(seed).uniform(0, self.wall_s[variant]))
        code = in_child(lambda: self.run(variant, folder), kill=(after, signal.SIGKILL))
        row = self._row("SIGKILL", variant, seed, f"{1e3 * after:.1f} ms", folder, done=code == 0)
        expected = {0, -signal.SIGKILL}
        return row if code in expected else Row(*row_but(row, f"exit code {code}"))

    def interrupted(self, variant: str, seed: int, kind: signal.Signals, share: float) -> Row:
        """Interrupt the command at a share of its time, from its first line on, and resume the run."""
        folder = self.work / f"{variant}-interrupted"
        shutil.rmtree(folder, ignore_errors=True)
        if variant not in self.command_s:
            begin = wall.perf_counter()
            with self._command(variant, folder) as process:
                assert process.wait() == 0, process.communicate()
            self.command_s[variant] = wall.perf_counter() - begin
            shutil.rmtree(folder)
        after, begin = share * self.command_s[variant], wall.perf_counter()
        with self._command(variant, folder) as process:
            wall.sleep(after)
            process.send_signal(kind)
            message = process.communicate()[1]
        took = wall.perf_counter() - begin
        row = self._row(kind.name, variant, seed, f"{1e3 * after:.1f} ms", folder)
        if process.returncode == 0:  # all was done
            self.command_s[variant] = min(self.command_s[variant], took)
            return row if not message else Row(*row_but(row, f"said: {message!r}"))
        fine = process.returncode == 128 + kind and message.startswith("interrupted")
        fine = fine and message.count("\n") == 1
        return row if fine else Row(*row_but(row, f"{process.returncode}, said: {message!r}"))

    @contextmanager
    def _command(self, variant: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
        """Start the command on its own, and yield it at its first line: when it catches SIGTERM."""
        engine, settings = VARIANTS[variant]
        settings = [*settings, f"thermometer={self.thermometer}"]
        command = [sys.executable, "-m", "eventnet", "run", str(SMALL), "--engine", engine]
        command += ["--out", str(folder), "--checkpoint-every", str(EVERY), "--quiet"]
        command += [word for setting in settings for word in ("--set", setting)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            while not catches(process.pid, signal.SIGTERM) and process.poll() is None:
                wall.sleep(1e-4)
            yield process

    def failing_write(self, variant: str, k: int, code: int) -> Row:
        """Let the k-th step of a write fail, and resume the run."""
        folder = self.work / f"{variant}-failed"
        shutil.rmtree(folder, ignore_errors=True)
        step, name = self.writes[variant][k]

        def strike(path: Path) -> None:
            raise OSError(code, os.strerror(code))

        said = ""
        with hooked(counting(k, strike)):
            try:
                self.run(variant, folder)
            except EventNetError as error:
                said = str(error)
        row = self._row(os.strerror(code), variant, k, f"{name}: {step}", folder)
        return (
            row if name in said and "free space" in said else Row(*row_but(row, f"said: {said!r}"))
        )

    def full(self, variant: str, limit: int) -> Row:
        """Let the kernel refuse files above a size, in bytes, and resume without that."""
        folder = self.work / f"{variant}-full"
        shutil.rmtree(folder, ignore_errors=True)

        def run() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            self.run(variant, folder)

        code = in_child(run)
        row = self._row("no larger file", variant, limit, f"{limit} bytes", folder)
        return row if code == 1 else Row(*row_but(row, f"exit code {code}"))

    def damaged(self, variant: str, what: str, how: str, seed: int) -> Row:
        """Spoil a file of an interrupted run, and resume it."""
        folder = self.work / f"{variant}-damaged"
        shutil.rmtree(folder, ignore_errors=True)
        if not (stopped := self.work / f"{variant}-stopped").exists():
            self.run(variant, stopped, until=0.65)
            (stopped / "metrics.json").unlink()
        shutil.copytree(stopped, folder)
        path = sorted(folder.glob(what))[-1]
        fault = f"{what.split('/')[0]}: {how}"
        place = spoil(path, how, np.random.default_rng(seed))
        return self._row(fault, variant, seed, f"{path.name}: {place}", folder, until=UNTIL)

    def unplugged(self, variant: str, seed: int) -> Row:
        """Let a source raise in the middle, and resume when it is back."""
        folder, away = self.work / f"{variant}-raised", self.work / "away"
        shutil.rmtree(folder, ignore_errors=True)
        checkpoints = [
            k for k, (s, n) in enumerate(self.writes[variant]) if s == "renamed" and n[0] == "0"
        ]
        k = int(np.random.default_rng(seed).choice(checkpoints[:-4]))
        said = ""
        with hooked(counting(k, lambda path: self.thermometer.rename(away))):
            try:
                self.run(variant, folder)
            except EventNetError as error:
                said = str(error)
        away.rename(self.thermometer)
        row = self._row("a source raises", variant, seed, f"after write {k}", folder)
        return row if "feeds temperature failed" in said else Row(*row_but(row, f"said: {said!r}"))

    def _row(
        self,
        fault: str,
        variant: str,
        seed: int,
        instant: str,
        folder: Path,
        done: bool = False,
        until: float | None = None,
    ) -> Row:
        known = earlier(folder)
        with said() as lines:
            try:
                same = done or self.goes_on(variant, folder, until)
            except (EventNetError, AssertionError) as error:
                return Row(fault, variant, seed, instant, f"{type(error).__name__}: {error}", False)
        lost = [name for name, size in known.items() if not folder.joinpath(name).exists()]
        text = "; ".join(
            line.replace(f"{folder}/", "").replace(str(folder), "RUN") for line in lines
        )
        return Row(fault, variant, seed, instant, text, same and not lost)


def row_but(row: Row, text: str) -> tuple[Any, ...]:
    return (row.fault, row.variant, row.seed, row.instant, text, False)


# -- tools -----------------------------------------------------------------------------------------


def content(folder: Path) -> dict[str, Any]:
    """Return all spikes, all readings and the weights of a finished run."""
    spikes = Raster.open(folder).arrays()
    found: dict[str, Any] = {f"raster/{k}": v for k, v in spikes._asdict().items()}
    for name in ("weights-start.npz", "weights-end.npz", "traces.npz"):
        with np.load(folder / name) as arrays:
            found |= {f"{name}/{k}": v for k, v in arrays.items()}
    return found


def earlier(folder: Path) -> dict[str, int]:
    """Return the segments that the newest checkpoint knows: none of them may be lost."""
    from eventnet import checkpoint
    from eventnet.errors import DataError

    for path in sorted(folder.glob("checkpoints/0*.npz"), reverse=True):
        try:
            segments = checkpoint.read(path)[1]["run"]["segments"]
        except DataError:
            continue
        return {f"raster/{k:06d}.parquet": rows for k, (rows, _) in enumerate(segments)}
    return {}


class hooked:  # noqa: N801  # a context manager, used like a function
    """Let a function see, or spoil, every step of every write."""

    def __init__(self, hook: Callable[[str, Path], None]) -> None:
        self.hook = hook

    def __enter__(self) -> None:
        self.before, files.reached = files.reached, self.hook

    def __exit__(self, *_: object) -> None:
        files.reached = self.before


def counting(k: int, strike: Callable[[Path], None]) -> Callable[[str, Path], None]:
    """Return a hook that strikes at the k-th step; before "written" comes `HALFWAY`."""
    seen = -1

    def hook(step: str, path: Path) -> None:
        nonlocal seen
        for _ in range(2 if step == "written" else 1):
            seen += 1
            if seen == k:
                strike(path)

    return hook


def in_child(
    run: Callable[[], None],
    at: tuple[int, Callable[[Path], None]] | None = None,
    kill: tuple[float, int] | None = None,
) -> int:
    """Run in a fork, struck at a step or killed after some seconds; return how it ended."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            logging.disable()
            if at is not None:
                files.reached = counting(*at)
            run()
            code = 0
        except KeyboardInterrupt as error:
            code = 128 + getattr(error, "signal", signal.SIGINT)
        except BaseException:
            code = 1
        finally:
            os._exit(code)
    if kill is not None:
        wall.sleep(kill[0])
        os.kill(pid, kill[1])
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def catches(pid: int, kind: int) -> bool:
    """Return whether a process has a handler for a signal."""
    caught = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
    return caught is not None and bool(int(caught[1], 16) >> (kind - 1) & 1)


class said(logging.Handler):  # noqa: N801
    """Collect what is logged about a run folder."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def __enter__(self) -> list[str]:
        log = logging.getLogger("eventnet.record")
        log.addHandler(self)
        log.propagate = False
        return self.lines

    def __exit__(self, *_: object) -> None:
        log = logging.getLogger("eventnet.record")
        log.removeHandler(self)
        log.propagate = True


def spoil(path: Path, how: str, rng: np.random.Generator) -> str:
    """Cut a file off or flip one of its bits; return where."""
    content = bytearray(path.read_bytes())
    place = int(rng.integers(len(content)))
    if how == "cut off":
        del content[place:]
    else:
        content[place] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)
    return f"byte {place} of {path.stat().st_size if how != 'cut off' else len(content)}"


# -- the table -------------------------------------------------------------------------------------


def plan(bench: Bench, kills: int, interrupts: int, seed: int) -> list[Callable[[], Row]]:
    """Return what is done: of the kills at least three in five hit a write before its rename."""
    rng = np.random.default_rng(seed)
    variants = list(bench.whole)
    made: list[Callable[[], Row]] = []
    for i in range(kills):
        variant = variants[i % len(variants)]
        if i % 5 < 4:  # every step of a write in turn, of a file at random
            step = [*BEFORE_RENAME, "renamed"][i // len(variants) % 5]
            places = [k for k, (s, _) in enumerate(bench.writes[variant]) if s == step]
            k = int(rng.choice(places))
            made.append(lambda variant=variant, k=k: bench.killed_at(variant, k))
        else:
            made.append(lambda variant=variant, i=i: bench.killed_any_time(variant, seed + i))
    for i in range(interrupts):  # spread over the time that the command takes
        kind, variant = (signal.SIGINT, signal.SIGTERM)[i % 2], variants[i // 2 % len(variants)]
        share = float((i + rng.random()) / interrupts)
        made.append(
            lambda variant=variant, i=i, kind=kind, share=share: bench.interrupted(
                variant, seed + i, kind, share
            )
        )
    return made


def failures(bench: Bench, variant: str, share: float, seed: int) -> list[Callable[[], Row]]:
    """Return errors at a share of all steps of all writes, full disks, damaged files, a lost source."""
    rng = np.random.default_rng(seed)
    made: list[Callable[[], Row]] = []
    for k, (step, _) in enumerate(bench.writes[variant]):
        if step != HALFWAY and rng.random() < share:
            code = (errno.ENOSPC, errno.EIO)[k % 2]
            made.append(lambda k=k, code=code: bench.failing_write(variant, k, code))
    largest = max(f.stat().st_size for f in (bench.work / f"{variant}-whole").rglob("*.*"))
    for limit in [int(largest * k) for k in (0, 0.05, 0.2, 0.5, 0.9)][:: 1 if share == 1 else 2]:
        made.append(lambda limit=limit: bench.full(variant, limit))
    for what in ("checkpoints/0*.npz", "raster/0*.parquet", "config.json"):
        for how in ("cut off", "one bit"):
            for k in range(max(int(10 * share), 1)):
                at = seed + k
                made.append(lambda what=what, how=how, at=at: bench.damaged(variant, what, how, at))
    made += [lambda k=k: bench.unplugged(variant, seed + k) for k in range(max(int(5 * share), 1))]
    return made


def table(rows: list[Row], title: str) -> str:
    """Return a Markdown table a fault, and one of all rows."""
    lines = [title, "", "| fault | runs | recovered |", "|---|---:|---:|"]
    for fault in dict.fromkeys(row.fault for row in rows):
        mine = [row.recovered for row in rows if row.fault == fault]
        lines.append(f"| {fault} | {len(mine)} | {sum(mine)} |")
    lines.append(f"| all | {len(rows)} | {sum(row.recovered for row in rows)} |")
    lines += ["", "| fault | run | seed | instant | what `--resume` said | recovered |"]
    lines.append("|---|---|---:|---|---|---|")
    for row in rows:
        came = "yes" if row.recovered else "NO"
        cells = (row.fault, row.variant, row.seed, row.instant, row.said, came)
        lines.append(f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Do it all, and write the table."""
    import tempfile

    import click
    from rich.progress import track

    @click.command(context_settings={"help_option_names": ["-h", "--help"]})
    @click.option("--kills", default=200, show_default=True)
    @click.option("--seed", default=0, show_default=True)
    @click.option(
        "-o", "page", type=click.Path(path_type=Path), default=Path("docs/reliability.md")
    )
    def command(kills: int, seed: int, page: Path) -> None:
        """Cut runs off, spoil their files, resume them; write the table into docs/reliability.md."""
        with tempfile.TemporaryDirectory() as work:
            bench = Bench(Path(work))
            todo = plan(bench, kills, kills // 5, seed)
            for variant in bench.whole:
                todo += failures(bench, variant, 1.0 if variant == "compiled" else 0.2, seed)
            rows = [do() for do in track(todo, "faults", transient=True)]
        put(page, "make faults", table(rows, f"`make faults`, seed {seed}: {len(rows)} runs."))
        bad = [row for row in rows if not row.recovered]
        for row in bad:
            click.echo(str(row), err=True)
        hit = ", ".join(f"{n} {step}" for step, n in sorted(bench.struck.items()))
        click.echo(f"{len(rows) - len(bad)} of {len(rows)} recovered; kills in a write: {hit}")
        sys.exit(bool(bad))

    command()


if __name__ == "__main__":
    main()
