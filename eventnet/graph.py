"""A network before it runs: as a table, as a drawing, as a file, and what it will cost.

Everything is read off the fields of `Population` and `Projection`, so that a field which is added
there shows up here. matplotlib and the engine are imported by the functions that need them.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from eventnet.errors import ConfigError
from eventnet.network import Network, Population, Projection

if TYPE_CHECKING:
    import networkx as nx
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from eventnet.engine.plan import Plan

FORMATS = ("svg", "png", "graphml", "json")

_PIXELS_MAX = 30_000  # matplotlib refuses at 65,536, and viewers before

# What a field is when nobody set it: shown only where it differs. A field that is not listed here is
# shown wherever it is not None, False or 0.
_USUAL: Mapping[str, Any] = {
    "threshold": lambda p: 0.5,
    "loss": lambda p: "squared",
    "tolerance": lambda p: p.error_step if p.loss == "softmax" else p.tolerance,
    "error_tau": lambda p: p.tau,
    "leak": lambda p: {"relu": 0.0, "identity": 1.0}.get(p.activation),
}
_UNITS = {"tau": " s", "error_tau": " s", "delay": " s", "error_delay": " s"}
_HEADLINES = {"name", "index", "kind", "size", "tau", "step", "error_step", "activation"}
_HEADLINES |= {"source", "target", "plastic"}


# -- what it will cost ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Estimate:
    """What a network will take, before it is run.

    Attributes
    ----------
    neurons, synapses : int
    weight_bytes : int
        Of the weights in the compiled engine, 8 a synapse.
    state_bytes : int
        Of all its other arrays: traces, residuals, scheduled times, late bookings of plasticity (8
        a plastic synapse) and the buffer of spikes. Blocks of recordings that are fed, and spikes
        under way beyond those of two instants a delayed projection, come on top.
    forward : int
        Multiply-adds of a dense network of this shape in one forward pass: one a synapse.
    training : int
        The same for one training step: the forward pass, the errors sent back, the updates.
    spike : mapping of str to int
        Additions that one spike of count +-1 causes, by the population that sends it: ``n_out`` on
        each projection that leaves, and ``n_out`` again for the update of each plastic one (Eq. 8;
        the counting of `Cost.total("additions")`).
    error_spike : mapping of str to int
        The same for one error spike: ``n_in`` on each projection that brings errors back and on
        each plastic one. Only populations that send errors.
    """

    neurons: int
    synapses: int
    weight_bytes: int
    state_bytes: int
    forward: int
    training: int
    spike: Mapping[str, int]
    error_spike: Mapping[str, int]

    @property
    def bytes(self) -> int:
        """Weights and state together."""
        return self.weight_bytes + self.state_bytes

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return dataclasses.asdict(self) | {"bytes": self.bytes}

    def __str__(self) -> str:
        learns = self.training > self.forward
        dense = f"dense: {self.forward:,} multiply-adds a forward pass"
        titles = [("one spike of", "left"), ("additions", "right")]
        rows = [[name, f"{count:,}" if count else ""] for name, count in self.spike.items()]
        if self.error_spike:
            titles.append(("of an error spike", "right"))
            for row in rows:
                back = self.error_spike.get(row[0], 0)
                row.append(f"{back:,}" if back else "")
        return "\n".join(
            [
                f"{self.neurons:,} neurons, {self.synapses:,} synapses",
                f"{_bytes(self.bytes)} in the compiled engine "
                f"({_bytes(self.weight_bytes)} of weights, {_bytes(self.state_bytes)} of state)",
                dense + (f", {self.training:,} a training step" if learns else ""),
                "",
                _grid(titles, rows),
            ]
        )


def estimate(network: Network, plasticity: bool = True) -> Estimate:
    """Return what `network` will take in memory and in arithmetic.

    Nothing of the network's size is allocated: the compiled engine is asked how its arrays grow.

    Parameters
    ----------
    network : Network
    plasticity : bool
        Whether it is to learn.

    Raises
    ------
    ConfigError
        If the network cannot run: it is empty, or not yet fit to learn.

    Examples
    --------
    >>> net = Network(tau=0.1)
    >>> _ = net.sensor("gyro", 3, step=0.05), net.output("turn", 2, error_step=0.05)
    >>> _ = net.connect("gyro", "turn")
    >>> found = estimate(net)
    >>> found.synapses, found.weight_bytes, found.training
    (6, 48, 12)
    >>> found.spike["gyro"], found.error_spike["turn"]  # 2 delivered and 2 learned; 3 learned
    (4, 3)
    """
    from eventnet.cost import WEIGHT_BYTES

    plan = _plan(network, plasticity)
    spike = dict.fromkeys((p.name for p in network.populations), 0)
    error_spike = {p.name: 0 for p in network.populations if plan.has_error[p.index]}
    forward = training = 0
    for q in network.projections:
        n_in, n_out = q.shape
        plastic, returns = plan.plastic[q.index], _returns(plan, q)
        forward += n_in * n_out
        training += n_in * n_out * (1 + plastic + returns)
        spike[q.source.name] += n_out * (1 + plastic)
        if q.target.name in error_spike:
            error_spike[q.target.name] += n_in * (plastic + returns)
    weight_bytes = WEIGHT_BYTES * forward
    return Estimate(
        neurons=sum(p.size for p in network.populations),
        synapses=forward,
        weight_bytes=weight_bytes,
        state_bytes=_engine_bytes(network, plasticity) - weight_bytes,
        forward=forward,
        training=training,
        spike=spike,
        error_spike=error_spike,
    )


def _returns(plan: Plan, q: Projection) -> bool:
    """Whether errors cross back over a projection."""
    return plan.has_error[q.source.index] and plan.has_error[q.target.index]


def _shrunk(network: Network, sizes: Sequence[int]) -> Network:
    """Return the same network with populations of other sizes, its weights left to be drawn."""
    import networkx as nx

    def fill(item: Any, n: int) -> dict[str, Any]:
        arrays = {f.name: getattr(item, f.name) for f in dataclasses.fields(item)}
        return {
            # Whether anything in an array is not 0 can decide what the engine allocates.
            name: np.full(n, value.any(), dtype=value.dtype)
            for name, value in arrays.items()
            if isinstance(value, np.ndarray)
        }

    small = copy.copy(network)
    small.populations = [
        dataclasses.replace(p, size=n, **fill(p, n))
        for p, n in zip(network.populations, sizes, strict=True)
    ]
    small.projections = [
        dataclasses.replace(
            q,
            source=small.populations[q.source.index],
            target=small.populations[q.target.index],
            weights=None,
        )
        for q in network.projections
    ]
    small.graph = nx.DiGraph()
    for p in small.populations:
        small.graph.add_node(p.name, population=p)
    for q in small.projections:
        small.graph.add_edge(q.source.name, q.target.name, projection=q)
    return small


def _plan(network: Network, plasticity: bool, sizes: Sequence[int] | None = None) -> Plan:
    """Return the plan of `network` with populations of `sizes`, by default one neuron each."""
    from eventnet.engine.plan import make_plan
    from eventnet.plasticity import STDP

    small = _shrunk(network, sizes or [1] * len(network.populations))
    rule = STDP(lr=1.0) if plasticity else None
    return make_plan(small, rule, np.random.default_rng(0))


def _engine_bytes(network: Network, plasticity: bool) -> int:
    """Return the bytes of all arrays of the compiled engine.

    They are linear in the size of each population, with a product for each projection. So engines
    with one neuron a population, and with one more in one population or at both ends of one
    projection, tell all the coefficients, whatever arrays the engine may have.
    """
    from eventnet.engine.compiled import CompiledEngine

    def measure(*added: int) -> int:
        sizes = [1 + added.count(k) for k in range(len(network.populations))]
        engine = CompiledEngine(_plan(network, plasticity, sizes), lambda *batch: None)
        return array_bytes(engine)

    base = measure()
    more = [p.size - 1 for p in network.populations]
    slope = [measure(k) - base for k in range(len(more))]
    total = base + sum(a * n for a, n in zip(slope, more, strict=True))
    # Two populations may project to each other; both projections are measured together.
    for a, b in {tuple(sorted((q.source.index, q.target.index))) for q in network.projections}:
        pairs = more[a] * more[b] if a != b else more[a] * (more[a] - 1) // 2
        if pairs:
            total += (measure(a, b) - base - slope[a] - slope[b]) * pairs
    return total


def array_bytes(engine: Any) -> int:
    """Return the bytes of the arrays that an engine holds, its plan apart."""
    found: dict[int, int] = {}

    def collect(value: Any) -> None:
        if isinstance(value, np.ndarray):
            found[id(value)] = value.nbytes
        elif isinstance(value, Mapping):
            collect(tuple(value.values()))
        elif isinstance(value, tuple | list):
            for member in value:
                collect(member)

    collect(vars(engine))
    return sum(found.values())


def _bytes(count: int) -> str:
    rounded = float(f"{count:.3g}")
    power = min(int(math.log10(max(rounded, 1.0))) // 3, 4)
    return f"{rounded / 1000**power:g} {('bytes', 'kB', 'MB', 'GB', 'TB')[power]}"


# -- as text -------------------------------------------------------------------------------------------


def table(network: Network, plasticity: bool = True) -> str:
    """Return a network as plain text of at most 80 columns; `print(network)` shows it.

    A network that cannot learn yet is shown all the same, with what is missing.

    Examples
    --------
    >>> net = Network(tau=0.1)
    >>> _ = net.sensor("gyro", 3, step=0.05), net.output("turn", 2)
    >>> _ = net.connect("gyro", "turn", plastic=False)
    >>> print("\\n".join(table(net, plasticity=False).splitlines()[:6]))
    population  kind    size  step  error step  tau (s)  activation
    gyro        sensor     3  0.05                  0.1
    turn        output     2                        0.1  identity
    <BLANKLINE>
    projection    n_in x n_out  synapses
    gyro -> turn         3 x 2         6  fixed
    """
    if not network.populations:
        return f"{network!r}: add a sensor, a layer or an output"
    populations = [
        [
            p.name,
            p.kind,
            f"{p.size:,}",
            "" if p.kind == "output" else _text(p.step),
            _text(p.error_step),
            _text(p.tau),
            "" if p.kind == "sensor" else p.activation,
            ", ".join(_further(p)),
        ]
        for p in network.populations
    ]
    titles = [("population", "left"), ("kind", "left"), ("size", "right"), ("step", "right")]
    titles += [("error step", "right"), ("tau (s)", "right"), ("activation", "left"), ("", "left")]
    parts = [_grid(titles, populations)]
    if network.projections:
        projections = [
            [
                q.name,
                "{:,} x {:,}".format(*q.shape),
                f"{math.prod(q.shape):,}",
                "plastic" if q.plastic else "fixed",
                ", ".join(_further(q)),
            ]
            for q in network.projections
        ]
        titles = [("projection", "left"), ("n_in x n_out", "right"), ("synapses", "right")]
        parts.append(_grid([*titles, ("", "left"), ("", "left")], projections))
    try:
        parts.append(str(estimate(network, plasticity)))
    except ConfigError as error:
        parts.append(str(estimate(network, plasticity=False)))
        parts.append(_grid([(f"cannot learn yet: {error}", "left")], []))
    return "\n\n".join(parts)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _further(item: Population | Projection) -> list[str]:
    """Return what was set beyond the fields that a table or a box shows anyway."""
    found = []
    for f in dataclasses.fields(item):
        value = getattr(item, f.name)
        if f.name in _HEADLINES:
            continue
        label = f.name.replace("_", " ")
        if isinstance(value, np.ndarray):
            if value.any():
                found.append(f"{label} given")
        elif value is True:
            found.append(label)
        elif value and (f.name not in _USUAL or value != _USUAL[f.name](item)):
            found.append(f"{label} {_text(value)}{_UNITS.get(f.name, '')}")
    return found


def _grid(titles: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table in at most 80 columns; the first and the last column wrap where they must."""
    from rich.console import Console
    from rich.table import Table

    grid = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    for k, (title, side) in enumerate(titles):
        if not title and not any(row[k] for row in rows):
            continue
        flexible = k in (0, len(titles) - 1)
        grid.add_column(
            title,
            justify=cast(Any, side),
            no_wrap=not flexible,
            overflow="fold",
            min_width=len(title) if k and title else None,
        )
    for row in rows:
        shown = [c for k, c in enumerate(row) if titles[k][0] or any(r[k] for r in rows)]
        grid.add_row(*shown)
    out = StringIO()
    console = Console(
        file=out, width=80, color_system=None, markup=False, emoji=False, highlight=False
    )
    console.print(grid)
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip().splitlines())


