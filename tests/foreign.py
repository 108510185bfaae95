"""Every parser of files and lines that come from elsewhere, with a small one that it takes.

A parser may refuse what it is given, by a deliberate error; nothing else may come out of it.
`tests/test_foreign.py` spoils the samples; `python -m tests.fuzz` lets atheris loose on the parsers.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import resource
import shutil
import signal
import sqlite3
import tarfile
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from eventnet import checkpoint, events, runs, video, wire
from eventnet.compare import differences
from eventnet.data import euroc, fetch, mnist, recipes
from eventnet.errors import DataError, EventNetError
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


def all_of_hdf5(path: Path) -> None:
    """Let HDF5 read all that a file has."""
    import h5py

    def look(name: object, item: object) -> None:
        for value in (*item.attrs.values(), item[...] if isinstance(item, h5py.Dataset) else None):
            repr(value)

    with h5py.File(path) as file:
        look("", file)
        file.visititems(look)


def all_of_aedat4(path: Path) -> None:
    """Let the library of AEDAT4 read all that a file has."""
    import aedat

    for packet in aedat.Decoder(path):
        repr(packet)


def survived(
    look: Callable[[Path], None], parse: Callable[[Path], object]
) -> Callable[[Path], object]:
    """Return a parser that is given what the library itself survives, in a process of its own.

    A doctored file can hang or crash HDF5, and a panic while it cleans up ends the one of AEDAT4.
    """

    def guarded(path: Path) -> object:
        if (child := os.fork()) == 0:
            signal.signal(signal.SIGPROF, signal.SIG_DFL)
            signal.signal(signal.SIGABRT, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_PROF, 0.5)  # s, of its own
            resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            with suppress(BaseException):
                look(path)
            os._exit(0)
        if (code := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])) < 0:
            raise DataError(f"signal {-code} in the library")
        return parse(path)

    return guarded


def imported(path: Path) -> object:
    """Read spikes of another program."""
    return load(path, path.with_name("imported")).arrays()


def member(path: Path) -> object:
    """Take a file out of an archive, whatever its bytes."""
    with recipes.opened(path, "folder/file") as stream:
        return stream.read(1 << 20)


def resealed(path: Path) -> Path:
    """Mend a checkpoint's checksum, as whoever means harm does."""
    content = path.read_bytes()
    size = hashlib.sha256().digest_size
    path.write_bytes(content[:-size] + hashlib.sha256(content[:-size]).digest())
    return path


def run(path: Path) -> object:
    """Tell what `eventnet runs` does of a run that says this of itself."""
    folder = path.parent / "run"
    folder.mkdir()
    for name in ("config.json", "end.json", "metrics.json"):
        (folder / name).write_bytes(path.read_bytes())
    found = runs.RunFolder(folder)
    told = [(found.kind(n), found.coder(n), found.size(n)) for n in found._described]
    return found.summary(), found.title, found.warning, told, differences(found, found)


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


def some_events(path: Path) -> None:
    seen = np.array([(0, 0, 5, True), (3, 1, 9, False)], "i2,i2,i8,?")
    seen.dtype.names = ("x", "y", "t", "p")
    np.save(path, seen)


def an_nwb(path: Path) -> None:
    """Write what another program would, but for what is not read."""
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["nwb_version"] = "2.7.0"
        units = file.create_group("units")
        units["id"], units["spike_times_index"] = np.arange(2), np.array([2, 3])
        units["spike_times"] = np.array([0.1, 0.3, 0.2])


def a_bag(path: Path) -> None:
    from rosbags.rosbag1 import Writer
    from rosbags.typesys import Stores, get_typestore

    kind = "geometry_msgs/msg/Vector3"
    store = get_typestore(Stores.ROS1_NOETIC)
    with Writer(path) as bag:
        connection = bag.add_connection("/imu", kind, typestore=store)
        for k in range(3):
            body = store.types[kind](x=float(k), y=0.0, z=1.0)
            bag.write(connection, k * 10**9, store.serialize_ros1(body, kind))


