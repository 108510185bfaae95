"""What both engines are built from: a network's order of execution, checked, and its weights."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from graphlib import CycleError, TopologicalSorter
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from eventnet.errors import ConfigError
from eventnet.network import Edges, Network, Population, Projection
from eventnet.plasticity import Rule

if TYPE_CHECKING:
    from eventnet.engine.sparse import Rows

WEIGHT_TYPES = (np.dtype(np.float64), np.dtype(np.float32))

CHUNK = 1 << 16
"""Weights drawn at a time."""

LOCAL = 1000
"""Neurons from which on it pays to touch only those that a delivery reaches."""


@dataclass(frozen=True)
class ErrorCoder:
    """What a population encodes its error with: one for each step that is asked of it."""

    population: int
    step: float
    name: str


@dataclass(frozen=True)
class Plan:
    """A network ready to run: all but its weights, which each engine draws where it keeps them.

    Attributes
    ----------
    populations, projections
        In creation order.
    order : tuple of int
        Layers and outputs in topological order of the projections without delay, ties by creation.
    error_order : tuple of int
        Layers that encode an error, in the order in which errors reach them within an instant.
    incoming : tuple of tuple of int
        Per population, the projections that arrive, in creation order.
    returning : tuple of tuple of int
        Per population, the projections that bring errors back to it.
    groups, error_groups : tuple of tuple of float
        Per population, the distinct time constants of the spikes that arrive, and of the errors that
        come back, s. Each has a trace of its own.
    group, error_group : tuple of int
        Per projection, to which group of its target, and of its source, it adds.
    has_error : tuple of bool
        Per population, whether it encodes an error.
    coders : tuple of ErrorCoder
        One a population, with its own step, then those of projections that ask for other steps.
    coder : tuple of int
        Per projection, which coder's error spikes it takes.
    plastic : tuple of bool
        Per projection, whether it learns.
    local : tuple of bool
        Per population, whether a delivery touches only the neurons that it reaches (`is_local`).
    edges : list of Edges or None
        Synapses of each sparse projection, drawn where the network only gives their number.
    weights : list of ndarray
        Initial weights, drawn where the network gives none: (n_in, n_out), or (synapses,).
    lr : tuple of float
        Learning rate of each projection, 1/s.
    rule : Rule or None
    t0 : float
        Start, s.
    dtype : dtype
        In which the engines keep weights, and the clocked one all signals: float64 or float32.
    """

    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    order: tuple[int, ...]
    error_order: tuple[int, ...]
    incoming: tuple[tuple[int, ...], ...]
    returning: tuple[tuple[int, ...], ...]
    groups: tuple[tuple[float, ...], ...]
    group: tuple[int, ...]
    error_groups: tuple[tuple[float, ...], ...]
    error_group: tuple[int, ...]
    has_error: tuple[bool, ...]
    coders: tuple[ErrorCoder, ...]
    coder: tuple[int, ...]
    plastic: tuple[bool, ...]
    local: tuple[bool, ...]
    rows: tuple[Rows | None, ...]
    reach: NDArray[np.int32]
    generator: np.random.Generator
    lr: tuple[float, ...]
    rule: Rule | None
    t0: float
    dtype: np.dtype[Any]

    def ends(self, q: int) -> Edges:
        """Return the source and the target neuron of every synapse of projection `q`, by rows."""
        rows, shape = self.rows[q], self.projections[q].shape
        shared = self.projections[q].convolution
        if shared is not None:
            return shared.edges[:2]
        if rows is not None:
            return np.repeat(np.arange(shape[0]), np.diff(rows.span)), rows.reach.astype(np.int64)
        pre, post = np.indices(shape).reshape(2, -1)
        return pre, post

    def draw_weights(self, arrays: Iterable[NDArray[Any]]) -> None:
        """Write each projection's initial weights, the same at every call.

        Parameters
        ----------
        arrays : iterable of ndarray
            One a projection, of its `weight_shape`, in which they are written in pieces.
        """
        generator = copy.deepcopy(self.generator)
        for q, array in zip(self.projections, arrays, strict=True):
            _draw(q, generator, array)

    def initial_weights(self) -> list[NDArray[np.float64]]:
        """Return each projection's initial weights, of its `weight_shape`."""
        arrays = [np.empty(q.weight_shape) for q in self.projections]
        self.draw_weights(arrays)
        return arrays

    def coders_of(self, p: int) -> list[int]:
        """Return the error coders of population `p` that any projection listens to."""
        if not self.has_error[p]:
            return []
        return sorted(
            {
                self.coder[q]
                for q in self.incoming[p]
                if self.plastic[q] or self.has_error[self.projections[q].source.index]
            }
        )


