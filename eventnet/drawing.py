"""A picture of a network: sensors left, outputs right, projections as arrows between the boxes.

One unit of the axes is an inch, y downwards. matplotlib is imported by the functions that need it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventnet.errors import ConfigError
from eventnet.graph import ANY_RULE, further, plan_of, returns_errors
from eventnet.network import Network, Population, Projection
from eventnet.plasticity import Rule

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from eventnet.engine.plan import Plan

Slot = str | tuple[int, int]
"""What takes up room in a column: a population, or a projection (by index) that passes through."""

NAME, SMALL = 11.0, 8.5  # points
LINE = 0.17  # inches from line to line of small text
PORT = 0.3  # inches between edges that meet the same side of a box, or pass a column, at least
LOOP = 0.55  # inches of height of a projection onto its own population
STRAND = 0.085  # inches between a projection and the errors that come back along it
MARGIN = 0.25
SWEEPS = 12

FILL = {"sensor": "#DDF0FA", "source": "#DDF0FA", "layer": "#F3F3F3", "output": "#FBEBCB"}


class Box(NamedTuple):
    """A population's place: left and right edge, middle and height."""

    left: float
    right: float
    middle: float
    height: float


def figure(network: Network, rule: Rule | None = ANY_RULE, *, title: str | None = None) -> Figure:
    """Draw a network: each population stands right of all that projects to it without delay.

    A box tells a population's name, kind, size, step and time constant; an edge tells the shape of
    a projection. Plastic projections are drawn strong, fixed ones thin and grey; where errors come
    back along a projection a dashed line runs beside it.

    Parameters
    ----------
    network : Network
    rule : Rule or None
        By which it is to learn: without, nothing is plastic and no errors are drawn. A network that
        cannot learn yet is drawn as if this were None.
    title : str, optional

    Returns
    -------
    Figure
        A `matplotlib.figure.Figure`, unknown to pyplot, in the style of `eventnet.plot`.

    Raises
    ------
    ConfigError
        If there are no populations, or matplotlib is missing.

    Examples
    --------
    >>> net = Network(tau=0.1)
    >>> _ = net.sensor("gyro", 3, step=0.05), net.output("turn", 2, error_step=0.05)
    >>> _ = net.connect("gyro", "turn")
    >>> [text.get_text().splitlines()[0] for text in figure(net).axes[0].texts]
    ['gyro', 'sensor of 3', 'turn', 'output of 2', '3 × 2']
    """
    from eventnet.plot import style

    matplotlib = style.matplotlib()
    from matplotlib.figure import Figure

    try:
        plan = plan_of(network, rule)
    except ConfigError:
        plan = plan_of(network, None)
    texts = {p.name: _lines(p, plan) for p in network.populations}
    columns, chains = _columns(network)
    boxes, middles, bottom = _places(network, texts, columns, chains)
    width = max(box.right for box in boxes.values()) + MARGIN
    head = 0.3 if title else 0.0
    with matplotlib.rc_context(style.STYLE):
        drawn = Figure(figsize=(max(width, 3.6), head + bottom + 0.45))
        ax = drawn.add_axes((0, 0, 1, 1))
        ax.set(xlim=(0, max(width, 3.6)), ylim=(bottom + 0.45, -head))
        ax.axis("off")
        for p in network.populations:
            _draw_box(ax, p, boxes[p.name], texts[p.name])
        curves = dict(_curves(network, chains, boxes, middles))
        _draw_edges(ax, network, plan, boxes, curves)
        if title:
            at = (MARGIN, MARGIN - head)
            ax.text(*at, title, size=NAME, weight="bold", va="top", parse_math=False)
    return drawn


def _lines(p: Population, plan: Plan) -> list[str]:
    """Return what a box says below a population's name."""
    what = f"{p.kind} of {p.size:,}" + (f", {p.activation}" if p.kind == "layer" else "")
    step = "" if p.kind == "output" else f"step {p.step:g}, "
    steps = [plan.coders[c].step for c in plan.coders_of(p.index)]
    error = [f"error step {step:g}" for step in steps]
    return [what, f"{step}τ {p.tau:g} s", *further(p), *error]


# -- where everything goes -----------------------------------------------------------------------------


