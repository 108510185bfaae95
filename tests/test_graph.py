"""A network before it runs: estimate, table, drawing and files, against the engine and real readers."""

from __future__ import annotations

import json
import subprocess
import time
import xml.etree.ElementTree as ET
from collections import Counter
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from test_cli import SCENARIO, eventnet

import eventnet as en
from eventnet import drawing, graph
from eventnet.engine.compiled import CompiledEngine
from eventnet.engine.plan import make_plan

PNG = b"\x89PNG\r\n\x1a\n"


def small() -> en.Network:
    net = en.Network(tau=0.1)
    net.sensor("gyro", 3, step=0.05)
    net.layer("hidden", 50, step=0.1, error_step=0.02)
    net.output("turn", 2, error_step=0.05)
    net.connect("gyro", "hidden")
    net.connect("hidden", "turn")
    return net


def deep() -> en.Network:
    """Depth 4, skip connections, fixed projections, two outputs, time constants of their own."""
    net = en.Network(tau=0.1)
    net.sensor("gyro", 3, step=0.05)
    net.sensor("camera", 1024, step=0.25, tau=0.5)
    net.sensor("touch", 12, step=0.5, threshold=0.75)
    net.layer("retina", 256, step=0.1, error_step=0.02)
    net.layer("inertia", 32, step=0.1, error_step=0.02, bias=0.1)
    net.layer("fusion", 200, step=0.1, error_step=0.02, activation="leaky", leak=0.2)
    net.layer("memory", 100, step=0.1, error_step=0.02, activation="identity")
    net.layer("plan", 50, step=0.1, error_step=0.02)
    net.output("turn", 1, error_step=0.05)
    net.output("grip_force", 4, error_step=0.05)
    for source, target in (
        ("gyro", "inertia"),
        ("touch", "inertia"),
        ("retina", "fusion"),
        ("inertia", "fusion"),
        ("fusion", "memory"),
        ("memory", "plan"),
        ("plan", "turn"),
        ("plan", "grip_force"),
        ("inertia", "plan"),
        ("touch", "grip_force"),
    ):
        net.connect(source, target)
    for source, target in (("camera", "retina"), ("gyro", "turn"), ("retina", "memory")):
        net.connect(source, target, plastic=False)
    return net


def wide() -> en.Network:
    """Many neurons, few synapses: memory goes into state, not into weights."""
    net = en.Network(tau=0.1)
    net.sensor("retina", 200_000, step=0.1)
    net.output("brightness", 1, error_step=0.1, bias=0.5)
    net.connect("retina", "brightness", plastic=False)
    return net


def digits() -> en.Network:
    """Memory goes into weights and the late bookings of plasticity."""
    net = en.Network(tau=0.05)
    net.sensor("image", 784, step=0.5)
    net.layer("first", 400, step=0.1, error_step=0.1, bias=np.linspace(-1, 1, 400))
    net.layer("second", 300, step=0.1, error_step=0.1)
    net.output("label", 10, error_step=0.1)
    for pair in (("image", "first"), ("first", "second"), ("second", "label")):
        net.connect(*pair)
    return net


def chain(layers: int) -> en.Network:
    net = en.Network(tau=0.1)
    before = net.sensor("start", 1, step=0.1)
    for k in range(layers):
        layer = net.layer(f"layer{k}", 1, step=0.1)
        net.connect(before, layer, plastic=False)
        before = layer
    return net


def sparse() -> en.Network:
    """A thin projection, a masked one, rates and bounds of their own."""
    net = en.Network(tau=0.1)
    net.sensor("retina", 4000, step=0.1)
    net.layer("hidden", 500, step=0.1, error_step=0.1, lr=0.2)
    net.output("label", 10, error_step=0.1, loss="softmax", tolerance=0.02)
    net.connect("retina", "hidden", fan_in=40, bounds=(-1, 1))
    net.connect("hidden", "label", mask=np.arange(5000).reshape(500, 10) % 3 == 0)
    return net


