"""Runs that are killed, interrupted or spoiled go on bit for bit; a tenth of `make faults`."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from faults import BEFORE_RENAME, EVERY, SMALL, Bench, content, failures, in_child, plan
from small import Parameters, simulation

import eventnet as en
from eventnet import checkpoint, record
from eventnet.cli import main
from eventnet.errors import Interrupted
from eventnet.files import written_aside
from eventnet.runs import RunFolder


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("faults"), ("compiled", "clocked"))


def test_twenty_kills_at_every_step_of_a_write_lose_nothing(
    bench: Bench, record_property: Any
) -> None:
    bench.struck.clear()
    rows = [do() for do in plan(bench, 20, 2, seed=1)]
    assert [row for row in rows if not row.recovered] == []
    assert all(bench.struck[step] >= 2 for step in BEFORE_RENAME), bench.struck
    record_property("faults", f"{len(rows)} runs cut off, {bench.struck}")


def test_failed_writes_spoiled_files_and_lost_sources_lose_nothing(bench: Bench) -> None:
    rows = [do() for do in failures(bench, "compiled", 0.1, seed=1)]
    assert [row for row in rows if not row.recovered] == []
    assert len({row.fault for row in rows}) == 10
    said = " ".join(row.said for row in rows)
    for what in ("or a truncated or damaged one", "missing or damaged", "checksum does not fit"):
        assert what in said


def test_a_run_of_the_reference_goes_on_too(tmp_path: Path) -> None:
    p = Parameters(until=0.2)
    whole = simulation(p, "actors")
    whole.run(0.2, record=tmp_path / "whole")
    simulation(p, "actors").run(0.15, record=en.Record(tmp_path / "cut", checkpoint_every=0.05))
    (tmp_path / "cut" / "checkpoints" / "000003.npz").write_bytes(b"lost")
    simulation(p, "actors").run(0.2, record=en.Record(tmp_path / "cut", resume=True))
    mine, theirs = content(tmp_path / "cut"), content(tmp_path / "whole")
    assert all(np.array_equal(mine[k], theirs[k]) for k in theirs)
    assert len(mine["raster/time"]) > 200


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_with_a_checkpoint_and_its_exit_code(
    bench: Bench, tmp_path: Path, kind: signal.Signals
) -> None:
    folder = tmp_path / "run"
    command = ["run", str(SMALL), "--set", "until=2000", "--out", str(folder), "--quiet"]

    def run() -> None:
        done = CliRunner().invoke(main, command, catch_exceptions=False)
        assert "go on with: eventnet run --resume" in done.output, done.output
        error = Interrupted(done.exit_code - 128, folder, 0.0)
        raise error

    assert in_child(run, kill=(1.0, kind)) == 128 + kind
    shell = CliRunner().invoke(main, ["run", "--resume", str(folder), "--seed", "1"])
    assert (shell.exit_code, "--seed: with --resume" in shell.output) == (2, True)
    assert json.loads((folder / "config.json").read_text())["until"] == 2000
    [found] = list((folder / "checkpoints").iterdir())
    assert checkpoint.read(found)[1]["run"]["time"] > 0


def test_what_a_run_that_ended_needs_to_go_on(bench: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(bench.work / "compiled-whole", folder)
    shell = CliRunner()
    done = shell.invoke(main, ["run", "--resume", str(folder)])
    assert (done.exit_code, "give --until, a later one" in done.output) == (2, True)
    done = shell.invoke(main, ["run", "--resume", str(folder), "--until", "0.5"])
    assert (done.exit_code, "stands at 1 s; give a later one" in done.output) == (2, True)
    assert (folder / "end.json").exists()
    done = shell.invoke(main, ["run", "--resume", str(tmp_path / "none")])
    assert (done.exit_code, "config.json: cannot be read" in done.output) == (1, True)
    assert shell.invoke(main, ["run"]).exit_code == 2


def test_what_has_no_state_is_named_before_anything_runs(tmp_path: Path) -> None:
    wants = en.Record(tmp_path / "run", checkpoint_every=EVERY)
    sim = simulation(Parameters(remembers=False), "actors")
    with pytest.raises(en.ConfigError, match="the function that feeds computed offers no state"):
        sim.run(1.0, record=wants)

    class Plant:
        feeds = ("s",)

        def advance(self, *_: Any) -> list[Any]:
            return []

    def looped() -> en.Simulation:
        net = en.Network(tau=0.1)
        net.sensor("s", 1, step=0.1)
        net.connect("s", net.output("y", 1, error_step=0.1))
        sim = en.Simulation(net, engine="actors")
        sim.close_loop("y", Plant(), rate=10)  # type: ignore[arg-type]
        return sim

    with pytest.raises(en.ConfigError, match="the plant of y offers no state"):
        looped().run(1.0, record=wants)
    assert not (tmp_path / "run").exists()
    assert looped().run(1.0).until == 1.0  # without a record it may run
    live = looped()
    live.listen("y")
    with pytest.raises(en.ConfigError, match="y is listened to live"):
        live.run(1.0, record=wants, live=True)
    assert not (tmp_path / "run").exists()
    used = en.Record(tmp_path / "once")
    looped().run(0.5, record=used)
    with pytest.raises(en.ConfigError, match="this Record has been used"):
        looped().run(0.5, record=used)
    with pytest.raises(en.ConfigError, match=r"checkpoint_every=-1"):
        en.Record(tmp_path, checkpoint_every=-1)


def test_a_run_that_will_not_fit_the_disk_stops_early_and_says_so(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [10_000]
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(record.shutil, "disk_usage", lambda _: usage._replace(free=free[0]))
    p, folder = Parameters(until=60.0), tmp_path / "run"
    with pytest.raises(
        en.RunFolderError, match=r"about .* GB are still to be written until t=60 s"
    ):
        simulation(p).run(60.0, record=folder)
    raster = en.Raster.open(folder)
    assert 0 < raster.stats()["hidden"].last < 20.0
    free[0] = usage.free
    simulation(p).run(25.0, record=en.Record(folder, resume=True))
    assert len(en.Raster.open(folder)) > len(raster)
    free[0] = 100
    with pytest.raises(en.RunFolderError, match=r"free: free space"):
        simulation(p).run(1.0, record=tmp_path / "other")


def test_links_lead_nowhere_out_of_a_run_folder(tmp_path: Path) -> None:
    folder, secret = tmp_path / "run", tmp_path / "secret.json"
    simulation(Parameters(), "actors").run(0.2, record=en.Record(folder, checkpoint_every=0.1))
    secret.write_text('{"until": 7}')
    for name in ("end.json", "weights-end.npz", "raster/000000.parquet"):
        (folder / name).unlink()
        (folder / name).symlink_to(secret)
    found = RunFolder(folder)
    for look in (lambda: found.end, lambda: found.weights("end"), lambda: en.Raster.open(folder)):
        with pytest.raises(en.DataError, match="is a link"):
            look()
    (folder / ".end.json.partial").symlink_to(secret)
    with written_aside(folder / "end.json") as aside:
        aside.write_text("{}")
    assert secret.read_text() == '{"until": 7}'


@pytest.mark.parametrize("name", ["raster", "raster/_common_metadata", "checkpoints", ".lock"])
def test_a_run_folder_whose_parts_are_links_is_refused(name: str, tmp_path: Path) -> None:
    folder, away = tmp_path / "run", tmp_path / "away"
    simulation(Parameters(), "actors").run(0.2, record=en.Record(folder, checkpoint_every=0.1))
    (folder / name).rename(away)
    (folder / name).symlink_to(away)
    sim = simulation(Parameters(), "actors")
    looks = {
        True: lambda: en.Raster.open(folder),
        False: lambda: sim.run(0.3, record=en.Record(folder, resume=True)),
    }
    with pytest.raises(en.DataError, match=f"{name}: is a link"):
        looks[name.startswith("raster")]()


def diverging(lr: float = 36) -> en.Simulation:
    net = en.Network(tau=0.1)
    net.sensor("s", 1, step=0.05)
    net.output("y", 1, error_step=0.05)
    net.connect("s", "y", weights=[[1.0]])
    sim = en.Simulation(net, plasticity=en.STDP(lr=lr, cap=None), engine="actors")
    flips = np.where(np.arange(200) % 2, 1.0, -1.0)
    sim.feed("s", en.Periodic(flips, rate=50))
    sim.teach("y", en.Periodic(-flips, rate=50))
    return sim


def test_a_diverging_run_goes_back_and_learns_at_half_the_rate(tmp_path: Path) -> None:
    with pytest.raises(en.Diverged, match="population 'y'"):
        diverging().run(3.0, record=en.Record(tmp_path / "stops", checkpoint_every=0.1))
    assert len(list((tmp_path / "stops" / "checkpoints").iterdir())) == 2
    folder = tmp_path / "halved"
    halving = en.Record(folder, checkpoint_every=0.1, on_divergence="halve-lr")
    sim = diverging()
    run = sim.run(3.0, record=halving)
    assert 0 < sim.slowed < 1
    assert RunFolder(folder).end["slowed"] == sim.slowed
    assert np.isfinite(sim.weights("s -> y")).all()
    assert (np.diff(run.raster.arrays().time) >= 0).all()
    with pytest.raises(en.ConfigError, match="give checkpoint_every"):
        en.Record(folder, on_divergence="halve-lr")


def test_a_run_whose_last_checkpoint_is_spoiled_goes_back_to_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # The first reading multiplies the weight by thousands: at the second it is too large already.
    sim = diverging(lr=3000)
    halving = en.Record(tmp_path / "run", checkpoint_every=0.02, on_divergence="halve-lr")
    sim.run(0.2, record=halving)
    assert "000001.npz: diverges at 0.000976562 times the learning rate too" in caplog.text
    assert 0 < sim.slowed < 1
    assert np.isfinite(sim.weights("s -> y")).all()
    # With one checkpoint only there is nothing before it.
    hopeless = en.Record(tmp_path / "none", checkpoint_every=1.0, on_divergence="halve-lr")
    with pytest.raises(en.Diverged):
        diverging(lr=1e9).run(2.0, record=hopeless)
    assert len(list((tmp_path / "none" / "checkpoints").iterdir())) == 1
