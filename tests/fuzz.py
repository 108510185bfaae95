"""Let atheris (libFuzzer) loose on every parser of files from elsewhere: `make fuzz`.

Each parser has a process of its own, `python -m tests.fuzz --one PARSER SECONDS`. What crashes it goes to
`tests/corpus/PARSER/`, beside a few small files that reach much, to start from next time;
`tests/test_foreign.py` runs them all ever after. The figures go to `docs/results/fuzz.json`, and a
table of them to `docs/reliability.md`. Needs `pip install atheris`.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import re
import subprocess
import sys
import tempfile
import time as wall
import warnings
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from tests.pages import put

ROOT = Path(__file__).resolve().parent.parent
CORPUS = Path(__file__).with_name("corpus")
RESULTS, PAGE = ROOT / "docs/results/fuzz.json", ROOT / "docs/reliability.md"

LARGEST = 1 << 14  # bytes
KEPT = (12, 1 << 12)  # files of a parser and bytes of a file, in the corpus
MEMORY = 2048  # MB, of a process
HANGS = 10.0  # s of its own time that a file may take
INSTRUMENTED = ["eventnet", "foreign", "tomllib", "zipfile", "tarfile", "csv", "mcap", "rosbags"]


def one(name: str, arguments: list[str]) -> None:
    """Hand libFuzzer a parser and its arguments; it ends this process."""
    atheris = importlib.import_module("atheris")
    sys.path.insert(0, str(ROOT / "tests"))
    with atheris.instrument_imports(include=INSTRUMENTED):
        foreign = importlib.import_module("foreign")
    warnings.simplefilter("ignore")
    work = Path(tempfile.mkdtemp())

    def survives(content: bytes) -> None:
        begin = wall.process_time()
        with contextlib.redirect_stderr(io.StringIO()):
            foreign.survives(name, content, work)
        took = wall.process_time() - begin
        assert took < HANGS, f"{took:.1f} s for {len(content)} bytes"

    again = f"{sys.executable} -m tests.fuzz --one {name}"  # what a merge starts
    atheris.Setup([again, *arguments], survives)
    atheris.Fuzz()


def run(name: str, arguments: list[str]) -> tuple[int, str]:
    """Run `one` in a process; return its exit code and what it said."""
    limits = [
        f"-rss_limit_mb={MEMORY}",
        f"-max_len={LARGEST}",
        "-timeout=300",
        "-report_slow_units=300",
    ]
    command = [sys.executable, "-m", "tests.fuzz", "--one", name, *limits, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace")
    return done.returncode, done.stdout + done.stderr


def fuzzed(name: str, seconds: int) -> dict[str, Any]:
    """Fuzz a parser, keep what is worth it, and return the row of the table."""
    mine = CORPUS / name
    mine.mkdir(parents=True, exist_ok=True)
    before, of = set(mine.iterdir()), commit()
    with tempfile.TemporaryDirectory() as folder:
        work, grown, least = Path(folder), Path(folder, "grown"), Path(folder, "least")
        grown.mkdir(), least.mkdir()
        sys.path.insert(0, str(ROOT / "tests"))
        (grown / "sample").write_bytes(importlib.import_module("foreign").sample(name, work))
        options = [f"-max_total_time={seconds}", f"-artifact_prefix={mine}/"]
        begin = wall.monotonic()
        code, said = run(name, [str(grown), str(mine), *options, "-print_final_stats=1"])
        row = figures(said) | {"seconds": round(wall.monotonic() - begin), "code": code}
        crashes = sorted(path.name for path in set(mine.iterdir()) - before)
        if code == 0:
            run(
                name,
                [
                    "-merge=1",
                    "-use_counters=0",
                    f"-max_len={KEPT[1]}",
                    *map(str, (least, grown, mine)),
                ],
            )
            keep(mine, sorted(least.iterdir(), key=lambda path: path.stat().st_size)[-KEPT[0] :])
        elif not crashes:
            row["said"] = said[-2000:]
    row["corpus"] = sum(1 for _ in mine.iterdir())
    return row | {"crashes": crashes, "date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": of}


def figures(said: str) -> dict[str, int]:
    """Return what libFuzzer counted."""
    counted = dict(re.findall(r"stat::(\w+):\s+(\d+)", said))
    covered = re.findall(r"cov: (\d+)", said)
    return {
        "executions": int(counted.get("number_of_executed_units", 0)),
        "memory_mb": int(counted.get("peak_rss_mb", 0)),
        "branches": int(covered[-1]) if covered else 0,
    }


def keep(mine: Path, found: list[Path]) -> None:
    """Replace the files of a corpus but for those that crashed."""
    for path in mine.iterdir():
        if "-" not in path.name:  # crash-..., oom-..., timeout-...
            path.unlink()
    for path in found:
        (mine / path.name[:12]).write_bytes(path.read_bytes())


def commit() -> str:
    """Return the last commit that changed the package."""
    command = ["git", "log", "-1", "--format=%h", "--", "eventnet"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Return a Markdown table, a row a parser."""
    lines = [
        "| parser | seconds | executions | a second | corpus | crashes | commit | date |",
        "|---|---:|---:|---:|---:|---:|---|---|",
    ]
    for name, row in rows.items():
        counted = (f"{row['executions']:,}", f"{row['executions'] / row['seconds']:,.0f}")
        told = (row["corpus"], len(row["crashes"]), row["commit"], row["date"])
        lines.append(f"| {' | '.join(map(str, (name, row['seconds'], *counted, *told)))} |")
    return "\n".join(lines)


def write(rows: dict[str, dict[str, Any]]) -> None:
    """Write the figures and the page's table."""
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    put(PAGE, "make fuzz", table(rows))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--seconds", default=600, show_default=True, help="For each parser.")
@click.option(
    "--at-once", default=2, show_default=True, help="Parsers that are fuzzed beside each other."
)
@click.argument("parsers", nargs=-1)
def command(seconds: int, at_once: int, parsers: tuple[str, ...]) -> None:
    """Fuzz the parsers that are named, or all; write the table into docs/reliability.md."""
    from rich.progress import track

    sys.path.insert(0, str(ROOT / "tests"))
    known = list(importlib.import_module("foreign").PARSERS)
    if unknown := set(parsers).difference(known):
        raise click.UsageError(f"{', '.join(unknown)}: no parser; there are {', '.join(known)}")
    rows = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    bad = []
    with ThreadPoolExecutor(at_once) as pool:
        todo = {pool.submit(fuzzed, name, seconds): name for name in parsers or known}
        for done in track(as_completed(todo), "fuzzing", total=len(todo), transient=True):
            name, row = todo[done], done.result()
            if row.pop("code"):
                bad.append(f"{name}: {row.pop('said', None) or ', '.join(row['crashes'])}")
            rows[name] = row
            write({name: rows[name] for name in known if name in rows})
    click.echo("\n".join(bad) or f"{len(todo)} parsers, no crash")
    sys.exit(bool(bad))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], sys.argv[3:])
    command()
