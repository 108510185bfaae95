"""Figures: what is drawn is what fired."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from eventnet import plot
from eventnet.errors import ConfigError, RunFolderError
from eventnet.raster import Raster

NAMES = ["imu", "hidden"]
SIZES = {"imu": 6, "hidden": 200}


def made_up(n: int, sign: int | None = None) -> Raster:
    rng = np.random.default_rng(0)
    code = (rng.random(n) < 0.8).astype(int)
    return Raster.from_arrays(
        np.sort(rng.uniform(0.0, 20.0, n)),
        code,
        (rng.random(n) * np.where(code, 200, 6)).astype(int),
        rng.choice([-1, 1], n) if sign is None else np.full(n, sign),
        NAMES,
    )


def pixels(path: Path) -> np.ndarray:
    return matplotlib.image.imread(path)[..., :3]


def shows(image: np.ndarray, colour: str) -> bool:
    return bool((np.abs(image - to_rgb(colour)).max(axis=-1) < 0.02).any())


def test_more_spikes_are_more_ink(tmp_path: Path) -> None:
    ink = []
    for n in (0, 100, 2_000):
        made_up(n).plot(tmp_path / f"{n}.png", sizes=SIZES, start=0.0, stop=20.0, title="spikes")
        ink.append(float((1 - pixels(tmp_path / f"{n}.png")).sum()))
    assert ink[0] < ink[1] < ink[2]


@pytest.mark.parametrize("n", [50, 100_000])
def test_signs_have_their_colours_few_or_many(tmp_path: Path, n: int) -> None:
    for sign, colour, other in (
        (1, plot.style.POSITIVE, plot.style.NEGATIVE),
        (-1, plot.style.NEGATIVE, plot.style.POSITIVE),
    ):
        figure = made_up(n, sign).plot()
        figure.axes[0].get_legend().remove()
        image = pixels(plot.save(figure, tmp_path / "signs.png"))
        assert shows(image, colour)
        assert not shows(image, other)


def test_one_spike_among_very_many_is_visible() -> None:
    lone = np.zeros((2, 3, 4), np.int64)
    lone[0, 0, 0] = 1_000_000
    lone[1, 2, 3] = 1
    image = plot.raster._shades(lone)
    assert image[0, 0, 3] == 1.0
    assert image[2, 3, 3] > 0.4
    np.testing.assert_allclose(image[2, 3, :3], to_rgb(plot.style.NEGATIVE))
    assert np.count_nonzero(image[..., 3]) == 2


def test_few_spikes_are_marks_at_their_time_and_neuron() -> None:
    raster = made_up(300)
    for name, ax in zip(NAMES, raster.plot(sizes=SIZES).axes[1:], strict=True):
        (marks,) = (c for c in ax.collections if isinstance(c, LineCollection))
        middles = np.array([segment.mean(axis=0) for segment in marks.get_segments()])
        spikes = raster.select(name).arrays()
        np.testing.assert_allclose(middles, np.column_stack((spikes.time, spikes.neuron)))


def test_many_spikes_are_counted_into_pixels() -> None:
    raster = made_up(200_000)
    extent = plot.raster._extent(raster)
    panels = [plot.raster._Panel(size, 200_000, 100, 50) for size in (6, 200)]
    rates = plot.raster._gather(raster, panels, 0.0, 20.0, 100)
    spikes = raster.arrays()
    assert extent.sizes.tolist() == [6, 200]
    assert [panel.rows for panel in panels] == [6, 50]
    for code, panel in enumerate(panels):
        for side, of_sign in enumerate((spikes.count > 0, spikes.count < 0)):
            mine = (spikes.population_code == code) & of_sign
            expected, _, _ = np.histogram2d(
                spikes.neuron[mine],
                spikes.time[mine],
                bins=(panel.rows, 100),
                range=((0, panel.size), (0.0, 20.0)),
            )
            np.testing.assert_array_equal(panel.pixels[side], expected)
    np.testing.assert_array_equal(rates, sum(panel.pixels.sum(axis=1) for panel in panels))


def test_the_rate_strip_integrates_to_the_number_of_spikes() -> None:
    strip = made_up(5_000).plot().axes[0]
    positive, negative = (patch.get_data() for patch in strip.patches)
    assert np.dot(negative.values, np.diff(negative.edges)) == pytest.approx(5_000)
    np.testing.assert_array_equal(negative.baseline, positive.values)


def test_panels_follow_the_selection_and_the_sizes() -> None:
    raster = made_up(1_000)
    figure = raster.plot(populations=["hidden"], start=2.0, stop=4.0, sizes={"hidden": 300})
    strip, panel = figure.axes
    assert (strip.get_ylabel(), panel.get_ylabel()) == ("spikes/s", "hidden")
    assert panel.get_xlabel() == "time (s)"
    assert panel.get_xlim() == (2.0, 4.0)
    assert panel.get_yticks().tolist() == [0, 299]
    count = len(raster.select("hidden", 2.0, 4.0))
    assert strip.get_title(loc="left") == f"{count:,} spikes in 2 s"
    with pytest.raises(ConfigError, match=r"sizes\['hidden'\]=5: must be >= 200, as neuron 199"):
        raster.plot(sizes={"hidden": 5})
    with pytest.raises(ConfigError, match="did you mean 'hidden'"):
        raster.plot(populations=["hiden"])


def test_heights_grow_as_the_root_of_the_size() -> None:
    small, large = plot.raster._heights([100, 400])
    assert large / small == pytest.approx(2.0)
    assert min(plot.raster._heights([1, 100_000])) >= 0.3
    assert plot.raster._heights([1])[0] < 1.0


@pytest.mark.parametrize(
    "raster",
    [
        Raster.from_arrays([], [], [], [], []),
        Raster.from_arrays([], [], [], [], NAMES),
        Raster.from_arrays([1.5], [1], [3], [-1], NAMES),
        Raster.from_arrays([1.5, 1.5], [1, 1], [3, 4], [-1, 1], NAMES),
        Raster.from_arrays([0.0], [0], [2**32 - 1], [1], ["a name that is far too long to fit"]),
    ],
    ids=["no populations", "silent", "one spike", "one instant", "long name, large index"],
)
def test_odd_rasters_are_drawn(raster: Raster, tmp_path: Path) -> None:
    figure = raster.plot(tmp_path / "odd.png")
    begin, end = figure.axes[0].get_xlim()
    assert end - begin == 1.0
    assert pixels(tmp_path / "odd.png").std() > 0


@pytest.mark.parametrize("n", [30, 60_000])
def test_labels_and_panels_do_not_overlap(n: int) -> None:
    names = ["imu", "camera", "hidden", "hidden.error", "a name that is far too long to fit"]
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 5, n)
    neurons = (rng.random(n) * np.array([6, 2, 200, 200, 1])[codes]).astype(int)
    raster = Raster.from_arrays(
        np.sort(rng.uniform(0, 20, n)), codes, neurons, rng.choice([-1, 1], n), names
    )
    figure = raster.plot()
    figure.draw_without_rendering()
    boxes = [ax.get_tightbbox() for ax in figure.axes]
    for above, below in itertools.pairwise(boxes):
        # Tick labels may stand out of a low panel, but must not reach those of the next one.
        assert above.y0 - below.y1 > -1.0
    for ax in figure.axes:
        ticks = [t.get_window_extent() for t in ax.get_yticklabels()]
        label = ax.yaxis.label.get_window_extent()
        assert label.x0 >= 0
        assert all(label.x1 <= tick.x0 for tick in ticks)
        assert all(a.y1 <= b.y0 + 1 for a, b in itertools.pairwise(ticks))
    strip = figure.axes[0]
    title = strip._left_title.get_window_extent()
    assert title.x1 < strip.get_legend().get_window_extent().x0


@pytest.mark.parametrize(
    ("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_saved_by_suffix_and_the_same_each_time(tmp_path: Path, suffix: str, magic: bytes) -> None:
    first, second = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix.upper()}"
    assert isinstance(made_up(500).plot(first), Figure)
    made_up(500).plot(second)
    assert first.read_bytes().startswith(magic)
    assert first.read_bytes() == second.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == [first.name, second.name]


def test_what_cannot_be_saved_is_named(tmp_path: Path) -> None:
    figure = made_up(5).plot()
    with pytest.raises(ConfigError, match="png, svg, pdf"):
        plot.save(figure, tmp_path / "figure.bmp")
    with pytest.raises(RunFolderError, match=r"absent/figure\.png: cannot be written"):
        plot.save(figure, tmp_path / "absent" / "figure.png")


def in_a_new_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_pyplot_and_its_global_state_are_left_alone(tmp_path: Path) -> None:
    code = (
        "import sys, matplotlib\n"
        # Without the backend, which matplotlib looks up by importing pyplot.
        "def now(): return {k: matplotlib.rcParams[k] for k in set(matplotlib.rcParams) - {'backend'}}\n"
        "before = now()\n"
        "from eventnet.raster import Raster\n"
        f"Raster.from_arrays([.1], [0], [0], [1], ['a']).plot({str(tmp_path / 'a.png')!r})\n"
        "print('matplotlib.pyplot' in sys.modules, now() == before)"
    )
    assert in_a_new_process(code) == "False True\n"


def test_reading_needs_no_matplotlib_and_drawing_says_how_to_get_it() -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None  # what Python finds where it is missing\n"
        "from eventnet.raster import Raster\n"
        "raster = Raster.from_arrays([.1], [0], [0], [1], ['a']); assert raster.stats()\n"
        "try: raster.plot()\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    assert in_a_new_process(code) == (
        'ConfigError figures need matplotlib: pip install "eventnet[plot]"\n'
    )


def test_importing_the_raster_stays_light() -> None:
    code = (
        "import sys, eventnet.raster, eventnet.export, eventnet.plot\n"
        "print([m for m in ('pyarrow', 'matplotlib', 'numba') if m in sys.modules])"
    )
    assert in_a_new_process(code) == "[]\n"
