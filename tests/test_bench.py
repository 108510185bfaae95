"""Benchmarks: every contestant does the same step or the same network, and gives finite figures."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import page, roofline, size, streams, training, video
from benchmarks import pictures as draw
from eventnet.bench.task import digits, keep
from eventnet.bench.workers import BenchError, Entry, interleave, spread
from eventnet.cli import main
from eventnet.data import fetch
from eventnet.data.mnist import Mnist
from eventnet.video import Video, pictures, quarters

PART, PARTS = 20, 2
DENSE = "eventnet.bench.perceptrons"
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def task(mnist_data: Mnist, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("task") / "task.npz"
    return keep(digits(mnist_data, np.arange(1000), PART, PARTS), path)


def test_dense_opponents_do_the_same_step(task: Path) -> None:
    rows = interleave(
        {
            "numpy": Entry(f"{DENSE}:Numpy"),
            "dense": Entry(f"{DENSE}:Compiled", {"skip_zeros": False}),
            "skipping": Entry(f"{DENSE}:Compiled", {"skip_zeros": True}),
            "double": Entry(f"{DENSE}:Compiled", {"skip_zeros": True, "dtype": "float64"}),
        },
        task,
        PARTS,
    )
    training.agree(rows, PART)
    for row in rows.values():
        first, second = (r["held_loss"] for r in row["repetitions"])
        assert second < first < math.log(10), "it learns"
        assert all(0 < rate < math.inf for rate in spread(row))
    # Were weights kept in single precision only by name, these would be equal.
    assert rows["double"]["repetitions"] != rows["skipping"]["repetitions"]


def test_another_step_is_found() -> None:
    rows = {
        name: {"repetitions": [{"held_loss": loss}]}
        for name, loss in (("a", 2.25), ("b", 2.25), ("wrong", 2.2501))
    }
    training.agree({k: rows[k] for k in ("a", "b")}, PART)
    with pytest.raises(BenchError, match=r"wrong: loss 2\.2501 after the first 20 images"):
        training.agree(rows, PART)


def test_streams_are_learned_and_read_and_their_rows_are_drawn(
    mnist_data: Mnist, tmp_path: Path
) -> None:
    found = {}
    for ticks in streams.QUICK_TICKS:
        arrays = streams.stream(mnist_data, ticks, streams.QUICK_PART, streams.QUICK_TEST)
        kept = keep(arrays, tmp_path / "task.npz")
        # The others need environments of their own; the same frames, learned by NumPy, stand for them.
        entries = {n: e for n, e in streams.entries(ticks).items() if n in page.STAGED}
        entries["NumPy"] = Entry(f"{DENSE}:Numpy")
        rows = interleave(entries, kept, 2 * streams.PARTS)
        found[str(ticks)] = streams.compared(rows)
    for rows in found.values():
        for name in page.STAGED:
            stages = [r["stage"] for r in rows[name]["repetitions"]]
            assert stages == ["training", "inference"] * streams.PARTS
            assert all(0 < r["wall_s"] < 60 and r["units"] for r in rows[name]["repetitions"])
            assert sum(r["additions"] for r in rows[name]["repetitions"]) > 0
            assert 0 <= rows[name]["test %"] <= 100
    # Frames that are more alike bring fewer events each.
    seldom, often = (float(page.work(r[streams.OURS[0]], "training", "events").replace(",", ""))
                     for r in found.values())  # fmt: skip
    assert often < seldom / 2
    record = {"wall_s": 1, "date": "2000-01-01", "commit": None, "load": 0, "versions": {},
              "others": {}, "machine": {"processor": "one", "cores": 1}}  # fmt: skip
    document = {"digits": 24, "test": 20, "ticks": found, "record": record}
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    (folder / "streams.json").write_text(json.dumps(document))
    page.write(folder)
    text = folder.with_suffix(".md").read_text()
    assert text.count("## Digits that drift") == 4
    assert (folder / "streams.png").stat().st_size > 10_000


def test_a_video_is_learned_and_read_by_the_same_steps_and_its_rows_are_drawn(
    tmp_path: Path,
) -> None:
    """The recording's first 4 s; to be told is, for once, how much of a quarter is bright."""
    shown = zip(range(40), pictures(fetch("vtest") / "vtest.avi"), strict=False)
    grey = np.array([picture[::12, ::12].mean(axis=2) for _, (_, picture) in shown])
    bright = np.array([quarters(frame > 120) for frame in grey])
    seen = Video(np.arange(40) / 10, grey.round().astype(np.uint8), bright)
    task = video.watched(seen, 2, video.QUICK_PASSES)
    assert (len(task["codes"]), len(task["shown"]), int(task["scored"])) == (4 * 14, 20, 14)
    chosen = video.watched(seen, 2, 1, choosing=True)
    assert (len(chosen["codes"]), len(chosen["shown"]), int(chosen["scored"])) == (11, 14, 11)

    # The others need environments of their own.
    own = {n: e for n, e in video.entries().items() if n in page.STAGED}
    rows = interleave(own, keep(task, tmp_path / "task.npz"), 4 + 1)
    for name, row in rows.items():
        units = 20 if name == page.DENSE else 19
        assert [r["units"] for r in row["repetitions"]] == [14, 14, 14, 14, units]
        assert all(r["additions"] > 0 and r["wall_s"] > 0 for r in row["repetitions"]), name
        assert row["r2"] < 1
    found = {"rows": rows, **video.pictured(task["shown"])}
    document = {"passes": 4, "rates": {"5": found}}
    assert [t.title.split(":")[0] for t in page.video(document)] == [
        "A fixed camera's video, training",
        "A fixed camera's video, inference",
        "A fixed camera's video",
        "A fixed camera's video",
    ]
    draw.video(document, tmp_path / "video.png")
    assert (tmp_path / "video.png").stat().st_size > 10_000


