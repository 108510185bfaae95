"""Reads the messages of a topic from robot logs: MCAP files and bags of ROS 1 and ROS 2.

A column is the path of a field in a message, as in ``angular_velocity.x`` or ``position.0``; an array
has as many components as numbers. ``log_time`` is when a message was recorded, ``publish_time`` (MCAP)
when it was sent; a field that holds a stamp, such as ``header.stamp``, is when it was measured.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventnet.errors import ConfigError, DataError, EventNetError, at_key
from eventnet.extras import needed
from eventnet.network import unknown

SUFFIXES = (".mcap", ".bag", ".db3")

STAMPS = (("sec", "nanosec"), ("sec", "nsec"), ("secs", "nsecs"), ("seconds", "nanos"))
"""What a stamp's seconds and nanoseconds are called by ROS, Foxglove's JSON, older JSON, Protobuf."""

ONE_BY_ONE = 1024
"""Numbers of an array that can be asked for one by one."""


class Topic(NamedTuple):
    """What was read of a topic, a row a message.

    Attributes
    ----------
    names : list of str
        The numbers in a message, but for its header.
    further : list of str
        What else can be asked for: times, the header, single numbers of arrays.
    columns : dict
        Those that were wanted, (n,) or (n, width); times are ``datetime64[ns]``.
    """

    names: list[str]
    further: list[str]
    columns: dict[str, NDArray[Any]]


class Message(NamedTuple):
    """A decoded message and when it was logged, and perhaps sent, in ns since 1970."""

    body: Any
    times: Mapping[str, int]

    def at(self, path: str) -> Any:
        """Return the field at a path; a time as ``datetime64[ns]``, a null as NaN."""
        if path in self.times:
            return np.datetime64(self.times[path], "ns")
        found = self.body
        for name in path.split("."):
            members = _members(found)
            found = found[int(name)] if members is None else members[name]
        stamp = _stamp(found)
        return np.nan if found is None else found if stamp is None else stamp


Decoder = Callable[[bytes], Any]
Messages = Iterator[Message]
Opened = tuple[set[str], Callable[[str], Messages]]
"""The topics of a log, and the messages of one."""


def read(path: Path, topic: str | None, columns: Sequence[str] | None, time: str | None) -> Topic:
    """Read columns of a topic, and its time.

    Parameters
    ----------
    path : Path
        An .mcap, .bag or .db3 file, or the folder of a ROS 2 bag.
    topic : str
    columns : sequence of str, optional
        Default: all numbers. What is no column of this topic is passed over.
    time : str, optional

    Raises
    ------
    ConfigError
        For a topic that is not there, or a library that is missing.
    DataError
        For a log that is damaged, or messages that cannot be read.
    """
    opened = _mcap if path.suffix == ".mcap" else _bag
    with _in_words(path), opened(path) as (topics, messages):
        with at_key("topic"):
            there = sorted(topics)
            if topic is None:
                raise ConfigError(f"is missing: {path.name} has {', '.join(there)}")
            if topic not in there:
                raise unknown(f"topic of {path.name}", topic, there)
        with at_key("file"):
            return _gather(f"{topic} of {path.name}", messages(topic), columns, time)


def _gather(
    what: str, messages: Messages, columns: Sequence[str] | None, time: str | None
) -> Topic:
    first = next(messages, None)
    if first is None:
        raise DataError(f"{what} has no messages")
    names, further = _columns_of(first)
    asked = [*(names if columns is None else columns), *([] if time is None else [time])]
    cells: dict[str, list[Any]] = {name: [] for name in asked if name in names or name in further}
    for row, message in enumerate(chain([first], messages), 1):
        for name, column in cells.items():
            try:
                column.append(message.at(name))
            except (KeyError, IndexError, TypeError):
                raise DataError(f"message {row} of {what} has no {name!r}") from None
    return Topic(names, further, {name: _column(what, name, c) for name, c in cells.items()})


def _column(what: str, name: str, cells: list[Any]) -> NDArray[Any]:
    try:
        return np.array(cells)
    except ValueError:
        raise DataError(
            f"{name!r} has not as many numbers in every message of {what}: name those that are in all "
            f"of them, as in '{name}.0'"
        ) from None


# -- fields ----------------------------------------------------------------------------------------


def _columns_of(message: Message) -> tuple[list[str], list[str]]:
    """Return the names of a message's numbers, and of all else that can be asked for."""
    names: list[str] = []
    further = list(message.times)

    def look(value: Any, path: str) -> None:
        members = _members(value)
        if _stamp(value) is not None:
            further.append(path)
        elif members is not None:
            for name, member in members.items():
                look(member, f"{path}.{name}" if path else name)
        elif _is_number(value):
            (further if path.startswith("header.") else names).append(path)
            if not np.isscalar(value):
                further.extend(f"{path}.{k}" for k in range(min(len(value), ONE_BY_ONE)))

    look(message.body, "")
    return names, further