# -- as a file -----------------------------------------------------------------------------------------


def plain(network: Network) -> nx.DiGraph:
    """Return a copy of a network's graph with numbers and texts only, for other programs.

    Nodes carry the fields of `Population`, edges those of `Projection` and ``n_in``, ``n_out``;
    arrays and fields that are None are left out.

    Examples
    --------
    >>> net = Network(tau=0.1)
    >>> _ = net.sensor("gyro", 3, step=0.05), net.output("turn", 2, error_step=0.05)
    >>> _ = net.connect("gyro", "turn")
    >>> plain(net).edges["gyro", "turn"]["n_out"], plain(net).nodes["gyro"]["step"]
    (2, 0.05)
    """
    import networkx as nx

    graph = nx.DiGraph(**_attributes(vars(network).items()))
    for p in network.populations:
        fields = {f.name: getattr(p, f.name) for f in dataclasses.fields(p) if f.name != "name"}
        graph.add_node(p.name, **_attributes(fields.items()))
    for q in network.projections:
        fields = {f.name: getattr(q, f.name) for f in dataclasses.fields(q)}
        fields |= {"n_in": q.shape[0], "n_out": q.shape[1]}
        graph.add_edge(q.source.name, q.target.name, **_attributes(fields.items()))
    return graph


def _attributes(fields: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {
        name: value
        for name, value in fields
        if isinstance(value, bool | int | float | str) and not name.startswith("_")
    }


def node_link(network: Network) -> dict[str, Any]:
    """Return `plain` in NetworkX's node-link form: what the json file holds."""
    import networkx as nx

    found: dict[str, Any] = nx.node_link_data(plain(network), edges="edges")
    return found


def checked_suffix(path: Path | str) -> str:
    """Return which of `FORMATS` a file name asks for.

    Raises
    ------
    ConfigError
        If it is none of them.
    """
    suffix = Path(path).suffix.removeprefix(".").lower()
    if suffix not in FORMATS:
        raise ConfigError(f"{path}: unknown kind of graph file; there are {', '.join(FORMATS)}")
    return suffix


def save(
    network: Network, path: Path | str, *, plasticity: bool = True, title: str | None = None
) -> Path:
    """Write a network as svg, png, graphml or json, by the suffix; an older file is replaced.

    Parameters
    ----------
    network : Network
    path : Path or str
    plasticity, title
        As of `figure`; only of pictures.

    Raises
    ------
    ConfigError
        If the suffix is another one, or there is nothing to draw.
    RunFolderError
        If the file cannot be written.
    """
    from eventnet.raster import written_aside

    path, suffix = Path(path), checked_suffix(path)
    if suffix in ("svg", "png"):
        from eventnet import plot

        drawn = figure(network, plasticity=plasticity, title=title)
        pixels = max(drawn.get_size_inches()) * plot.STYLE["savefig.dpi"]
        if suffix == "png" and pixels > _PIXELS_MAX:
            raise ConfigError(
                f"{path}: a png {pixels:,.0f} pixels wide or high: must be <= {_PIXELS_MAX:,}; "
                "draw an svg"
            )
        with plot._matplotlib().rc_context({"svg.fonttype": "none"}):  # names can be searched
            return plot.save(drawn, path)
    if suffix == "json":
        text = json.dumps(node_link(network), indent=2)
    else:
        import networkx as nx

        text = "\n".join(nx.generate_graphml(plain(network)))
    with written_aside(path) as aside:
        aside.write_text(text + "\n", encoding="utf-8")
    return path


# -- as a drawing: where everything goes (inches, y downwards) -----------------------------------------

Slot = str | tuple[int, int]
"""What takes up room in a column: a population, or a projection (by index) that passes through."""

_NAME, _SMALL, _LABEL = 11.0, 8.5, 8.5  # points
_LINE = 0.165  # inches from line to line of small text
_PAD = 0.11  # inches around the text of a box
_BOX_GAP, _PASS_GAP = 0.3, 0.16  # inches between two boxes, between anything and a passing edge
_PORT = 0.24  # inches between edges that meet the same side of a box, or pass a column, at least
_LOOP = 0.4  # inches of height of a projection onto its own population
_STRAND = 0.085  # inches between a projection and the errors that come back along it
_GAP = 1.0  # inches between two columns at least
_MARGIN = 0.2
_ORDERINGS, _PLACINGS = 24, 100  # sweeps over the columns


class _Box(NamedTuple):
    """A rectangle by its left edge, its middle and its extent."""

    left: float
    middle: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.left + self.width

    def overlaps(self, other: _Box) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and abs(self.middle - other.middle) < (self.height + other.height) / 2
        )


