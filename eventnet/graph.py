"""A network before it runs: as a table, as a file, and what it will cost. `drawing` makes the picture."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from eventnet.errors import ConfigError
from eventnet.network import Network, Population, Projection
from eventnet.plasticity import STDP, Rule
from eventnet.plasticity.stdp import BookedRule, books_late

if TYPE_CHECKING:
    import networkx as nx

    from eventnet.engine.plan import Plan

FORMATS = ("svg", "png", "graphml", "json")
PIXELS_MAX = 30_000  # matplotlib refuses at 65,536, and viewers before

ANY_RULE = STDP(lr=1.0)
"""What a network is taken to learn by where nobody says: all that goes by errors costs the same."""


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
        Of its other arrays, to within a tenth: traces, residuals, scheduled times, what plasticity
        keeps a synapse and the buffer of spikes. Blocks of recordings that are fed, and spikes under
        way beyond those of two instants a delayed projection, come on top.
    forward : int
        Multiply-adds of a network of this shape without spikes in one forward pass: one a synapse.
    training : int
        The same for one training step: the forward pass, the errors sent back, the updates.
    spike : mapping of str to int
        Additions that one spike of count +-1 causes, by the population that sends it: one for each
        synapse that it crosses, and one more for the update of each plastic one (Eq. 8; the counting
        of `Cost.total("additions")`). Of sparse projections the mean.
    error_spike : mapping of str to int
        The same for one error spike, by the synapses that it comes back over and those that it
        teaches. Only populations that send errors.
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
        learns = f", {self.training:,} a training step" if self.training > self.forward else ""
        rows = [(name, n, self.error_spike.get(name, 0)) for name, n in self.spike.items()]
        additions = _grid(
            ["one spike of", ">additions", ">of an error spike" if self.error_spike else ""],
            [[name, *(f"{n:,}" if n else "" for n in counts)] for name, *counts in rows],
        )
        return (
            f"{self.neurons:,} neurons, {self.synapses:,} synapses\n"
            f"{_size(self.bytes)} in the compiled engine "
            f"({_size(self.weight_bytes)} of weights, {_size(self.state_bytes)} of state)\n"
            f"dense: {self.forward:,} multiply-adds a forward pass{learns}\n\n{additions}"
        )


def estimate(network: Network, rule: Rule | None = ANY_RULE) -> Estimate:
    """Return what `network` will take in memory and in arithmetic; nothing of its size is allocated.

    Parameters
    ----------
    network : Network
    rule : Rule or None
        By which it is to learn; None: not at all.

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

    plan = plan_of(network, rule)
    spike = dict.fromkeys((p.name for p in network.populations), 0.0)
    error_spike = {p.name: 0.0 for p in network.populations if plan.has_error[p.index]}
    synapses = training = weights = 0
    for q in network.projections:
        plastic, returns = plan.plastic[q.index], returns_errors(plan, q)
        n_in, n_out = q.shape
        synapses += q.synapses
        weights += math.prod(q.weight_shape)
        training += q.synapses * (1 + plastic + returns)
        spike[q.source.name] += q.synapses / n_in * (1 + plastic)
        if q.target.name in error_spike:
            error_spike[q.target.name] += q.synapses / n_out * (plastic + returns)
    return Estimate(
        neurons=sum(p.size for p in network.populations),
        synapses=synapses,
        weight_bytes=WEIGHT_BYTES * weights,
        state_bytes=_state_bytes(network, plan),
        forward=synapses,
        training=training,
        spike={name: round(n) for name, n in spike.items()},
        error_spike={name: round(n) for name, n in error_spike.items()},
    )


def _state_bytes(network: Network, plan: Plan) -> int:
    """Return the bytes of the compiled engine's arrays without weights, as measured on real engines."""
    from eventnet.engine.learning import LEDGER
    from eventnet.engine.local import cell_size
    from eventnet.engine.plan import is_local

    total = 20 * 2**16  # the buffer of spikes
    total += 800 * len(network.populations)
    total += 270 * sum(p.size for p in network.populations)
    for p in network.populations:
        incoming = [q for q in network.projections if q.target is p]
        if is_local(p, incoming, plan.has_error[p.index]):
            cell = cell_size(p.kind, plan.has_error[p.index], len(plan.coders_of(p.index)))
            total += (32 + 8 * cell) * p.size
    booked = isinstance(plan.rule, BookedRule)
    for q in network.projections:
        n_in, n_out = q.shape
        learns, waits = plan.plastic[q.index], booked and books_late(q)
        if learns:
            noted = waits or not booked
            total += 8 * q.synapses * noted + 16 * (n_in + n_out)  # what is booked, and the traces
            total += 8 * (LEDGER - 2) * n_out * (q.sparse and waits)
        if q.sparse:  # where rows and columns lie
            listed = returns_errors(plan, q) or (learns and not waits)
            total += 4 * q.synapses * (1 if q.convolution is None else 2) + 8 * n_in
            total += 12 * q.synapses * listed + 8 * n_out * (listed or learns)
        total += 48 * (n_in * (q.delay > 0) + n_out * (q.error_delay > 0))  # spikes under way
    return total


