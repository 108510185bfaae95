"""Pictures of a run beside its raster: what is drawn is what was read, learned and counted."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from recorded import record, simulation

from eventnet import plot
from eventnet.errors import ConfigError, RunFolderError
from eventnet.plot.cost import BARS
from eventnet.plot.run import figure_of
from eventnet.plot.signals import decoded, windowed_error
from eventnet.plot.style import NEGATIVE, POSITIVE
from eventnet.raster import Raster, RasterWriter
from eventnet.runs import RunFolder

PICTURES = ("raster", "signals", "outputs", "weights", "cost")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("runs") / "real"
    record(folder)
    return RunFolder(folder)


def test_the_reconstruction_is_what_receivers_decode(run: RunFolder) -> None:
    """A neuron of weight 1 and bias 0 behind the sensor holds the decoded signal itself."""
    import eventnet as en

    net = en.Network(tau=0.1)
    net.source("gyro", 3, step=0.05)
    net.output("seen", 3)
    net.connect("gyro", "seen", weights=np.eye(3), plastic=False)
    sim = en.Simulation(net)
    raster = Raster.open(run.path).select("gyro")
    sim.feed("gyro", en.SpikeTrain.replay(raster, "gyro"))
    sim.probe("seen", rate=97)
    seen = sim.run(until=3.0).output("seen")
    for neuron in range(3):
        np.testing.assert_allclose(
            decoded(raster, neuron, seen.times, 0.05, 0.1), seen.values[:, neuron], atol=1e-12
        )


def test_signals_show_the_reading_the_reconstruction_and_every_spike_by_sign(
    run: RunFolder,
) -> None:
    drawn = figure_of("signals", run.path, "gyro")
    reading = run.readings()["gyro"]
    spikes = Raster.open(run.path).select("gyro").arrays()
    assert len(drawn.axes) == 3
    for neuron, ax in enumerate(drawn.axes):
        np.testing.assert_array_equal(ax.lines[0].get_ydata(), reading.values[:, neuron])
        error = np.abs(ax.lines[1].get_ydata() - ax.lines[0].get_ydata())
        assert np.median(error) < 2 * 0.05
        for marks, sign, colour in zip(ax.collections, (1, -1), (POSITIVE, NEGATIVE), strict=True):
            mine = spikes.time[(spikes.neuron == neuron) & (spikes.count * sign > 0)]
            np.testing.assert_array_equal([s[0, 0] for s in marks.get_segments()], mine)
            assert tuple(marks.get_color()[0]) == to_rgba(colour)
    assert drawn.axes[-1].get_xlabel() == "time (s)"


def test_outputs_stand_beside_the_targets_that_were_in_force(run: RunFolder) -> None:
    reading = run.readings()["turn"]
    taught = np.sin(np.minimum(np.floor(reading.times * 20 + 1e-9), 59) / 20)
    np.testing.assert_allclose(reading.given, np.stack([taught, -taught], axis=1), atol=1e-12)
    drawn = figure_of("outputs", run.path)
    assert [ax.get_ylabel() for ax in drawn.axes] == ["turn 0", "turn 1", "RMS error"]
    target, output = drawn.axes[1].lines[:2]
    np.testing.assert_array_equal(target.get_ydata(), reading.given[:, 1])
    np.testing.assert_array_equal(output.get_ydata(), reading.values[:, 1])


def test_the_learning_curve_is_the_error_of_its_window_and_passes_over_gaps() -> None:
    t = np.linspace(0, 10, 1001)
    values, given = np.stack([t, t], axis=1), np.zeros((1001, 2))
    given[(t > 4) & (t < 6)] = np.nan
    middles, error = windowed_error(t, values, given, windows=10)
    assert middles.tolist() == [
        0.5,
        1.5,
        2.5,
        3.5,
        4.5,
        6.5,
        7.5,
        8.5,
        9.5,
    ]  # of 4 to 5 t = 4 alone
    expected = [np.sqrt(np.mean(t[k : k + 100] ** 2)) for k in (0, 200)]
    np.testing.assert_allclose(error[[0, 2, 4]], [*expected, 4.0], rtol=1e-12)
    assert windowed_error(t[:0], values[:0], given[:0])[0].size == 0


def test_weights_show_what_learning_did(run: RunFolder) -> None:
    start, end = run.weights("start"), run.weights("end")
    assert set(start) == {"gyro -> hidden", "camera -> hidden", "still -> hidden", "hidden -> turn"}
    drawn = figure_of("weights", run.path)
    images = [ax.images[0].get_array() for ax in drawn.axes if ax.images]
    name = "hidden -> turn"
    np.testing.assert_array_equal(images[6], end[name].T)
    np.testing.assert_array_equal(images[7], (end[name] - start[name]).T)
    assert np.abs(images[7]).max() > 0
    assert np.abs(images[5]).max() == 0  # nothing is learned from a silent sensor
    plain = plot.weights_figure({"sparse": np.arange(5.0)})
    texts = [text.get_text() for ax in plain.axes for text in ax.texts]
    assert texts == ["sparse: see the distribution", "the run did not finish"]
    with pytest.raises(ConfigError, match="no projections"):
        plot.weights_figure({})


def test_bars_are_the_counted_operations_end_to_end(run: RunFolder) -> None:
    totals = run.end["cost"]["totals"]
    (ax,) = figure_of("cost", run.path).axes
    for k, bar in enumerate(BARS):
        widths = [ax.patches[4 * p + k].get_width() for p in range(3)]
        assert widths == [totals[bar][name] for name in ("forward", "backward", "update")]
        assert ax.texts[k].get_text() == f" {totals[bar]['all']:,}"


def test_the_raster_of_a_run_covers_all_of_it_and_every_neuron(run: RunFolder) -> None:
    drawn = figure_of("raster", run.path)
    assert drawn.axes[0].get_xlim()[0] == 0.0
    assert drawn.axes[0].get_xlim()[1] == pytest.approx(3.0)
    still = next(ax for ax in drawn.axes if ax.get_ylabel() == "still")
    assert still.get_yticks().tolist() == [0, 1]  # two neurons, though none fired
    counted = int(drawn.axes[0].get_title(loc="left").split()[0].replace(",", ""))
    assert counted == len(Raster.open(run.path))


@pytest.mark.parametrize("what", PICTURES)
def test_texts_fit_and_do_not_overlap(run: RunFolder, what: str, tmp_path: Path) -> None:
    drawn = figure_of(what, run.path)
    plot.save(drawn, tmp_path / "x.png")
    width, height = drawn.canvas.get_width_height()
    for ax in drawn.axes:
        label = ax.yaxis.label.get_window_extent()
        if ax.get_ylabel():
            assert label.x0 >= -1
            assert label.y1 <= height + 1
        title = ax.title.get_window_extent()
        assert title.x1 <= width
        ticks = [t.get_window_extent() for t in ax.get_xticklabels() if t.get_text()]
        ticks = [t for t in ticks if t.width and t.x0 >= -1 and t.x1 <= width + 1]
        assert all(a.x1 <= b.x0 + 1 for a, b in itertools.pairwise(ticks))


def test_what_a_run_did_not_leave_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no such folder"):
        figure_of("cost", tmp_path / "absent")
    sim = simulation()
    folder = tmp_path / "killed"

    def killed(t: float, spikes: int) -> None:
        if t > 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sim.run(until=3.0, record=folder, progress=killed)
    assert figure_of("raster", folder).axes
    assert figure_of("weights", folder).axes  # those it began with
    for what in ("cost", "outputs", "signals"):
        with pytest.raises(RunFolderError, match="was interrupted"):
            figure_of(what, folder)


def test_ten_million_spikes_are_drawn_in_ten_seconds(tmp_path: Path) -> None:
    n, rng = 10_000_000, np.random.default_rng(0)
    with RasterWriter(tmp_path, ["sensor", "hidden"]) as writer:
        for k in range(10):
            part = n // 10
            writer.append(
                k + np.arange(part) / part,
                rng.integers(0, 2, part),
                rng.integers(0, 1000, part),
                rng.choice([-1, 1], part),
            )
    begin = time.process_time()
    Raster.open(tmp_path).plot(tmp_path / "raster.png")
    assert time.process_time() - begin < 10.0