def local() -> en.Network:
    """Large populations with sparse input, that keep lists of whom spikes reach."""
    net = en.Network(tau=0.1)
    net.sensor("camera", 3000, step=0.1)
    net.layer("hidden", 4000, step=0.1)
    net.output("label", 2000, error_step=0.1)
    net.connect("camera", "hidden", fan_in=10, plastic=False)
    net.connect("hidden", "label", fan_in=10)
    return net


def recurrent() -> en.Network:
    """A layer that hears itself, and one that talks back, each after a delay."""
    net = small()
    net.layer("memory", 40, step=0.1, error_step=0.02)
    net.connect("memory", "hidden", delay=0.02, error_delay=0.02)
    net.connect("hidden", "memory")
    net.connect("memory", "memory", delay=0.01, error_delay=0.01)
    net.connect("memory", "turn")
    return net


NETWORKS = {f.__name__: f for f in (small, deep, wide, digits, sparse, local, recurrent)}


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> en.Network:
    return NETWORKS[request.param]()


# -- the estimate --------------------------------------------------------------------------------------


def within(value: object) -> list[np.ndarray]:
    """Every array in nested tuples, bound ones too."""
    if hasattr(value, "_asdict"):
        return [array for member in value._asdict().values() for array in within(member)]
    return [value] if isinstance(value, np.ndarray) else []


@pytest.mark.parametrize("plasticity", [True, False])
def test_the_bytes_are_those_of_a_real_engine(network: en.Network, plasticity: bool) -> None:
    rule = en.STDP(lr=0.1) if plasticity else None
    plan = make_plan(network, rule, np.random.default_rng(0))
    engine = CompiledEngine(plan, lambda *batch: None)
    arrays = [a for name, member in vars(engine).items() if name != "plan" for a in within(member)]
    real = sum(array.nbytes for array in arrays)
    found = graph.estimate(network, rule)
    assert found.weight_bytes == sum(8 * q.synapses for q in plan.projections)
    assert found.bytes == pytest.approx(real, rel=0.1)
    # The buffer of spikes has one size for all networks and must not hide a wrong coefficient.
    fixed = sum(array.nbytes for array in within(engine._buffer))
    assert found.bytes - fixed == pytest.approx(real - fixed, rel=0.1)


def test_the_additions_of_spikes_are_those_that_a_run_counts() -> None:
    for net in (small(), deep()):
        sim = en.Simulation(net, plasticity=en.STDP(lr=0.01), seed=1)
        rng = np.random.default_rng(0)
        for p in net.populations:
            values = rng.normal(size=(40, p.size))
            if p.kind == "sensor":
                sim.feed(p, en.Periodic(values, rate=100))
            elif p.kind == "output":
                sim.teach(p, en.Periodic(values, rate=100))
        cost = sim.run(0.35).cost
        found = graph.estimate(net)
        expected = sum(cost.populations[name]["quanta"] * n for name, n in found.spike.items())
        expected += sum(
            cost.populations[name]["error_quanta"] * n for name, n in found.error_spike.items()
        )
        assert cost.total("additions") == expected > 1000
        silent = {name for name, p in cost.populations.items() if not p["error_events"]}
        assert not silent & {name for name, n in found.error_spike.items() if n}
        # One dense step at every reading and target: the dense networks that a run is compared with.
        assert cost.total("dense", ("forward",)) == cost.readings * found.forward
        taught = cost.total("dense", ("backward", "update"))
        assert taught == cost.teachings * (found.training - found.forward)


def test_counts_of_a_network_by_hand() -> None:
    found = graph.estimate(small())
    assert (found.neurons, found.synapses, found.weight_bytes) == (55, 250, 2000)
    assert found.forward == 3 * 50 + 50 * 2
    assert found.training == found.forward + 50 * 2 + (3 * 50 + 50 * 2)  # back, and all updated
    assert found.spike == {"gyro": 50 + 50, "hidden": 2 + 2, "turn": 0}
    assert found.error_spike == {"hidden": 3, "turn": 50 + 50}
    still = graph.estimate(small(), None)
    assert still.training == still.forward == 250
    assert still.spike == {"gyro": 50, "hidden": 2, "turn": 0}
    assert still.error_spike == {}
    assert still.bytes < found.bytes