class _Edge(NamedTuple):
    """A projection as Bezier curves, shape (n, 4, 2), from its source to its target."""

    projection: Projection
    curves: NDArray[np.float64]
    returns: bool  # errors come back along it
    plastic: bool
    label: list[str]


class _Layout(NamedTuple):
    width: float
    height: float
    boxes: dict[str, _Box]
    texts: dict[str, list[str]]  # the lines below a name
    errors: dict[str, str]  # the line on errors, where there are any
    edges: list[_Edge]
    labels: list[_Box]  # of the edges


def _width(text: str, size: float, bold: bool = False) -> float:
    """Return the width of a text in inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=size, weight="bold" if bold else "normal")
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width) / 72


def _columns(network: Network) -> tuple[list[list[Slot]], dict[int, list[Slot]]]:
    """Put populations into columns, and every projection on a chain of slots from left to right.

    A population stands right of all that projects to it, sensors first and outputs last. A delayed
    projection that closes a cycle runs back, and one onto its own population has no chain.
    """
    import networkx as nx

    forward = nx.DiGraph()
    forward.add_nodes_from(p.name for p in network.populations)
    for q in sorted(network.projections, key=lambda q: q.delay):  # without delay there is no cycle
        if not nx.has_path(forward, q.target.name, q.source.name):
            forward.add_edge(q.source.name, q.target.name)
    place: dict[str, int] = {}
    for name in nx.topological_sort(forward):
        before = [place[k] + 1 for k in forward.predecessors(name)]
        place[name] = max(before, default=0 if network.population(name).kind == "sensor" else 1)
    inner = [place[p.name] for p in network.populations if p.kind != "output"]
    place |= {p.name: max(inner, default=0) + 1 for p in network.populations if p.kind == "output"}
    used = {k: i for i, k in enumerate(sorted(set(place.values())))}
    place = {name: used[k] for name, k in place.items()}

    columns: list[list[Slot]] = [[] for _ in used]
    for p in network.populations:
        columns[place[p.name]].append(p.name)
    chains: dict[int, list[Slot]] = {}
    for q in network.projections:
        left, right = sorted((q.source.name, q.target.name), key=lambda name: place[name])
        if left == right:
            continue
        passing = range(place[left] + 1, place[right])
        chains[q.index] = [left, *((q.index, k) for k in passing), right]
        for k in passing:
            columns[k].append((q.index, k))
    return columns, chains


def _neighbours(chains: Iterable[Sequence[Slot]]) -> tuple[dict[Slot, list[Slot]], ...]:
    left: dict[Slot, list[Slot]] = {}
    right: dict[Slot, list[Slot]] = {}
    for chain in chains:
        for a, b in pairwise(chain):
            right.setdefault(a, []).append(b)
            left.setdefault(b, []).append(a)
    return left, right


def _crossings(columns: list[list[Slot]], right: dict[Slot, list[Slot]]) -> int:
    """Count the edges that cross between neighbouring columns: inversions of their ends."""
    count = 0
    for here, there in pairwise(columns):
        rank = {slot: k for k, slot in enumerate(there)}
        ends: list[int] = []
        for slot in here:
            reached = sorted(rank[b] for b in right.get(slot, []))
            count += sum(len(ends) - bisect_left(ends, r + 1) for r in reached)
            for r in reached:
                insort(ends, r)
    return count


def _order(columns: list[list[Slot]], chains: dict[int, list[Slot]]) -> list[list[Slot]]:
    """Order each column by the mean place of its neighbours, back and forth; keep the best."""
    left, right = _neighbours(chains.values())
    best, fewest = columns, _crossings(columns, right)
    current = [list(column) for column in columns]
    for sweep in range(_ORDERINGS):
        if not fewest:
            break
        step, inwards = (1, left) if sweep % 2 == 0 else (-1, right)
        # From the second column rightwards, from the last but one leftwards.
        for k in range(1, len(current)) if step == 1 else range(len(current) - 2, -1, -1):
            beside = current[k - step]
            rank = {slot: i / max(len(beside) - 1, 1) for i, slot in enumerate(beside)}
            wish = {}
            for i, slot in enumerate(current[k]):
                near = [rank[s] for s in inwards.get(slot, [])]
                wish[slot] = sum(near) / len(near) if near else i / max(len(current[k]) - 1, 1)
            current[k] = sorted(current[k], key=wish.__getitem__)
        crossings = _crossings(current, right)
        if crossings < fewest:
            best, fewest = [list(column) for column in current], crossings
    return best


def _apart(wishes: Sequence[float], distances: Sequence[float]) -> list[float]:
    """Return the places nearest to the wishes (least squares) that keep their distances in order.

    Less the summed distances this is isotonic regression, solved by pooling adjacent violators.
    """
    offsets = np.concatenate([[0.0], np.cumsum(distances)])
    pools: list[tuple[float, int]] = []  # mean, members
    for wish in np.asarray(wishes) - offsets[: len(wishes)]:
        mean, members = float(wish), 1
        while pools and pools[-1][0] > mean:
            other, more = pools.pop()
            mean = (mean * members + other * more) / (members + more)
            members += more
        pools.append((mean, members))
    flat = [mean for mean, members in pools for _ in range(members)]
    return [float(a + b) for a, b in zip(flat, offsets, strict=False)]


def _middles(
    columns: list[list[Slot]],
    chains: dict[int, list[Slot]],
    heights: Mapping[Slot, float],
    above: Mapping[str, float],
) -> dict[Slot, float]:
    """Place every slot vertically: near the mean of its neighbours, far enough from the next.

    `above` is the part of a population's height that does not belong to its box.
    """
    below = {s: above[s] / 2 if isinstance(s, str) else 0.0 for s in heights}
    left, right = _neighbours(chains.values())
    distances = [
        [
            (heights[a] + heights[b]) / 2
            + (_BOX_GAP if isinstance(a, str) and isinstance(b, str) else _PASS_GAP)
            for a, b in pairwise(column)
        ]
        for column in columns
    ]
    y: dict[Slot, float] = {}
    for column, between in zip(columns, distances, strict=True):
        places = np.concatenate([[0.0], np.cumsum(between)])
        y |= dict(zip(column, (places - places[-1] / 2).tolist(), strict=True))
    for sweep in range(_PLACINGS):
        walk = list(zip(columns, distances, strict=True))
        for column, between in walk if sweep % 2 else walk[::-1]:
            wishes = []
            for slot in column:
                near = [*left.get(slot, []), *right.get(slot, [])] or [slot]
                if isinstance(
                    slot, tuple
                ):  # the same wish all along, so that the edge runs straight
                    chain = chains[slot[0]]
                    near = chain + 8 * chain[1:-1]
                wishes.append(sum(y[s] + below[s] for s in near) / len(near) - below[slot])
            y |= dict(zip(column, _apart(wishes, between), strict=True))
    return y


def _layout(network: Network, plan: Plan) -> _Layout:
    columns, chains = _columns(network)
    columns = _order(columns, chains)
    texts = {p.name: _lines(p) for p in network.populations}
    errors = {
        p.name: f"error step {_text(p.error_step)}"
        for p in network.populations
        if plan.has_error[p.index]
    }
    _, right = _neighbours(chains.values())

    def extent(name: str) -> tuple[float, float]:
        small = [*texts[name], *([errors[name]] if name in errors else [])]
        wide = max(_width(name, _NAME, bold=True), *(_width(s, _SMALL) for s in small))
        sides = [sum(room[i] for i, c in chains.items() if c[end] == name) for end in (0, -1)]
        return wide + 2 * _PAD, max(0.2 + _LINE * len(small), *sides) + 2 * _PAD

    labels = {
        q.index: ["{:,} × {:,}".format(*q.shape), *_further(dataclasses.replace(q, weights=None))]
        for q in network.projections
    }
    room = {i: max(_PORT, _LINE * len(label) + 0.12) for i, label in labels.items()}
    extents = {p.name: extent(p.name) for p in network.populations}
    above = dict.fromkeys(extents, 0.0) | {  # a projection onto its own population, with its label
        q.source.name: _LOOP + room[q.index] for q in network.projections if q.source is q.target
    }
    heights: dict[Slot, float] = {
        s: room[s[0]] if isinstance(s, tuple) else extents[s][1] + above[s]
        for column in columns
        for s in column
    }
    y = _middles(columns, chains, heights, above)
    top = min(y[s] - heights[s] / 2 for s in y)
    y = {s: v - top + _MARGIN for s, v in y.items()}
    bottom = max(y[s] + heights[s] / 2 for s in y)

    x = _MARGIN
    starts, widths = [], []
    for k, column in enumerate(columns):
        wide = max((extents[s][0] for s in column if isinstance(s, str)), default=0.3)
        starts.append(x)
        widths.append(wide)
        if k + 1 < len(columns):
            across = [
                (i, a, b) for i, chain in chains.items() for a, b in pairwise(chain) if a in column
            ]
            steep = max((abs(y[a] - y[b]) for _, a, b in across), default=0.0)
            wordy = max((_width(s, _LABEL) for i, _, _ in across for s in labels[i]), default=0.0)
            # Where edges cross, labels need room to give way.
            spare = 1.15 if _crossings(columns[k : k + 2], right) else 0.75
            x += wide + max(_GAP, wordy + spare, 0.6 * steep)
    boxes = {
        name: _Box(starts[k], y[name] + above[name] / 2, widths[k], extents[name][1])
        for k, column in enumerate(columns)
        for name in column
        if isinstance(name, str)
    }
    ports = _ports(chains, boxes, y, room)
    edges = _edges(network, plan, chains, boxes, ports, y, starts, widths, labels)
    return _Layout(
        width=starts[-1] + widths[-1] + _MARGIN,
        height=bottom + _MARGIN,
        boxes=boxes,
        texts=texts,
        errors=errors,
        edges=edges,
        labels=_label_places(edges, list(boxes.values())),
    )


def _lines(p: Population) -> list[str]:
    """Return what a box says below a population's name."""
    what = f"{p.kind} of {p.size:,}" + (f", {p.activation}" if p.kind == "layer" else "")
    step = "" if p.kind == "output" else f"step {_text(p.step)}, "
    return [what, f"{step}τ {_text(p.tau)} s", *_further(p)]


