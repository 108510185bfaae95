"""What an experiment is made of: the tables of a scenario file, and the same as Python classes.

Each class is one table of a ``.toml`` file and each field one of its keys; the text below a field is
also what editors show (`eventnet schema`). Values are checked when an object is made.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Whole = Annotated[int, Field(ge=1)]
Threshold = Annotated[float, Field(ge=0.5, le=1)]
Pair = Annotated[list[Finite], Field(min_length=2, max_length=2)]
Column = str | int

UNITS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
"""Nanoseconds in each unit of time that a file may count in."""


class Part(BaseModel):
    """A table whose keys are known, of values that are not converted; it does not change."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True
    )


class Signal(Part):
    """A file's readings (or targets) and how they arrive.

    Times are stamps of the file, shifted by the experiment's `origin`. A row whose chosen cells are all
    empty is no reading.
    """

    file: str | None = None
    """CSV, NPZ, NPY, Parquet, HDF5, AEDAT4 (its IMU) or a robot log (MCAP, ROS), by the suffix.

    A path relative to the scenario file; of a ROS 2 bag its folder.
    """
    topic: str | None = None
    """Of a robot log: whose messages are the rows."""
    columns: list[Column] | None = None
    """Names (CSV, Parquet), numbers from 0 (CSV, NPY), arrays (NPZ, HDF5), fields (logs).

    Default: all others.
    """
    time: Column | None = None
    """The column or array of time stamps; without one give `rate`.

    In a robot log log_time, or a field that holds a stamp, as header.stamp.
    """
    unit: Literal["s", "ms", "us", "ns"] = "s"
    """Unit of the time stamps; ISO dates bring their own."""
    rate: Positive | None = None
    """Readings per second, of a file without time stamps: reading k is taken at start + k/rate."""
    start: Finite = 0.0
    """With `rate`: time of the first reading, s."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    """Of a CSV file."""
    header: bool = True
    """Whether a CSV file begins with the names of its columns."""

    scale: Finite = 1.0
    """A reading is scale*cell + offset."""
    offset: Finite = 0.0
    """A reading is scale*cell + offset."""
    standardize: Pair | None = None
    """Instead of scale and offset: mean 0 and deviation 1 over this window [from, to], s."""
    hold: Positive | None = None
    """Seconds for which it stands, if no other comes: then a sensor reads 0, a target expires."""

    clock_offset: Finite = 0.0
    """Seconds added to its time stamps."""
    latency: NotNegative = 0.0
    """Seconds from its time stamp to its arrival."""
    jitter: NotNegative = 0.0
    """Each arrives up to so many seconds later, evenly drawn; none overtakes the one before."""
    dropout: Share = 0.0
    """Probability with which one is lost."""

    lateness: NotNegative | None = None
    """Seconds for which later ones are held back, so that one out of order still finds its place.

    Default: 0 in a recording, 0.01 live.
    """
    late: Literal["drop", "error"] | None = None
    """What becomes of one that comes later still; default: error in a recording, drop live."""
    gap: Positive | None = None
    """Seconds without any that are reported; default: 10 median intervals, live 1 s."""


class Sensor(Signal):
    """A population that encodes a reading, held from one to the next."""

    step: Positive
    """Signal that one spike stands for, after scaling."""
    tau: Positive | None = None
    """Time constant of its coder, s; default: the network's."""
    threshold: Threshold = 0.5
    """Residual, in spikes, beyond which a neuron fires."""
    size: Whole | None = None
    """Components of a reading; default: what the columns give."""


class Source(Part):
    """A population whose spikes are the events of a camera, each at its own microsecond."""

    file: str
    """AEDAT4, or NPY with the fields x, y, t (us) and p of Tonic; relative to the scenario file."""
    width: Whole | None = None
    """Pixels; default: as the AEDAT4 file says, of an NPY file up to the largest address."""
    height: Whole | None = None
    """Pixels; default: as for the width."""
    block: Whole = 1
    """Pixels a side that share a neuron."""
    polarity: Literal["split", "signed", "merged"] = "split"
    """split: a neuron each for on and off; signed: one that fires +1 or -1; merged: one that fires."""
    clock_offset: Finite = 0.0
    """Seconds added to its time stamps."""
    step: Positive = 1.0
    """Signal that one event stands for."""
    tau: Positive | None = None
    """Time constant with which its receivers decode it, s; default: the network's."""


class Teacher(Signal):
    """The targets of an output. A NaN is "no target"."""


class Layer(Part):
    """A hidden population."""

    size: Whole
    """Neurons."""
    step: Positive
    """Activation that one spike stands for."""
    activation: Literal["relu", "leaky", "identity"] = "relu"
    """h(z)."""
    leak: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Slope of "leaky" below 0."""
    bias: Finite = 0.0
    """Fixed, unless bias_step is given: then where the learned bias starts."""
    bias_step: Positive | None = None
    """Makes the bias learned: step of the constant sensor that carries it."""
    error_step: Positive | None = None
    """Error that one error spike stands for; required where the layer takes part in learning."""
    tau: Positive | None = None
    """Time constant of its coder, s; default: the network's."""
    error_tau: Positive | None = None
    """Time constant of its error coder, s; default: tau."""
    threshold: Threshold = 0.5
    """Residual, in spikes, beyond which a neuron fires."""
    lr: NotNegative | None = None
    """Learning rate of what leads into it, 1/s; default: the rule's."""