def test_an_estimate_allocates_nothing_of_the_networks_size() -> None:
    net = en.Network(tau=0.1)
    net.sensor("world", 2 * 10**6, step=0.1)
    net.output("answer", 10**6, error_step=0.1)
    net.connect("world", "answer")
    assert graph.estimate(net).weight_bytes == 8 * 2 * 10**12
    assert "(16 TB of weights" in str(net)


def test_an_estimate_of_a_hundred_populations_is_there_at_once() -> None:
    net = chain(100)
    begin = time.process_time()
    assert graph.estimate(net).neurons == 101
    assert time.process_time() - begin < 1.0


def test_synapses_that_are_not_there_cost_nothing() -> None:
    net = en.Network(tau=0.1)
    net.sensor("retina", 100, step=0.1)
    net.output("answer", 50, error_step=0.1)
    net.connect("retina", "answer", fan_in=10, bounds=(-1, 1))
    found = graph.estimate(net)
    assert (found.synapses, found.weight_bytes, found.training) == (500, 4000, 1000)
    assert (found.spike["retina"], found.error_spike["answer"]) == (5 + 5, 10)
    assert "500 synapses" in str(net)
    assert "bounds -1 to 1" in str(net)


# -- the table -----------------------------------------------------------------------------------------


def test_print_shows_everything_in_80_columns(network: en.Network) -> None:
    text = str(network)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    for p in network.populations:
        line = next(line for line in lines if line.startswith(f"{p.name} "))
        assert f" {p.size:,} " in line
        assert p.kind in line
        assert f" {p.tau:g}" in line
        assert p.error_step is None or f" {p.error_step:g} " in line
        assert p.kind == "sensor" or p.activation in line
    for q in network.projections:
        line = next(line for line in lines if line.startswith(f"{q.name} "))
        assert "{:,} x {:,}".format(*q.shape) in line
        assert f" {q.synapses:,} " in line
        assert ("plastic" if q.plastic else "fixed") in line
        assert (f"delay {q.delay:g} s" in line) == (q.delay > 0)
    assert str(graph.estimate(network)) in text
    assert "…" not in text


def test_what_was_set_is_shown_and_what_was_not_is_not() -> None:
    lines = {line.split()[0]: line for line in reversed(str(deep()).splitlines()) if line}
    assert "threshold 0.75" in lines["touch"]
    assert "bias given" in lines["inertia"]
    assert "leak 0.2" in lines["fusion"]
    for word in ("threshold", "bias", "leak", "loss", "error tau", "delay", "given"):
        assert word not in str(small())
    net = small()
    net.layer("tail", 2, step=0.1, error_step=0.1, error_tau=0.4)
    net.connect("hidden", "tail", weights=np.ones((50, 2)), plastic=False)
    assert "error tau 0.4 s" in str(net)
    assert "weights given" in str(net)


def test_unfinished_networks_can_be_printed() -> None:
    net = en.Network(tau=0.1)
    assert "add a sensor" in str(net)
    net.sensor("gyro", 3, step=0.05)
    net.layer("hidden", 50, step=0.1)
    assert "0 synapses" in str(net)
    net.connect("gyro", "hidden")
    assert "cannot learn yet: gyro -> hidden: plastic, but hidden leads to no output" in str(net)
    net.output("turn", 1, error_step=0.1)
    net.connect("hidden", "turn")
    assert "cannot learn yet: error_step is missing on hidden" in str(net)


def test_long_names_wrap_and_lose_nothing() -> None:
    net = en.Network(tau=0.1)
    name = "a_name_that_is_longer_than_half_of_a_line_of_the_table"
    net.sensor(name, 3, step=0.05)
    net.output(f"{name}_2", 1, error_step=0.05)
    net.connect(name, f"{name}_2")
    lines = str(net).splitlines()
    assert max(map(len, lines)) <= 80
    assert name in "".join(line.split(" ")[0] for line in lines)


# -- files ---------------------------------------------------------------------------------------------