def _ports(
    chains: Mapping[int, Sequence[Slot]],
    boxes: Mapping[str, _Box],
    y: Mapping[Slot, float],
    room: Mapping[int, float],
) -> dict[tuple[int, str], float]:
    """Return where each edge meets each of its boxes: one below the other, by where they come from."""
    ends: dict[tuple[str, bool], list[tuple[float, int]]] = {}
    for index, chain in chains.items():
        first, last = cast(str, chain[0]), cast(str, chain[-1])
        ends.setdefault((first, True), []).append((y[chain[1]], index))
        ends.setdefault((last, False), []).append((y[chain[-2]], index))
    places = {}
    for (name, _), edges in ends.items():
        at = boxes[name].middle - sum(room[index] for _, index in edges) / 2
        for _, index in sorted(edges):
            places[index, name] = at + room[index] / 2
            at += room[index]
    return places


def _edges(
    network: Network,
    plan: Plan,
    chains: Mapping[int, Sequence[Slot]],
    boxes: Mapping[str, _Box],
    ports: Mapping[tuple[int, str], float],
    y: Mapping[Slot, float],
    starts: Sequence[float],
    widths: Sequence[float],
    labels: Mapping[int, list[str]],
) -> list[_Edge]:
    edges = []
    for q in network.projections:
        if q.source is q.target:
            box = boxes[q.source.name]
            roof = box.middle - box.height / 2
            a, b = box.left + 0.75 * box.width, box.left + 0.25 * box.width
            peak = roof - _LOOP / 0.75  # a Bezier curve goes three quarters of the way there
            curves = np.array([[(a, roof), (a, peak), (b, peak), (b, roof)]])
        else:
            chain = chains[q.index]
            first, last = cast(str, chain[0]), cast(str, chain[-1])
            points = [(boxes[first].right, ports[q.index, first])]
            for slot in chain[1:-1]:
                k = cast(tuple[int, int], slot)[1]
                points += [(starts[k], y[slot]), (starts[k] + widths[k], y[slot])]
            points.append((boxes[last].left, ports[q.index, last]))
            curves = np.array([_level(a, b) for a, b in pairwise(points)])
            if first != q.source.name:
                curves = curves[::-1, ::-1]
        edges.append(_Edge(q, curves, _returns(plan, q), plan.plastic[q.index], labels[q.index]))
    return edges


