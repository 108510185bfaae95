"""Promises of the recorder: lossless, in order, bounded, and whole after a kill."""

from __future__ import annotations

import errno
import itertools
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventnet import files
from eventnet.errors import ConfigError, RunFolderError
from eventnet.raster import (
    FEW_ROWS,
    FORMAT_VERSION,
    ROW_BYTES,
    MemoryRaster,
    Raster,
    RasterWriter,
    Segment,
    Spikes,
)

NAMES = ["imu", "camera", "hidden", "hidden.error"]


def made_up(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return (
        np.sort(rng.uniform(0.0, 20.0, n)),
        rng.integers(0, len(NAMES), n),
        rng.integers(0, 200, n),
        rng.choice([-2, -1, 1, 3], n),
    )


def same(got: Spikes, *expected: np.ndarray) -> None:
    assert [c.dtype for c in got] == [np.float64, np.int32, np.uint32, np.int32]
    for ours, theirs in zip(got, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def segments(folder: Path) -> list[Path]:
    return sorted((folder / "raster").glob("[0-9]*.parquet"))


def rasters(folder: Path, *columns: np.ndarray, segment_rows: int = 1_000) -> list[Raster]:
    """The same spikes on disk and in memory, whole and in pieces: what is read must be the same."""
    with RasterWriter(folder, NAMES, segment_rows) as writer:
        writer.append(*columns)
    memory = MemoryRaster(NAMES)
    for begin in range(0, len(columns[0]), 3):  # spikes of one time fall into several
        memory.append(*(column[begin : begin + 3] for column in columns))
    return [Raster.open(folder), Raster.from_arrays(*columns, NAMES), memory.raster()]


spike_rows = st.lists(
    st.tuples(
        st.floats(allow_nan=False, allow_infinity=False),
        st.integers(0, len(NAMES) - 1),
        st.integers(0, 2**32 - 1),
        st.integers(-(2**31), 2**31 - 1).filter(bool),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(
    rows=spike_rows,
    cuts=st.lists(st.integers(0, 40), max_size=6),
    segment_rows=st.integers(1, 12),
    batch_rows=st.integers(1, 15),
)
def test_what_is_written_is_read_back_whatever_the_batches_and_segments(
    rows: list[tuple[float, int, int, int]], cuts: list[int], segment_rows: int, batch_rows: int
) -> None:
    rows.sort(key=lambda row: row[0])
    types = (np.float64, np.int64, np.int64, np.int64)
    columns = [np.array([row[i] for row in rows], dtype) for i, dtype in enumerate(types)]
    memory = MemoryRaster(NAMES)
    with tempfile.TemporaryDirectory() as name:
        with RasterWriter(Path(name), NAMES, segment_rows) as writer:
            edges = sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
            for begin, end in itertools.pairwise(edges):
                writer.append(*(column[begin:end] for column in columns))
                memory.append(*(column[begin:end] for column in columns))
                assert writer.rows == memory.rows == end
        disk = Raster.open(name)
        assert len(segments(Path(name))) == -(-len(rows) // segment_rows)
        for raster in (disk, memory.raster()):
            assert len(raster) == len(rows)
            assert raster.populations == tuple(NAMES)
            same(raster.arrays(), *columns)
            sizes = [batch.time.size for batch in raster.iter_batches(batch_rows)]
            assert all(size == batch_rows for size in sizes[:-1])
            assert sum(sizes) == len(rows)
            assert 0 not in sizes


def test_signs_of_zero_and_subnormal_times_survive(tmp_path: Path) -> None:
    times = np.array([-1e308, -5e-324, -0.0, 0.0, 5e-324, 0.1, np.nextafter(0.1, 1)])
    for raster in rasters(tmp_path, times, np.zeros(7, int), np.arange(7), np.ones(7, int)):
        assert raster.arrays().time.tobytes() == times.tobytes()


def test_segments_have_the_documented_schema(tmp_path: Path) -> None:
    rasters(tmp_path, *made_up(2_500))
    assert [path.name for path in segments(tmp_path)] == [f"00000{i}.parquet" for i in range(3)]
    schema = pq.read_schema(segments(tmp_path)[0])
    assert {field.name: str(field.type) for field in schema} == {
        "time": "double",
        "population": "dictionary<values=string, indices=int32, ordered=0>",
        "neuron": "uint32",
        "count": "int32",
    }
    assert schema.metadata[b"format"] == b"eventnet.raster"
    assert schema.metadata[b"version"] == b"1"
    assert schema.field("time").metadata[b"unit"] == b"s"
    assert (
        pq.ParquetFile(segments(tmp_path)[0]).metadata.row_group(0).column(0).compression == "ZSTD"
    )


@pytest.mark.parametrize(
    ("start", "stop"),
    [(None, None), (5.0, None), (None, 5.0), (3.0, 11.5), (7.0, 7.0), (-9.0, 0.0), (30.0, 40.0)],
)
@pytest.mark.parametrize(
    "population", [None, "hidden", ["camera", "hidden.error"], ["hidden", "imu"], []]
)
def test_selection_equals_the_mask(
    tmp_path: Path, start: float | None, stop: float | None, population: str | list[str] | None
) -> None:
    times, codes, neurons, counts = made_up(5_000)
    # Spikes exactly on the edges: the window is half-open.
    for edge in (3.0, 5.0, 7.0, 11.5):
        at = np.searchsorted(times, edge)
        times[at : at + 3] = edge
    names = [population] if isinstance(population, str) else population
    kept = np.ones(times.size, bool)
    if start is not None:
        kept &= times >= start
    if stop is not None:
        kept &= times < stop
    if names is not None:
        kept &= np.isin(codes, [NAMES.index(name) for name in names])
    for raster in rasters(tmp_path, times, codes, neurons, counts):
        part = raster.select(population, start, stop)
        spikes = part.arrays()
        assert len(part) == kept.sum()
        assert [part.populations[c] for c in spikes.population_code] == [
            NAMES[c] for c in codes[kept]
        ]
        np.testing.assert_array_equal(spikes.time, times[kept])
        np.testing.assert_array_equal(spikes.neuron, neurons[kept])
        np.testing.assert_array_equal(spikes.count, counts[kept])
        if names is not None:
            assert part.populations == tuple(names)


def test_selecting_twice_narrows(tmp_path: Path) -> None:
    columns = made_up(3_000)
    for raster in rasters(tmp_path, *columns):
        twice = raster.select(["hidden", "imu"], 2.0, 9.0).select("imu", 1.0, 5.0)
        once = raster.select("imu", 2.0, 5.0)
        assert 0 < len(once) < len(raster)
        same(twice.arrays(), *once.arrays())
        assert len(raster.select(stop=3.0).select(start=4.0)) == 0
        with pytest.raises(ConfigError, match="unknown"):
            raster.select("imu").select("hidden")


def test_a_window_reads_only_the_row_groups_it_touches(tmp_path: Path) -> None:
    raster, *_ = rasters(tmp_path, *made_up(5_000))
    edge = pq.read_table(segments(tmp_path)[0])["time"][-1].as_py()
    for later in segments(tmp_path)[1:]:
        later.unlink()
    assert len(raster.select(stop=edge)) == 999
    with pytest.raises(RunFolderError, match=r"000001\.parquet"):
        raster.arrays()


def test_statistics_equal_their_definitions(tmp_path: Path) -> None:
    times, codes, neurons, counts = made_up(4_000)
    counts[7] = -(2**31)
    for raster in rasters(tmp_path, times, codes, neurons, counts):
        for selected, span in (
            (raster, times[-1] - times[0]),
            (raster.select(stop=50.0), 50.0 - times[0]),
            (raster.select(start=-5.0, stop=50.0), 55.0),
        ):
            for code, name in enumerate(NAMES):
                mine, stats = codes == code, selected.stats()[name]
                assert stats.events == mine.sum()
                assert stats.quanta == np.abs(counts[mine]).sum()
                assert stats.positive == (counts[mine] > 0).sum()
                assert stats.negative == (counts[mine] < 0).sum()
                assert stats.neurons == np.unique(neurons[mine]).size
                assert (stats.first, stats.last) == (times[mine][0], times[mine][-1])
                assert stats.rate == mine.sum() / span


def test_an_empty_raster_keeps_its_names(tmp_path: Path) -> None:
    nothing = [np.empty(0)] * 4
    for raster in rasters(tmp_path, *nothing):
        assert len(raster) == 0
        assert raster.populations == tuple(NAMES)
        assert list(raster.iter_batches()) == []
        same(raster.arrays(), *nothing)
        assert raster.stats()["imu"] == (0, 0, 0, 0, 0, None, None, None)


def test_one_spike(tmp_path: Path) -> None:
    for raster in rasters(tmp_path, [0.25], [2], [7], [-3]):
        same(raster.arrays(), [0.25], [2], [7], [-3])
        assert raster.stats()["hidden"] == (1, 3, 0, 1, 1, 0.25, 0.25, None)
        assert raster.select(start=0.0, stop=2.0).stats()["hidden"].rate == 0.5


def test_appended_arrays_may_be_reused(tmp_path: Path) -> None:
    memory, writer = MemoryRaster(NAMES), RasterWriter(tmp_path, NAMES)
    columns = made_up(10)
    kept = [column.copy() for column in columns]
    memory.append(*columns)
    writer.append(*columns)
    for column in columns:
        column[:] = 1
    writer.close()
    same(memory.raster().arrays(), *kept)
    same(writer.raster().arrays(), *kept)


def test_memory_raster_does_not_grow_after_it_was_taken() -> None:
    memory = MemoryRaster(NAMES)
    memory.append([0.1], [0], [0], [1])
    before = memory.raster()
    memory.append([0.2], [0], [0], [1])
    assert (len(before), len(memory.raster())) == (1, 2)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([0.2, 0.1], [0, 0], [0, 0], [1, 1]), r"spike time 0\.1 s after 0\.2 s"),
        (([np.nan], [0], [0], [1]), "not finite"),
        (([np.inf], [0], [0], [1]), "not finite"),
        (([0.1], [4], [0], [1]), r"population code=4: must be in \[0, 3\]"),
        (([0.1], [-1], [0], [1]), r"population code=-1"),
        (([0.1], [0], [-1], [1]), "neuron=-1"),
        (([0.1], [0], [2**32], [1]), "neuron=4294967296"),
        (([0.1], [0], [0], [0]), "count=0"),
        (([0.1], [0], [0], [2**31]), "count=2147483648"),
        (([0.1], [0], [0.0], [1]), "must be integers"),
        (([0.1], [0], [0, 1], [1]), "equally long"),
    ],
)
def test_a_batch_that_breaks_the_format_is_refused_whole(
    tmp_path: Path, columns: tuple[list[float], ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Raster.from_arrays(*columns, NAMES)
    with RasterWriter(tmp_path, NAMES) as writer:
        with pytest.raises(ConfigError, match=message):
            writer.append(*columns)
        assert writer.rows == 0


def test_time_may_not_decrease_between_batches(tmp_path: Path) -> None:
    for recorder in (MemoryRaster(NAMES), RasterWriter(tmp_path, NAMES, 1)):
        recorder.append([1.0], [0], [0], [1])
        recorder.append([1.0], [0], [1], [1])
        with pytest.raises(ConfigError, match=r"0\.5 s after 1\.0 s"):
            recorder.append([0.5], [0], [0], [1])
        assert len(recorder.raster()) == 2


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("imu", "list of non-empty names"),
        (["a", ""], "list of non-empty names"),
        ([3], "list of non-empty names"),
        (["a", "b", "b"], "'b' occurs twice"),
    ],
)
def test_population_names_must_tell_apart(names: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MemoryRaster(names)


def test_unknown_population_is_named_with_its_neighbour() -> None:
    raster = Raster.from_arrays([0.1], [0], [0], [1], NAMES)
    with pytest.raises(ConfigError, match=r"'hiden': unknown \(did you mean 'hidden'\?\).*camera"):
        raster.select("hiden")


@pytest.mark.parametrize(("start", "stop"), [(2.0, 1.0), (float("nan"), None), (None, np.inf)])
def test_a_window_must_be_one(start: float | None, stop: float | None) -> None:
    with pytest.raises(ConfigError, match=r"^(start|stop)="):
        Raster.from_arrays([0.1], [0], [0], [1], NAMES).select(start=start, stop=stop)


WRITER = textwrap.dedent(
    """
    import sys, time
    import numpy as np
    from eventnet.raster import RasterWriter

    writer = RasterWriter(sys.argv[1], ["a", "b"], segment_rows=1_000)
    step = 0
    while True:
        rows = np.arange(step, step + 170)
        writer.append(rows * 1e-3, rows % 2, rows, np.ones(170, int))
        step += 170
        if step >= 4_000:
            print("ready", flush=True)
            time.sleep(60)
    """
)


def test_a_killed_run_loses_the_open_segment_alone_once_the_one_before_is_written(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        until = time.monotonic() + 30
        while len(segments(tmp_path)) < 4 and time.monotonic() < until:
            time.sleep(0.01)  # nobody appends any more: the thread writes on its own
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    # What a kill in the middle of a write leaves: a part of a segment under its temporary name.
    whole = segments(tmp_path)[0].read_bytes()
    (tmp_path / "raster" / ".000004.parquet.partial").write_bytes(whole[: len(whole) // 2])
    rows = np.arange(4_000)
    same(Raster.open(tmp_path).arrays(), rows * 1e-3, rows % 2, rows, np.ones(4_000))


def test_a_run_killed_before_its_first_segment_is_an_empty_raster(tmp_path: Path) -> None:
    writer = RasterWriter(tmp_path, NAMES)
    writer.append([0.1], [0], [0], [1])
    assert len(Raster.open(tmp_path)) == 0
    assert Raster.open(tmp_path).populations == tuple(NAMES)


@pytest.mark.parametrize("rows", [0, 1, 999, 1_000, 1_001, 2_400, 2_500])
def test_resuming_continues_after_the_segments_of_the_checkpoint(tmp_path: Path, rows: int) -> None:
    first, other = made_up(2_500), made_up(1_500, seed=1)
    with RasterWriter(tmp_path, NAMES, 1_000) as writer:
        writer.append(*(column[:rows] for column in first))
        writer.flush()
        known = list(writer.segments)
        writer.append(*(column[rows:] for column in first))
    with RasterWriter(tmp_path, NAMES, 1_000, resume=known) as writer:
        assert len(segments(tmp_path)) == len(known)  # what came after is gone
        assert writer.rows == rows
        if rows:
            with pytest.raises(ConfigError, match="must not decrease"):
                writer.append([-1.0], [0], [0], [1])
        later = (other[0] + 20.0, *other[1:])
        writer.append(*later)
    expected = [np.concatenate((a[:rows], b)) for a, b in zip(first, later, strict=True)]
    same(Raster.open(tmp_path).arrays(), *expected)


def test_resuming_what_is_not_there_is_refused(tmp_path: Path) -> None:
    rasters(tmp_path, *made_up(100))
    with pytest.raises(RunFolderError, match=r"000000\.parquet: missing or damaged"):
        RasterWriter(tmp_path, NAMES, resume=[Segment(100, 1)])
    with pytest.raises(RunFolderError, match="holds a raster"):
        RasterWriter(tmp_path, NAMES)
    assert len(Raster.open(tmp_path)) == 100


def test_a_row_takes_what_the_latest_rows_take(tmp_path: Path) -> None:
    with RasterWriter(tmp_path, NAMES, 3 * FEW_ROWS) as writer:
        writer.append(*made_up(FEW_ROWS - 1))
        assert writer.bytes_a_row() == ROW_BYTES  # a file's own overhead would count
        writer.append([20.0], [0], [0], [1])
        held = writer.bytes_a_row()
        writer.flush()
        assert writer.rows == FEW_ROWS
        written = segments(tmp_path)[0].stat().st_size / FEW_ROWS
        assert writer.bytes_a_row() == written
        assert held == pytest.approx(written, rel=0.01)
        assert written < ROW_BYTES
        writer.append(*[np.full(2 * FEW_ROWS, k) for k in (20.0, 0, 0, 1)])  # nothing new in it
        writer.flush()
        writer.append([20.0], [0], [0], [1])
        assert writer.bytes_a_row() == segments(tmp_path)[1].stat().st_size / (2 * FEW_ROWS)


def test_what_is_abandoned_is_not_written_and_nothing_more_is_taken(tmp_path: Path) -> None:
    writer = RasterWriter(tmp_path, NAMES, 1_000)
    writer.append(*made_up(1_500))
    writer.abandon()
    assert writer.rows == 1_000
    with pytest.raises(RunFolderError, match="closed"):
        writer.append([20.0], [0], [0], [1])
    assert len(writer.raster()) == 1_000


def test_a_rate_is_one_of_a_window_that_has_a_length(tmp_path: Path) -> None:
    for raster in rasters(tmp_path, [0.25, 0.5], [0, 0], [0, 0], [1, 1]):
        assert raster.stats()["imu"].rate == 2 / 0.25
        assert raster.select(start=-1.0, stop=-0.5).stats()["imu"].rate == 0.0
        assert raster.select(start=-1.0).select(population="camera").stats()["camera"].rate is None


def test_a_format_of_yesterday_is_read(tmp_path: Path) -> None:
    rasters(tmp_path, *made_up(100))
    header = tmp_path / "raster" / "_common_metadata"
    schema = pq.read_schema(header)
    older = {**schema.metadata, b"version": str(FORMAT_VERSION - 1).encode()}
    pq.write_metadata(schema.with_metadata(older), header)
    assert len(Raster.open(tmp_path)) == 100


def test_flush_makes_everything_readable(tmp_path: Path) -> None:
    writer = RasterWriter(tmp_path, NAMES)
    writer.append(*made_up(10))
    assert len(writer.raster()) == 0
    writer.flush()
    writer.flush()
    assert len(writer.raster()) == 10
    writer.close()
    writer.close()
    with pytest.raises(RunFolderError, match="closed"):
        writer.append([30.0], [0], [0], [1])


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(RunFolderError, match="file/run/raster"):
        RasterWriter(tmp_path / "file" / "run", NAMES)


def test_a_refused_write_names_the_segment_and_keeps_the_earlier_ones(tmp_path: Path) -> None:
    columns = made_up(2_500)
    writer = RasterWriter(tmp_path, NAMES, 1_000)
    writer.append(*(column[:1_000] for column in columns))
    writer.flush()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, before[1]))  # the kernel refuses more
    try:
        with (
            pytest.raises(RunFolderError, match=r"000001\.parquet: cannot be written.*too large"),
            writer,
        ):
            writer.append(*(column[1_000:] for column in columns))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list((tmp_path / "raster").glob("*.partial"))
    same(Raster.open(tmp_path).arrays(), *(column[:1_000] for column in columns))


def test_nobody_waits_for_a_disk_that_stalls_until_a_second_segment_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = made_up(1_900)
    goes_on = threading.Event()

    def stalls(step: str, path: Path) -> None:
        if step == "opened" and path.name == "000000.parquet":
            assert goes_on.wait(60)
            raise OSError(errno.EIO, "the disk is gone")

    monkeypatch.setattr(files, "reached", stalls)
    writer = RasterWriter(tmp_path, NAMES, 1_000)
    writer.append(*columns)
    assert (writer.rows, len(segments(tmp_path))) == (1_900, 0)
    goes_on.set()
    with pytest.raises(RunFolderError, match=r"000000\.parquet: cannot be written"):
        writer.flush()
    writer.close()
    assert len(writer.raster()) == 0
    with pytest.raises(RunFolderError, match="the writer is closed"):
        writer.append(*columns)


def test_folders_that_are_no_run_are_named(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="absent: no such folder"):
        Raster.open(tmp_path / "absent")
    with pytest.raises(RunFolderError, match="not a run folder"):
        Raster.open(tmp_path)
    (tmp_path / "raster").mkdir()
    with pytest.raises(RunFolderError, match="not a run folder"):
        Raster.open(tmp_path)


def test_a_truncated_segment_is_named(tmp_path: Path) -> None:
    rasters(tmp_path, *made_up(3_000))
    broken = segments(tmp_path)[1]
    broken.write_bytes(broken.read_bytes()[:-20])
    with pytest.raises(RunFolderError, match=r"000001\.parquet"):
        Raster.open(tmp_path)


def test_a_damaged_page_is_named_not_read(tmp_path: Path) -> None:
    rasters(tmp_path, *made_up(3_000))
    broken = segments(tmp_path)[1]
    content = bytearray(broken.read_bytes())
    column = pq.read_metadata(broken).row_group(0).column(2)
    middle = column.data_page_offset + column.total_compressed_size // 2
    content[middle] ^= 0xFF
    broken.write_bytes(content)
    raster = Raster.open(tmp_path)
    with pytest.raises(RunFolderError, match=r"000001\.parquet"):
        raster.arrays()


def test_a_missing_segment_is_named(tmp_path: Path) -> None:
    rasters(tmp_path, *made_up(3_000))
    segments(tmp_path)[1].unlink()
    with pytest.raises(RunFolderError, match=r"000001\.parquet: missing"):
        Raster.open(tmp_path)


@pytest.mark.parametrize("names", [["time", "count"], ["time", "population", "neuron", "zeal"]])
def test_foreign_parquet_is_refused(names: list[str], tmp_path: Path) -> None:
    rasters(tmp_path, *made_up(100))
    table = pq.read_table(segments(tmp_path)[0])
    columns = [table.column(min(k, 3)) for k in range(len(names))]
    pq.write_table(pa.table(columns, names=names), segments(tmp_path)[0])
    with pytest.raises(RunFolderError, match="not the columns of a raster"):
        Raster.open(tmp_path)
    for metadata, message in (
        ({}, "not an eventnet.raster file"),
        ({"format": "eventnet.raster", "version": "2"}, "format version 2"),
        ({"format": "eventnet.raster"}, "not a readable"),
    ):
        pq.write_metadata(
            table.schema.with_metadata(metadata), tmp_path / "raster" / "_common_metadata"
        )
        with pytest.raises(RunFolderError, match=message):
            Raster.open(tmp_path)


def test_the_worst_number_is_named(tmp_path: Path) -> None:
    with RasterWriter(tmp_path, ["a", "b"]) as writer:
        for codes, worst in (([1, 7], 7), ([-1, 7], -1), ([-3, 0], -3)):
            with pytest.raises(ConfigError, match=rf"population code={worst}: must be in \[0, 1\]"):
                writer.append([0.1, 0.2], codes, [0, 0], [1, 1])


def test_segments_alone_are_enough(tmp_path: Path) -> None:
    columns = made_up(2_000)
    rasters(tmp_path, *columns)
    (tmp_path / "copy" / "raster").mkdir(parents=True)
    for path in segments(tmp_path):
        shutil.copy(path, tmp_path / "copy" / "raster")
    same(Raster.open(tmp_path / "copy").arrays(), *columns)


BOUNDED = textwrap.dedent(
    """
    import resource, sys
    import numpy as np
    from eventnet.raster import Raster, RasterWriter

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def work(folder, rows):
        with RasterWriter(folder, ["a", "b"], segment_rows=250_000) as writer:
            for first in range(0, rows, 50_000):
                at = np.arange(first, first + 50_000)
                writer.append(at * 1e-6, at % 2, at % 1_000, 1 - 2 * (at % 3 == 0))
        raster = Raster.open(folder)
        assert sum(s.events for s in raster.stats().values()) == rows
        assert len(raster.select("a")) == rows // 2

    work(sys.argv[1] + "/warm", 500_000)
    before = peak()
    work(sys.argv[1] + "/run", 5_000_000)
    print(peak() - before)
    """
)


def test_memory_is_bounded_by_a_segment_not_by_the_run(tmp_path: Path) -> None:
    command = [sys.executable, "-c", BOUNDED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    # 5e6 spikes are 100 MB; what 5e5 of them did not need, ten times as many must not either.
    assert int(done.stdout) < 30e6
