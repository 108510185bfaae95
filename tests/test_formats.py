"""Exports of a real run, opened by the programs that they are made for."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import elephant.statistics as elephant
import h5py
import libsonata
import neo as neo_library
import numpy as np
import pandas as pd
import polars as pl
import pynwb
import pytest
import tonic
from nwbinspector import Importance, inspect_nwbfile
from recorded import record

import eventnet as en
from eventnet.errors import ConfigError, DataError, RunFolderError
from eventnet.export import FORMATS, IMPORTS, export, load, neo, sorting
from eventnet.raster import Raster, RasterWriter
from eventnet.runs import span

END = 3.0


@pytest.fixture(scope="module")
def raster(tmp_path_factory: pytest.TempPathFactory) -> Raster:
    return record(tmp_path_factory.mktemp("runs") / "real").raster


@pytest.fixture(scope="module")
def files(raster: Raster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    return {
        name: export(raster, folder / f"spikes.{format.suffix}") for name, format in FORMATS.items()
    }


def counted(raster: Raster) -> dict[str, tuple[int, int, int, int]]:
    """Events, quanta, positive and negative events of each population that fired."""
    return {n: (s.events, s.quanta, s.positive, s.negative) for n, s in raster.stats().items()}


def tally(population: Any, count: Any) -> dict[str, tuple[int, int, int, int]]:
    """The same of two columns that some other program gave."""
    population, count = np.asarray(population), np.asarray(count)
    rows = {str(name): count[population == name] for name in np.unique(population)}
    return {
        name: (c.size, int(np.abs(c).sum()), int((c > 0).sum()), int((c < 0).sum()))
        for name, c in rows.items()
    }


def test_the_run_has_all_that_a_format_may_lose(raster: Raster) -> None:
    stats = raster.stats()
    assert stats["still"].events == 0  # a silent population
    assert stats["gyro"].quanta > stats["gyro"].events
    assert min(stats["hidden.error"].positive, stats["hidden.error"].negative) > 50
    assert (np.diff(raster.arrays().time) == 0).any()  # coincident spikes


# -- tables --------------------------------------------------------------------------------------------


def test_pandas_polars_and_duckdb_count_the_same(raster: Raster, files: dict[str, Path]) -> None:
    expected = {name: row for name, row in counted(raster).items() if row[0]}
    frame = pd.read_csv(files["csv"], engine="pyarrow")
    assert tally(frame["population"], frame["count"]) == expected
    spikes = raster.arrays()
    np.testing.assert_array_equal(frame["time"], spikes.time)
    for read in (pl.read_csv(files["csv"]), pl.read_parquet(files["parquet"])):
        assert tally(read["population"].cast(pl.String), read["count"]) == expected
        np.testing.assert_array_equal(read["time"], spikes.time)
    frame = pd.read_parquet(files["parquet"])
    assert tally(frame["population"], frame["count"]) == expected
    # A recorded run needs no export: its segments are Parquet files.
    for source in (files["parquet"], raster.folder / "raster" / "*.parquet"):  # type: ignore[operator]
        rows = duckdb.sql(
            "select population::varchar, count(*), sum(abs(count)), count(*) filter (count > 0), "
            f"count(*) filter (count < 0) from '{source}' group by 1"
        ).fetchall()
        assert {name: tuple(map(int, row)) for name, *row in rows} == expected


# -- SONATA --------------------------------------------------------------------------------------------


def test_libsonata_reads_every_population(raster: Raster, files: dict[str, Path]) -> None:
    reader = libsonata.SpikeReader(str(files["sonata"]))
    assert sorted(reader.get_population_names()) == sorted(raster.populations)
    for name in raster.populations:
        population = reader[name]
        assert population.sorting == "by_time"
        spikes = raster.select(name).arrays()
        got = population.get_dict()
        np.testing.assert_array_equal(got["node_ids"], spikes.neuron)
        np.testing.assert_array_equal(got["timestamps"], spikes.time * 1000)
    some = reader["gyro"].get(tstart=1000.0, tstop=2000.0)
    part = raster.select("gyro").arrays().time * 1000
    assert len(some) == int(((part >= 1000) & (part <= 2000)).sum()) > 0


def test_a_name_that_hdf5_cannot_hold_is_refused(tmp_path: Path) -> None:
    odd = Raster.from_arrays([0.1], [0], [0], [1], ["left/right"])
    with pytest.raises(ConfigError, match=r"'left/right': cannot be a name in HDF5"):
        export(odd, tmp_path / "spikes.h5")


# -- NWB -----------------------------------------------------------------------------------------------


def test_pynwb_validates_and_reads_every_unit(raster: Raster, files: dict[str, Path]) -> None:
    assert pynwb.validate(path=files["nwb"]) == []
    with pynwb.NWBHDF5IO(files["nwb"], "r") as io:
        file = io.read()
        table = file.units.to_dataframe()
        assert file.session_id == "real"
        assert file.subject is None
        assert file.epochs.to_dataframe()[["start_time", "stop_time"]].values.tolist() == [[0, END]]
    spikes = raster.arrays()
    fired = {n: s.neurons for n, s in raster.stats().items() if s.neurons}
    assert table.groupby("population").size().to_dict() == fired
    for _, unit in table.iterrows():
        code = raster.populations.index(unit["population"])
        mine = (spikes.population_code == code) & (spikes.neuron == unit["neuron"])
        np.testing.assert_array_equal(unit["spike_times"], spikes.time[mine])
        np.testing.assert_array_equal(unit["spike_counts"], spikes.count[mine])


def test_nwbinspector_finds_nothing_critical_but_the_missing_subject(
    files: dict[str, Path], raster: Raster, tmp_path: Path
) -> None:
    odd = export(raster.select("still"), tmp_path / "silent.nwb")
    for path in (files["nwb"], odd):
        messages = list(inspect_nwbfile(nwbfile_path=path))
        critical = [m for m in messages if m.importance.value >= Importance.CRITICAL.value]
        assert {m.check_function_name for m in critical} == {"check_subject_exists"}


# -- Neo and Elephant ----------------------------------------------------------------------------------


def test_elephant_finds_the_same_rates(raster: Raster, files: dict[str, Path]) -> None:
    io = neo_library.io.NixIO(str(files["neo"]), mode="ro")
    trains = io.read_block().segments[0].spiketrains
    io.close()
    assert all(train.t_start == 0 and train.t_stop == END for train in trains)
    for name, (events, quanta, positive, negative) in counted(raster).items():
        mine = [t for t in trains if t.annotations["population"] == name]
        count = [np.asarray(t.array_annotations["count"]) for t in mine]
        kinds = {
            "events": mine,
            "quanta": [
                t.duplicate_with_new_data(np.repeat(t.magnitude, np.abs(c)))
                for t, c in zip(mine, count, strict=True)
            ],
            "positive": [t[c > 0] for t, c in zip(mine, count, strict=True)],
            "negative": [t[c < 0] for t, c in zip(mine, count, strict=True)],
        }
        expected = {"events": events, "quanta": quanta, "positive": positive, "negative": negative}
        for kind, of_kind in kinds.items():
            rates = [float(elephant.mean_firing_rate(t).rescale("Hz")) for t in of_kind]
            assert sum(rates) == pytest.approx(expected[kind] / END, rel=1e-12), (name, kind)


def test_neo_refuses_more_trains_than_it_bears_and_names_what_fits(tmp_path: Path) -> None:
    n = neo.TRAINS_MAX + 1
    many = Raster.from_arrays(
        np.arange(n) * 1e-6, np.zeros(n, int), np.arange(n), np.ones(n, int), ["a"]
    )
    message = "10,001 neurons fired: Neo takes up to 10,000; export them as sonata, nwb, parquet"
    with pytest.raises(ConfigError, match=message):
        export(many, tmp_path / "spikes.nix")
    assert list(tmp_path.iterdir()) == []
    assert len(neo.block(many.select(stop=4.5e-6)).segments[0].spiketrains) == 5


# -- AER -----------------------------------------------------------------------------------------------


def test_tonic_makes_frames_of_the_address_events(raster: Raster, files: dict[str, Path]) -> None:
    events = np.load(files["aer"], allow_pickle=False)
    sensor = (20, len(raster.populations), 2)
    frames = tonic.transforms.ToFrame(sensor_size=sensor, time_window=4e6, include_incomplete=True)(
        events
    )
    stats = raster.stats().values()
    np.testing.assert_array_equal(
        frames[0].sum(axis=2), [[s.negative for s in stats], [s.positive for s in stats]]
    )
    spikes = raster.arrays()
    np.testing.assert_array_equal(events["count"], spikes.count)
    assert np.abs(events["t"] * 1e-6 - spikes.time).max() <= 0.5e-6 + 1e-15


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([0.1], [0], [2**31], [1]), "neuron 2147483648"),
        (([1e13], [0], [0], [1]), "time 10000000000000.0 s"),
    ],
)
def test_what_aer_cannot_hold_is_refused(tmp_path: Path, columns: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        export(Raster.from_arrays(*columns, ["a"]), tmp_path / "spikes.npy")


# -- and back ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", IMPORTS)
def test_the_way_there_and_back_loses_nothing(
    raster: Raster, files: dict[str, Path], tmp_path: Path, format: str
) -> None:
    back = load(files[format], tmp_path / "back")
    assert back.populations == raster.populations
    for name in raster.populations:
        for column, expected in zip(
            back.select(name).arrays(), raster.select(name).arrays(), strict=True
        ):
            assert column.tobytes() == expected.tobytes()
    if format == "npz":  # the order across populations as well
        assert [c.tobytes() for c in back.arrays()] == [c.tobytes() for c in raster.arrays()]


@pytest.mark.parametrize("format", IMPORTS)
def test_times_of_any_size_come_back_to_the_bit(tmp_path: Path, format: str) -> None:
    rng = np.random.default_rng(0)
    time = np.concatenate(
        [-(10.0 ** rng.uniform(-320, 300, 500)), 10.0 ** rng.uniform(-320, 300, 2000)]
    )
    time = np.sort(np.concatenate([time, [0.0, 5e-324, 1.024, np.nextafter(1.024, 0)]]))
    n = time.size
    odd = Raster.from_arrays(time, np.zeros(n, int), np.arange(n), rng.choice([-9, 1], n), ["a"])
    back = load(export(odd, tmp_path / f"x.{FORMATS[format].suffix}"), tmp_path / "back").arrays()
    assert back.time.tobytes() == time.tobytes()


@pytest.mark.parametrize("format", IMPORTS)
def test_what_was_imported_drives_a_network_as_before(
    raster: Raster, files: dict[str, Path], tmp_path: Path, format: str
) -> None:
    sent = []
    for source in (raster, load(files[format], tmp_path / "back")):
        net = en.Network(tau=0.1)
        net.source("gyro", 3, step=0.05)
        net.layer("hidden", 5, step=0.1)
        net.connect("gyro", "hidden", plastic=False)
        sim = en.Simulation(net, seed=1, engine="actors")
        sim.feed("gyro", en.SpikeTrain.replay(source, "gyro"))
        sent.append([c.tobytes() for c in sim.run(until=1.0).raster.arrays()])
    assert sent[0] == sent[1]


def test_files_of_other_programs_are_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "foreign.h5", "w") as file:  # sorted by neuron, in seconds, no counts
        group = file.create_group("spikes/cortex")
        group["timestamps"] = [0.3, 0.5, 0.1]
        group["timestamps"].attrs["units"] = "s"
        group["node_ids"] = np.array([1, 1, 7], np.uint64)
    spikes = load(tmp_path / "foreign.h5", tmp_path / "a").arrays()
    assert spikes.time.tolist() == [0.1, 0.3, 0.5]
    assert (spikes.neuron.tolist(), spikes.count.tolist()) == ([7, 1, 1], [1, 1, 1])
    file = pynwb.NWBFile("two units", "x", datetime(2024, 1, 1, tzinfo=UTC))
    file.add_unit(spike_times=[0.2, 0.4])
    file.add_unit(spike_times=[0.1])
    with pynwb.NWBHDF5IO(tmp_path / "foreign.nwb", "w") as io:
        io.write(file)
    raster = load(tmp_path / "foreign.nwb", tmp_path / "b")
    assert raster.populations == ("units",)
    assert raster.arrays().neuron.tolist() == [1, 0, 0]


@pytest.mark.parametrize("format", IMPORTS)
def test_a_file_that_is_no_such_file_is_named_and_leaves_nothing(
    tmp_path: Path, format: str
) -> None:
    path = tmp_path / f"x.{FORMATS[format].suffix}"
    path.write_bytes(b"not that")
    with pytest.raises(DataError, match=path.name):
        load(path, tmp_path / "back")
    assert list(tmp_path.iterdir()) == [path]
    (tmp_path / "taken").mkdir()
    with pytest.raises(RunFolderError, match="taken: exists already"):
        load(path, tmp_path / "taken")
    with pytest.raises(ConfigError, match="cannot be read back; there are npz, sonata, nwb"):
        load(tmp_path / "spikes.csv", tmp_path / "back")


# -- odd rasters ---------------------------------------------------------------------------------------

ODD = {
    "no population": Raster.from_arrays([], [], [], [], []),
    "silent": Raster.from_arrays([], [], [], [], ["a", "b"]),
    "one spike": Raster.from_arrays([1.5], [1], [3], [-2], ["a", "b"]),
    "coincident": Raster.from_arrays(
        [1.0] * 4, [0, 1, 1, 0], [3, 0, 3, 3], [1, -1, 2, 1], ["a", "b"]
    ),
}


@pytest.mark.parametrize("which", ODD)
@pytest.mark.parametrize("format", FORMATS)
def test_odd_rasters_are_exported_and_come_back(tmp_path: Path, format: str, which: str) -> None:
    raster = ODD[which]
    path = export(raster, tmp_path / f"x.{FORMATS[format].suffix}")
    if format == "nwb":
        assert pynwb.validate(path=path) == []
    if format in IMPORTS:
        back = load(path, tmp_path / "back")
        assert back.populations == raster.populations
        assert counted(back) == counted(raster)
        assert sorted(back.arrays().time) == sorted(raster.arrays().time)


def test_a_million_neurons_fit_where_every_neuron_is_a_row(tmp_path: Path) -> None:
    n = 1_000_000
    raster = Raster.from_arrays(
        np.arange(n) * 1e-6, np.zeros(n, int), np.arange(n)[::-1], np.ones(n, int), ["a"]
    )
    back = load(export(raster, tmp_path / "x.nwb"), tmp_path / "back").arrays()
    np.testing.assert_array_equal(back.neuron, np.arange(n)[::-1])
    assert len(libsonata.SpikeReader(str(export(raster, tmp_path / "x.h5")))["a"].get()) == n


def test_a_run_that_is_being_written_or_was_killed_is_exported_as_far_as_it_is(
    tmp_path: Path,
) -> None:
    with RasterWriter(tmp_path / "run", ["a"], 10) as writer:
        writer.append(np.arange(25) * 0.1, np.zeros(25, int), np.arange(25), np.ones(25, int))
        (tmp_path / "run" / "config.json").write_text('{"start": 0.0, "until": 9.0}')
        raster = writer.raster()  # two segments are closed, a third is open
        assert span(raster) == (0.0, np.float64(19) * 0.1)  # not 9.0: nobody knows what came after
        assert len(np.load(export(raster, tmp_path / "x.npz"))["time"]) == 20
    (tmp_path / "run" / "raster" / ".000003.parquet.partial").write_bytes(b"PAR1 half a segment")
    assert len(np.load(export(Raster.open(tmp_path / "run"), tmp_path / "y.npz"))["time"]) == 25


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "neo"])
def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str) -> None:
    """Numpy's arrays count for tracemalloc; a loaded raster would be 20 MB and its sorted copy more."""
    monkeypatch.setattr(sorting, "BLOCK", 1 << 16)
    monkeypatch.setattr("eventnet.export.units.BLOCK", 1 << 16)
    rng = np.random.default_rng(0)
    n = 1_000_000
    with RasterWriter(tmp_path / "run", ["a", "b"], 250_000) as writer:
        columns = rng.integers(0, 2, n), rng.integers(0, 300, n), rng.choice([-1, 1, 2], n)
        writer.append(np.arange(n) * 1e-5, *columns)
    raster = Raster.open(tmp_path / "run")
    export(raster.select(stop=0.01), tmp_path / "warm", format)  # imports are not what is measured
    tracemalloc.start()
    export(raster, tmp_path / "x", format)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * (1 << 20) // 2


def test_progress_goes_from_zero_to_one(raster: Raster, tmp_path: Path) -> None:
    for name, format in FORMATS.items():
        told: list[float] = []
        export(raster, tmp_path / f"x.{format.suffix}", progress=told.append)
        assert told == sorted(told)
        assert told[-1] == 1.0, name
