"""The network builder: populations and projections on a NetworkX graph, checked as they are added."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventnet.convolution import Convolution, Pair, Shape, convolution, shape_of
from eventnet.errors import ConfigError

if TYPE_CHECKING:
    import networkx as nx

Kind = Literal["sensor", "source", "layer", "output"]
CONSTANT_SUFFIX = "_bias"
"""A learned bias of NAME is the weight from the constant sensor NAME_bias."""
Activation = Literal["relu", "leaky", "identity"]
ACTIVATIONS: tuple[Activation, ...] = ("relu", "leaky", "identity")
LOSSES = ("squared", "softmax")
FEW = 8
"""Names that are all told beside the nearest."""

Taps = tuple[float, float]

Scales = Literal["population", "neuron"]
SCALES: tuple[Scales, ...] = ("population", "neuron")

Edges = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Presynaptic and postsynaptic neuron of every synapse, by rows."""


def positive(value: float, name: str, owner: str, unit: str = "") -> float:
    """Return `value` as a float if it is positive and finite, else raise naming all three."""
    number = float(value)
    if not (math.isfinite(number) and number > 0):
        raise ConfigError(f"{name}={value}{unit} on {owner}: must be positive and finite")
    return number


def not_negative(value: float, name: str, owner: str, unit: str = "") -> float:
    """Return `value` as a float if it is finite and at least 0, else raise naming all three."""
    number = float(value)
    if not (math.isfinite(number) and number >= 0):
        raise ConfigError(f"{name}={value}{unit} on {owner}: must be >= 0 and finite")
    return number