def test_graphml_and_json_come_back_as_the_same_graph(network: en.Network, tmp_path: Path) -> None:
    graph.save(network, tmp_path / "net.graphml")
    graph.save(network, tmp_path / "net.json")
    plain = graph.plain(network)
    data = json.loads((tmp_path / "net.json").read_text())
    for found in (
        nx.read_graphml(tmp_path / "net.graphml"),
        nx.node_link_graph(data, edges="edges"),
    ):
        assert isinstance(found, nx.DiGraph)
        assert dict(found.nodes(data=True)) == dict(plain.nodes(data=True))
        assert list(found.edges(data=True)) == list(plain.edges(data=True))
    assert set(plain.nodes) == set(network.graph.nodes)
    assert set(plain.edges) == set(network.graph.edges)
    for p in network.populations:
        node = plain.nodes[p.name]
        assert (node["kind"], node["size"], node["tau"]) == (p.kind, p.size, p.tau)
        assert node.get("error_step") == p.error_step
    for q in network.projections:
        edge = plain.edges[q.source.name, q.target.name]
        assert (edge["n_in"], edge["n_out"]) == q.shape
        assert edge["synapses"] == q.synapses
        assert (edge["plastic"], edge["delay"]) == (q.plastic, q.delay)
        assert "weights" not in edge
    assert data["graph"] == {"tau": network.tau}


def test_the_svg_holds_every_name_as_text(network: en.Network, tmp_path: Path) -> None:
    path = graph.save(network, tmp_path / "net.svg", title="a $title$")
    root = ET.parse(path).getroot()
    texts = [text for element in root.iter() if (text := (element.text or "").strip())]
    for p in network.populations:
        assert texts.count(p.name) == 1
    for q in network.projections:
        assert "{:,} × {:,}".format(*q.shape) in texts
    assert "a $title$" in texts
    assert path.read_bytes() == graph.save(network, path, title="a $title$").read_bytes()


def test_the_png_is_one(tmp_path: Path) -> None:
    from matplotlib.image import imread

    path = graph.save(deep(), tmp_path / "net.png")
    assert path.read_bytes().startswith(PNG)
    pixels = imread(path)
    height, width = pixels.shape[:2]
    assert 1000 < height + width < 5000
    assert 0.01 < (pixels[..., :3].min(axis=-1) < 0.9).mean() < 0.5  # ink on white