def test_a_view_takes_what_moves_to_where_it_is_told() -> None:
    """Of sixteen, no two are alike, and each tells the quarter in which the pixels are."""
    picture, seen = np.zeros((1, video.HEIGHT, video.WIDTH), np.uint8), set()
    picture[0, 5:9, 40:42] = 255
    for k in range(16):
        codes, told = video.view(picture.reshape(1, -1), np.array([[0.0, 1.0, 0.0, 0.0]]), k)
        moved = codes.reshape(video.HEIGHT, video.WIDTH) > 0
        assert moved.sum() == 8
        assert np.array_equal(quarters(moved) > 0, told[0] > 0)
        seen.add(codes.tobytes())
    assert len(seen) == 16


def test_a_difference_from_the_background_is_a_shade_from_noise_to_full() -> None:
    frames = np.full((10, video.HEIGHT, video.WIDTH), 100, np.uint8)
    frames[-1, 0, :5] = (115, 116, 84, 132, 10)
    moving = np.arange(40.0).reshape(10, 4)
    task = video.watched(Video(np.arange(10.0), frames, moving), 1, 1)
    assert task["shown"][-1, :6].tolist() == [0, 127, 127, 255, 255, 0]
    assert task["truth"] == pytest.approx(moving[7:] / moving[:7].std())


def test_the_difference_of_two_scores_has_the_error_of_its_pairs() -> None:
    opponents = {"other": {"repetitions": [{"held_loss": 1.0}]}}
    right = {streams.OURS[0]: [True, True, False, True], streams.OURS[1]: [False] * 4}
    rows = opponents | {n: {"right": r} for n, r in right.items()}
    compared = streams.compared({**rows, streams.DENSE: {"right": [True, False, False, True]}})
    first = compared[streams.OURS[0]]
    assert (first["ahead"], first["ahead_error"]) == (25.0, 25.0)
    assert compared[streams.OURS[1]]["ahead"] == -50.0


def test_simpy_sees_the_same_hidden_spikes_as_eventnet(mnist_data: Mnist, tmp_path: Path) -> None:
    """Only for a few images: pixels of one grey soon fire an ulp apart, and are two deliveries then."""
    task = keep(digits(mnist_data, np.arange(3), 3, 1), tmp_path / "task.npz")
    rows = interleave(
        {
            "eventnet": Entry("eventnet.bench.spiking:HeldImages", {"learn": False}),
            "simpy": Entry("benchmarks.opponents.processes:HeldImages", cwd=ROOT),
        },
        task,
        1,
    )
    exact, other = (row["repetitions"][0] for row in rows.values())
    assert exact["hidden events"] == other["hidden events"] == 2870
    assert exact["units"] == other["units"] == 6