def _members(value: Any) -> Mapping[str, Any] | None:
    """Return the fields of a message, the entries of an object or of a list of those; else None."""
    if isinstance(value, Mapping):
        return value
    if dataclasses.is_dataclass(value):
        names = (f.name for f in dataclasses.fields(value) if not f.name.startswith("__"))
        return {name: getattr(value, name) for name in names}
    if hasattr(value, "DESCRIPTOR"):
        return {f.name: getattr(value, f.name) for f in value.DESCRIPTOR.fields}
    if isinstance(value, list) and value and _members(value[0]) is not None:
        return {str(k): member for k, member in enumerate(value[:ONE_BY_ONE])}
    return None


def _stamp(value: Any) -> np.datetime64 | None:
    """Return the time that a field holds, if it is one."""
    members = _members(value)
    if members is None or tuple(members) not in STAMPS:
        return None
    seconds, nanoseconds = (int(part) for part in members.values())
    return np.datetime64(seconds * 1_000_000_000 + nanoseconds, "ns")


def _is_number(value: Any) -> bool:
    """Return whether a field is a number or has nothing but numbers, one at least."""
    if _members(value) is not None or isinstance(value, str | bytes) or value is None:
        return False
    try:
        array = np.asarray(value if np.isscalar(value) else list(value))
    except (TypeError, ValueError):
        return False
    return array.size > 0 and (np.issubdtype(array.dtype, np.number) or array.dtype == bool)


# -- files -----------------------------------------------------------------------------------------


@contextmanager
def _mcap(path: Path) -> Iterator[Opened]:
    reader = needed("mcap.reader", "logs", "MCAP files")
    with path.open("rb") as file:
        log = reader.make_reader(file)
        summary = log.get_summary()
        if summary is not None:
            topics = {channel.topic for channel in summary.channels.values()}
        else:
            topics = {channel.topic for _, channel, _ in log.iter_messages()}

        def messages(topic: str) -> Messages:
            decoders: dict[int, Decoder] = {}
            for schema, channel, message in log.iter_messages([topic]):
                if channel.id not in decoders:
                    decoders[channel.id] = _decoder(channel, schema, f"{topic} of {path.name}")
                times = {"log_time": message.log_time, "publish_time": message.publish_time}
                yield Message(decoders[channel.id](message.data), times)

        yield topics, messages


def _decoder(channel: Any, schema: Any, what: str) -> Decoder:
    """Return how the messages of an MCAP channel are decoded."""
    encoding, schema_encoding = channel.message_encoding, getattr(schema, "encoding", "")
    if encoding == "json":
        return json.loads
    if encoding == "protobuf":
        protobuf = needed("mcap_protobuf.decoder", "logs", "Protobuf messages")
        found: Decoder = protobuf.DecoderFactory().decoder_for(encoding, schema)
        return found
    if (encoding, schema_encoding) not in (
        ("ros1", "ros1msg"),
        ("cdr", "ros2msg"),
        ("cdr", "ros2idl"),
    ):
        raise DataError(
            f"{what}: messages of type {getattr(schema, 'name', None)!r} in encoding {encoding!r} are "
            "unknown: must be JSON, Protobuf, ROS 1 or CDR with a ROS 2 definition"
        )
    types = needed("rosbags.typesys", "logs", "ROS messages")
    store = types.get_typestore(types.Stores.EMPTY)
    if schema_encoding == "ros2idl":
        for part in schema.data.decode().split("=" * 80 + "\n"):
            store.register(types.get_types_from_idl(re.sub(r"\AIDL: .*\n", "", part)))
    else:
        store.register(types.get_types_from_msg(schema.data.decode(), schema.name))
    name = schema.name if "/msg/" in schema.name else schema.name.replace("/", "/msg/")
    decode = store.deserialize_ros1 if encoding == "ros1" else store.deserialize_cdr
    return lambda data: decode(data, name)


@contextmanager
def _bag(path: Path) -> Iterator[Opened]:
    highlevel = needed("rosbags.highlevel", "logs", "ROS bags")
    types = needed("rosbags.typesys", "logs", "ROS bags")
    # Of bags from before ROS 2 Iron, which carry no definitions.
    usual = types.get_typestore(types.Stores.LATEST)
    with highlevel.AnyReader([path], default_typestore=usual) as bag:

        def messages(topic: str) -> Messages:
            chosen = [c for c in bag.connections if c.topic == topic]
            for connection, time, data in bag.messages(chosen):
                try:
                    body = bag.deserialize(data, connection.msgtype)
                except KeyError as error:
                    raise DataError(
                        f"{topic} of {path.name}: type {error.args[0]!r} is unknown: the bag carries no "
                        "definitions, and it is none of ROS's own"
                    ) from None
                yield Message(body, {"log_time": time})

        yield {connection.topic for connection in bag.connections}, messages


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    """Turn what the libraries raise, which may be anything, into one message that names the file."""
    try:
        yield
    except EventNetError:
        raise
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        mend = {".mcap": "mcap recover", ".bag": "rosbag reindex"}
        with at_key("file"):
            raise DataError(
                f"{path.name} cannot be read: {said}; if it was cut short, "
                f"`{mend.get(path.suffix, 'ros2 bag reindex')}` may mend it"
            ) from error