def test_an_unknown_suffix_lists_those_there_are(tmp_path: Path) -> None:
    for name in ("net.bmp", "net", "net.yaml"):
        with pytest.raises(en.ConfigError, match="there are svg, png, graphml, json"):
            graph.save(small(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_no_viewer_opens_is_refused(tmp_path: Path) -> None:
    net = chain(120)
    with pytest.raises(en.ConfigError, match="draw an svg"):
        graph.save(net, tmp_path / "net.png")
    assert list(tmp_path.iterdir()) == []
    assert graph.save(net, tmp_path / "net.svg").stat().st_size > 100_000


# -- the drawing ---------------------------------------------------------------------------------------


class Drawn:
    """The drawing of a network, as its ink lies in pixels, y upwards."""

    def __init__(self, net: en.Network) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.patches import FancyArrowPatch

        figure = drawing.figure(net)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        (ax,) = figure.axes
        self.page = figure.bbox
        self.boxes = {b.get_gid(): b.get_window_extent() for b in ax.patches if b.get_gid()}
        self.texts = [text.get_window_extent(canvas.get_renderer()) for text in ax.texts]
        arrows = [patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]
        self.lines = [  # the first polygon is the line, further ones its head
            arrow.get_path().to_polygons(ax.transData, closed_only=False)[0] for arrow in arrows
        ]

    def inside(self, name: str) -> list[Any]:
        return [text for text in self.texts if text.overlaps(self.boxes[name])]


@pytest.fixture
def drawn(network: en.Network) -> Drawn:
    return Drawn(network)


def test_nothing_overlaps(drawn: Drawn) -> None:
    for a, b in combinations(drawn.boxes.values(), 2):
        assert not a.overlaps(b)
    for a, b in combinations(drawn.texts, 2):
        assert not a.shrunk(1, 0.8).overlaps(b.shrunk(1, 0.8))  # the rest is room above letters
    for extent in [*drawn.boxes.values(), *drawn.texts]:
        assert drawn.page.contains(*extent.min)
        assert drawn.page.contains(*extent.max)
    for line in drawn.lines:  # an edge touches its own boxes at their sides and no other box
        points = np.concatenate([np.linspace(a, b, 20) for a, b in pairwise(line)])
        for box in drawn.boxes.values():
            inner = box.padded(-2)
            assert not any(inner.contains(x, y) for x, y in points)


def test_the_text_fits_its_box(network: en.Network, drawn: Drawn) -> None:
    for p in network.populations:
        texts = drawn.inside(p.name)
        assert len(texts) == 2  # its name, and the rest
        for text in texts:
            assert drawn.boxes[p.name].contains(*text.min)
            assert drawn.boxes[p.name].contains(*text.max)
    assert len(drawn.texts) == 2 * len(network.populations) + len(network.projections)


def test_columns_are_topological_with_sensors_left_and_outputs_right(
    network: en.Network, drawn: Drawn
) -> None:
    boxes = drawn.boxes
    for q in network.projections:
        if not q.delay:
            assert boxes[q.source.name].x1 < boxes[q.target.name].x0
    left = min(box.x0 for box in boxes.values())
    right = max(box.x0 for box in boxes.values())
    for p in network.populations:
        assert (boxes[p.name].x0 == left) == (p.kind == "sensor")
        assert (boxes[p.name].x0 == right) == (p.kind == "output")


def test_an_edge_leads_from_its_source_to_its_target_and_errors_lead_back() -> None:
    boxes, lines = Drawn(small()).boxes, Drawn(small()).lines
    sides = [(line[0, 0], line[-1, 0]) for line in lines]
    gyro, hidden, turn = boxes["gyro"], boxes["hidden"], boxes["turn"]
    expected = [(gyro.x1, hidden.x0), (hidden.x1, turn.x0), (turn.x0, hidden.x1)]
    np.testing.assert_allclose(sides, expected, atol=6)  # pixels: a line ends within its head


def colours(net: en.Network, rule: en.STDP | None) -> Counter[str]:
    from matplotlib.colors import to_hex
    from matplotlib.patches import FancyArrowPatch

    (ax,) = drawing.figure(net, rule).axes
    arrows = [patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]
    return Counter(to_hex(arrow.get_edgecolor()).upper() for arrow in arrows)


def test_plastic_fixed_and_error_lines_differ(network: en.Network) -> None:
    from eventnet.plot import FAINT, NEGATIVE, POSITIVE

    rule = en.STDP(lr=0.1)
    plan = make_plan(network, rule, np.random.default_rng(0))
    plastic, n = sum(plan.plastic), len(network.projections)
    errors = sum(map(len, plan.returning))
    expected = {POSITIVE: plastic, FAINT: n - plastic, NEGATIVE: errors}
    assert colours(network, rule) == {k: v for k, v in expected.items() if v}
    assert colours(network, None) == {FAINT: n}


def test_a_network_that_cannot_learn_yet_is_drawn_as_it_is() -> None:
    net = small()
    net.layer("unused", 5, step=0.1)
    net.connect("hidden", "unused")
    assert {text.get_text() for text in drawing.figure(net).axes[0].texts} >= {"unused", "50 × 5"}
    with pytest.raises(en.ConfigError, match="no populations"):
        drawing.figure(en.Network(tau=0.1))


# -- the command ---------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "sine.py").write_text(SCENARIO)
    return tmp_path


def only(place: Path, *names: str) -> bool:
    """Whether nothing but the scenario, what Python keeps and `names` lies there: no run folder."""
    return {p.name for p in place.iterdir()} - {"__pycache__"} == {"sine.py", *names}


@pytest.mark.parametrize("suffix", graph.FORMATS)
def test_graph_writes_every_format_and_no_run_folder(place: Path, suffix: str) -> None:
    (place / f"net.{suffix}").write_text("an older file")
    done = eventnet("graph", "sine.py", "--set", "size=12", "-o", f"net.{suffix}", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "12 x 1" in done.stdout
    assert "14 neurons, 24 synapses" in done.stdout
    assert f"graph net.{suffix}" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert only(place, f"net.{suffix}")
    written = (place / f"net.{suffix}").read_bytes()
    assert {
        "svg": lambda: ET.fromstring(written).tag.endswith("svg"),
        "png": lambda: written.startswith(PNG) and len(written) > 10_000,
        "graphml": lambda: nx.read_graphml(place / "net.graphml").nodes["hidden"]["size"] == 12,
        "json": lambda: json.loads(written)["nodes"][1]["size"] == 12,
    }[suffix]()


def test_json_is_one_object_with_estimate_and_graph(place: Path) -> None:
    done = eventnet("graph", "sine.py", "--json", "--set", "learn=false", cwd=place)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = json.loads(done.stdout)
    read = nx.node_link_graph(found["graph"], edges="edges")
    assert list(read.edges) == [("angle", "hidden"), ("hidden", "torque")]
    assert found["estimate"]["synapses"] == 16
    assert found["estimate"]["training"] == 16  # without a rule nothing is learned
    assert found["estimate"]["error_spike"] == {}
    assert only(place)


def test_the_drones_network_is_shown_without_flying(tmp_path: Path) -> None:
    done = eventnet("graph", "drone", "--json", "-o", "drone.svg", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    sizes = {node["id"]: node["size"] for node in found["graph"]["nodes"]}
    assert sizes == {"imu": 6, "camera": 2, "hidden": 60, "flow": 2}
    assert found["estimate"]["synapses"] == 6 * 60 + 2 * 60 + 60 * 2
    texts = {e.text for e in ET.parse(tmp_path / "drone.svg").iter()}
    assert {"imu", "camera", "hidden", "flow"} <= texts
    assert [p.name for p in tmp_path.iterdir()] == ["drone.svg"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ["sine.py", "-o", "net.bmp"],
            2,
            "net.bmp: unknown kind of graph file; there are svg, png",
        ),
        (["drnoe"], 2, "did you mean 'drone'?"),
        (["sine.py", "--set", "size=0"], 2, "size=0 on hidden: must be a whole number"),
        (["sine.py", "--set", "kind=broken"], 1, "reading nan in sample 17"),
        (["sine.py", "-o", "no/such/folder/net.json"], 1, "no/such/folder/net.json: cannot be"),
        (["sine.py", "-o", "no/such/folder/net.svg"], 1, "no/such/folder/net.svg: cannot be"),
        (["idle.py"], 2, "idle.py: never calls session.run(sim, ...)"),
        ([], 2, "SCENARIO"),
    ],
)
def test_a_mistake_gives_one_message_and_writes_nothing(
    place: Path, arguments: list[str], code: int, message: str
) -> None:
    idle = SCENARIO.replace("out = session.run(sim, 3.95)", "return sim")
    (place / "idle.py").write_text(idle)
    done: subprocess.CompletedProcess[str] = eventnet("graph", *arguments, cwd=place)
    assert done.returncode == code, done.stderr
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert only(place, "idle.py")


def test_a_scenario_that_catches_every_exception_is_stopped_all_the_same(place: Path) -> None:
    stubborn = SCENARIO.replace(
        "out = session.run(sim, 3.95)",
        "try:\n        out = session.run(sim, 3.95)\n    except Exception:\n        raise SystemExit(7)",
    )
    (place / "sine.py").write_text(stubborn)
    assert eventnet("graph", "sine.py", cwd=place).returncode == 0


def test_help_says_what_there_is(tmp_path: Path) -> None:
    text = " ".join(eventnet("graph", "--help", cwd=tmp_path).stdout.split())
    assert "svg, png, graphml, json or nir" in text
    assert "An existing file is replaced" in text
    assert "eventnet graph drone" in text
