"""Parts of a page that a command writes, between two marks."""

from __future__ import annotations

from pathlib import Path

END = "<!-- end -->"


def put(page: Path, command: str, text: str) -> None:
    """Put text into a page, in place of what the command wrote there before."""
    mark = f"<!-- written by `{command}` -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(mark)
    if not found:
        raise ValueError(f"{page} has no line {mark}")
    after = rest.partition(END)[2]
    page.write_text(f"{before}{mark}\n\n{text.strip()}\n\n{END}{after}", encoding="utf-8")
