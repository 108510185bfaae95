"""Line-delimited JSON for live runs: readings in and outputs out, by a loopback socket or a pipe.

A line in is a reading of a sensor or a target of an output, a line out what a probe read::

    {"name": "gyro", "t": 12.305, "value": [0.1, -0.3, 0.0]}
    {"name": "turn", "t": 12.31, "value": [0.52]}

Without ``t`` a reading is of the moment at which it comes. With the clock "sender" the first time stamp
of each client is taken for that moment, so that any epoch will do, and what goes out to it is stamped
by the same clock; with "unix" time stamps are seconds since 1970 for all.

Whoever sends ahead of the clock, or faster than the network takes, is read more slowly, and holds up
nobody else; a line that is of no use is refused and said, and a client that does not read loses lines.
Nothing that waits here grows without bound.
"""

from __future__ import annotations

import json
import math
import os
import select
import socket
import time as wall
from collections import deque
from collections.abc import Mapping
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from eventnet.errors import ConfigError, DataError, EventNetError
from eventnet.live import AHEAD, Live, log

Floats = NDArray[np.float64]

CHUNK = 1 << 18
"""Bytes that are read of one client at a time: what comes in a stall is not late for it."""
LONGEST_LINE = 1 << 16
"""Bytes; longer ones are refused."""
OUTGOING = 1 << 20
"""Bytes that wait for a client to read them; what comes on top is dropped."""
LEAD = 1.0
"""Seconds ahead of the clock from which on a reading waits at its client."""
CLIENTS = 64


class Unit(Protocol):
    """From the unit of the lines to that of the network, and back."""

    def forward(self, x: Floats) -> Floats: ...  # noqa: D102
    def back(self, y: Floats) -> Floats: ...  # noqa: D102


class Lines:
    """Splits what comes in pieces into lines, of which none is kept that is too long.

    Examples
    --------
    >>> lines = Lines()
    >>> lines.add(b'one\\ntw'), lines.add(b'o\\n')
    ([b'one'], [b'two'])
    """

    def __init__(self, longest: int = LONGEST_LINE) -> None:
        self.longest = longest
        self.too_long = 0
        self._rest = b""
        self._skipping = False

    def add(self, piece: bytes) -> list[bytes]:
        """Return the lines that a piece completes."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        if self._skipping and lines:
            lines, self._skipping = lines[1:], False
        if self._skipping or len(self._rest) > self.longest:
            self.too_long += not self._skipping
            self._rest, self._skipping = b"", True
        taken = [line for line in lines if len(line) <= self.longest]
        self.too_long += len(lines) - len(taken)
        return taken

    def last(self) -> list[bytes]:
        """Return the line that was never ended."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []


