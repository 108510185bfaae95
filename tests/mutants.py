"""Change the source in one place, run the tests that should notice, and see whether they do.

`make mutants` draws mutants of cosmic-ray by a fixed seed and tries them in a copy of the tree, without
the JIT. What is done is kept, a line each, in build/mutants: the same command goes on, or, when nothing
is left to do, writes docs/reliability.md. --again tries those that survived with the tests of today.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import json
import os
import resource
import shutil
import signal
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from rich.progress import track

from tests.pages import put

ROOT = Path(__file__).resolve().parent.parent
REMARKS = Path(__file__).with_suffix(".toml")

GROUPS: dict[str, tuple[list[str], list[str]]] = {
    "coding": (
        ["coding.py", "engine/equations.py"],
        ["tests/test_coding.py", "tests/test_equations.py", "eventnet/coding.py"],
    ),
    "raster": (["raster.py"], ["tests/test_raster.py"]),
    "engine": (
        ["engine/kernels.py", "engine/neurons.py", "engine/flights.py", "engine/queue.py"],
        [
            "tests/test_network.py",
            "tests/test_corners.py",
            "tests/test_engines.py",
            "tests/test_delays.py",
        ],
    ),
    "plasticity": (
        ["plasticity/*.py", "engine/learning.py"],
        [
            "tests/test_plasticity.py",
            "tests/test_rules.py",
            "tests/test_corners.py",
            "tests/test_engines.py::test_engines_agree_event_for_event",
            "-k",
            "not jumping and not reproducible and not memory and not small_steps",
        ],
    ),
}
"""Per group its modules, in eventnet/, and the tests that should notice, those that notice most first."""

LONGEST = {"coding": 40, "raster": 40, "plasticity": 120, "engine": 120}
"""CPU seconds, several times what the tests take; a mutant may never end."""

LOADED = ("hypothesis", "networkx", "numba.core.extending", "pyarrow.parquet", "pydantic", "simpy")

SAME = "core/RemoveDecorator"  # without the JIT most decorators do nothing


def annotations(tree: ast.Module) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return where annotations begin and end: nothing evaluates them."""
    found = []
    for node in ast.walk(tree):
        for name in ("annotation", "returns"):
            if isinstance(note := getattr(node, name, None), ast.expr):
                assert note.end_lineno is not None
                assert note.end_col_offset is not None
                begin = (note.lineno, note.col_offset)
                found.append((begin, (note.end_lineno, note.end_col_offset)))
    return found


def modules(group: str) -> list[Path]:
    return [p for name in GROUPS[group][0] for p in sorted(Path("eventnet").glob(name))]


def drawn(group: str, number: int, seed: int) -> list[Any]:
    """Draw a group's mutants from all that cosmic-ray can make of its modules."""
    from cosmic_ray.commands.init import _all_work_items

    notes = {p: annotations(ast.parse(p.read_text(encoding="utf-8"))) for p in modules(group)}

    def tells(mutation: Any) -> bool:
        inside = (a <= mutation.start_pos < b for a, b in notes[mutation.module_path])
        return mutation.operator_name != SAME and not any(inside)

    found = [m for item in _all_work_items(notes, {}) if tells(m := item.mutations[0])]
    chosen = np.random.default_rng(seed).choice(len(found), number, replace=False)
    return [found[k] for k in sorted(chosen)]


def noticed(group: str) -> str:
    """Run a group's tests; return "survived", "killed", or "timeout": killed by taking too long.

    In a fork, which has already loaded what takes a second. CPU time counts: the machine may be busy.
    """
    if child := os.fork():
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            return (
                "timeout" if os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL) else "killed"
            )
        return "killed" if os.WEXITSTATUS(status) else "survived"
    resource.setrlimit(resource.RLIMIT_CPU, (LONGEST[group],) * 2)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    options = "-x -q -p no:cacheprovider --no-header --tb=no --timeout 0"
    os._exit(pytest.main([*options.split(), *GROUPS[group][1]]))


