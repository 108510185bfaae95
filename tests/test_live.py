"""Live runs: what is pushed takes effect at its time stamp, nothing is lost, and nobody can break it."""

from __future__ import annotations

import json
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eventnet as en
from eventnet.live import CAPACITY
from eventnet.wire import CHUNK, CLIENTS, LONGEST_LINE, OUTGOING, JsonWire, Lines, parse

ROOT = Path(__file__).resolve().parent.parent


def network() -> en.Network:
    net = en.Network(tau=0.1)
    net.sensor("gyro", 2, step=0.1)
    net.sensor("wheels", 1, step=0.1)
    net.layer("hidden", 8, step=0.1, error_step=0.05)
    net.output("turn", 1, error_step=0.05)
    for source, target in (("gyro", "hidden"), ("wheels", "hidden"), ("hidden", "turn")):
        net.connect(source, target)
    return net


def simulation(**listen: Any) -> en.Simulation:
    sim = en.Simulation(network(), plasticity=en.STDP(lr=0.1), seed=1)
    for name in ("gyro", "wheels", "turn"):
        sim.listen(name, **listen)
    return sim


SIGNALS = {
    "gyro": (np.arange(1, 200) / 500, lambda t: [math.sin(20 * t), math.cos(30 * t)]),
    "wheels": (np.arange(1, 40) / 101, lambda t: [math.cos(11 * t)]),
    "turn": (np.arange(1, 20) / 50, lambda t: [math.sin(9 * t)]),
}


def line(name: str, t: float | None, value: Any) -> bytes:
    stamp = {} if t is None else {"t": t}
    return json.dumps({"name": name, **stamp, "value": value}).encode() + b"\n"


def assert_same_raster(mine: en.Raster, theirs: en.Raster) -> None:
    for population in ("gyro", "wheels", "hidden", "hidden.error", "turn.error"):
        a, b = (r.select(population).arrays() for r in (mine, theirs))
        assert len(b.time) > 10
        for field in ("time", "neuron", "count"):
            np.testing.assert_array_equal(getattr(a, field), getattr(b, field), err_msg=population)


def recorded() -> en.Run:
    sim = en.Simulation(network(), plasticity=en.STDP(lr=0.1), seed=1)
    for name, (times, f) in SIGNALS.items():
        recording = en.Recording(times, [f(t) for t in times])
        (sim.teach if name == "turn" else sim.feed)(name, recording)
    return sim.run(until=0.45)


def test_what_is_pushed_from_another_thread_has_the_raster_of_a_recording() -> None:
    sim = simulation(lateness=0.1)

    def robot(name: str) -> None:
        times, f = SIGNALS[name]
        order = np.argsort(times + np.random.default_rng(2).uniform(0, 0.01, len(times)))
        for t in times[order].tolist():
            time.sleep(max(t - sim.live.now() - 0.05, 0))  # up to 50 ms ahead of the clock
            assert sim.push(name, t, f(t))

    threads = [threading.Thread(target=robot, args=(name,)) for name in SIGNALS]
    for thread in threads:
        thread.start()
    start = time.monotonic()
    run = sim.run(until=0.45, live=True)
    assert time.monotonic() - start >= 0.45 + 0.1
    for thread in threads:
        thread.join()
    for name, channel in sim.live.channels.items():
        books = channel.books()
        assert books.balanced
        assert books.delivered == len(SIGNALS[name][0])
        assert not books.notes["late"]
    # Had the machine stalled a thread for a tenth of a second, a reading would be overdue: then its
    # spikes come later than those of the recording, which is what the note says.
    if not any(c.books().notes["overdue"] for c in sim.live.channels.values()):
        assert_same_raster(run.raster, recorded().raster)


def test_readings_that_wait_before_the_start_take_effect_at_their_stamps() -> None:
    sim = simulation()
    for name, (times, f) in SIGNALS.items():
        for t in times.tolist():
            assert sim.push(name, t, f(t))
    run = sim.run(until=0.45, live=True)
    assert_same_raster(run.raster, recorded().raster)
    assert run.until == 0.45


def test_a_full_inbox_says_so_and_counts() -> None:
    sim = simulation()
    taken = [sim.push("gyro", k * 1e-6, [0.0, 0.0]) for k in range(CAPACITY + 3)]
    assert taken == [True] * CAPACITY + [False] * 3
    assert sim.push("wheels", 0.0, [0.0])  # each has room of its own
    sim.run(until=0.01, live=True)
    books = sim.live.channels["gyro"].books()
    assert books.balanced
    assert (books.delivered, dict(books.dropped)) == (CAPACITY, {"full": 3})