def plan_of(network: Network, rule: Rule | None) -> Plan:
    """Return the plan of `network` with one neuron a population: who learns, and who sends errors."""
    import numpy as np

    from eventnet.engine.plan import make_plan

    small = copy.copy(network)
    small.populations = [
        dataclasses.replace(p, size=1, bias=p.bias[:1]) for p in network.populations
    ]
    small.projections = [
        dataclasses.replace(
            q,
            source=small.populations[q.source.index],
            target=small.populations[q.target.index],
            weights=None,
            edges=None,
            fan_in=None,
        )
        for q in network.projections
    ]
    return make_plan(small, rule, np.random.default_rng(0))


def returns_errors(plan: Plan, q: Projection) -> bool:
    """Whether errors cross back over a projection."""
    return plan.has_error[q.source.index] and plan.has_error[q.target.index]


def _size(count: int) -> str:
    power = min(int(math.log10(max(float(f"{count:.3g}"), 1.0))) // 3, 4)
    return f"{count / 1000**power:.3g} {('bytes', 'kB', 'MB', 'GB', 'TB')[power]}"


# -- as text -------------------------------------------------------------------------------------------


def table(network: Network, rule: Rule | None = ANY_RULE) -> str:
    """Return a network as plain text of at most 80 columns; `print(network)` shows it.

    A network that cannot learn yet is shown all the same, with what is missing.

    Examples
    --------
    >>> net = Network(tau=0.1)
    >>> _ = net.sensor("gyro", 3, step=0.05), net.output("turn", 2)
    >>> _ = net.connect("gyro", "turn", plastic=False)
    >>> print("\\n".join(table(net, None).splitlines()[:6]))
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
            "" if p.kind == "output" else f"{p.step:g}",
            "" if p.error_step is None else f"{p.error_step:g}",
            f"{p.tau:g}",
            p.activation if p.kind in ("layer", "output") else "",
            ", ".join(further(p)),
        ]
        for p in network.populations
    ]
    titles = ["population", "kind", ">size", ">step", ">error step", ">tau (s)", "activation", ""]
    parts = [_grid(titles, populations)]
    projections = [
        [
            q.name,
            "{:,} x {:,}".format(*q.shape),
            f"{q.synapses:,}",
            "plastic" if q.plastic else "fixed",
            ", ".join([*further(q), *(["weights given"] if q.weights is not None else [])]),
        ]
        for q in network.projections
    ]
    if projections:
        parts.append(_grid(["projection", ">n_in x n_out", ">synapses", "", ""], projections))
    try:
        parts.append(str(estimate(network, rule)))
    except ConfigError as error:
        parts += [str(estimate(network, None)), _grid([f"cannot learn yet: {error}"], [])]
    return "\n\n".join(parts)


def further(item: Population | Projection) -> list[str]:
    """Return what was set beyond what a table or a picture shows of every population or projection."""
    if isinstance(item, Projection):
        shown: dict[str, Any] = {
            "delay {:g} s": item.delay or None,
            "error delay {:g} s": item.error_delay or None,
            "error step {:g}": item.own_error_step,
            "{:,} synapses": item.synapses if item.sparse else None,
            "kernel {0.kernel[0]} x {0.kernel[1]}": item.convolution,
            "bounds {0[0]:g} to {0[1]:g}": item.bounds,
        }
    else:
        usual = item.tolerance == (1.0 if item.error_step is None else item.error_step)
        shown = {
            "threshold {:g}": None if item.threshold == 0.5 else item.threshold,
            "leak {:g}": item.leak if item.activation == "leaky" else None,
            "bias given": True if item.bias.any() else None,
            "error tau {:g} s": None if item.error_tau == item.tau else item.error_tau,
            "loss {}": None if item.loss == "squared" else item.loss,
            "tolerance {:g}": None if usual or item.loss != "softmax" else item.tolerance,
            "lr {:g}": item.lr,
            "slowness {:g}": item.slowness or None,
            "taps {0[0]:g}, {0[1]:g}": item.taps,
            "constant": item.constant or None,
        }
    return [text.format(value) for text, value in shown.items() if value is not None]


def _grid(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table in at most 80 columns; the first and the last column wrap where they must.

    A title with ">" in front stands over figures; a column without title and content is left out.
    """
    from rich.console import Console
    from rich.table import Table

    kept = [k for k, title in enumerate(titles) if title or any(row[k] for row in rows)]
    grid = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    for k in kept:
        title = titles[k].removeprefix(">")
        grid.add_column(
            title,
            justify="right" if titles[k].startswith(">") else "left",
            no_wrap=0 < k < len(titles) - 1,
            overflow="fold",
            min_width=len(title) if k and title else None,
        )
    for row in rows:
        grid.add_row(*(row[k] for k in kept))
    out = StringIO()
    Console(
        file=out, width=80, color_system=None, markup=False, emoji=False, highlight=False
    ).print(grid)
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip().splitlines())


