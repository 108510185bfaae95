"""Robot logs: every kind gives the same readings, and what cannot be read is said in one message."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from mcap.writer import CompressionType, Writer
from mcap_protobuf.schema import register_schema
from rosbags.rosbag1 import Writer as Rosbag1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Rosbag2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

import eventnet as en
from eventnet.errors import EventNetError
from eventnet.experiment import build, load
from eventnet.experiment.parts import Sensor, Signal
from eventnet.experiment.tables import read

N = 40
LOGGED = 1_700_000_000_000_000_077 + 5_000_000 * np.arange(N)  # ns
MEASURED = LOGGED - 3_000_001 - 1000 * (np.arange(N) % 7)
XYZ = np.stack([np.sin(np.arange(N) / 5), np.cos(np.arange(N) / 5), np.arange(N) / N], axis=1)
RANGES = np.arange(4 * N).reshape(N, 4) / 3

DEFINITION = """std_msgs/Header header
geometry_msgs/Vector3 rate
float64[] ranges
bool moving
string note
"""
VECTOR, STAMPED = "geometry_msgs/msg/Vector3", "robot/msg/Gyro"


def typestore(ros: int) -> Any:
    store = get_typestore(Stores.ROS1_NOETIC if ros == 1 else Stores.ROS2_HUMBLE)
    store.register(get_types_from_msg(DEFINITION, STAMPED))
    return store


def message(store: Any, k: int, ros: int) -> Any:
    types = store.types
    stamp = types["builtin_interfaces/msg/Time"](*map(int, divmod(MEASURED[k], 10**9)))
    header = (k,) if ros == 1 else ()
    return types[STAMPED](
        header=types["std_msgs/msg/Header"](*header, stamp, "gyro"),
        rate=types[VECTOR](*XYZ[k].tolist()),
        ranges=RANGES[k],
        moving=bool(k % 2),
        note="as it is",
    )


def ros1(path: Path) -> None:
    store = typestore(1)
    with Rosbag1(path) as bag:
        connection = bag.add_connection("/gyro", STAMPED, typestore=store)
        for k in range(N):
            data = store.serialize_ros1(message(store, k, 1), STAMPED)
            bag.write(connection, int(LOGGED[k]), data)


def ros2(plugin: StoragePlugin) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        store = typestore(2)
        with Rosbag2(path, version=9, storage_plugin=plugin) as bag:
            connection = bag.add_connection("/gyro", STAMPED, typestore=store)
            bag.add_connection("/silent", VECTOR, typestore=store)
            for k in range(N):
                data = store.serialize_cdr(message(store, k, 2), STAMPED)
                bag.write(connection, int(LOGGED[k]), data)

    return write


def mcap(
    path: Path, encoding: str, schema: tuple[str, str, bytes], data: Callable[[int], bytes]
) -> None:
    with path.open("wb") as file:
        log = Writer(file, compression=CompressionType.ZSTD, chunk_size=512)
        log.start()
        channel = log.register_channel("/gyro", encoding, log.register_schema(*schema))
        for k in range(N):
            log.add_message(channel, int(LOGGED[k]), data(k), int(LOGGED[k]) - 50)
        log.finish()


def as_json(path: Path) -> None:
    def data(k: int) -> bytes:
        sec, nsec = map(int, divmod(MEASURED[k], 10**9))
        rate = dict(zip("xyz", XYZ[k].tolist(), strict=True))
        fields = {"rate": rate, "ranges": RANGES[k].tolist(), "moving": bool(k % 2), "note": ""}
        stamp = {"header": {"stamp": {"sec": sec, "nsec": nsec}}}
        return json.dumps(stamp | fields).encode()

    mcap(path, "json", ("Gyro", "jsonschema", b"{}"), data)


def as_ros1_in_mcap(path: Path) -> None:
    store = typestore(1)
    text, _ = store.generate_msgdef(STAMPED)

    def data(k: int) -> bytes:
        return bytes(store.serialize_ros1(message(store, k, 1), STAMPED))

    mcap(path, "ros1", ("robot/Gyro", "ros1msg", text.encode()), data)


def as_protobuf(path: Path) -> None:
    gyro = gyro_class()

    def data(k: int) -> bytes:
        made = gyro(moving=bool(k % 2), note="as it is", ranges=RANGES[k].tolist())
        made.header.stamp.seconds, made.header.stamp.nanos = map(int, divmod(MEASURED[k], 10**9))
        made.rate.x, made.rate.y, made.rate.z = XYZ[k].tolist()
        return bytes(made.SerializeToString())

    with path.open("wb") as file:
        log = Writer(file)
        log.start()
        channel = log.register_channel("/gyro", "protobuf", register_schema(log, gyro))
        for k in range(N):
            log.add_message(channel, int(LOGGED[k]), data(k), int(LOGGED[k]))
        log.finish()


def gyro_class() -> Any:
    """A message class, of which `protoc` would make the same."""
    file = descriptor_pb2.FileDescriptorProto(name="gyro.proto", package="robot", syntax="proto3")
    field = descriptor_pb2.FieldDescriptorProto
    kinds = {
        "Stamp": [("seconds", field.TYPE_INT64), ("nanos", field.TYPE_INT32)],
        "Header": [("stamp", ".robot.Stamp")],
        "Vector": [(axis, field.TYPE_DOUBLE) for axis in "xyz"],
        "Gyro": [
            ("header", ".robot.Header"),
            ("rate", ".robot.Vector"),
            ("ranges", [field.TYPE_DOUBLE]),
            ("moving", field.TYPE_BOOL),
            ("note", field.TYPE_STRING),
        ],
    }
    for name, fields in kinds.items():
        kind = file.message_type.add(name=name)
        for number, (member, what) in enumerate(fields, 1):
            label = field.LABEL_REPEATED if isinstance(what, list) else field.LABEL_OPTIONAL
            what = what[0] if isinstance(what, list) else what
            named = {"type_name": what, "type": field.TYPE_MESSAGE}
            given = named if isinstance(what, str) else {"type": what}
            kind.field.add(name=member, number=number, label=label, **given)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("robot.Gyro"))


KINDS: dict[str, Callable[[Path], None]] = {
    "ros1.bag": ros1,
    "ros2": ros2(StoragePlugin.SQLITE3),
    "ros2_mcap": ros2(StoragePlugin.MCAP),
    "json.mcap": as_json,
    "ros1.mcap": as_ros1_in_mcap,
    "protobuf.mcap": as_protobuf,
}


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the same gyroscope in every kind of log."""
    folder = tmp_path_factory.mktemp("logs")
    for name, write in KINDS.items():
        write(folder / name)
    shutil.copy(folder / "ros2" / "ros2.db3", folder / "alone.db3")
    shutil.copy(folder / "ros2_mcap" / "ros2_mcap.mcap", folder / "cdr.mcap")
    return folder