def make_plan(
    network: Network,
    rule: Rule | None,
    generator: np.random.Generator,
    t0: float = 0.0,
    dtype: DTypeLike = np.float64,
) -> Plan:
    """Check `network`, order it and draw its synapses.

    Raises
    ------
    ConfigError
        If there is nothing to run, or if a population that must send errors has no error_step, or
        if a plastic projection leads to no output; for weights of another type.
    """
    if dtype not in WEIGHT_TYPES:
        raise ConfigError(f"dtype={dtype} of weights: must be float64 or float32")
    populations = tuple(network.populations)
    projections = tuple(network.projections)
    if not populations:
        raise ConfigError("the network has no populations: add a sensor, a layer or an output")
    order = _order(
        populations,
        [(q.source, q.target) for q in projections if q.delay == 0],
        range(len(populations)),
    )
    order = tuple(k for k in order if populations[k].kind in ("layer", "output"))
    incoming = tuple(tuple(q.index for q in projections if q.target is p) for p in populations)
    has_error = _who_has_error(populations, projections, rule)
    returning = tuple(
        tuple(q.index for q in projections if q.source is p and has_error[q.target.index])
        if has_error[p.index]
        else ()
        for p in populations
    )
    groups = tuple(
        _distinct([projections[q].source.tau for q in incoming[p.index]], p.tau)
        for p in populations
    )
    error_groups = tuple(
        _distinct([projections[q].target.error_tau for q in returning[p.index]], p.error_tau)
        for p in populations
    )
    coders, coder = _coders(populations, projections)
    rows, reach = _rows(projections, generator)
    return Plan(
        populations=populations,
        projections=projections,
        order=order,
        error_order=_error_order(populations, projections, order, returning),
        incoming=incoming,
        returning=returning,
        groups=groups,
        group=tuple(groups[q.target.index].index(q.source.tau) for q in projections),
        error_groups=error_groups,
        error_group=tuple(
            error_groups[q.source.index].index(q.target.error_tau)
            if q.index in returning[q.source.index]
            else 0
            for q in projections
        ),
        has_error=has_error,
        coders=coders,
        coder=coder,
        plastic=tuple(_learns(q, rule, has_error) for q in projections),
        local=tuple(
            is_local(p, [projections[q] for q in incoming[p.index]], has_error[p.index])
            for p in populations
        ),
        rows=rows,
        reach=reach,
        generator=copy.deepcopy(generator),
        lr=tuple(
            0.0 if rule is None else rule.lr if q.target.lr is None else q.target.lr
            for q in projections
        ),
        rule=rule,
        t0=float(t0),
        dtype=np.dtype(dtype),
    )


def _order(
    populations: tuple[Population, ...],
    edges: list[tuple[Population, Population]],
    rank: Sequence[int],
) -> tuple[int, ...]:
    """Sort populations so that every edge leads forward, ties by `rank`."""
    graph = TopologicalSorter[int](dict.fromkeys(range(len(populations)), ()))
    for a, b in edges:
        graph.add(b.index, a.index)
    try:
        graph.prepare()
    except CycleError as error:
        cycle = [populations[k].name for k in error.args[1]]
        raise ConfigError(
            f"errors go round the cycle {' -> '.join(cycle)} in no time: give one of its "
            "projections an error_delay"
        ) from None
    found: list[int] = []
    ready: list[tuple[int, int]] = []
    while graph.is_active():
        for k in graph.get_ready():
            heappush(ready, (rank[k], k))
        _, k = heappop(ready)
        found.append(k)
        graph.done(k)
    return tuple(found)


def _error_order(
    populations: tuple[Population, ...],
    projections: tuple[Projection, ...],
    order: tuple[int, ...],
    returning: tuple[tuple[int, ...], ...],
) -> tuple[int, ...]:
    edges = [
        (projections[q].target, projections[q].source)
        for back in returning
        for q in back
        if projections[q].error_delay == 0
    ]
    place = {k: n for n, k in enumerate(order)}
    rank = [-place.get(k, -1) for k in range(len(populations))]
    return tuple(
        k
        for k in _order(populations, edges, rank)
        if populations[k].kind == "layer" and returning[k]
    )


def _distinct(taus: list[float], own: float) -> tuple[float, ...]:
    """Return the distinct time constants in order of appearance, `own` where nothing arrives."""
    return tuple(dict.fromkeys(taus)) or (own,)