# -- as a file -----------------------------------------------------------------------------------------


def plain(network: Network) -> nx.DiGraph:
    """Return a copy of a network's graph with numbers and texts only, for other programs.

    Nodes carry the fields of `Population`, edges those of `Projection` and ``n_in``, ``n_out`` and
    ``synapses``; arrays and fields that are None are left out.

    Examples
    --------
    >>> net = Network(tau=0.1)
    >>> _ = net.sensor("gyro", 3, step=0.05), net.output("turn", 2, error_step=0.05)
    >>> _ = net.connect("gyro", "turn")
    >>> plain(net).edges["gyro", "turn"]["n_out"], plain(net).nodes["gyro"]["step"]
    (2, 0.05)
    """
    import networkx as nx

    def attributes(item: Population | Projection) -> dict[str, Any]:
        fields = {f.name: getattr(item, f.name) for f in dataclasses.fields(item)}
        return {k: v for k, v in fields.items() if isinstance(v, bool | int | float | str)}

    graph = nx.DiGraph(tau=network.tau)
    for p in network.populations:
        fields = attributes(p)
        graph.add_node(fields.pop("name"), **fields)
    for q in network.projections:
        ends = {"n_in": q.source.size, "n_out": q.target.size, "synapses": q.synapses}
        graph.add_edge(q.source.name, q.target.name, **attributes(q), **ends)
    return graph


def node_link(network: Network) -> dict[str, Any]:
    """Return `plain` in NetworkX's node-link form: what the json file holds."""
    import networkx as nx

    return cast(dict[str, Any], nx.node_link_data(plain(network), edges="edges"))


def checked_suffix(path: Path | str, formats: Sequence[str] = FORMATS) -> str:
    """Return which of some formats a file name asks for.

    Raises
    ------
    ConfigError
        If it is none of them.
    """
    suffix = Path(path).suffix.removeprefix(".").lower()
    if suffix not in formats:
        raise ConfigError(f"{path}: unknown kind of graph file; there are {', '.join(formats)}")
    return suffix


def save(
    network: Network,
    path: Path | str,
    rule: Rule | None = ANY_RULE,
    *,
    title: str | None = None,
) -> Path:
    """Write a network as svg, png, graphml or json, by the suffix; an older file is replaced.

    Parameters
    ----------
    network : Network
    path : Path or str
    rule, title
        As of `drawing.figure`; only of pictures.

    Raises
    ------
    ConfigError
        If the suffix is another one, or there is nothing to draw.
    RunFolderError
        If the file cannot be written.
    """
    import networkx as nx

    from eventnet.raster import written_aside

    path, suffix = Path(path), checked_suffix(path)
    if suffix in ("svg", "png"):
        return _save_picture(network, path, rule, title)
    if suffix == "json":
        text = json.dumps(node_link(network), indent=2)
    else:
        text = "\n".join(nx.generate_graphml(plain(network)))
    with written_aside(path) as aside:
        aside.write_text(text + "\n", encoding="utf-8")
    return path


def _save_picture(network: Network, path: Path, rule: Rule | None, title: str | None) -> Path:
    from eventnet.drawing import figure
    from eventnet.plot import style

    drawn = figure(network, rule, title=title)
    pixels = max(drawn.get_size_inches()) * style.STYLE["savefig.dpi"]
    if path.suffix.lower() == ".png" and pixels > PIXELS_MAX:
        raise ConfigError(
            f"{path}: a png {pixels:,.0f} pixels wide or high: must be <= {PIXELS_MAX:,}; "
            "draw an svg"
        )
    with style.matplotlib().rc_context({"svg.fonttype": "none"}):  # names can be searched
        return style.save(drawn, path)
