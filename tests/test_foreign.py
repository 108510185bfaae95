"""What comes from elsewhere is taken or refused by a deliberate error, however it is spoiled."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from foreign import PARSERS, sample, survives

CORPUS = Path(__file__).with_name("corpus")
SPOILED = int(os.environ.get("EVENTNET_SPOILED", "40"))


def spoiled(content: bytes, rng: np.random.Generator) -> bytes:
    """Return a content with some bytes flipped, cut out, doubled or replaced."""
    found = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        a, b = sorted(int(k) for k in rng.integers(0, len(found) + 1, 2))
        way = rng.integers(5)
        if way == 0 and found:
            found[min(a, len(found) - 1)] ^= 1 << int(rng.integers(8))
        elif way == 1:
            del found[a : min(b, a + 20)]
        elif way == 2:
            found[b:b] = found[a : min(b, a + 20)]
        elif way == 3:
            found[a : a + 4] = rng.integers(0, 256, 4, dtype=np.uint8).tobytes()
        else:
            del found[a:]
    return bytes(found)


@pytest.mark.parametrize("name", PARSERS)
def test_spoiled_files_are_taken_or_refused(name: str, tmp_path: Path) -> None:
    good = sample(name, tmp_path / "sample")
    assert survives(name, good, tmp_path / "work")
    rng = np.random.default_rng(abs(hash(name)) if SPOILED > 1000 else 0)
    refused = sum(not survives(name, spoiled(good, rng), tmp_path / "work") for _ in range(SPOILED))
    assert refused > 0


def test_what_fuzzing_found_is_taken_or_refused(tmp_path: Path) -> None:
    found = [path for path in sorted(CORPUS.glob("*/*")) if path.parent.name in PARSERS]
    for path in found:
        survives(path.parent.name, path.read_bytes(), tmp_path / "work")
    assert found
