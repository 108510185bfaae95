"""What the documents name exists, and what they compute comes out."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]

NAMED = re.compile(r"\b((?:eventnet|sims|benchmarks|tests)/[\w/]+\.py)(?::{1,2}([A-Za-z_][\w.]*))?")
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")


@cache
def definitions(path: Path) -> frozenset[str]:
    """Functions, classes and ``Class.method`` of a source file."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, kinds):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{m.name}" for m in node.body if isinstance(m, kinds)}
    return frozenset(found)


def missing(document: Path, text: str) -> list[str]:
    """What `text` names or links to, as a part of `document`, and is not there."""
    gone = [link for link in LINK.findall(text) if not (document.parent / link).exists()]
    for file, name in NAMED.findall(text):
        path = ROOT / file
        if not path.is_file():
            gone.append(file)
        elif name and name.rstrip(".") not in definitions(path):
            gone.append(f"{file}:{name}")
    return gone


@pytest.mark.parametrize("document", DOCS, ids=lambda p: str(p.relative_to(ROOT)))
def test_what_a_document_names_and_links_to_exists(document: Path) -> None:
    assert missing(document, document.read_text(encoding="utf-8")) == []


def test_a_wrong_name_is_found() -> None:
    right = "`eventnet/world.py:World.write`, `tests/test_docs.py::missing`, [a](theory.md#b)"
    wrong = "`eventnet/world.py:World.wrote`, `tests/test_docs.py::lost`, `sims/no.py`, [a](no.md)"
    assert missing(ROOT / "docs/theory.md", right) == []
    assert len(missing(ROOT / "docs/theory.md", wrong)) == 4


@pytest.mark.parametrize("name", ["theory.md", "semantics.md"])
def test_the_normative_documents_name_their_code_and_tests(name: str) -> None:
    names = NAMED.findall((ROOT / "docs" / name).read_text(encoding="utf-8"))
    assert sum(bool(symbol) for _, symbol in names) > 30


def test_the_python_blocks_of_the_docs_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = [
        (document, block)
        for document in DOCS[1:]
        for block in re.findall(r"```python\n(.*?)```", document.read_text(), flags=re.DOTALL)
    ]
    assert len(blocks) >= 2
    for document, block in blocks:
        exec(compile(block, document.name, "exec"), {})
