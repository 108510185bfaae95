"""Let atheris (libFuzzer) loose on a parser: `make fuzz`, or `python -m tests.fuzz PARSER 600`.

What crashes a parser goes to `tests/corpus/PARSER/`, with what libFuzzer keeps to start from, and
`tests/test_foreign.py` runs it ever after. Needs `pip install atheris`.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
import tempfile
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORPUS = Path(__file__).with_name("corpus")
LARGEST = 1 << 14  # bytes


def main() -> None:
    """Fuzz one parser for so many seconds."""
    if len(sys.argv) != 3:
        sys.exit("python -m tests.fuzz PARSER SECONDS")
    atheris = importlib.import_module("atheris")
    name, seconds = sys.argv[1:]
    sys.path.insert(0, str(ROOT / "tests"))
    with atheris.instrument_imports(include=["eventnet", "tomllib", "zipfile"]):
        foreign = importlib.import_module("foreign")
    if name not in foreign.PARSERS:
        sys.exit(f"{name}: no parser; there are {', '.join(foreign.PARSERS)}")
    warnings.simplefilter("ignore")
    work = Path(tempfile.mkdtemp())
    mine = CORPUS / name
    mine.mkdir(parents=True, exist_ok=True)
    (mine / "sample").write_bytes(foreign.sample(name, work / "sample"))

    def one(content: bytes) -> None:
        with contextlib.redirect_stderr(io.StringIO()):
            foreign.survives(name, content, work / "work")

    found = f"-artifact_prefix={mine}/"
    options = [f"-max_total_time={seconds}", f"-max_len={LARGEST}", "-timeout=20", found]
    (work / "grown").mkdir()
    atheris.Setup([sys.argv[0], str(work / "grown"), str(mine), *options], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