def _learns(q: Projection, rule: Rule | None, has_error: tuple[bool, ...]) -> bool:
    if rule is None or not q.plastic:
        return False
    learns = has_error[q.target.index] if rule.error_driven else q.target.kind == "layer"
    if learns:
        rule.check(q)
    return learns


def is_local(p: Population, incoming: list[Projection], has_error: bool) -> bool:
    """Return whether nothing happens in `p` to neurons that a delivery does not reach.

    So it is if its input is sparse, of one time constant, and if between arrivals neither a residual
    nor a held error moves on a curve.
    """
    if p.size < LOCAL or not incoming or not all(q.sparse for q in incoming):
        return False
    taus = {q.source.tau for q in incoming}
    if p.kind == "layer":
        return taus == {p.tau} and not p.bias.any()
    return len(taus) == 1 and (not has_error or (p.loss == "squared" and taus == {p.error_tau}))


def _rows(
    projections: tuple[Projection, ...], generator: np.random.Generator
) -> tuple[tuple[Rows | None, ...], NDArray[np.int32]]:
    """Return the rows of the sparse projections, and the one array in which their targets lie."""
    listed = [q.sparse and q.convolution is None for q in projections]
    pairs = zip(projections, listed, strict=True)
    reach = np.empty(sum(q.synapses for q, on in pairs if on), dtype=np.int32)
    if not any(listed):
        return (None,) * len(projections), reach
    from eventnet.engine.sparse import rows_of

    found: list[Rows | None] = []
    end = 0
    for q, on in zip(projections, listed, strict=True):
        begin, end = end, end + (q.synapses if on else 0)
        found.append(rows_of(q, generator, reach[begin:end]) if on else None)
    return tuple(found), reach


def _draw(q: Projection, generator: np.random.Generator, array: NDArray[Any]) -> None:
    """Write a projection's initial weights: the given ones, or drawn in pieces of some rows."""
    if q.weights is not None:
        array[...] = q.weights
        return
    n_in, n_out = q.shape
    scale = np.sqrt(2.0 / max(q.synapses / n_out + q.synapses / n_in, 1.0))
    rows = max(CHUNK // int(np.prod(array.shape[1:])), 1)
    for k in range(0, len(array), rows):
        piece = array[k : k + rows]
        drawn = generator.standard_normal(piece.shape)
        drawn *= scale
        piece[...] = drawn if q.bounds is None else np.clip(drawn, *q.bounds)


def _who_has_error(
    populations: tuple[Population, ...],
    projections: tuple[Projection, ...],
    rule: Rule | None,
) -> tuple[bool, ...]:
    """Find who must encode an error: who learns, or lies between an output and one who learns."""
    if rule is None or not rule.error_driven:
        return (False,) * len(populations)
    wants = [False] * len(populations)  # a plastic projection leads into it, directly or before
    reaches = [p.kind == "output" for p in populations]  # errors can come back to it
    for _ in populations:  # delays allow cycles: repeat until nothing can change any more
        for q in projections:
            wants[q.target.index] |= q.plastic or wants[q.source.index]
            reaches[q.source.index] |= reaches[q.target.index] and q.source.kind == "layer"
    for q in projections:
        if q.plastic and not reaches[q.target.index]:
            raise ConfigError(
                f"{q.name}: plastic, but {q.target.name} leads to no output whose error could teach "
                "it; connect it on or give plastic=False"
            )
    has_error = tuple(w and r for w, r in zip(wants, reaches, strict=True))
    for q in projections:
        listens = has_error[q.target.index] and (q.plastic or has_error[q.source.index])
        if listens and q.error_step is None:
            raise ConfigError(
                f"error_step is missing on {q.target.name}: it takes part in learning"
            )
    return has_error


def _coders(
    populations: tuple[Population, ...], projections: tuple[Projection, ...]
) -> tuple[tuple[ErrorCoder, ...], tuple[int, ...]]:
    """Return the error coders, and which of them each projection listens to."""
    coders = [ErrorCoder(p.index, p.error_step or 0.0, f"{p.name}.error") for p in populations]
    coder = []
    for q in projections:
        p, step = q.target, q.error_step or 0.0
        wanted = ErrorCoder(p.index, step, f"{p.name}.error@{step:g}")
        if step == coders[p.index].step:
            coder.append(p.index)
            continue
        if wanted not in coders:
            coders.append(wanted)
        coder.append(coders.index(wanted))
    return tuple(coders), tuple(coder)


def describe(rule: Rule | None) -> dict[str, Any] | None:
    """Return a rule as plain data."""
    return None if rule is None else {"rule": rule.name, **asdict(rule)}