def test_a_contestant_that_fails_is_named_with_what_it_said(task: Path) -> None:
    with pytest.raises(BenchError, match=r"(?s)odd: TypeError.*unexpected keyword.*Traceback"):
        interleave({"odd": Entry(f"{DENSE}:Numpy", {"speed": 11})}, task, 1)
    with pytest.raises(BenchError, match="odd: ModuleNotFoundError: No module named 'missing'"):
        interleave({"odd": Entry("missing:Class")}, task, 1)


@pytest.mark.parametrize(("what", "clock"), [("forward", None), ("errors", None), ("errors", 1.0)])
def test_a_projection_is_sent_the_packets_that_the_roofline_tells(
    what: str, clock: float | None
) -> None:
    from benchmarks.kernels import SENSORS, Projection

    n_in, n_out = 64, 32
    made = Projection({}, n_in, n_out, what, clock, synapses=1 << 16, dtype="float32")
    made.prepare()
    row = made.repeat(0)
    assert row["forward"] == made.times * (n_in // 8) * n_out
    assert made.times >= SENSORS
    assert (row["backward"] > 0) == (row["update"] > 0) == (what == "errors")


def test_the_stages_that_the_roofline_runs_alone_are_the_engines() -> None:
    from benchmarks.kernels import Stages
    from eventnet.engine.arrays import FORWARD, ROW

    made = Stages({}, 64, 32, "rows", synapses=1 << 16, dtype="float32")
    made.prepare()
    before = made.sim._engine.counters.projection[1].copy()
    row = made.repeat(0)
    counted = made.sim._engine.counters.projection[1] - before
    assert row["forward"] == row["update"] == made.times * (64 // 8) * 32
    assert counted[FORWARD] == counted[ROW] == made.times * (64 // 8)
    assert counted[FORWARD + 2] == counted[ROW + 2] == row["forward"]


def test_a_kernel_as_fast_as_rows_alone_has_a_share_of_one() -> None:
    done = {"forward": 8, "backward": 8, "update": 4, "wall_s": 3.0}
    kernel = {"kernel": "clocked, errors", "read": 8.0, "change": 4.0}
    rows = roofline.by_kernel([kernel | done, kernel | done | {"wall_s": 6.0}] * 2, "float64")
    assert list(rows) == [
        f"{name}, float64" for name in ("AXPY, read", "AXPY, change", "clocked, errors")
    ]
    assert rows["clocked, errors, float64"]["share"] == pytest.approx(0.75)
    assert "share" not in rows["AXPY, read, float64"]


def test_a_network_that_does_not_fit_is_a_row_that_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(size, "MEMORY_GB", 0.5)
    monkeypatch.setattr(size, "PACKETS", (1, 50))
    *rows, failed = size.rows((100, 100_000), learn=True, quick=True, told=lambda name, k: None)
    assert failed["failed"] == "needs over 0.5 GB"
    assert failed["synapses"] == 10**8
    assert [row["packet"] for row in rows] == [1, 50]
    for row in rows:
        assert all(r["units"] == 2_000 and r["events"] > 4_000 for r in row["repetitions"])
        assert 0.05 < row["peak_gb"] < 2


@pytest.mark.usefixtures("mnist_folder")
def test_the_command_prints_json_and_tables() -> None:
    done = CliRunner().invoke(main, ["bench", "--quick", "--json"])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    assert set(rows) == {"training", "simulation", "machine", "versions"}
    for row in [*rows["training"].values(), *rows["simulation"].values()]:
        assert all(0 < r["wall_s"] < 60 and r["units"] > 0 for r in row["repetitions"])
    stages = [r["stage"] for r in rows["training"]["eventnet"]["repetitions"]]
    assert stages == ["coarse", "fine"]


def test_the_page_is_drawn_from_the_rows_that_are_there(tmp_path: Path) -> None:
    kept = page.RESULTS
    shutil.copytree(kept, tmp_path / "benchmarks")
    page.write(tmp_path / "benchmarks")
    assert (tmp_path / "benchmarks.md").read_text() == kept.with_suffix(".md").read_text()
