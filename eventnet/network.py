"""The network builder: populations and projections on a NetworkX graph, checked as they are added."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventnet.errors import ConfigError

if TYPE_CHECKING:
    import networkx as nx

Kind = Literal["sensor", "layer", "output"]
CONSTANT_SUFFIX = "_bias"
"""A learned bias of NAME is the weight from the constant sensor NAME_bias."""
Activation = Literal["relu", "leaky", "identity"]
ACTIVATIONS: tuple[Activation, ...] = ("relu", "leaky", "identity")
LOSSES = ("squared", "softmax")


def positive(value: float, name: str, owner: str, unit: str = "") -> float:
    """Return `value` as a float if it is positive and finite, else raise naming all three."""
    number = float(value)
    if not (math.isfinite(number) and number > 0):
        raise ConfigError(f"{name}={value}{unit} on {owner}: must be positive and finite")
    return number


def unknown(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    """Return the error for a name that does not exist, with the names that do."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return ConfigError(f"unknown {kind} {name!r}{hint} (there are: {', '.join(names) or 'none'})")


@dataclass(frozen=True, eq=False)
class Population:
    """Neurons that share a coder.

    Attributes
    ----------
    name : str
    index : int
        Place in the order of creation.
    kind : {"sensor", "layer", "output"}
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
    constant : bool
        A sensor that reads 1 from the start and is fed by nobody: it carries learned biases.
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
    constant: bool = False

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
    weights : ndarray, shape (source.size, target.size), or None
        Initial weights; None: drawn from N(0, 2/(n_in + n_out)) by the simulation's generator.
    plastic : bool
        Whether learning changes the weights.
    delay, error_delay : float
        Seconds from a spike to its arrival, and from an error spike back to its own.
    """

    source: Population
    target: Population
    index: int
    weights: NDArray[np.float64] | None = field(repr=False)
    plastic: bool = True
    delay: float = 0.0
    error_delay: float = 0.0

    @property
    def name(self) -> str:
        """``"source -> target"``."""
        return f"{self.source.name} -> {self.target.name}"

    @property
    def shape(self) -> tuple[int, int]:
        """``(n_in, n_out)``."""
        return self.source.size, self.target.size

    def __str__(self) -> str:
        return self.name


