"""Exports are read back by the programs they are meant for, and equal the raster."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from eventnet.errors import ConfigError, RunFolderError
from eventnet.export import FORMATS, export
from eventnet.raster import Raster, RasterWriter

NAMES = ["imu", 'odd, "name"', "hidden"]


@pytest.fixture(params=["disk", "memory"])
def raster(request: pytest.FixtureRequest, tmp_path: Path) -> Raster:
    rng = np.random.default_rng(0)
    n = 3_000
    columns = (
        np.sort(rng.normal(0.0, 1e3, n)),
        rng.integers(0, len(NAMES), n),
        rng.integers(0, 2**32, n),
        rng.choice([-(2**31), -1, 1, 2**31 - 1], n),
    )
    if request.param == "memory":
        return Raster.from_arrays(*columns, NAMES)
    with RasterWriter(tmp_path / "run", NAMES, 700) as writer:
        writer.append(*columns)
    return Raster.open(tmp_path / "run")


def test_csv_is_lossless(raster: Raster, tmp_path: Path) -> None:
    path = export(raster, tmp_path / "spikes.csv")
    with path.open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["time", "population", "neuron", "count"]
    spikes = raster.arrays()
    assert np.array([float(row[0]) for row in rows]).tobytes() == spikes.time.tobytes()
    assert [row[1] for row in rows] == [NAMES[code] for code in spikes.population_code]
    assert [int(row[2]) for row in rows] == spikes.neuron.tolist()
    assert [int(row[3]) for row in rows] == spikes.count.tolist()


def test_npz_is_lossless_and_not_pickled(raster: Raster, tmp_path: Path) -> None:
    spikes = raster.arrays()
    with np.load(export(raster, tmp_path / "spikes.npz"), allow_pickle=False) as arrays:
        assert sorted(arrays) == ["count", "neuron", "population", "populations", "time"]
        assert arrays["populations"].tolist() == NAMES
        for name, column in zip(("time", "population", "neuron", "count"), spikes, strict=True):
            assert arrays[name].dtype == column.dtype
            np.testing.assert_array_equal(arrays[name], column)


def test_parquet_is_lossless(raster: Raster, tmp_path: Path) -> None:
    table = pq.read_table(export(raster, tmp_path / "spikes.parquet"))
    spikes = raster.arrays()
    assert table.column_names == ["time", "population", "neuron", "count"]
    assert table["population"].to_pylist() == [NAMES[code] for code in spikes.population_code]
    for name, column in (("time", 0), ("neuron", 2), ("count", 3)):
        np.testing.assert_array_equal(table[name].to_numpy(), spikes[column])


TABLES = ("csv", "npz", "parquet")


@pytest.mark.parametrize("format", TABLES)
def test_a_selection_is_exported_as_such(raster: Raster, tmp_path: Path, format: str) -> None:
    part = raster.select("hidden", -500.0, 500.0)
    assert 0 < len(part) < len(raster)
    path = export(part, tmp_path / "file.of.any.name", format)
    if format == "csv":
        counted = len(path.read_text().splitlines()) - 1
    elif format == "npz":
        with np.load(path, allow_pickle=False) as arrays:
            counted = arrays["time"].size
            assert arrays["populations"].tolist() == ["hidden"]
    else:
        counted = pq.read_metadata(path).num_rows
    assert counted == len(part)


@pytest.mark.parametrize("format", TABLES)
def test_an_empty_raster_is_exported(tmp_path: Path, format: str) -> None:
    empty = Raster.from_arrays([], [], [], [], [])
    path = export(empty, tmp_path / f"spikes.{format}")
    if format == "csv":
        assert path.read_text() == '"time","population","neuron","count"\n'
    elif format == "npz":
        with np.load(path, allow_pickle=False) as arrays:
            assert arrays["populations"].size == arrays["time"].size == 0
    else:
        assert pq.read_table(path).num_rows == 0


def test_a_file_is_replaced_only_when_told(raster: Raster, tmp_path: Path) -> None:
    path = tmp_path / "spikes.csv"
    path.write_text("precious")
    with pytest.raises(ConfigError, match="overwrite=True"):
        export(raster, path)
    assert path.read_text() == "precious"
    export(raster, path, overwrite=True)
    assert path.read_text().startswith('"time",')


@pytest.mark.parametrize("name", ["spikes.xlsx", "spikes"])
def test_an_unknown_format_lists_those_there_are(raster: Raster, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"csv \(\.csv\), npz \(\.npz\), parquet"):
        export(raster, tmp_path / name)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("format", FORMATS)
def test_an_unwritable_path_is_named(raster: Raster, tmp_path: Path, format: str) -> None:
    suffix = FORMATS[format].suffix
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(RunFolderError, match=f"file/spikes.{suffix}: cannot be written"):
        export(raster, tmp_path / "file" / f"spikes.{suffix}")


@pytest.mark.parametrize("format", FORMATS)
def test_a_source_that_breaks_leaves_the_old_file_alone(tmp_path: Path, format: str) -> None:
    with RasterWriter(tmp_path / "run", ["a"], 10) as writer:
        writer.append(np.arange(30) * 0.1, np.zeros(30, int), np.arange(30), np.ones(30, int))
    raster = Raster.open(tmp_path / "run")
    (tmp_path / "run" / "raster" / "000002.parquet").write_bytes(b"PAR1 no longer PAR1")
    path = tmp_path / f"spikes.{FORMATS[format].suffix}"
    path.write_text("precious")
    with pytest.raises(RunFolderError, match=r"000002\.parquet: not a readable"):
        export(raster, path, overwrite=True)
    assert path.read_text() == "precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run", path.name]