def _columns(network: Network) -> tuple[list[list[Slot]], dict[int, list[Slot]]]:
    """Put populations into columns, and every projection on a chain of slots from left to right.

    Sensors come first and outputs last. A delayed projection that closes a cycle runs back, and one
    onto its own population has no chain.
    """
    import networkx as nx

    forward = nx.DiGraph()
    forward.add_nodes_from(p.name for p in network.populations)
    for q in sorted(network.projections, key=lambda q: q.delay):  # without delay there is no cycle
        if not nx.has_path(forward, q.target.name, q.source.name):
            forward.add_edge(q.source.name, q.target.name)
    place: dict[str, int] = {}
    for name in nx.topological_sort(forward):
        first = network.population(name).kind in ("layer", "output")
        place[name] = max((place[k] + 1 for k in forward.predecessors(name)), default=int(first))
    outputs = [p.name for p in network.populations if p.kind == "output"]
    last = max((k for name, k in place.items() if name not in outputs), default=0) + 1
    place |= dict.fromkeys(outputs, last)
    used = sorted(set(place.values()))
    place = {name: used.index(k) for name, k in place.items()}

    columns: list[list[Slot]] = [[p for p in place if place[p] == k] for k in range(len(used))]
    chains: dict[int, list[Slot]] = {}
    for q in network.projections:
        if q.source is q.target:
            continue
        left, right = sorted((q.source.name, q.target.name), key=place.__getitem__)
        passing = [(q.index, k) for k in range(place[left] + 1, place[right])]
        chains[q.index] = [left, *passing, right]
        for slot in passing:
            columns[slot[1]].append(slot)
    return _ordered(columns, chains), chains


def _ordered(columns: list[list[Slot]], chains: dict[int, list[Slot]]) -> list[list[Slot]]:
    """Order each column by the mean place of its neighbours, back and forth, so that few edges cross."""
    beside: dict[bool, dict[Slot, list[Slot]]] = {True: {}, False: {}}  # to the left, to the right
    for chain in chains.values():
        for a, b in pairwise(chain):
            beside[True].setdefault(b, []).append(a)
            beside[False].setdefault(a, []).append(b)
    place = {s: (i + 0.5) / len(column) for column in columns for i, s in enumerate(column)}
    ordered = list(columns)
    for sweep in range(SWEEPS):
        rightwards = sweep % 2 == 0
        near = beside[rightwards]
        for k in range(len(ordered)) if rightwards else reversed(range(len(ordered))):
            wish = {s: fmean(place[n] for n in near.get(s, [s])) for s in ordered[k]}
            ordered[k] = sorted(ordered[k], key=wish.__getitem__)
            place |= {s: (i + 0.5) / len(wish) for i, s in enumerate(ordered[k])}
    return ordered


def _places(
    network: Network,
    texts: dict[str, list[str]],
    columns: list[list[Slot]],
    chains: dict[int, list[Slot]],
) -> tuple[dict[str, Box], dict[Slot, float], float]:
    """Return every population's box, the height at which each slot lies, and the bottom of all."""
    loops = {q.source.name for q in network.projections if q.source is q.target}
    leaving, arriving = (Counter(chain[end] for chain in chains.values()) for end in (0, -1))
    heights = {
        slot: max(
            0.4 + LINE * len(texts[slot]) if isinstance(slot, str) else 0.0,
            PORT * max(leaving[slot], arriving[slot], 1),
        )
        for column in columns
        for slot in column
    }
    room = {s: h + 0.3 + 2 * LOOP * (s in loops) for s, h in heights.items()}
    tallest = max(sum(room[s] for s in column) for column in columns)
    middles: dict[Slot, float] = {}
    boxes: dict[str, Box] = {}
    x = MARGIN
    wordy: dict[Slot, float] = {}  # the widest label right of a slot
    for i, chain in chains.items():
        wide = max(map(_width, _label(network.projections[i])))
        wordy |= {slot: max(wide, wordy.get(slot, 0.0)) for slot in chain[:-1]}
    for column in columns:
        gap = (tallest - sum(room[s] for s in column)) / len(column)
        names = [s for s in column if isinstance(s, str)]
        wide = max(_width(t) for name in names for t in (name + "   ", *texts[name])) + 0.25
        y = MARGIN - 0.15
        for slot in column:
            middles[slot] = y + (room[slot] + gap) / 2
            y += room[slot] + gap
        boxes |= {name: Box(x, x + wide, middles[name], heights[name]) for name in names}
        x += wide + max(wordy.get(s, 0.5) for s in column) + 0.9
    return boxes, middles, tallest + MARGIN - 0.15


