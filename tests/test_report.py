"""The report of a run, in the browser of whoever opens it."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from recorded import record, simulation

import eventnet as en
from eventnet.errors import RunFolderError
from eventnet.raster import Raster, RasterWriter
from eventnet.report import marks, write
from eventnet.report.marks import BUDGET, marks_of

NAMES = ("chromium-headless-shell", "chromium", "chromium-shell")
IDLE = "window.Bokeh && Bokeh.documents.length > 0 && Bokeh.documents[0].is_idle"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(
            "reports are opened in Debian's chromium-headless-shell, which is not installed"
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox"], timeout=120_000
        )
        yield browser
        browser.close()


class Opened:
    """A report in a page that remembers what went wrong and what was asked for."""

    def __init__(self, browser: Browser, path: Path) -> None:
        self.page: Page = browser.new_page(viewport={"width": 1200, "height": 900})
        self.page.set_default_timeout(120_000)  # a busy machine is no failure
        self.wrong: list[str] = []
        self.page.on(
            "console",
            lambda m: self.wrong.append(m.text) if m.type in ("error", "warning") else None,
        )
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.asked: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        clock = self.page.context.new_cdp_session(self.page)
        clock.send("Performance.enable", {"timeDomain": "threadTicks"})
        self.page.goto(path.resolve().as_uri())
        self.page.wait_for_function(IDLE, polling=50)
        told = {m["name"]: m["value"] for m in clock.send("Performance.getMetrics")["metrics"]}
        self.seconds = told["TaskDuration"]  # of the page's thread: another's load does not count

    def canvas(self, name: str) -> Any:
        return self.page.get_by_role("figure", name=name, exact=True).locator(".bk-Canvas").first

    def place(self, name: str, x: float, y: float) -> tuple[float, float]:
        """Where a time and a neuron are on the screen."""
        self.canvas(f"Raster of {name}").scroll_into_view_if_needed()
        at = self.page.evaluate(
            """([name, x, y]) => {
              const figure = Bokeh.documents[0].get_model_by_name(name);
              const view = Bokeh.index.find_one(figure);
              return [view.frame.x_scale.compute(x), view.frame.y_scale.compute(y)];
            }""",
            [f"raster {name}", x, y],
        )
        box = self.canvas(f"Raster of {name}").bounding_box()
        return box["x"] + at[0], box["y"] + at[1]

    def pointed_at(self, name: str, x: float, y: float) -> dict[str, str]:
        """What the tooltip says of the spike at a time and a neuron."""
        self.page.mouse.move(*self.place(name, x, y))
        rows = self.page.locator(".bk-Tooltip .bk-tooltip-row-value")
        expect(rows.first).to_be_visible()
        neuron, when, spikes = rows.all_inner_texts()[:3]
        return {"neuron": neuron, "time": when.removesuffix(" s"), "spikes": spikes}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> en.Run:
    return record(tmp_path_factory.mktemp("runs") / "real")


@pytest.fixture(scope="module")
def opened(run: en.Run, browser: Browser) -> Opened:
    assert run.folder is not None
    return Opened(browser, write(run.folder))


def test_nothing_is_wrong_and_nothing_is_fetched(opened: Opened) -> None:
    assert opened.wrong == []
    assert [url[:5] for url in opened.asked] == ["file:"]
    assert opened.page.title() == "test: eventnet run"


def test_every_part_has_an_accessible_name(opened: Opened, run: en.Run) -> None:
    page = opened.page
    for heading in ("Summary", "Raster", "Traces", "Learning curve", "Cost", "Configuration"):
        expect(page.get_by_role("heading", name=heading, exact=True)).to_have_count(1)
    for name in run.raster.populations:
        expect(page.get_by_role("figure", name=f"Raster of {name}", exact=True)).to_have_count(1)
        expect(page.get_by_role("checkbox", name=name, exact=True)).to_be_checked()
    for figure in ("Trace of turn", "Learning curve turn", "Cost against dense networks"):
        expect(page.get_by_role("figure", name=figure)).to_have_count(1)
    expect(page.get_by_role("group", name="Populations")).to_have_count(1)
    named = "e => e.ariaLabel || e.labels?.length"
    parts = "[...document.querySelectorAll('figure, input')]"
    assert page.evaluate(f"{parts}.length && {parts}.every({named})")


def test_the_tables_say_what_the_raster_says(opened: Opened, run: en.Run) -> None:
    table = opened.page.get_by_role("table", name="Spikes by population")
    for name, row in run.raster.stats().items():
        cells = table.get_by_role("row", name=re.compile(rf"^{re.escape(name)} ")).first
        said = [int(text.replace(",", "")) for text in cells.get_by_role("cell").all_inner_texts()]
        assert said[1:] == [row.neurons, row.events, row.quanta, row.positive, row.negative]
    opened.page.get_by_text("Everything, as recorded").click()
    assert run.folder is not None
    shown = json.loads(opened.page.locator("pre").inner_text())
    assert shown == json.loads((run.folder / "config.json").read_text())


@pytest.mark.parametrize("name", ["gyro", "hidden"])
def test_pointing_at_a_spike_names_its_neuron_and_time(
    opened: Opened, run: en.Run, name: str
) -> None:
    spikes = run.raster.select(name).arrays()
    order = np.lexsort((spikes.time, spikes.neuron))
    gaps = np.diff(spikes.time[order]) + 9.0 * np.diff(spikes.neuron[order].astype(float))
    # The spike that is farthest from others of its neuron: the tooltip can mean no other.
    k = order[1:-1][np.argmax(np.minimum(gaps[:-1], gaps[1:]))]
    said = opened.pointed_at(name, float(spikes.time[k]), float(spikes.neuron[k]))
    assert int(said["neuron"]) == spikes.neuron[k]
    assert float(said["time"]) == pytest.approx(spikes.time[k], abs=0.5e-6)
    assert said["spikes"] == ("+1 −0" if spikes.count[k] > 0 else "+0 −1")


def test_zooming_draws_something_else_in_every_plot_and_reset_brings_it_back(
    opened: Opened,
) -> None:
    def pictures() -> list[bytes]:
        opened.page.mouse.move(5, 5)
        opened.page.wait_for_timeout(400)
        names = ("Raster of gyro", "Raster of hidden", "Trace of turn")
        return [opened.canvas(name).screenshot() for name in names]

    before = pictures()
    opened.page.mouse.move(*opened.place("gyro", 1.5, 1))
    opened.page.mouse.wheel(0, -600)
    opened.page.wait_for_function(IDLE, polling=50)
    after = pictures()
    assert all(a != b for a, b in zip(before, after, strict=True))
    width = "(() => { const r = Bokeh.documents[0].get_model_by_name('raster gyro').x_range;"
    assert opened.page.evaluate(f"{width} return r.end - r.start; }})()") < 2.9
    opened.page.evaluate(
        "Bokeh.index.find_one(Bokeh.documents[0].get_model_by_name('raster gyro')).reset()"
    )
    assert opened.page.evaluate(f"{width} return r.end - r.start; }})()") == pytest.approx(3.03)


def test_populations_are_switched_off_and_on(opened: Opened) -> None:
    box = opened.page.get_by_role("checkbox", name="hidden", exact=True)
    figure = opened.page.locator('figure[aria-label="Raster of hidden"]')
    box.focus()
    opened.page.keyboard.press("Space")
    expect(figure).to_be_hidden()
    expect(opened.page.locator('figure[aria-label="Raster of gyro"]')).to_be_visible()
    opened.page.keyboard.press("Space")
    expect(figure).to_be_visible()


def test_a_million_spikes_make_a_small_page_that_is_there_at_once(
    tmp_path: Path, browser: Browser
) -> None:
    run = record(tmp_path / "run", scale=1 / 40)
    assert len(run.raster) >= 1_000_000
    begin = time.process_time()
    path = write(tmp_path / "run")
    assert time.process_time() - begin < 5.0
    assert path.stat().st_size < 15e6
    opened = Opened(browser, path)
    assert opened.wrong == []
    assert opened.seconds < 5.0
    said = opened.pointed_at("gyro", 1.5, 2.0)
    spikes = run.raster.select("gyro").arrays()
    times = spikes.time[spikes.neuron == int(said["neuron"])]
    assert np.abs(times - float(said["time"])).min() < 0.5e-6  # binned, and yet a spike of the file


def test_bins_hold_every_spike_and_begin_with_one_of_them() -> None:
    rng = np.random.default_rng(0)
    n = 3 * BUDGET
    names = ["few", "many", "silent"]
    sizes = {"few": 5, "many": 1_000_000, "silent": 3}
    codes = rng.integers(0, 2, n)
    raster = Raster.from_arrays(
        np.sort(rng.uniform(0, 9, n)),
        codes,
        (rng.random(n) * np.where(codes, 1_000_000, 5)).astype(int),
        rng.choice([-2, 1], n),
        names,
    )
    found = marks_of(raster, sizes, 0.0, 9.0)
    assert sum(m.time.size for m in found) <= BUDGET
    for name, mark in zip(names, found, strict=True):
        stats = raster.stats()[name]
        assert (mark.positive.sum(), mark.negative.sum()) == (stats.positive, stats.negative)
        spikes = raster.select(name).arrays()
        sent = set(zip(spikes.time.tolist(), spikes.neuron.tolist(), strict=True))
        assert sent.issuperset(zip(mark.time.tolist(), mark.neuron.tolist(), strict=True))
        assert (np.abs(mark.time - mark.x) <= mark.width / 2 + 1e-12).all()
        assert (np.abs(mark.neuron - mark.y) <= mark.height / 2).all()


def test_runs_that_are_odd_running_or_killed_have_a_report(
    tmp_path: Path, browser: Browser
) -> None:
    def killed(t: float, spikes: int) -> None:
        if t > 1:
            write(tmp_path / "killed", tmp_path / "running.html")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulation().run(until=3.0, record=tmp_path / "killed", progress=killed)
    folders = {
        "empty": ([], [], [], []),
        "one": ([1.5], [1], [3], [-1]),
        "coincident": ([1.0, 1.0, 1.0], [0, 0, 1], [0, 1, 0], [1, -1, 1]),
        "million": ([0.5], [0], [999_999], [1]),
    }
    for name, columns in folders.items():
        with RasterWriter(tmp_path / name, ["a", 'odd "name" <b>&']) as writer:
            writer.append(*columns)
    net = en.Network(tau=0.1)
    net.sensor("a", 1, step=0.1)
    en.Simulation(net, raster=False).run(until=1.0, record=tmp_path / "counted")
    pages = [write(tmp_path / name) for name in (*folders, "killed", "counted")]
    for path in [*pages, tmp_path / "running.html"]:
        opened = Opened(browser, path)
        assert opened.wrong == [], path
        said = opened.page.get_by_role("status").all_inner_texts()
        if path.name == "running.html":
            assert "still being written" in said[0]
        elif path.parent.name == "killed":
            assert "was interrupted" in said[0]
        else:
            assert said == []
        opened.page.close()
    assert "No spikes were kept" in (tmp_path / "counted" / "report.html").read_text()
    with pytest.raises(RunFolderError, match="no such folder"):
        write(tmp_path / "absent")


def test_marks_of_a_short_run_are_its_spikes(run: en.Run) -> None:
    (found,) = marks.marks_of(run.raster.select("gyro"), {"gyro": 3}, 0.0, 3.0)
    np.testing.assert_array_equal(found.time, run.raster.select("gyro").arrays().time)
    assert found.width == 0