def unknown(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    """Return the error for a name that does not exist: the nearest that does, and all if few."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    there = "" if close and len(names) > FEW else f" (there are: {', '.join(names) or 'none'})"
    return ConfigError(f"unknown {kind} {name!r}{hint}{there}")


@dataclass(frozen=True, eq=False)
class Population:
    """Neurons that share a coder.

    Attributes
    ----------
    name : str
    index : int
        Place in the order of creation.
    kind : {"sensor", "source", "layer", "output"}
    size : int
        Number of neurons.
    tau, error_tau : float
        Time constant of the forward and of the error coder, s.
    step : float
        Signal that one spike stands for (the paper's k_beta). Unused by outputs.
    error_step : float or None
        The same for the error that the population sends back; None if it sends none.
    threshold : float
        Residual, in spikes, beyond which a neuron fires; in [1/2, 1].
    activation : {"relu", "leaky", "identity"}
    leak : float
        Slope of the activation where z <= 0: 0 for relu, 1 for identity.
    bias : ndarray, shape (size,)
        Fixed part of ``z = bias + u``.
    loss : str or None
        Only of outputs: "squared" or "softmax" (cross-entropy).
    tolerance : float
        Of softmax: how far a decaying z may move before its error is evaluated again.
    lr : float or None
        Learning rate of what leads into it, 1/s; None: the rule's.
    constant : bool
        A sensor that reads 1 from the start and is fed by nobody: it carries learned biases.
    shape : tuple of int or None
        Height, width and channels of an image: neuron ``(y*width + x)*channels + channel``.
    slowness : float
        How strongly its activations learn to change little from tick to tick; 0: not at all.
    taps : tuple of float or None
        What of its signal is predicted from the last two ticks; None: that it fades with `tau`.
    """

    name: str
    index: int
    kind: Kind
    size: int
    tau: float
    error_tau: float
    step: float
    error_step: float | None
    threshold: float
    activation: Activation
    leak: float
    bias: NDArray[np.float64] = field(repr=False)
    loss: str | None = None
    tolerance: float = 0.0
    lr: float | None = None
    constant: bool = False
    shape: Shape | None = None
    slowness: float = 0.0
    taps: Taps | None = None

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, eq=False)
class Projection:
    """All synapses from one population to another.

    Attributes
    ----------
    source, target : Population
    index : int
        Place in the order of creation.
    weights : ndarray or None
        Initial weights, of `weight_shape`; None: drawn by the simulation's generator.
    plastic : bool
        Whether learning changes the weights.
    delay, error_delay : float
        Seconds from a spike to its arrival, and from an error spike back to its own.
    edges : tuple of two ndarrays of int, shape (synapses,), or None
        Presynaptic and postsynaptic neuron of every synapse, by rows; None: all to all.
    fan_in : int or None
        Synapses drawn for each target neuron by the simulation's generator.
    bounds : tuple of float or None
        Least and largest weight that learning may reach.
    own_error_step : float or None
        Signal that one error spike on this projection stands for, if another than its target's.
    convolution : Convolution or None
        How its synapses share a kernel; None: each has a weight of its own.
    """

    source: Population
    target: Population
    index: int
    weights: NDArray[np.float64] | None = field(repr=False)
    plastic: bool = True
    delay: float = 0.0
    error_delay: float = 0.0
    edges: Edges | None = field(default=None, repr=False)
    fan_in: int | None = None
    bounds: tuple[float, float] | None = None
    own_error_step: float | None = None
    convolution: Convolution | None = None

    @property
    def error_step(self) -> float | None:
        """Signal that one error spike on it stands for; None if its target sends none."""
        return self.target.error_step if self.own_error_step is None else self.own_error_step

    @property
    def sparse(self) -> bool:
        """Whether some neurons are not connected."""
        shared = self.convolution is not None
        return shared or self.edges is not None or self.fan_in is not None

    @property
    def synapses(self) -> int:
        """How many synapses it has."""
        if self.convolution is not None:
            return self.convolution.synapses
        if self.edges is not None:
            return len(self.edges[0])
        return self.target.size * (self.source.size if self.fan_in is None else self.fan_in)

    @property
    def positions(self) -> NDArray[np.float64]:
        """From how many positions of a kernel each source neuron is seen, (n_in,); without one 1."""
        one = np.ones(self.source.size)
        return one if self.convolution is None else one * self.convolution.positions

    def of_synapses(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return each synapse's weight, by rows, from an array of `weight_shape`."""
        flat = weights.ravel()
        return flat if self.convolution is None else flat[self.convolution.edges[2]]

    @property
    def name(self) -> str:
        """``"source -> target"``."""
        return f"{self.source.name} -> {self.target.name}"

    @property
    def shape(self) -> tuple[int, int]:
        """``(n_in, n_out)``."""
        return self.source.size, self.target.size

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of its weights: ``(n_in, n_out)``; sparse ``(synapses,)``, or its kernel's."""
        if self.convolution is not None:
            return self.convolution.weight_shape
        return (self.synapses,) if self.sparse else self.shape

    def __str__(self) -> str:
        return self.name


class Network:
    """A network under construction: sensors, layers and outputs, joined by projections.

    Parameters
    ----------
    tau : float
        Time constant of every coder that is given none of its own, s.

    Examples
    --------
    >>> net = Network(tau=0.1)
    >>> gyro = net.sensor("gyro", 3, step=0.05)
    >>> hidden = net.layer("hidden", 20, step=0.1, error_step=0.01)
    >>> rate = net.output("rate", 1, error_step=0.05)
    >>> net.connect(gyro, hidden).name
    'gyro -> hidden'
    >>> net.connect(hidden, rate).shape
    (20, 1)
    """

    def __init__(self, *, tau: float) -> None:
        self.tau = positive(tau, "tau", "the network", " s")
        self.populations: list[Population] = []
        self.projections: list[Projection] = []

    @property
    def graph(self) -> nx.DiGraph:
        """The network as it is now, a `networkx.DiGraph`.

        Nodes are population names with the `Population` as attribute ``population``; edges are
        projections with the `Projection` as attribute ``projection``.
        """
        import networkx as nx  # a tenth of a second, which no run needs

        graph = nx.DiGraph()
        graph.add_nodes_from((p.name, {"population": p}) for p in self.populations)
        graph.add_edges_from(
            (q.source.name, q.target.name, {"projection": q}) for q in self.projections
        )
        return graph

    def sensor(
        self,
        name: str,
        size: int | Shape,
        *,
        step: float,
        tau: float | None = None,
        threshold: float = 0.5,
        taps: Taps | None = None,
    ) -> Population:
        """Add a population that encodes a reading held from sample to sample.

        Parameters
        ----------
        name : str
        size : int or tuple of int
            Width of a reading; of an image its height, width and channels.
        step : float
            Signal that one spike stands for, in the sensor's unit.
        tau : float, optional
            Time constant of its coder, s; default: the network's. A held reading x costs
            ``|x|/(tau*step)`` spikes a second: give a slow sensor a long one.
        threshold : float
            In [1/2, 1].
        taps : tuple of float, optional
            On a clock, in place of `tau`: a tick's signal is predicted as ``w1*x[t-1] + w2*x[t-2]``,
            and only what differs is sent (docs/theory.md, section 12). The prediction must fade:
            ``|w2| < 1`` and ``|w1| < 1 - w2``.
        """
        return self._add(name, "sensor", size, step=step, tau=tau, threshold=threshold, taps=taps)

    def source(
        self, name: str, size: int | Shape, *, step: float = 1.0, tau: float | None = None
    ) -> Population:
        """Add a population whose spikes are given: an event camera, or a recorded raster.

        Its spikes bypass the encoder; feed it a `SpikeTrain`.

        Parameters
        ----------
        name : str
        size : int or tuple of int
            Number of neurons; of an image its height, width and channels.
        step : float
            Signal that one spike stands for.
        tau : float, optional
            Time constant with which its receivers decode it, s; default: the network's.
        """
        return self._add(name, "source", size, step=step, tau=tau)

    def layer(
        self,
        name: str,
        size: int | Shape,
        *,
        step: float,
        activation: Activation = "relu",
        leak: float = 0.1,
        bias: ArrayLike = 0.0,
        bias_step: float | None = None,
        error_step: float | None = None,
        tau: float | None = None,
        error_tau: float | None = None,
        threshold: float = 0.5,
        lr: float | None = None,
        slowness: float = 0.0,
        taps: Taps | None = None,
    ) -> Population:
        """Add a hidden population ``h(bias + u)``, where u is the decoded input.

        Parameters
        ----------
        name : str
        size : int or tuple of int
            Number of neurons; of an image its height, width and channels.
        step : float
            Activation that one spike stands for.
        activation : {"relu", "leaky", "identity"}
        leak : float
            Slope of "leaky" where ``z <= 0``, in (0, 1).
        bias : float or array_like, shape (size,)
            Fixed, unless `bias_step` is given: then where the learned bias starts.
        bias_step : float, optional
            Makes the bias learned: the weight from a built-in sensor that reads 1, with this step. Its
            held reading costs ``1/(tau*bias_step)`` spikes a second.
        error_step : float, optional
            Error that one error spike stands for; required where the layer takes part in learning.
        tau, error_tau : float, optional
            Time constants of its forward and its error coder, s; default: the network's, and `tau`.
        threshold : float
            Of the forward and of the error quantizer, in [1/2, 1].
        lr : float, optional
            Learning rate of the projections into it, 1/s; default: the rule's.
        slowness : float
            Weight of a penalty on how much its activations change from tick to tick, in parts of their
            size; on a clock only, and where errors come back to it. Begin at a hundredth of
            the errors (docs/theory.md, section 11).
        taps : tuple of float, optional
            Of its forward coder, as of a sensor.
        """
        if activation not in ACTIVATIONS:
            raise unknown(f"activation of {name}", str(activation), ACTIVATIONS)
        return self._add(
            name,
            "layer",
            size,
            step=step,
            activation=activation,
            leak={"relu": 0.0, "identity": 1.0}.get(activation, leak),
            bias=bias,
            bias_step=bias_step,
            error_step=error_step,
            tau=tau,
            error_tau=error_tau,
            threshold=threshold,
            lr=lr,
            slowness=not_negative(slowness, "slowness", name),
            taps=taps,
        )

    def output(
        self,
        name: str,
        size: int | Shape,
        *,
        error_step: float | None = None,
        loss: str = "squared",
        bias: ArrayLike = 0.0,
        bias_step: float | None = None,
        error_tau: float | None = None,
        threshold: float = 0.5,
        tolerance: float | None = None,
        lr: float | None = None,
    ) -> Population:
        """Add a population that is read out, ``z = bias + u``, and compared with a teacher.

        Parameters
        ----------
        name : str
        size : int or tuple of int
            Width of a target; of an image its height, width and channels.
        error_step : float, optional
            Error that one error spike stands for; required for learning.
        loss : {"squared", "softmax"}
            ``|z - y|^2 / 2``, or the cross-entropy of ``softmax(z)``, for targets that are one-hot or
            probabilities.
        bias : float or array_like, shape (size,)
            Fixed, unless `bias_step` is given: then where the learned bias starts.
        bias_step : float, optional
            Makes the bias learned: the weight from a built-in sensor that reads 1, with this step. Its
            held reading costs ``1/(tau*bias_step)`` spikes a second.
        error_tau : float, optional
            Time constant of its error coder, s; default: the network's.
        threshold : float
            Of the error quantizer, in [1/2, 1].
        tolerance : float, optional
            Of softmax: between arrivals its error is evaluated again each time that some z has moved
            by so much; default: error_step.
        lr : float, optional
            Learning rate of the projections into it, 1/s; default: the rule's.
        """
        if loss not in LOSSES:
            raise unknown(f"loss of {name}", str(loss), LOSSES)
        return self._add(
            name,
            "output",
            size,
            activation="identity",
            bias=bias,
            bias_step=bias_step,
            error_step=error_step,
            error_tau=error_tau,
            threshold=threshold,
            loss=loss,
            tolerance=tolerance,
            lr=lr,
        )

    def connect(
        self,
        source: Population | str,
        target: Population | str,
        *,
        weights: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        edges: ArrayLike | None = None,
        fan_in: int | None = None,
        plastic: bool = True,
        bounds: tuple[float, float] | None = None,
        delay: float = 0.0,
        error_delay: float = 0.0,
        error_step: float | None = None,
        kernel: int | Pair | None = None,
        pool: int | Pair | None = None,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
    ) -> Projection:
        """Project every neuron of `source` to every neuron of `target`, or those that are named.

        Parameters
        ----------
        source, target : Population or str
        weights : array_like, shape (source.size, target.size), or (synapses,) with `edges`
            With `kernel` (height, width, source channels, target channels). Default: drawn by the
            simulation's generator from N(0, 2/(n_in + n_out)), where n_in and n_out are the synapses of a
            target and of a source neuron, on average.
        mask : array_like of bool, shape (source.size, target.size), optional
            Which synapses there are.
        edges : array_like of int, shape (synapses, 2), optional
            The same as pairs (source neuron, target neuron), each at most once.
        fan_in : int, optional
            The same as a number: so many are drawn for each target neuron.
        plastic : bool
            False keeps the weights fixed.
        bounds : tuple of float, optional
            Least and largest weight that learning may reach.
        delay, error_delay : float
            Seconds that a spike travels, and an error spike back. The weight is read on arrival. A
            cycle of projections must have a delay somewhere, and one through which errors come
            back an error delay.
        error_step : float, optional
            Signal that one error spike stands for, of those that this projection learns from and
            takes back; default: its target's. The target encodes its error once for each step.
        kernel : int or tuple of int, optional
            Height and width of a kernel of weights that passes over the source, an image, and makes
            the target, another: a convolution. All its positions share the weights and what they learn.
        pool : int or tuple of int, optional
            The same for a fixed mean over patches, channel by channel.
        stride, padding : int or tuple of int
            How far the kernel moves, by default by 1, or by its own size if it pools; and how far it
            reaches beyond the source, where nothing is.

        Raises
        ------
        ConfigError
            For a sensor as target, an output as source, a second projection between the same two,
            synapses that do not exist, or weights of another shape, out of bounds or not finite.

        Examples
        --------
        >>> net = Network(tau=0.1)
        >>> retina, layer = net.sensor("retina", 100, step=0.1), net.layer("layer", 50, step=0.1)
        >>> net.connect(retina, layer, fan_in=10, bounds=(-1, 1)).synapses
        500
        >>> frame, edges = net.sensor("frame", (8, 8, 1), step=0.1), net.layer("e", (4, 4, 6), step=0.1)
        >>> net.connect(frame, edges, kernel=3, stride=2, padding=1).weight_shape
        (3, 3, 1, 6)
        """
        pre = self.population(source)
        post = self.population(target)
        name = f"{pre.name} -> {post.name}"
        if post.kind in ("sensor", "source"):
            raise ConfigError(f"{name}: a {post.kind} takes no spikes; connect to a layer")
        if pre.kind == "output":
            raise ConfigError(f"{name}: an output sends no spikes; use a layer with identity")
        if any(q.source is pre and q.target is post for q in self.projections):
            raise ConfigError(f"{name}: already connected; give it all its weights at once")
        if kernel is None and pool is None:
            if stride is not None or padding != 0:
                raise ConfigError(f"{name}: stride and padding belong to a kernel; give its size")
            shared = None
            pairs, array = _synapses(pre, post, weights, mask, edges, fan_in)
        else:
            if any(given is not None for given in (mask, edges, fan_in)):
                raise ConfigError(f"{name}: a kernel says which synapses there are; give it alone")
            pairs, shared = None, _shared(pre, post, kernel, pool, stride, padding)
            plastic = plastic and pool is None
            array = _kernel(name, shared, weights)
        projection = Projection(
            pre,
            post,
            len(self.projections),
            array,
            bool(plastic),
            not_negative(delay, "delay", name, " s"),
            not_negative(error_delay, "error_delay", name, " s"),
            pairs,
            fan_in,
            _bounds(name, bounds, array),
            None if error_step is None else positive(error_step, "error_step", name),
            shared,
        )
        cycle = self._cycle(pre.name, post.name) if delay == 0 else []
        if cycle:
            raise ConfigError(f"{name}: closes the zero-delay cycle {' -> '.join(cycle)}")
        self.projections.append(projection)
        return projection

    def population(self, which: Population | str) -> Population:
        """Return a population of this network, by itself or by name."""
        name = which.name if isinstance(which, Population) else which
        found = next((p for p in self.populations if p.name == name), None)
        if found is None:
            raise unknown("population", str(name), (p.name for p in self.populations))
        if isinstance(which, Population) and which is not found:
            raise ConfigError(f"population {name!r} belongs to another network")
        return found

    def projection(self, which: Projection | str) -> Projection:
        """Return a projection of this network, by itself or as ``"source -> target"``."""
        name = which.name if isinstance(which, Projection) else which
        for candidate in self.projections:
            if candidate.name == re.sub(r"\s*->\s*", " -> ", name.strip()):
                return candidate
        raise unknown("projection", name, (p.name for p in self.projections))

    def _cycle(self, source: str, target: str) -> list[str]:
        """Return the populations of a cycle without delay that a projection would close, or none."""
        graph = TopologicalSorter[str]({target: (source,)})
        for q in self.projections:
            if q.delay == 0:
                graph.add(q.target.name, q.source.name)
        try:
            graph.prepare()
        except CycleError as error:
            cycle = list(error.args[1][1:])
            first = cycle.index(target)
            return [*cycle[first:], *cycle[:first], target]
        return []

    def _add(
        self,
        name: str,
        kind: Kind,
        size: int | Shape,
        *,
        step: float = 1.0,
        activation: Activation = "identity",
        leak: float = 1.0,
        bias: ArrayLike = 0.0,
        bias_step: float | None = None,
        error_step: float | None = None,
        tau: float | None = None,
        error_tau: float | None = None,
        threshold: float = 0.5,
        loss: str | None = None,
        tolerance: float | None = None,
        lr: float | None = None,
        constant: bool = False,
        slowness: float = 0.0,
        taps: Taps | None = None,
    ) -> Population:
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name):
            raise ConfigError(
                f"population name {name!r}: must begin with a letter and hold only letters, "
                "digits, '_' and '-'"
            )
        if any(p.name == name for p in self.populations):
            raise ConfigError(f"population name {name!r}: already taken; choose another")
        size, shape = shape_of(size, name)
        if not 0.5 <= threshold <= 1.0:
            raise ConfigError(f"threshold={threshold} on {name}: must lie in [0.5, 1]")
        if activation == "leaky" and not 0.0 < leak < 1.0:
            raise ConfigError(f"leak={leak} on {name}: must lie in (0, 1)")
        own = self.tau if tau is None else positive(tau, "tau", name, " s")
        biases = np.asarray(bias, dtype=np.float64)
        if biases.ndim > 1 or (biases.ndim == 1 and biases.shape != (size,)):
            raise ConfigError(
                f"bias of shape {biases.shape} on {name}: must be a number or ({size},)"
            )
        if not np.isfinite(biases).all():
            raise ConfigError(f"bias on {name}: must be finite")
        population = Population(
            name=name,
            index=len(self.populations),
            kind=kind,
            size=size,
            tau=own,
            error_tau=own if error_tau is None else positive(error_tau, "error_tau", name, " s"),
            step=positive(step, "step", name),
            error_step=None if error_step is None else positive(error_step, "error_step", name),
            threshold=float(threshold),
            activation=activation,
            leak=float(leak),
            bias=np.zeros(size) if bias_step is not None else np.broadcast_to(biases, size).copy(),
            loss=loss,
            tolerance=positive(
                next((v for v in (tolerance, error_step) if v is not None), 1.0), "tolerance", name
            ),
            lr=None if lr is None else not_negative(lr, "lr", name),
            constant=constant,
            shape=shape,
            slowness=slowness,
            taps=_fading(taps, tau, name),
        )
        self.populations.append(population)
        if bias_step is not None:
            one = self._add(
                name + CONSTANT_SUFFIX, "sensor", 1, step=bias_step, tau=own, constant=True
            )
            self.connect(one, population, weights=np.broadcast_to(biases, (1, size)))
        return population

    def __str__(self) -> str:
        from eventnet.graph import table

        return table(self)

    def __repr__(self) -> str:
        return (
            f"Network(tau={self.tau:g} s, {len(self.populations)} populations, "
            f"{len(self.projections)} projections)"
        )

    def describe(self) -> dict[str, Any]:
        """Return the network as plain data, for a run's configuration file."""
        return {
            "tau": self.tau,
            "populations": [
                {
                    "name": p.name,
                    "kind": p.kind,
                    "size": p.size,
                    **({} if p.shape is None else {"shape": list(p.shape)}),
                    "tau": p.tau,
                    "error_tau": p.error_tau,
                    "step": p.step,
                    "error_step": p.error_step,
                    "threshold": p.threshold,
                    "activation": p.activation,
                    "leak": p.leak,
                    "loss": p.loss,
                    "lr": p.lr,
                    **({"slowness": p.slowness} if p.slowness else {}),
                    **({"taps": list(p.taps)} if p.taps else {}),
                    "bias": p.bias.tolist() if p.bias.any() else 0.0,
                }
                for p in self.populations
            ],
            "projections": [
                {
                    "source": q.source.name,
                    "target": q.target.name,
                    "plastic": q.plastic,
                    "delay": q.delay,
                    "error_delay": q.error_delay,
                    "error_step": q.error_step,
                    "synapses": q.synapses,
                    "bounds": q.bounds,
                    **({} if q.convolution is None else {"convolution": asdict(q.convolution)}),
                    "weights": "given" if q.weights is not None else "N(0, 2/(n_in + n_out))",
                }
                for q in self.projections
            ],
        }


def _fading(taps: Taps | None, tau: float | None, name: str) -> Taps | None:
    """Return taps, checked: a prediction that would not fade keeps for ever what old weights made."""
    if taps is None:
        return None
    if tau is not None:
        raise ConfigError(f"tau={tau} s and taps={taps} on {name}: give one of them")
    try:
        w1, w2 = (float(w) for w in taps)
    except (TypeError, ValueError):
        raise ConfigError(f"taps={taps} on {name}: must be two numbers") from None
    if not (abs(w2) < 1.0 and abs(w1) < 1.0 - w2):
        raise ConfigError(
            f"taps={taps} on {name}: the prediction must fade: |w2| < 1 and |w1| < 1 - w2"
        )
    return w1, w2


def _synapses(
    pre: Population,
    post: Population,
    weights: ArrayLike | None,
    mask: ArrayLike | None,
    edges: ArrayLike | None,
    fan_in: int | None,
) -> tuple[Edges | None, NDArray[np.float64] | None]:
    """Check which synapses a projection has and their weights; both in order of rows."""
    name = f"{pre.name} -> {post.name}"
    if sum(given is not None for given in (mask, edges, fan_in)) > 1:
        raise ConfigError(f"{name}: give one of mask, edges and fan_in")
    array = None if weights is None else np.array(weights, dtype=np.float64)
    if array is not None and not np.isfinite(array).all():
        raise ConfigError(f"weights on {name}: all must be finite")
    shape: tuple[int, ...] = (pre.size, post.size)
    pairs: Edges | None = None
    if mask is not None:
        chosen = np.asarray(mask)
        if chosen.shape != shape or chosen.dtype != bool:
            raise ConfigError(
                f"mask of {chosen.dtype} and shape {chosen.shape} on {name}: must be bool, {shape}"
            )
        if array is not None and array.shape == shape:
            array = array[chosen]
        rows, columns = np.nonzero(chosen)
        pairs = rows.astype(np.int64), columns.astype(np.int64)
        shape = rows.shape
    elif edges is not None:
        given = np.asarray(edges)
        if given.ndim != 2 or given.shape[1] != 2 or not np.issubdtype(given.dtype, np.integer):
            raise ConfigError(
                f"edges of {given.dtype} and shape {given.shape} on {name}: must be integers, (n, 2)"
            )
        outside = (given < 0).any(axis=1) | (given >= shape).any(axis=1)
        if outside.any():
            raise ConfigError(
                f"edge {tuple(given[outside][0].tolist())} on {name}: there are {shape[0]} source and "
                f"{shape[1]} target neurons, counted from 0"
            )
        order = np.lexsort((given[:, 1], given[:, 0]))
        given = given[order].astype(np.int64)
        twice = (np.diff(given, axis=0) == 0).all(axis=1)
        if twice.any():
            raise ConfigError(
                f"edge {tuple(given[1:][twice][0].tolist())} on {name}: is there twice; add its weights"
            )
        shape = (len(given),)
        if array is not None and array.shape == shape:
            array = array[order]
        pairs = given[:, 0].copy(), given[:, 1].copy()
    elif fan_in is not None:
        if isinstance(fan_in, bool) or int(fan_in) != fan_in or not 1 <= fan_in <= pre.size:
            raise ConfigError(
                f"fan_in={fan_in} on {name}: must be a whole number from 1 to {pre.size}"
            )
        if array is not None:
            raise ConfigError(f"{name}: weights cannot be given for synapses that are drawn")
    if array is not None and array.shape != shape:
        raise ConfigError(f"weights of shape {array.shape} on {name}: must be {shape}")
    return pairs, array


def _shared(
    pre: Population,
    post: Population,
    kernel: int | Pair | None,
    pool: int | Pair | None,
    stride: int | Pair | None,
    padding: int | Pair,
) -> Convolution:
    name = f"{pre.name} -> {post.name}"
    if kernel is not None and pool is not None:
        raise ConfigError(f"{name}: give one of kernel and pool")
    if kernel is not None:
        steps = 1 if stride is None else stride
        return convolution(name, pre.shape, post.shape, kernel, steps, padding, False)
    assert pool is not None
    steps = pool if stride is None else stride
    return convolution(name, pre.shape, post.shape, pool, steps, padding, True)


def _kernel(
    name: str, shared: Convolution, weights: ArrayLike | None
) -> NDArray[np.float64] | None:
    """Return the weights of a kernel if they are given, or those of a mean."""
    if shared.pooling:
        if weights is not None:
            raise ConfigError(f"weights on {name}: pool takes means; give kernel for other weights")
        return np.full(shared.kernel, 1.0 / math.prod(shared.kernel))
    if weights is None:
        return None
    array = np.array(weights, dtype=np.float64)
    if array.shape != shared.weight_shape or not np.isfinite(array).all():
        raise ConfigError(
            f"weights of shape {array.shape} on {name}: must be {shared.weight_shape} and finite"
        )
    return array


def _bounds(
    name: str, bounds: tuple[float, float] | None, weights: NDArray[np.float64] | None
) -> tuple[float, float] | None:
    if bounds is None:
        return None
    low, high = (float(bound) for bound in bounds)
    if not low < high:
        raise ConfigError(f"bounds={bounds} on {name}: the first must be below the second")
    if weights is not None:
        check_bounds(name, (low, high), weights)
    return low, high


def check_bounds(
    name: str, bounds: tuple[float, float] | None, weights: NDArray[np.float64]
) -> None:
    """Raise a ConfigError if a weight lies outside of `bounds`."""
    low, high = bounds or (-math.inf, math.inf)
    if weights.size and not low <= weights.min() <= weights.max() <= high:
        raise ConfigError(f"weights on {name}: must lie within bounds={bounds}")