def a_db3(path: Path) -> None:
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    kind = "geometry_msgs/msg/Vector3"
    store = get_typestore(Stores.ROS2_HUMBLE)
    folder = path.with_suffix("")
    with Writer(folder, version=9, storage_plugin=StoragePlugin.SQLITE3) as bag:
        connection = bag.add_connection("/imu", kind, typestore=store)
        for k in range(3):
            body = store.types[kind](x=float(k), y=0.0, z=1.0)
            bag.write(connection, k * 10**9, store.serialize_cdr(body, kind))
    shutil.move(folder / f"{folder.name}.db3", path)
    with closing(sqlite3.connect(path)) as database:
        database.executescript("PRAGMA page_size = 512; VACUUM")  # else its pages are mostly empty


def an_aedat4(path: Path) -> None:
    """Cut a real file, which nothing of ours could write, behind its first two packets."""
    content = bytearray((fetch("dvs-people") / "class1.aedat4").read_bytes())
    end = 18 + int.from_bytes(content[14:18], "little")
    for _ in range(2):
        end += 8 + int.from_bytes(content[end + 4 : end + 8], "little")
    content[54:62] = end.to_bytes(8, "little")  # its header tells where packets end
    path.write_bytes(content[:end])


def a_video(path: Path) -> None:
    import cv2

    out = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), 10.0, (32, 24))
    for k in range(4):
        out.write(np.full((24, 32, 3), 40 * k, np.uint8))
    out.release()


def an_archive(path: Path) -> None:
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo("folder/file")
        info.size = 5
        tar.addfile(info, io.BytesIO(b"hello"))


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


def a_run(path: Path) -> None:
    """Write what is at once a run's configuration, its end and its metrics."""
    gyro = {"name": "gyro", "kind": "sensor", "size": 3, "step": 0.1, "tau": 0.5}
    counted = {"events": 1, "quanta": 1, "error_events": 0, "error_quanta": 0}
    cost = {"populations": {"gyro": counted}, "totals": {"adds": {"all": 3}}}
    begun = {"started": "2026-01-01T00:00:00+00:00", "start": 0.0, "until": 1.0, "wall_s": 0.1}
    made = {"config": {"scenario": "drone"}, "network": {"populations": [gyro]}}
    path.write_text(json.dumps(begun | made | {"cost": cost, "events": {"gyro": 1}, "metrics": {}}))


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
    "hdf5": Parser(".hdf5", survived(all_of_hdf5, table), an_hdf5),
    "mcap": Parser(".mcap", lambda path: logs.read(path, "/imu", ["a"], "t"), an_mcap),
    "bag": Parser(".bag", lambda path: logs.read(path, "/imu", ["x"], "log_time"), a_bag),
    "db3": Parser(".db3", lambda path: logs.read(path, "/imu", ["x"], "log_time"), a_db3),
    "aedat4": Parser(
        ".aedat4",
        survived(all_of_aedat4, lambda path: events.read(path).spikes()),
        an_aedat4,
    ),
    "video": Parser(".avi", lambda path: list(video.pictures(path)), a_video),
    "events": Parser(".npy", lambda path: events.read(path).spikes(), some_events),
    "archive": Parser(".tgz", member, an_archive),
    "spikes": Parser(".npz", imported, an_export),
    "sonata": Parser(".h5", survived(all_of_hdf5, imported), a_sonata),
    "nwb": Parser(".nwb", survived(all_of_hdf5, imported), an_nwb),
    "segment": Parser(".parquet", segment, an_export),
    "checkpoint": Parser(".npz", lambda path: checkpoint.read(resealed(path)), a_checkpoint),
    "configuration": Parser(".json", runs.unsealed, a_configuration),
    "run": Parser(".json", run, a_run),
    "idx": Parser("", mnist.read_idx, an_idx),
    "flight": Parser(".csv", euroc.read, a_flight),
}

TAKEN = {"archive": recipes._SOURCE_ERRORS}
"""Errors that whoever calls the parser takes for a refusal."""


def survives(name: str, content: bytes, work: Path) -> bool:
    """Return whether a parser takes a content; it raises if that is neither taken nor refused."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    path = work / f"file{PARSERS[name].suffix}"
    path.write_bytes(content)
    try:
        PARSERS[name].parse(path)
    except (EventNetError, *TAKEN.get(name, ())):
        return False
    return True


def sample(name: str, work: Path) -> bytes:
    """Return the content of a file that a parser takes."""
    work.mkdir(parents=True, exist_ok=True)
    path = work / f"sample{PARSERS[name].suffix}"
    PARSERS[name].sample(path)
    return path.read_bytes()