class Output(Part):
    """A population that is read, and compared with a teacher's targets."""

    size: Whole | None = None
    """Neurons; default: what the teacher's columns give."""
    teacher: Teacher | None = None
    """Where its targets come from."""
    loss: Literal["squared", "softmax"] = "squared"
    """softmax: cross-entropy; targets are probabilities."""
    error_step: Positive | None = None
    """Error that one error spike stands for; required to learn."""
    bias: Finite = 0.0
    """Fixed, unless bias_step is given: then where the learned bias starts."""
    bias_step: Positive | None = None
    """Makes the bias learned: step of the constant sensor that carries it."""
    error_tau: Positive | None = None
    """Time constant of its error coder, s; default: the network's."""
    threshold: Threshold = 0.5
    """Of its error coder."""
    tolerance: Positive | None = None
    """Of softmax: by how much z may move before its error is taken again; default: error_step."""
    lr: NotNegative | None = None
    """Learning rate of what leads into it, 1/s; default: the rule's."""


class Connection(Part):
    """Synapses from each neuron of one population to each neuron of another."""

    source: str
    """A sensor, a source or a layer."""
    target: str
    """A layer or an output."""
    fan_in: Whole | None = None
    """Synapses that are drawn for each target neuron; default: all."""
    plastic: bool = True
    """Whether learning changes the weights."""
    bounds: Pair | None = None
    """Least and largest weight that learning may reach."""
    delay: NotNegative = 0.0
    """Seconds that a spike travels."""
    error_delay: NotNegative = 0.0
    """Seconds that an error spike travels back."""
    error_step: Positive | None = None
    """Error that one error spike on it stands for; default: its target's."""


class Phase(Part):
    """A stretch of learning. After the last one the network is frozen."""

    until: Positive
    """Its end, s."""
    factor: NotNegative = 1.0
    """Times the learning rates of the network; 0: no learning."""


class Learning(Part):
    """How weights change."""

    rule: Literal["stdp", "past", "reconstruction"] = "stdp"
    """The learning rule; all are driven by errors."""
    lr: NotNegative
    """Learning rate, 1/s."""
    cap: Positive | None = 0.5
    """Of stdp: the guard's bound on one jump of the input."""
    phases: list[Phase] = Field(default_factory=list)
    """In order of time; default: one that never ends."""


class Probe(Part):
    """Reads a population's decoded signal, kept in the run folder or, live, sent out."""

    rate: Positive
    """Readings per second."""


class Score(Part):
    """Compares an output with its targets, at their times, within a window."""

    start: NotNegative | None = None
    """s; default: the end of the last phase of learning, else 0."""
    stop: Positive | None = None
    """s; default: the end."""


class RunFolder(Part):
    """What the run folder holds beside configuration and metrics."""

    raster: bool = True
    """All spikes. Without them a run is faster."""
    probes: Literal["csv", "parquet"] = "csv"
    """Format of the probes' readings, probes/NAME.csv."""
    checkpoint: bool = False
    """The state at the end, for `Simulation.load`."""


class Experiment(Part):
    """Sensors, a network, what it learns and how it is scored: all that a scenario file says.

    Examples
    --------
    >>> e = Experiment(
    ...     tau=0.1,
    ...     sensors={"gyro": Sensor(file="gyro.csv", time="t", columns=["x", "y"], step=0.1)},
    ...     outputs={"turn": Output(size=1)},
    ...     connections=[Connection(source="gyro", target="turn")],
    ... )
    >>> e.sensors["gyro"].unit
    's'
    """

    description: str = ""
    """One sentence; `eventnet scenarios` shows it of those that come with eventnet."""
    tau: Positive
    """Time constant of every coder that has none of its own, s."""
    until: Positive | None = None
    """End of the simulation, s; default: the last time stamp."""
    origin: Literal["first"] | Finite = "first"
    """Time stamp, s, that is time 0 of the simulation; first: the earliest of all files."""
    sensors: dict[str, Sensor] = Field(default_factory=dict)
    """By name."""
    sources: dict[str, Source] = Field(default_factory=dict)
    """Event cameras, by name."""
    layers: dict[str, Layer] = Field(default_factory=dict)
    """By name."""
    outputs: dict[str, Output] = Field(default_factory=dict)
    """By name."""
    connections: list[Connection] = Field(default_factory=list)
    """Every projection."""
    learning: Learning | None = None
    """Without it weights stay as they are."""
    probes: dict[str, Probe] = Field(default_factory=dict)
    """By name of the population."""
    scores: dict[str, Score] = Field(default_factory=dict)
    """By name of the output."""
    validation: Pair | None = None
    """From and to, s: what is scored where score is "validation", as in `eventnet sweep`.

    Learning ends where it begins, the run where it ends.
    """
    score: Literal["test", "validation"] = "test"
    """Which window is scored."""
    recording: RunFolder = RunFolder()
    """What is kept."""