class Client:
    """One connection, or standard input and output: two file descriptors and what waits at them."""

    def __init__(self, name: str, read: int, write: int) -> None:
        self.name = name
        self.read, self.write = read, write
        self.lines = Lines()
        self.waiting: deque[bytes] = deque()  # lines that are to be taken
        self.taken = 0
        self.shift: float | None = None  # from its clock to simulated time, s
        self.outgoing = bytearray()
        self.ended = False  # nothing more comes
        self.deaf = False  # nothing more is read
        self.reason = "it has closed"
        self.held_back = False

    def receive(self) -> None:
        """Read a piece of what has come."""
        try:
            piece = os.read(self.read, CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            piece, self.reason = b"", f"reading: {error}"
        self.waiting.extend(self.lines.add(piece) if piece else self.lines.last())
        self.ended = not piece

    def transmit(self) -> None:
        """Write a piece of what waits; a pipe that is ready takes as much at once."""
        try:
            sent = os.write(self.write, self.outgoing[: select.PIPE_BUF])
        except BlockingIOError:
            return
        except (
            OSError
        ) as error:  # nobody reads any more, but what was sent before may still wait here
            self.reason = f"writing: {error}"
            self.deaf = True
            self.outgoing.clear()
            return
        del self.outgoing[:sent]


class JsonWire:
    """Reads and writes lines for a live simulation: standard input and output, or a loopback port.

    Parameters
    ----------
    live : Live
    port : int, optional
        Of 127.0.0.1; 0: any free one, see `port`. Default: standard input and output.
    units : mapping
        By name of the population; missing: as they are.
    clock : {"sender", "unix"}

    Raises
    ------
    ConfigError
        If the port cannot be had.
    """

    def __init__(
        self,
        live: Live,
        port: int | None = None,
        *,
        units: Mapping[str, Unit] | None = None,
        clock: Literal["sender", "unix"] = "sender",
    ) -> None:
        self.live = live
        self.units = units or {}
        self.clock = clock
        self.clients: list[Client] = []
        self.refused = 0
        self.unsent = 0
        self._sockets: dict[Client, socket.socket] = {}
        self._poll = select.poll()
        self._server: socket.socket | None = None
        self._came = 0
        self._looked = 0.0  # when poll was called, and when it was the time before
        self._looked_before = 0.0
        self._epoch = math.nan  # seconds since 1970 at which simulated time is 0
        if port is None:
            self._add(Client("standard input", 0, 1))
            return
        self._server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._server.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise ConfigError(f"port {port} of 127.0.0.1: {error}; choose another") from None
        self._server.listen()
        self._server.setblocking(False)
        log.info("listening on 127.0.0.1:%d", self.port)

    @property
    def port(self) -> int | None:
        """The port that it listens on."""
        return None if self._server is None else int(self._server.getsockname()[1])

    @property
    def ended(self) -> bool:
        """Whether standard input has ended and all of it was taken; a port never ends."""
        return self._server is None and all(c.ended and not c.waiting for c in self.clients)

    def poll(self) -> None:
        """Take what has come, and send what waits, as far as both go without waiting."""
        if math.isnan(self._epoch):
            self._epoch = wall.time() - self.live.now()
        self._looked_before, self._looked = self._looked, self.live.now()
        self._accept()
        ready = dict(self._poll.poll(0))
        for client in list(self.clients):
            come = ready.get(client.read, 0) & ~select.POLLOUT
            if come and not client.waiting and not client.ended:
                client.receive()
            self._take_all(client)
            if client.outgoing and ready.get(client.write, 0) & ~select.POLLIN:
                client.transmit()
            if client.ended and not client.waiting and client in self._sockets:
                self._remove(client)

    def send(self, name: str, time: float, values: Floats) -> None:
        """Send what a probe read to every client."""
        unit = self.units.get(name)
        shown = (values if unit is None else unit.back(values)).tolist()
        for client in self.clients:
            if client.deaf:
                continue
            shift = -self._epoch if self.clock == "unix" else client.shift or 0.0
            line = json.dumps({"name": name, "t": time - shift, "value": shown}).encode() + b"\n"
            if len(client.outgoing) + len(line) > OUTGOING:
                self.unsent += 1
                text = "%s does not read: lines to it are dropped"
                self.live.voice.say("unsent", text, client.name)
            else:
                client.outgoing += line

    def close(self) -> None:
        """Send what still waits, as far as it is read within a second, and let everybody go."""
        until = wall.monotonic() + 1.0
        while wall.monotonic() < until and any(client.outgoing for client in self.clients):
            ready = dict(self._poll.poll(10))
            for client in self.clients:
                if client.outgoing and ready.get(client.write, 0) & ~select.POLLIN:
                    client.transmit()
        for client in list(self.clients):
            self._remove(client)
        if self._server is not None:
            self._server.close()

    # -- clients -----------------------------------------------------------------------------------

    def _accept(self) -> None:
        if self._server is None:
            return
        try:
            connection, _ = self._server.accept()
        except BlockingIOError:
            return
        self._came += 1
        client = Client(f"client {self._came}", connection.fileno(), connection.fileno())
        if len(self.clients) >= CLIENTS:
            text = "%s is refused: there are %d already"
            self.live.voice.say("clients", text, client.name, CLIENTS)
            connection.close()
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sockets[client] = connection
        self._add(client)
        self.live.voice.say("client", "%s is there", client.name)

    def _add(self, client: Client) -> None:
        self.clients.append(client)
        if client.read == client.write:
            self._poll.register(client.read, select.POLLIN | select.POLLOUT)
        else:
            self._poll.register(client.read, select.POLLIN)
            self._poll.register(client.write, select.POLLOUT)

    def _remove(self, client: Client) -> None:
        self.clients.remove(client)
        for descriptor in {client.read, client.write}:
            self._poll.unregister(descriptor)
        if client in self._sockets:
            self._sockets.pop(client).close()
            text = "%s is gone after %d lines: %s"
            self.live.voice.say("gone", text, client.name, client.taken, client.reason)

    # -- lines -------------------------------------------------------------------------------------

    def _take_all(self, client: Client) -> None:
        if client.lines.too_long:
            self.refused += client.lines.too_long
            client.lines.too_long = 0
            text = "%s: a line of more than %d bytes is refused"
            self.live.voice.say("too long", text, client.name, LONGEST_LINE)
        while client.waiting:
            try:
                if not self._take(client, client.waiting[0]):
                    return
            except EventNetError as error:
                # Rubbish must not drown what is said of a sensor.
                kind = "rubbish" if isinstance(error, Rubbish) else "refused"
                self._refuse(client, kind, str(error))
            client.waiting.popleft()
            client.taken += 1

    def _take(self, client: Client, line: bytes) -> bool:
        """Push one line; return False if there is no room for it yet."""
        if not line.strip():
            return True
        name, stamp, values = parse(line)
        full = self.live.channel(name).full
        now = self.live.now()
        if stamp is None:
            stamp = now
        elif self.clock == "unix":
            stamp -= self._epoch
        else:
            client.shift = now - stamp if client.shift is None else client.shift
            stamp += client.shift
        if full or now + LEAD < stamp < now + AHEAD:
            if not client.held_back and self._server is not None:
                text = "%s sends ahead of the clock: it has to wait"
                self.live.voice.say("ahead", text, client.name)
            client.held_back = True
            return False
        unit = self.units.get(name)
        scaled = values if unit is None else unit.forward(values)
        return self.live.push(name, stamp, scaled, self._looked_before)

    def _refuse(self, client: Client, kind: str, why: str) -> None:
        self.refused += 1
        text = "%s, line %d is refused: %s"
        self.live.voice.say(kind, text, client.name, client.taken + 1, why)


class Rubbish(DataError):
    """A line that is no reading."""


class Line(BaseModel):
    """A reading or a target; null among the values is NaN."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    t: FiniteFloat | None = None
    value: list[float | None]


def parse(line: bytes) -> tuple[str, float | None, Floats]:
    """Return the name, the time stamp (s, or None) and the values (n,) of a line.

    Raises
    ------
    Rubbish
        For anything but ``{"name": ..., "t": ..., "value": [...]}``.

    Examples
    --------
    >>> parse(b'{"name": "gyro", "t": 2, "value": [0.5, null]}')
    ('gyro', 2.0, array([0.5, nan]))
    """
    try:
        found = Line.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))
        text = line[:40].decode(errors="replace")
        raise Rubbish(f"{place + ': ' if place else ''}{first['msg']}: {text!r}") from None
    return found.name, found.t, np.array(found.value, dtype=np.float64)
