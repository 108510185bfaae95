"""Every parser of files and lines that come from elsewhere, with a small one that it takes.

A parser may refuse what it is given, by a deliberate error; nothing else may come out of it.
`tests/test_foreign.py` spoils the samples; `python -m tests.fuzz` lets atheris loose on the parsers.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from eventnet import checkpoint, runs, wire
from eventnet.data import euroc, mnist, recipes
from eventnet.errors import EventNetError
from eventnet.experiment import file as scenario_file
from eventnet.experiment import logs, tables
from eventnet.experiment.parts import Signal
from eventnet.export import export, load
from eventnet.raster import Raster

ROOT = Path(__file__).resolve().parent.parent
RASTER = ([0.1, 0.1, 0.3, 0.7], [0, 1, 1, 0], [2, 0, 7, 1], [1, -2, 1, 3], ["gyro", "hidden"])


class Parser(NamedTuple):
    """What takes a file, and what makes one."""

    suffix: str
    parse: Callable[[Path], object]
    sample: Callable[[Path], object]


def table(path: Path) -> object:
    """Read two columns as a sensor does."""
    columns: list[str | int] = ["a"] if path.suffix in (".npz", ".hdf5") else [1]
    time: str | int = "t" if path.suffix in (".npz", ".hdf5") else 0
    return tables.read(Signal(file=path.name, time=time, columns=columns), path)


def imported(path: Path) -> object:
    """Read spikes of another program."""
    return load(path, path.with_name("imported")).arrays()


def segment(path: Path) -> object:
    """Read all of a raster whose only segment this is."""
    raster = path.parent / "run" / "raster"
    raster.mkdir(parents=True, exist_ok=True)
    (raster / "000000.parquet").write_bytes(path.read_bytes())
    return Raster.open(raster.parent).arrays()


def an_npz(path: Path) -> None:
    np.savez(path, t=np.arange(5.0), a=np.arange(5))


def an_npy(path: Path) -> None:
    np.save(path, np.arange(10.0).reshape(5, 2))


def a_csv(path: Path) -> None:
    path.write_text("t,a\n0,1\n1,2.5\n2,\n3,-1e3\n")


def a_parquet(path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"t": np.arange(5.0), "a": np.arange(5)}), path)


def an_hdf5(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file["t"], file["a"] = np.arange(5.0), np.arange(5)


def an_export(path: Path) -> None:
    export(Raster.from_arrays(*RASTER), path)


def a_sonata(path: Path) -> None:
    """Write what another program would: without the large chunks of `an_export`."""
    import h5py

    with h5py.File(path, "w") as file:
        group = file.create_group("spikes/hidden")
        group["timestamps"], group["node_ids"] = np.array([0.1, 0.3, 0.7]), np.array([2, 0, 7])
        group["timestamps"].attrs["units"] = "ms"


def an_mcap(path: Path) -> None:
    from mcap.writer import Writer

    with path.open("wb") as file:
        log = Writer(file, chunk_size=512)
        log.start()
        schema = log.register_schema("Imu", "jsonschema", b'{"type": "object"}')
        channel = log.register_channel("/imu", "json", schema)
        for k in range(5):
            body = f'{{"a": {k}, "t": {k}.5}}'.encode()
            log.add_message(channel, log_time=k * 10**9, publish_time=k * 10**9, data=body)
        log.finish()


def a_checkpoint(path: Path) -> None:
    checkpoint.save(path, {"seed": 1}, {"a": np.arange(5.0), "b": [1, None, (2.5, "x")]})


def a_configuration(path: Path) -> None:
    path.write_text(runs.sealed({"seed": 1, "config": {"scenario": "drone"}}))


def an_idx(path: Path) -> None:
    path.write_bytes(bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3]) + bytes(range(6)))


def a_flight(path: Path) -> None:
    head = "row_type,t_rel,gx,gy,gz,ax,ay,az,frame_idx,landmark_id,u_norm,v_norm"
    frames = [f"vision_feature,0.{k + 1},,,,,,,{k},7,0.{k},0.2" for k in range(3)]
    path.write_text("\n".join([head, "imu,0.0,1,2,3,4,5,6,,,,", *frames, ""]))


PARSERS = {
    "scenario": Parser(
        ".toml",
        scenario_file.load,
        lambda path: path.write_text((ROOT / "sims" / "_starter.toml").read_text()),
    ),
    "recipe": Parser(
        ".toml",
        lambda path: recipes.parse("x", path.read_text("utf-8", "replace"), "x"),
        lambda path: path.write_text((ROOT / "datasets" / "mnist.toml").read_text()),
    ),
    "line": Parser(
        ".json",
        lambda path: wire.parse(path.read_bytes()),
        lambda path: path.write_text('{"name": "gyro", "t": 2, "value": [0.5, null]}'),
    ),
    "csv": Parser(".csv", table, a_csv),
    "npz": Parser(".npz", table, an_npz),
    "npy": Parser(".npy", table, an_npy),
    "parquet": Parser(".parquet", table, a_parquet),
    "hdf5": Parser(".hdf5", table, an_hdf5),
    "mcap": Parser(".mcap", lambda path: logs.read(path, "/imu", ["a"], "t"), an_mcap),
    "spikes": Parser(".npz", imported, an_export),
    "sonata": Parser(".h5", imported, a_sonata),
    "segment": Parser(".parquet", segment, an_export),
    "checkpoint": Parser(".npz", checkpoint.read, a_checkpoint),
    "configuration": Parser(".json", runs.unsealed, a_configuration),
    "idx": Parser("", mnist.read_idx, an_idx),
    "flight": Parser(".csv", euroc.read, a_flight),
}


def survives(name: str, content: bytes, work: Path) -> bool:
    """Return whether a parser takes a content; it raises if that is neither taken nor refused."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    path = work / f"file{PARSERS[name].suffix}"
    path.write_bytes(content)
    try:
        PARSERS[name].parse(path)
    except EventNetError:
        return False
    return True


def sample(name: str, work: Path) -> bytes:
    """Return the content of a file that a parser takes."""
    work.mkdir(parents=True, exist_ok=True)
    path = work / f"sample{PARSERS[name].suffix}"
    PARSERS[name].sample(path)
    return path.read_bytes()
