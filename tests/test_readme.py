"""Every block of the README runs, and what it promises is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from eventnet.cli import main

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) == 1
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {}
    exec(compile(blocks[0], "README.md", "exec"), scope)
    assert (tmp_path / "raster.png").stat().st_size > 10_000
    run = scope["run"]
    assert run.cost.events > 1000  # type: ignore[attr-defined]


def test_the_shell_lines_name_commands_and_options_that_exist() -> None:
    lines = re.findall(r"^    eventnet (.+)$", README, flags=re.MULTILINE)
    assert len(lines) >= 5
    for line in lines:
        words = line.split()
        command = main
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]  # type: ignore[attr-defined]
        shown = CliRunner().invoke(command, ["--help"]).output
        for option in (word for word in words if word.startswith("-")):
            assert option in shown, line


def test_the_two_commands_stand_first_and_are_targets() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    block = README.index("    make demo")
    assert block < README.index("## Use it")
    assert README.index("    make test") > block
    assert {"demo", "test"} <= set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE))


def test_every_file_and_link_that_the_readme_names_exists() -> None:
    named = re.findall(r"`((?:eventnet|sims|datasets|docs)/[\w./-]*)`", README)
    linked = re.findall(r"\]\(([\w./-]+)\)", README)
    assert len(named) > 8
    for path in [*named, *linked]:
        assert (ROOT / path).exists(), path