def tried(results: Path, group: str, number: int, seed: int) -> Iterator[int]:
    """Try a group's mutants that have not been tried."""
    from cosmic_ray.mutating import use_mutation
    from cosmic_ray.plugins import get_operator

    done = {row["mutant"] for row in rows(results)}
    if not done and noticed(group) != "survived":
        raise click.ClickException(f"the tests of {group} fail, or take too long, as it is")
    for k, mutation in enumerate(drawn(group, number, seed)):
        if k not in done:
            operator = get_operator(mutation.operator_name)(**mutation.operator_args)
            with use_mutation(mutation.module_path, operator, mutation.occurrence) as (_, text):
                row = {
                    "mutant": k,
                    "outcome": noticed(group),
                    "place": f"{mutation.module_path}:{mutation.start_pos[0]}",
                    "line": text.splitlines()[mutation.start_pos[0] - 1].strip(),
                }
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        yield k


def rows(results: Path) -> list[dict[str, Any]]:
    """Return what was tried."""
    if not results.exists():
        return []
    return [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]


def results_of(group: str, keep: Path, number: int, seed: int) -> Path:
    """Return where a group's results are kept: they are of these sources."""
    digest = hashlib.sha256(b"".join(p.read_bytes() for p in modules(group))).hexdigest()
    return keep / f"{group}-{number}-{seed}-{digest[:12]}.jsonl"


def told(found: dict[str, list[dict[str, Any]]], seed: int) -> str:
    """Return what docs/reliability.md says."""
    remarks = tomllib.loads(REMARKS.read_text(encoding="utf-8")) if REMARKS.exists() else {}
    lines = [
        f"`make mutants`, seed {seed}:",
        "",
        "| modules | mutants | killed | of them by taking too long | |",
        "|---|---:|---:|---:|---:|",
    ]
    everything = [row for group in found.values() for row in group]
    for group, mine in [*found.items(), ("all", everything)]:
        slow, killed = (sum(r["outcome"] == o for r in mine) for o in ("timeout", "killed"))
        share = (slow + killed) / len(mine)
        lines.append(f"| {group} | {len(mine)} | {slow + killed} | {slow} | {share:.0%} |")
    lines += ["", "Those that survived:", "", "| place | the line then | why |", "|---|---|---|"]
    for row in everything:
        if row["outcome"] == "survived":
            why = remarks.get(row["place"].partition(":")[0], {}).get(row["line"], "")
            lines.append(
                f"| {row['place']} | `{row['line'].replace('|', chr(92) + '|')}` | {why} |"
            )
    return "\n".join(lines)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--group", "groups", type=click.Choice(list(GROUPS)), multiple=True, help="Only this."
)
@click.option("--number", default=110, show_default=True, help="Mutants a group.")
@click.option("--seed", default=0, show_default=True)
@click.option("--keep", type=click.Path(path_type=Path), default=ROOT / "build" / "mutants")
@click.option("--again", is_flag=True, help="Try those that survived once more.")
@click.option(
    "-o", "page", type=click.Path(path_type=Path), default=ROOT / "docs" / "reliability.md"
)
def main(
    groups: tuple[str, ...], number: int, seed: int, keep: Path, again: bool, page: Path
) -> None:
    """Try mutants, and write docs/reliability.md."""
    keep, page = keep.resolve(), page.resolve()
    copy = keep / "tree"
    shutil.rmtree(copy, ignore_errors=True)
    skipped = shutil.ignore_patterns(".*", "build", "runs", "__pycache__", "results")
    shutil.copytree(ROOT, copy, ignore=skipped)
    os.chdir(copy)
    os.environ.update(
        PYTHONPATH=str(copy),
        PYTHONDONTWRITEBYTECODE="1",
        NUMBA_DISABLE_JIT="1",
        NUMBA_CACHE_DIR=str(keep / "cache"),
        HYPOTHESIS_PROFILE="few",
    )
    sys.path[0], sys.dont_write_bytecode = str(copy), True
    for name in LOADED:
        importlib.import_module(name)
    found = {}
    for group in groups or GROUPS:
        results = results_of(group, keep, number, seed)
        if again:
            killed = [json.dumps(r) + "\n" for r in rows(results) if r["outcome"] != "survived"]
            results.write_text("".join(killed), encoding="utf-8")
        for _ in track(tried(results, group, number, seed), group, total=number, transient=True):
            pass
        found[group] = rows(results)
    text = told(found, seed)
    if set(found) == set(GROUPS):
        put(page, "make mutants", text)
    click.echo(text)


if __name__ == "__main__":
    main()