def test_a_reading_that_was_overtaken_is_dropped_and_one_that_is_overdue_is_not() -> None:
    sim = simulation(lateness=0.0)

    def robot() -> None:
        time.sleep(0.05)
        sim.push("gyro", 0.02, [1.0, 1.0])
        time.sleep(0.05)
        sim.push("gyro", 0.01, [2.0, 2.0])
        sim.push("gyro", 0.02, [1.0, 1.0])

    thread = threading.Thread(target=robot)
    thread.start()
    sim.run(until=0.3, live=True)
    thread.join()
    books = sim.live.channels["gyro"].books()
    assert books.balanced
    assert dict(books.dropped) == {"late": 1, "duplicate": 1}
    assert dict(books.notes) == {"late": 1, "overdue": 1}
    assert sim.live.lag.worst > 0.02


def test_late_readings_can_end_the_run() -> None:
    sim = simulation(lateness=0.0, late="error")
    threading.Timer(0.05, lambda: sim.push("gyro", 0.02, [1.0, 1.0])).start()
    threading.Timer(0.1, lambda: sim.push("gyro", 0.01, [1.0, 1.0])).start()
    with pytest.raises(en.DataError, match=r"gyro: the reading of 0.01 s comes 0.01 s too late"):
        sim.run(until=5.0, live=True)


def test_a_reading_gives_way_when_nothing_follows_it() -> None:
    sim = simulation(hold=0.05)
    heard: list[tuple[float, float]] = []
    sim.stream("wheels", rate=100, to=lambda t, x: heard.append((t, float(x[0]))))
    sim.push("wheels", 0.1, [2.0])
    sim.push("wheels", 0.12, [3.0])
    sim.run(until=0.3, live=True)
    values = dict(heard)
    assert [values[k / 100] for k in (9, 10, 11, 12, 16, 18, 30)] == [0, 2, 2, 3, 3, 0, 0]


def test_stop_ends_a_run_without_end_and_what_waits_stays_pending() -> None:
    sim = simulation()
    sim.push("gyro", 100.0, [0.0, 0.0])
    threading.Timer(0.2, sim.live.stop).start()
    run = sim.run(until=math.inf, live=True)
    assert 0.1 < run.until < 10
    assert sim.live.channels["gyro"].books().pending == 1
    sim.live.stop()  # by a thread that was faster than the start of the run
    assert sim.run(until=math.inf, live=True).until < run.until + 10


def test_silence_gaps_and_steps_of_the_clock_are_said(caplog: pytest.LogCaptureFixture) -> None:
    sim = simulation(gap=0.1)
    threading.Timer(0.3, lambda: sim.push("gyro", 0.3, [0.0, 0.0])).start()
    threading.Timer(0.35, lambda: sim.push("gyro", 0.05, [0.0, 0.0])).start()
    threading.Timer(0.4, lambda: sim.push("gyro", 0.4, [0.0, 0.0])).start()
    sim.push("gyro", 0.01, [0.0, 0.0])
    sim.run(until=0.5, live=True)
    assert "wheels: silent since 0.000 s" in caplog.text
    assert "gyro: silent since" in caplog.text
    assert "gyro: its clock steps by -0." in caplog.text
    assert "gyro: the reading of 0.05 s comes" in caplog.text
    assert sim.live.channels["gyro"].books().notes["gap"] >= 1


@pytest.mark.parametrize(
    ("name", "stamp", "value", "message"),
    [
        ("gyr", 0.0, [0.0, 0.0], "unknown name that is listened to 'gyr'; did you mean 'gyro'?"),
        ("gyro", 0.0, [0.0], "1 values for gyro: its size is 2"),
        ("gyro", 0.0, [0.0, math.nan], "reading nan at t=0 s, column 1, of gyro: must be finite"),
        (
            "gyro",
            math.nan,
            [0.0, 0.0],
            "time stamp nan s for gyro: must be finite and within a day",
        ),
        ("gyro", 1e9, [0.0, 0.0], "time stamp 1e+09 s for gyro: must be finite and within a day"),
        ("turn", 0.0, [math.inf], "target inf at t=0 s, column 0, of turn: must be finite"),
    ],
)
def test_what_cannot_be_pushed_is_said_to_whoever_pushes(
    name: str, stamp: float, value: list[float], message: str
) -> None:
    with pytest.raises(en.EventNetError) as caught:
        simulation().push(name, stamp, value)
    assert message in str(caught.value)


def test_a_live_run_needs_somebody_to_listen_to() -> None:
    sim = en.Simulation(network())
    with pytest.raises(en.ConfigError, match="nobody is listened to"):
        sim.run(until=1.0, live=True)
    with pytest.raises(en.ConfigError, match="must be finite"):
        sim.run(until=math.inf)
    sim.listen("gyro")
    with pytest.raises(en.ConfigError, match="it has a source already"):
        sim.feed("gyro", en.Periodic(np.zeros((3, 2)), rate=1))