@cache
def _width(text: str) -> float:
    """Return the width of a small text in inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=SMALL)
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) / 72


def _label(q: Projection) -> list[str]:
    return ["{:,} × {:,}".format(*q.shape), *further(q)]


def _curves(
    network: Network,
    chains: dict[int, list[Slot]],
    boxes: dict[str, Box],
    middles: dict[Slot, float],
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield each projection with its Bezier curves, shape (n, 4, 2), from its source to its target."""
    ports: dict[tuple[int, Slot], float] = {}
    for name, box in boxes.items():
        for end, beside in ((0, 1), (-1, -2)):  # its right side, its left side
            meeting = [i for i, chain in chains.items() if chain[end] == name]
            meeting.sort(key=lambda i: middles[chains[i][beside]])
            for k, i in enumerate(meeting):
                ports[i, name] = box.middle + box.height * ((k + 0.5) / len(meeting) - 0.5)
    edges = sorted({(box.left, box.right) for box in boxes.values()})
    for q in network.projections:
        if q.source is q.target:
            box = boxes[q.source.name]
            a, b = (box.left + share * (box.right - box.left) for share in (0.7, 0.3))
            roof = box.middle - box.height / 2
            yield q.index, np.array([[(a, roof), (a, roof - LOOP), (b, roof - LOOP), (b, roof)]])
            continue
        first, *passing, last = chains[q.index]
        assert isinstance(first, str)
        assert isinstance(last, str)
        points = [(boxes[first].right, ports[q.index, first])]
        for slot in passing:
            points += [(x, middles[slot]) for x in edges[int(slot[1])]]
        points.append((boxes[last].left, ports[q.index, last]))
        curves = np.array(
            [
                [(a, y), ((a + b) / 2, y), ((a + b) / 2, z), (b, z)]  # level at both ends
                for (a, y), (b, z) in pairwise(points)
            ]
        )
        yield q.index, curves if first == q.source.name else curves[::-1, ::-1]


# -- the ink -------------------------------------------------------------------------------------------


def _draw_box(ax: Axes, p: Population, box: Box, lines: list[str]) -> None:
    from matplotlib.patches import FancyBboxPatch

    from eventnet.plot.style import FAINT, PALETTE

    rim = {"layer": FAINT, "output": PALETTE["orange"]}.get(p.kind, PALETTE["sky"])
    top = box.middle - box.height / 2
    ax.add_patch(
        FancyBboxPatch(
            (box.left, top),
            box.right - box.left,
            box.height,
            boxstyle="round,pad=0,rounding_size=0.07",
            facecolor=FILL[p.kind],
            edgecolor=rim,
            zorder=3,
            gid=p.name,
        )
    )
    x, y = (box.left + box.right) / 2, box.middle - (0.2 + LINE * len(lines)) / 2
    ax.text(x, y + 0.09, p.name, size=NAME, weight="bold", ha="center", va="center", zorder=4)
    ax.text(
        x, y + 0.2, "\n".join(lines), size=SMALL, ha="center", va="top", linespacing=1.25, zorder=4
    )


def _draw_edges(
    ax: Axes,
    network: Network,
    plan: Plan,
    boxes: dict[str, Box],
    curves: dict[int, NDArray[np.float64]],
) -> None:
    from matplotlib.lines import Line2D

    from eventnet.plot.style import FAINT, NEGATIVE, POSITIVE

    styles: dict[str, dict[str, Any]] = {
        "plastic": {"color": POSITIVE, "linewidth": 1.9, "linestyle": "-"},
        "fixed": {"color": FAINT, "linewidth": 1.0, "linestyle": "-"},
        "errors": {"color": NEGATIVE, "linewidth": 1.0, "linestyle": (0, (3, 2))},
    }
    drawn = []
    taken: list[tuple[float, float, float, float]] = []
    for q in network.projections:
        kind = "plastic" if plan.plastic[q.index] else "fixed"
        drawn.append(kind)
        _draw_arrow(ax, curves[q.index], styles[kind])
        if returns_errors(plan, q):
            drawn.append("errors")
            beside = (STRAND, 0) if q.source is q.target else (0, STRAND)
            _draw_arrow(ax, curves[q.index][::-1, ::-1] + beside, styles["errors"])
        _draw_label(ax, q, curves[q.index], taken)
    legend = [Line2D([], [], label=kind, **styles[kind]) for kind in styles if kind in drawn]
    if legend:
        ax.legend(handles=legend, loc="lower left", ncols=3, borderaxespad=1.7, fontsize=SMALL)


def _draw_arrow(ax: Axes, curves: NDArray[np.float64], style: dict[str, Any]) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    points = np.concatenate([curves[0, :1], curves[:, 1:].reshape(-1, 2)])
    codes = [Path.MOVETO, *[Path.CURVE4] * (len(points) - 1)]
    ax.add_patch(
        FancyArrowPatch(path=Path(points, codes), arrowstyle="-|>", mutation_scale=9, **style)
    )


def _draw_label(
    ax: Axes,
    q: Projection,
    curves: NDArray[np.float64],
    taken: list[tuple[float, float, float, float]],
) -> None:
    """Write a projection's shape onto its curve, where no other label lies, and add it to `taken`."""
    lines = _label(q)
    wide, high = max(map(_width, lines)) + 0.1, LINE * len(lines) + 0.04
    for t in (0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74):
        weights = np.array([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3])
        x, y = weights @ curves[(len(curves) - 1) // 2]
        if all(abs(x - a) > (wide + w) / 2 or abs(y - b) > (high + h) / 2 for a, b, w, h in taken):
            break
    taken.append((x, y, wide, high))
    ax.text(
        x,
        y,
        "\n".join(lines),
        size=SMALL,
        ha="center",
        va="center",
        zorder=2.5,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
    )