def _level(a: tuple[float, float], b: tuple[float, float]) -> list[tuple[float, float]]:
    """Return the Bezier curve from a to b that is level at both ends."""
    half = (b[0] - a[0]) / 2
    return [a, (a[0] + half, a[1]), (b[0] - half, b[1]), b]


def _along(curves: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points on each of the curves, shape (n, len(share), 2)."""
    t = share[:, None]
    weights = np.hstack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3])
    points: NDArray[np.float64] = np.einsum("sk,nkd->nsd", weights, curves)
    return points


def _label_places(edges: Sequence[_Edge], boxes: Sequence[_Box]) -> list[_Box]:
    """Put a label on every edge, where it hides no box, no other label and little of other edges."""
    dense = [_along(e.curves, np.linspace(0, 1, 40)).reshape(-1, 2) for e in edges]
    labels: list[_Box] = []
    for k, edge in enumerate(edges):
        width = max(_width(line, _LABEL) for line in edge.label) + 0.1
        height = _LINE * len(edge.label) + 0.05
        if edge.projection.source is edge.projection.target:
            middle, top = edge.curves[0, :, 0].mean(), edge.curves[0, 0, 1] - _LOOP
            labels.append(_Box(middle - width / 2, top - height / 2 - 0.02, width, height))
            continue
        shares = np.array([0.5, 0.44, 0.56, 0.38, 0.62, 0.32, 0.68, 0.26, 0.74])
        shift = _STRAND / 2 if edge.returns else 0.0
        best, least = None, math.inf
        others = np.concatenate([d for j, d in enumerate(dense) if j != k] or [np.zeros((0, 2))])
        for n, points in enumerate(_along(edge.curves, shares)):
            for share, (px, py) in zip(shares, points, strict=True):
                box = _Box(px - width / 2, py + shift, width, height)
                # Room for an arrowhead and the bit of line that shows where it points.
                clear = _Box(box.left - 0.2, box.middle, width + 0.4, height + 0.04)
                inside = (
                    (others[:, 0] > box.left - 0.04)
                    & (others[:, 0] < box.right + 0.04)
                    & (np.abs(others[:, 1] - box.middle) < height / 2 + 0.06)
                )
                price = (
                    1000.0 * sum(box.overlaps(b) for b in labels)
                    + 100.0 * sum(clear.overlaps(b) for b in boxes)
                    + 10.0 * float(inside.sum())
                    + abs(share - 0.5)
                    + 0.1 * abs(n - (len(edge.curves) - 1) / 2)
                )
                if price < least:
                    best, least = box, price
        assert best is not None
        labels.append(best)
    return labels


# -- as a drawing: the ink -----------------------------------------------------------------------------


def figure(network: Network, *, plasticity: bool = True, title: str | None = None) -> Figure:
    """Draw a network: sensors left, outputs right, each population right of what projects to it.

    A box tells a population's name, kind, size, step and time constant; an edge tells the shape of
    a projection. Plastic projections are drawn strong, fixed ones thin and grey; where errors come
    back along a projection a dashed line runs beside it.

    Parameters
    ----------
    network : Network
    plasticity : bool
        Whether it is to learn: without, nothing is plastic and no errors are drawn. A network that
        cannot learn yet is drawn as if this were False.
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
    >>> [text.get_text() for text in figure(net).axes[0].texts][:4]
    ['3 × 2', 'gyro', 'sensor of 3', 'step 0.05, τ 0.1 s']
    """
    from eventnet import plot

    matplotlib = plot._matplotlib()
    from matplotlib.figure import Figure

    try:
        plan = _plan(network, plasticity)
    except ConfigError:
        plan = _plan(network, plasticity=False)
    layout = _layout(network, plan)
    head = 0.3 if title else 0.0
    legend = 0.42 if layout.edges else 0.0
    height = head + layout.height + legend
    entries = _legend(layout)
    width = max(layout.width, _legend_width(entries), _width(title or "", _NAME, True) + 0.4)
    with matplotlib.rc_context(plot.STYLE):
        drawn = Figure(figsize=(width, height))
        ax = drawn.add_axes((0, 0, 1, 1))
        ax.set(xlim=(0, width), ylim=(layout.height + legend, -head))
        ax.axis("off")
        for edge, label in zip(layout.edges, layout.labels, strict=True):
            _draw_edge(ax, edge, label)
        for p in network.populations:
            _draw_box(ax, p, layout)
        if title:
            ax.text(
                _MARGIN,
                _MARGIN - head,
                title,
                size=_NAME,
                weight="bold",
                va="top",
                parse_math=False,
            )
        if entries:
            _draw_legend(ax, entries, layout.height + 0.12)
    return drawn


_FILL = {"sensor": "#DDF0FA", "layer": "#F3F3F3", "output": "#FBEBCB"}  # tints of plot.PALETTE
_RIM = {"sensor": "sky", "layer": "black", "output": "orange"}


def _draw_box(ax: Axes, p: Population, layout: _Layout) -> None:
    from matplotlib.patches import FancyBboxPatch

    from eventnet.plot import FAINT, INK, NEGATIVE, PALETTE

    box = layout.boxes[p.name]
    top = box.middle - box.height / 2
    rim = FAINT if p.kind == "layer" else PALETTE[_RIM[p.kind]]
    ax.add_patch(
        FancyBboxPatch(
            (box.left, top),
            box.width,
            box.height,
            boxstyle="round,pad=0,rounding_size=0.07",
            facecolor=_FILL[p.kind],
            edgecolor=rim,
            linewidth=1.1,
            zorder=3,
            gid=p.name,
        )
    )
    lines = [(line, INK) for line in layout.texts[p.name]]
    if p.name in layout.errors:
        lines.append((layout.errors[p.name], NEGATIVE))
    x = box.left + box.width / 2
    y = box.middle - (0.2 + _LINE * len(lines)) / 2
    ax.text(x, y + 0.09, p.name, size=_NAME, weight="bold", ha="center", va="center", zorder=4)
    for k, (line, colour) in enumerate(lines):
        at = y + 0.2 + _LINE * (k + 0.55)
        ax.text(x, at, line, size=_SMALL, color=colour, ha="center", va="center", zorder=4)


def _draw_edge(ax: Axes, edge: _Edge, label: _Box) -> None:
    from matplotlib.patches import Rectangle

    from eventnet.plot import INK

    points = _along(edge.curves, np.linspace(0, 1, 40)).reshape(-1, 2)
    _stroke(ax, points, "plastic" if edge.plastic else "fixed")
    if edge.returns:
        _stroke(ax, _beside(points)[::-1], "errors")
    ax.add_patch(
        Rectangle(
            (label.left, label.middle - label.height / 2),
            label.width,
            label.height,
            facecolor="white",
            edgecolor="none",
            zorder=2,
        )
    )
    top = label.middle - _LINE * (len(edge.label) - 1) / 2
    for k, line in enumerate(edge.label):
        ax.text(
            label.left + label.width / 2,
            top + k * _LINE,
            line,
            size=_LABEL,
            color=INK,
            ha="center",
            va="center",
            zorder=2.5,
        )


def _beside(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a line that runs below another at the distance of two strands."""
    way = np.gradient(points, axis=0)
    way[[0, -1]] = (1.0, 0.0)  # edges leave and reach their boxes level
    way *= np.sign(way[:, :1]) / np.hypot(*way.T)[:, None]
    beside: NDArray[np.float64] = points + _STRAND * np.column_stack([-way[:, 1], way[:, 0]])
    return beside


def _stroke(ax: Axes, points: NDArray[np.float64], kind: str) -> None:
    """Draw one line with an arrowhead at its end."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Polygon

    from eventnet.plot import FAINT, NEGATIVE, POSITIVE

    colour, width, style, head = {
        "plastic": (POSITIVE, 1.9, "-", 0.1),
        "fixed": (FAINT, 1.0, "-", 0.085),
        "errors": (NEGATIVE, 1.0, (0, (3.2, 2.0)), 0.08),
    }[kind]
    tip = points[-1]
    # The line ends where the head begins, and the head points along the line there.
    line = points[np.hypot(*(points - tip).T) > head]
    way = (tip - line[-1]) / np.hypot(*(tip - line[-1]))
    side = np.array([-way[1], way[0]])
    base = tip - way * head
    x, y = np.vstack([line, base]).T
    ax.add_line(
        Line2D(
            x,
            y,
            color=colour,
            linewidth=width,
            linestyle=style,
            solid_capstyle="butt",
            dash_capstyle="butt",
            zorder=1,
        )
    )
    corners = [tip, *(base + s * side * head * 0.42 for s in (1, -1))]
    ax.add_patch(Polygon(corners, facecolor=colour, edgecolor="none", zorder=1.5))


def _legend(layout: _Layout) -> list[str]:
    kinds = ["plastic" if e.plastic else "fixed" for e in layout.edges]
    kinds += ["errors" for e in layout.edges if e.returns]
    return [kind for kind in ("plastic", "fixed", "errors") if kind in kinds]


def _legend_width(entries: Sequence[str]) -> float:
    return _MARGIN + sum(0.45 + _width(entry, _SMALL) + 0.3 for entry in entries)


def _draw_legend(ax: Axes, entries: Sequence[str], y: float) -> None:
    x = _MARGIN
    for entry in entries:
        ends = np.array([(x, y), (x + 0.38, y)])
        _stroke(ax, ends[::-1] if entry == "errors" else ends, entry)
        ax.text(x + 0.45, y, entry, size=_SMALL, va="center")
        x += 0.45 + _width(entry, _SMALL) + 0.3