# -- lines ------------------------------------------------------------------------------------------


def test_lines_are_put_together_from_any_pieces_and_long_ones_are_skipped() -> None:
    text = b"".join(b"%d:%s\n" % (k, b"x" * (k % 7)) for k in range(200))
    for size in (1, 3, 64, 1000):
        lines, found = Lines(), []
        for k in range(0, len(text), size):
            found += lines.add(text[k : k + size])
        assert found == text.splitlines()
    lines = Lines(longest=10)
    assert (lines.add(b"z" * 11 + b"\nok\n"), lines.too_long) == ([b"ok"], 1)  # in one piece
    lines = Lines(longest=10)
    found = [*lines.add(b"ok\n" + b"y" * 25), *lines.add(b"y" * 25), *lines.add(b"y\nfine\nlast")]
    assert (found, lines.too_long, lines.last()) == ([b"ok", b"fine"], 1, [b"last"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"GET / HTTP/1.1\r", "Invalid JSON: expected value at line 1 column 1: 'GET / HTTP/1.1"),
        (b'{"name": "gyro"}', "value: Field required"),
        (b'{"name": "gyro", "value": [1], "tt": 3}', "tt: Extra inputs are not permitted"),
        (b'{"name": "gyro", "value": ["1"]}', "value.0: Input should be a valid number"),
        (b'{"name": "gyro", "value": [true]}', "value.0: Input should be a valid number"),
        (b'{"name": "gyro", "t": NaN, "value": []}', "t: Input should be a finite number"),
        (b"[" * 100_000, "Invalid JSON: recursion limit exceeded"),
        (b"\xff\xfe", "Invalid JSON"),
    ],
)
def test_a_line_of_no_use_is_refused_with_its_reason(text: bytes, message: str) -> None:
    with pytest.raises(en.DataError) as caught:
        parse(text)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 200


@contextmanager
def served(
    client: Callable[[socket.socket], None], held_back: bool = False, **listen: Any
) -> Iterator[tuple[en.Simulation, JsonWire]]:
    """A simulation that has run until all was taken that a client sent, or the client held back."""
    sim = simulation(**listen)
    wire = JsonWire(sim.live, 0)
    sim.stream("turn", rate=100, to=lambda t, x: wire.send("turn", t, x))

    def taken() -> bool:
        if held_back:
            return any(c.held_back for c in wire.clients)
        waiting = sum(len(c.pushed) + c.books().pending for c in sim.live.channels.values())
        return not wire.clients and not waiting

    def connected() -> None:
        try:
            with socket.create_connection(("127.0.0.1", wire.port or 0)) as connection:
                client(connection)
        finally:
            until = time.monotonic() + 60
            while time.monotonic() < until and not taken():
                time.sleep(0.01)
            sim.live.stop()

    thread = threading.Thread(target=connected)
    thread.start()
    sim.run(until=math.inf, live=wire)
    thread.join()
    wire.close()
    yield sim, wire


def test_readings_come_in_and_outputs_go_out_by_a_port() -> None:
    heard = b""

    def client(connection: socket.socket) -> None:
        nonlocal heard
        for k in range(100):
            connection.sendall(line("gyro", 1e9 + k / 500, [math.sin(k), 1.0]))  # any epoch
            time.sleep(0.002)
        connection.sendall(line("wheels", None, [1.0]))
        connection.settimeout(0.2)
        while b"\n" not in heard[-1:] or len(heard) < 500:
            heard += connection.recv(1 << 16)

    with served(client, lateness=0.05) as (sim, wire):
        assert sim.live.channels["gyro"].books().delivered == 100
        assert sim.live.channels["wheels"].books().delivered == 1
        assert wire.refused == 0
    rows = [json.loads(row) for row in heard.splitlines()]
    assert len(rows) > 5
    assert {row["name"] for row in rows} == {"turn"}
    assert any(row["value"][0] for row in rows)
    # Stamped by the clock of the client, once that is known.
    assert rows[-1]["t"] == pytest.approx(1e9, abs=60)
    assert np.diff([row["t"] for row in rows])[-3:] == pytest.approx(0.01, abs=1e-6)