@pytest.fixture(scope="module")
def damaged(logs: Path) -> Path:
    """The same folder, with logs that cannot be read beside them."""
    mcap(logs / "flat.mcap", "flatbuffer", ("Gyro", "flatbuffer", b""), lambda k: b"")
    ragged = lambda k: json.dumps({"v": [1] * (2 - k % 2)}).encode()  # noqa: E731
    mcap(logs / "ragged.mcap", "json", ("V", "jsonschema", b"{}"), ragged)
    for torn, whole in (
        ("torn.mcap", "cdr.mcap"),
        ("torn.bag", "ros1.bag"),
        ("torn.db3", "alone.db3"),
    ):
        data = (logs / whole).read_bytes()
        (logs / torn).write_bytes(data[: 2 * len(data) // 3])
    (logs / "empty.mcap").write_bytes(b"")
    (logs / "table.csv").write_text("t,x\n1,2\n")
    (logs / "folder").mkdir()
    shutil.copytree(logs / "ros2", logs / "undefined")
    with sqlite3.connect(logs / "undefined" / "ros2.db3") as database:
        database.execute("DELETE FROM message_definitions")
    return logs


@pytest.mark.parametrize("name", [*KINDS, "alone.db3", "cdr.mcap"])
def test_every_kind_of_log_gives_the_same_readings_at_their_own_times(
    logs: Path, name: str
) -> None:
    axes = ["rate.x", "rate.y", "rate.z"]
    measured = read(
        Signal(topic="/gyro", time="header.stamp", columns=[*axes, "ranges"]), logs / name
    )
    np.testing.assert_array_equal(measured.stamps, MEASURED)
    np.testing.assert_array_equal(measured.values, np.concatenate([XYZ, RANGES], axis=1))
    logged = read(
        Signal(topic="/gyro", time="log_time", columns=["ranges.2", "moving"]), logs / name
    )
    np.testing.assert_array_equal(logged.stamps, LOGGED)
    np.testing.assert_array_equal(logged.values, np.stack([RANGES[:, 2], np.arange(N) % 2], axis=1))
    # Unless told otherwise a sensor has all the numbers of a message but those of its header.
    assert read(Signal(topic="/gyro", time="log_time"), logs / name).values.shape == (N, 8)


def test_an_mcap_file_has_the_time_of_publishing_too(logs: Path) -> None:
    signal = Signal(topic="/gyro", time="publish_time", columns=["moving"])
    np.testing.assert_array_equal(read(signal, logs / "json.mcap").stamps, LOGGED - 50)


def test_a_scenario_on_a_log_is_the_python_api_spike_for_spike(logs: Path) -> None:
    """A gyroscope by its own stamps and ranges by the log's, of two kinds of log on one clock."""
    (logs / "my.toml").write_text(
        """
        tau = 0.1
        [sensors.gyro]
        file = "ros1.bag"
        topic = "/gyro"
        time = "header.stamp"
        columns = ["rate.x", "rate.y"]
        lateness = 0.01
        step = 0.02
        [sensors.ranges]
        file = "json.mcap"
        topic = "/gyro"
        time = "log_time"
        columns = ["ranges"]
        step = 0.5
        [outputs.turn]
        size = 1
        [[connections]]
        source = "gyro"
        target = "turn"
        [[connections]]
        source = "ranges"
        target = "turn"
        """
    )
    said = load(logs / "my.toml")
    assert said.sensors["gyro"] == Sensor(
        file="ros1.bag",
        topic="/gyro",
        time="header.stamp",
        columns=["rate.x", "rate.y"],
        lateness=0.01,
        step=0.02,
    )
    built = build(said, base=logs, engine="actors", seed=1)
    ran = built.sim.run(built.until).raster

    net = en.Network(tau=0.1)
    net.sensor("gyro", 2, step=0.02)
    net.sensor("ranges", 4, step=0.5)
    net.output("turn", 1)
    net.connect("gyro", "turn")
    net.connect("ranges", "turn")
    sim = en.Simulation(net, engine="actors", seed=1)
    zero = MEASURED.min()
    sim.feed("gyro", en.Recording((MEASURED - zero) / 1e9, XYZ[:, :2]))
    sim.feed("ranges", en.Recording((LOGGED - zero) / 1e9, RANGES))
    expected = sim.run((LOGGED[-1] - zero) / 1e9).raster
    assert len(expected) > 500
    assert [tuple(row) for row in zip(*ran.arrays(), strict=True)] == [
        tuple(row) for row in zip(*expected.arrays(), strict=True)
    ]


GYRO: dict[str, Any] = {"topic": "/gyro", "time": "log_time", "columns": ["rate.x"]}


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("ros1.bag", {"topic": None}, "topic: is missing: ros1.bag has /gyro"),
        ("ros2", {"topic": "/gyrp"}, "topic: unknown topic of ros2 '/gyrp'; did you mean '/gyro'?"),
        ("ros2", {"topic": "/silent"}, "file: /silent of ros2 has no messages"),
        (
            "json.mcap",
            {"columns": ["rate.w"]},
            "columns: unknown column of /gyro of json.mcap 'rate.w'; did you mean 'rate.",
        ),
        ("json.mcap", {"time": "stamp"}, "time: unknown column of /gyro of json.mcap 'stamp'"),
        ("json.mcap", {"time": None}, "time: give either the column of time stamps of /gyro of"),
        ("flat.mcap", {}, "file: /gyro of flat.mcap: messages of type 'Gyro' in encoding 'flatbuf"),
        ("undefined", {}, "file: /gyro of undefined: type 'robot/msg/Gyro' is unknown: the bag"),
        ("torn.mcap", {}, "if it was cut short, `mcap recover` may mend it"),
        ("torn.bag", {}, "file: torn.bag cannot be read: Bag index looks damaged"),
        ("torn.db3", {}, "file: torn.db3 cannot be read: "),
        ("empty.mcap", {}, "file: empty.mcap is empty"),
        ("folder", {}, "file: folder cannot be read: Expected metadata file"),
        ("ragged.mcap", {"columns": ["v"]}, "'v' has not as many numbers in every message of"),
        ("ragged.mcap", {"columns": ["v.1"]}, "message 2 of /gyro of ragged.mcap has no 'v.1'"),
        ("no.mcap", {}, "no.mcap: no such file"),
        ("table.csv", {}, "topic: '/gyro': only robot logs have topics; leave it out"),
    ],
)
def test_what_cannot_be_read_is_said(
    damaged: Path, name: str, change: dict[str, Any], message: str
) -> None:
    signal = Signal(**{k: v for k, v in (GYRO | change).items() if v is not None})
    with pytest.raises(EventNetError) as caught:
        read(signal, damaged / name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