class Network:
    """A network under construction: sensors, layers and outputs, joined by projections.

    Parameters
    ----------
    tau : float
        Time constant of every coder that is given none of its own, s.

    Attributes
    ----------
    graph : networkx.DiGraph
        Nodes are population names with the `Population` as attribute ``population``; edges are
        projections with the `Projection` as attribute ``projection``.

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
        import networkx as nx

        self.tau = positive(tau, "tau", "the network", " s")
        self.graph: nx.DiGraph = nx.DiGraph()
        self.populations: list[Population] = []
        self.projections: list[Projection] = []

    def sensor(
        self,
        name: str,
        size: int,
        *,
        step: float,
        tau: float | None = None,
        threshold: float = 0.5,
    ) -> Population:
        """Add a population that encodes a reading held from sample to sample.

        Parameters
        ----------
        name : str
        size : int
            Width of a reading.
        step : float
            Signal that one spike stands for, in the sensor's unit.
        tau : float, optional
            Time constant of its coder, s; default: the network's. A held reading x costs
            ``|x|/(tau*step)`` spikes a second: give a slow sensor a long one.
        threshold : float
            In [1/2, 1].
        """
        return self._add(name, "sensor", size, step=step, tau=tau, threshold=threshold)

    def layer(
        self,
        name: str,
        size: int,
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
    ) -> Population:
        """Add a hidden population ``h(bias + u)``, where u is the decoded input.

        Parameters
        ----------
        name : str
        size : int
            Number of neurons.
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
        )

    def output(
        self,
        name: str,
        size: int,
        *,
        error_step: float | None = None,
        loss: str = "squared",
        bias: ArrayLike = 0.0,
        bias_step: float | None = None,
        error_tau: float | None = None,
        threshold: float = 0.5,
        tolerance: float | None = None,
    ) -> Population:
        """Add a population that is read out, ``z = bias + u``, and compared with a teacher.

        Parameters
        ----------
        name : str
        size : int
            Width of a target.
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
        )

    def connect(
        self,
        source: Population | str,
        target: Population | str,
        *,
        weights: ArrayLike | None = None,
        plastic: bool = True,
        delay: float = 0.0,
        error_delay: float = 0.0,
    ) -> Projection:
        """Project every neuron of `source` to every neuron of `target`.

        Parameters
        ----------
        source, target : Population or str
        weights : array_like, shape (source.size, target.size), optional
            Default: drawn from N(0, 2/(n_in + n_out)) by the simulation's generator.
        plastic : bool
            False keeps the weights fixed.
        delay, error_delay : float
            Seconds that a spike travels, and an error spike back. The weight is read on arrival. A
            cycle of projections must have a delay somewhere, and one through which errors come
            back an error delay.

        Raises
        ------
        ConfigError
            For a sensor as target, an output as source, a second projection between the same two,
            or weights of another shape or that are not finite.
        """
        pre = self.population(source)
        post = self.population(target)
        name = f"{pre.name} -> {post.name}"
        if post.kind == "sensor":
            raise ConfigError(f"{name}: a sensor takes readings, not spikes; connect to a layer")
        if pre.kind == "output":
            raise ConfigError(f"{name}: an output sends no spikes; use a layer with identity")
        if self.graph.has_edge(pre.name, post.name):
            raise ConfigError(f"{name}: already connected; give it all its weights at once")
        for what, value in (("delay", delay), ("error_delay", error_delay)):
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{what}={value} s on {name}: must be >= 0 and finite")
        array: NDArray[np.float64] | None = None
        if weights is not None:
            array = np.array(weights, dtype=np.float64)
            if array.shape != (pre.size, post.size):
                raise ConfigError(
                    f"weights of shape {array.shape} on {name}: must be {(pre.size, post.size)}"
                )
            if not np.isfinite(array).all():
                raise ConfigError(f"weights on {name}: all must be finite")
        projection = Projection(
            pre,
            post,
            len(self.projections),
            array,
            bool(plastic),
            float(delay),
            float(error_delay),
        )
        self.graph.add_edge(pre.name, post.name, projection=projection)
        cycle = self._cycle(pre.name, post.name) if delay == 0 else []
        if cycle:
            self.graph.remove_edge(pre.name, post.name)
            raise ConfigError(f"{name}: closes the zero-delay cycle {' -> '.join(cycle)}")
        self.projections.append(projection)
        return projection

    def population(self, which: Population | str) -> Population:
        """Return a population of this network, by itself or by name."""
        name = which.name if isinstance(which, Population) else which
        if name not in self.graph:
            raise unknown("population", str(name), self.graph.nodes)
        found: Population = self.graph.nodes[name]["population"]
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
        import networkx as nx

        at_once = nx.DiGraph(
            (q.source.name, q.target.name) for q in self.projections if q.delay == 0
        )
        at_once.add_edge(source, target)
        if not nx.has_path(at_once, target, source):
            return []
        return [*nx.shortest_path(at_once, target, source), target]

    def _add(
        self,
        name: str,
        kind: Kind,
        size: int,
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
        constant: bool = False,
    ) -> Population:
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name):
            raise ConfigError(
                f"population name {name!r}: must begin with a letter and hold only letters, "
                "digits, '_' and '-'"
            )
        if name in self.graph:
            raise ConfigError(f"population name {name!r}: already taken; choose another")
        if isinstance(size, bool) or int(size) != size or size < 1:
            raise ConfigError(f"size={size} on {name}: must be a whole number of at least 1")
        size = int(size)
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
            constant=constant,
        )
        self.graph.add_node(name, population=population)
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
                    "tau": p.tau,
                    "error_tau": p.error_tau,
                    "step": p.step,
                    "error_step": p.error_step,
                    "threshold": p.threshold,
                    "activation": p.activation,
                    "leak": p.leak,
                    "loss": p.loss,
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
                    "weights": "given" if q.weights is not None else "N(0, 2/(n_in + n_out))",
                }
                for q in self.projections
            ],
        }