def test_rubbish_is_refused_line_by_line_and_the_run_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rubbish = [
        b"GET / HTTP/1.1\r\n",
        b"\x00\xff\n",
        line("gyr", None, [0.0, 0.0]),
        line("gyro", None, [0.0]),
        line("gyro", None, [math.nan, 0.0]),
        line("gyro", None, "high"),
        line("gyro", math.inf, [0.0, 0.0]),
        b"z" * (LONGEST_LINE * 3) + b"\n",
    ]

    def client(connection: socket.socket) -> None:
        for text in rubbish:
            connection.sendall(text + line("gyro", None, [1.0, 1.0]))
            time.sleep(0.01)
        connection.sendall(b"\n\n" + b'{"name": "gyro", "val')  # and stops in the midst of a line
        # Who closes without reading resets the connection, and what is not read there is lost.
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(CHUNK):
            pass

    with served(client) as (sim, wire):
        books = sim.live.channels["gyro"].books()
        assert books.balanced
        assert books.delivered + books.pending == len(rubbish)
        assert wire.refused == len(rubbish) + 1  # and the torn one
    assert "client 1, line 1 is refused: Invalid JSON: expected value" in caplog.text
    assert "client 1 is gone after" in caplog.text
    assert f"client 1: a line of more than {LONGEST_LINE} bytes is refused" in caplog.text
    assert "client 1, line 5 is refused: unknown name that is listened to 'gyr'" in caplog.text
    assert caplog.text.count("more lines like the last one") == 2
    assert len(caplog.records) < 20


def test_a_flood_is_slowed_down_and_memory_stays_bounded(caplog: pytest.LogCaptureFixture) -> None:
    sent = 0

    def client(connection: socket.socket) -> None:
        nonlocal sent
        padding = b" " * 1000 + b"\n"  # 30 MB: more than the system keeps for a connection
        text = b"".join(line("gyro", t / 5e3, [0.0, 1.0])[:-1] + padding for t in range(30_000))
        connection.settimeout(0.1)
        until = time.monotonic() + 1.0
        while sent < len(text) and time.monotonic() < until:
            with suppress(TimeoutError):
                sent += connection.send(text[sent : sent + CHUNK])

    with served(client, held_back=True) as (sim, wire):
        books = sim.live.channels["gyro"].books()
        assert books.balanced
        assert not books.dropped
        assert 0.9 * CAPACITY < books.pending <= CAPACITY
        assert all(len(b"\n".join(c.waiting)) <= CHUNK for c in wire.clients)
    assert sent < 30_000 * 1000  # the rest has to wait at the client
    assert "client 1 sends ahead of the clock: it has to wait" in caplog.text


def test_a_client_that_is_ahead_of_the_clock_holds_up_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def client(connection: socket.socket) -> None:
        connection.sendall(b"".join(line("gyro", 60.0 * t, [0.0, 1.0]) for t in range(10_000)))
        with socket.create_connection(connection.getpeername()) as other:
            for _ in range(100):
                other.sendall(line("gyro", None, [1.0, 1.0]))
                time.sleep(0.002)
            time.sleep(0.1)

    with served(client, held_back=True) as (sim, _):
        books = sim.live.channels["gyro"].books()
        assert (books.delivered, books.dropped) == (101, {})
    assert "client 1 sends ahead of the clock: it has to wait" in caplog.text


def test_a_client_that_does_not_read_loses_lines_and_nobody_waits_for_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("eventnet.wire.OUTGOING", 1000)

    def client(connection: socket.socket) -> None:
        connection.sendall(line("gyro", None, [1.0, 1.0]))
        time.sleep(0.1)

    sim = simulation()
    wire = JsonWire(sim.live, 0)
    with socket.create_connection(("127.0.0.1", wire.port or 0)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        wire.poll()
        for k in range(200_000):
            wire.send("turn", k / 1e3, np.zeros(1))
            if not k % 20:
                wire.poll()
            assert all(len(c.outgoing) <= 1000 for c in wire.clients)
            if wire.unsent > 100:
                break
    wire.poll()
    wire.close()
    assert wire.unsent > 100
    assert "client 1 does not read: lines to it are dropped" in caplog.text
    assert OUTGOING >= 1000


def test_there_is_a_limit_to_the_number_of_clients(caplog: pytest.LogCaptureFixture) -> None:
    wire = JsonWire(simulation().live, 0)
    connections = []
    for _ in range(CLIENTS + 2):
        connections.append(socket.create_connection(("127.0.0.1", wire.port or 0)))
        wire.poll()
    assert len(wire.clients) == CLIENTS
    assert f"client {CLIENTS + 1} is refused: there are {CLIENTS} already" in caplog.text
    for connection in connections:
        connection.close()
    wire.poll()
    assert wire.clients == []
    wire.close()


def test_a_port_that_is_taken_is_an_error_that_names_it() -> None:
    wire = JsonWire(simulation().live, 0)
    assert wire._server is not None
    assert wire._server.getsockname() == ("127.0.0.1", wire.port)  # and nobody else's
    with pytest.raises(en.ConfigError, match=rf"port {wire.port} of 127.0.0.1: .*; choose another"):
        JsonWire(simulation().live, wire.port)
    wire.close()
