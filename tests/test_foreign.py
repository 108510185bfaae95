"""What comes from elsewhere is taken or refused by a deliberate error, however it is spoiled."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest
from foreign import PARSERS, sample, survives
from pyarrow import parquet

from eventnet.errors import DataError
from eventnet.runs import RunFolder

CORPUS = Path(__file__).with_name("corpus")
PACKAGE = Path(__file__).resolve().parent.parent / "eventnet"
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


class Harm:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("name", ["npy", "npz", "events", "spikes", "weights"])
def test_nothing_is_unpickled(name: str, tmp_path: Path) -> None:
    mark, path = tmp_path / "mark", tmp_path / "weights-end.npz"
    harm = np.array([Harm(mark)], dtype=object)
    if name in ("npy", "events"):
        np.save(path.with_suffix(".npy"), harm, allow_pickle=True)
        path = path.with_suffix(".npy")
    else:
        np.savez(path, t=harm, a=harm, populations=harm)
    with pytest.raises(DataError, match="allow_pickle=False"):
        RunFolder(tmp_path).weights("end") if name == "weights" else PARSERS[name].parse(path)
    assert not mark.exists()


def test_every_loader_of_arrays_says_that_it_unpickles_nothing() -> None:
    lines = [line for path in PACKAGE.rglob("*.py") for line in path.read_text().splitlines()]
    loads = [line for line in lines if "np.load(" in line]
    assert len(loads) > 5
    assert all("allow_pickle=False" in line for line in loads)


@pytest.mark.parametrize("name", ["hdf5", "sonata", "nwb", "parquet"])
def test_a_small_file_cannot_claim_the_memory(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"small{PARSERS[name].suffix}"
    if name == "parquet":
        zeros = np.zeros(10_000_000, dtype=np.int8)
        parquet.write_table(pa.table({"t": zeros, "a": zeros}), path)
    else:
        path.write_bytes(sample(name, tmp_path / "sample"))
        place = {"hdf5": "t", "sonata": "spikes/hidden/timestamps", "nwb": "units/spike_times"}[
            name
        ]
        with h5py.File(path, "r+") as file:
            del file[place]
            file.create_dataset(place, (10**12,), "f8", chunks=(1024,))
    with pytest.raises(DataError, match=r"says that it holds \d{9,} bytes"):
        PARSERS[name].parse(path)


def test_what_fuzzing_found_is_taken_or_refused(tmp_path: Path) -> None:
    found = [path for path in sorted(CORPUS.glob("*/*")) if path.parent.name in PARSERS]
    for path in found:
        survives(path.parent.name, path.read_bytes(), tmp_path / "work")
    assert found
