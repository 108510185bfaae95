"""The compiled engine's data: flat arrays in named tuples, and the codes that they hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import config
from numpy.typing import DTypeLike, NDArray

from eventnet.engine.bound import Fields
from eventnet.engine.jit import Array

# Status codes that `advance` returns.
DONE, BUFFER_FULL, NEEDS_SAMPLES, DIVERGED, NEEDS_ROOM = 0, 1, 2, 3, 4

# Columns of the counters of a projection. Each pass counts events, quanta, and both times the synapses
# that they crossed: what this program multiplies and adds, and what the paper's would add.
FORWARD, BACKWARD, ROW, COLUMN = 0, 4, 8, 12
BOOKED, PASSES, GUARDED, SKIP_FORWARD, SKIP_BACKWARD, SKIP_UPDATE = range(16, 22)
PROJECTION_COUNTERS = 22

# Columns of the counters of a population.
EVENTS, QUANTA, ERROR_EVENTS, ERROR_QUANTA = range(4)
POPULATION_COUNTERS = 4

# Entries of the network's counters.
INSTANTS, READINGS, TEACHINGS = range(3)
NETWORK_COUNTERS = 3

# Population kinds.
SENSOR, LAYER, OUTPUT, SOURCE = 0, 1, 2, 3

# Kernels of the learning rules (`learning`).
RULES = {"booked": 0, "past": 1, "reconstruction": 2}


POPULATION = np.dtype(
    [
        ("kind", np.int64),  # SENSOR, LAYER, OUTPUT or SOURCE
        ("tau", np.float64),  # s
        ("step", np.float64),
        ("per_step", np.float64),  # 1/step
        ("theta", np.float64),
        ("leak", np.float64),  # slope where a unit is off; 1: it has no bend
        ("biased", np.bool_),  # any bias is non-zero
        ("has_error", np.bool_),  # encodes an error
        ("error_tau", np.float64),  # s
        ("coder", np.int64),  # its first error coder that is listened to; -1: none
        ("matched", np.bool_),  # all that arrives decays with the coder's own tau
        ("local", np.bool_),  # a delivery touches only the neurons that it reaches
        ("own", np.bool_),  # its neurons have steps of their own
        ("stride", np.int64),  # numbers in a neuron's cell, of a local population
        ("softmax", np.bool_),  # an output with cross-entropy
        ("tolerance", np.float64),  # softmax
        ("error_matched", np.bool_),  # ; of an output: what arrives decays with its error_tau
    ],
    align=True,
)
"""What is known of a population. One array of records costs a call a tenth of what as many arrays do."""

PROJECTION = np.dtype(
    [
        ("delay", np.float64),  # s
        ("error_delay", np.float64),  # s
        ("source", np.int64),
        ("target", np.int64),
        ("sparse", np.bool_),  # rows differ in length, and say which neurons they reach
        ("span_first", np.int64),  # into span, of sparse projections
        ("edge_first", np.int64),  # into reach
        (
            "column_span_first",
            np.int64,
        ),  # into column_span, of those through which errors come back
        ("flipped", np.bool_),  # weights lie by columns, as rows would be short
        ("plastic", np.bool_),
        ("late", np.bool_),  # columns are booked late
        ("ledgers", np.bool_),  # and rows are sparse
        ("shared", np.bool_),  # its synapses share a kernel
        ("share_first", np.int64),  # into share
        ("bounded", np.bool_),
        ("lower", np.float64),  # least and largest weight
        ("upper", np.float64),
        ("pre_tau", np.float64),  # s, of the presynaptic traces
        ("post_tau", np.float64),  # s
        ("coder", np.int64),  # whose error spikes it takes
        ("error_step", np.float64),
        ("unit", np.float64),  # what a presynaptic spike adds to its trace
        ("post_unit", np.float64),
        ("for_row", np.float64),  # what a unit of rate does with x_s*e_hat
        ("for_column", np.float64),  # with x_hat*e_s
        ("for_pair", np.float64),  # with x_s*e_s
        ("cap", np.float64),  # guard, inf for none
        ("group", np.int64),  # to which of its target's groups a projection adds
        ("back_group", np.int64),  # to which of its source's groups of errors it adds
    ],
    align=True,
)
"""What is known of a projection."""


CODER = np.dtype(
    [
        ("population", np.int64),
        ("step", np.float64),
        ("per_step", np.float64),  # 1/step
        ("next", np.int64),  # the next coder of its population that is listened to; -1: none
    ]
)
"""What is known of an error coder."""


class Net(NamedTuple):
    """What does not change during a run. P populations, Q projections, N neurons in all.

    C error coders: one a population, then those with a step of some projection's own; E neurons in all.
    """

    population: Array  # (P,) of POPULATION
    projection: Array  # (Q,) of PROJECTION
    coder: Array  # (C,) of CODER
    first: Array  # (P+1,) offset of a population's neurons
    coder_first: Array  # (C+1,) offset of a coder's neurons: of the first P the same
    own_first: Array  # (P+1,) offset of neurons with steps of their own
    order: Array  # layers and outputs, topological
    error_order: Array  # layers that encode an error
    in_first: Array  # (P+1,) into in_list: projections that arrive, creation order
    in_list: Array
    trace_first: Array  # (P+1,) offset of the input traces: one block of neurons a group
    group_first: Array  # (P+1,) into group_tau: the distinct time constants of what arrives
    group_tau: Array  # s
    back_first: Array  # (P+1,) into back_list: projections that bring errors back
    back_list: Array
    back_trace_first: Array  # the same five for the error traces of layers
    back_group_first: Array
    back_group_tau: Array
    delayed: Array  # projections with a delay
    error_delayed: Array
    weight_first: Array  # (Q+1,) offset of a projection's weights, by rows if not flipped
    span: Array  # where each row begins among the projection's weights
    reach: Array  # the target neuron of each weight
    column_span: Array  # where each column begins in column_row, column_place
    column_row: Array  # the source neuron of each entry of a column
    column_place: Array  # and its place among the projection's weights
    share: Array  # the place of each synapse's weight in the kernel that it shares
    position: (
        Array  # per presynaptic trace: from how many positions of a kernel it is seen; none: 1
    )
    pre_first: Array  # (Q+1,) offset of its presynaptic traces
    post_first: Array  # (Q+1,) offset of its postsynaptic traces, if they have no ledgers
    booked_first: Array  # (Q+1,) offset of what its synapses have booked
    rule: Array  # (1,) which kernel
    error_driven: Array  # (1,) bool: pairs with error spikes, else with the target's own
    bias: Array  # (N,)
    leaf_first: Array  # (P,) where a sensor's neurons begin among the leaves of the tree
    level_first: Array  # where each level of the tree begins
    local_first: Array  # (P+1,) offset of local populations' lists, each with room for one more
    cell_first: Array  # (P+1,) offset of the cells of local populations
    owed_first: Array  # (Q+1,) offset of what its targets owe, or of their ledgers
    error_tree_first: Array  # (P+1,) offset of the trees of local outputs
    error_levels: Array  # (P+1,) into error_level_first
    error_level_first: Array  # where each level begins in its tree
    start: Array  # (1,) t0, s


POPULATION_STATE = np.dtype(
    [
        ("clock", np.float64),  # s
        ("error_clock", np.float64),  # s
        ("due", np.float64),  # s, the earliest of a layer's cross and turn
        ("error_due", np.float64),  # s
        ("timer", np.float64),  # s, when it is evaluated again
        ("written_time", np.float64),  # s, when they take effect; inf: none
    ]
)
"""What a run changes of a population."""

PROJECTION_STATE = np.dtype(
    [
        ("origin", np.float64),  # s
        ("power", np.float64),  # sum of squares of the presynaptic traces
        ("jumps", np.float64),  # fading sum of squares of the presynaptic spikes
        ("gauged", np.float64),  # s, as of when power and jumps are
        ("trace_clock", np.float64),  # s, of the postsynaptic traces
        ("rate", np.float64),  # learning rate, 1/s
    ]
)
"""What a run changes of a projection."""


class State(NamedTuple):
    """Everything that a run changes, except weights. Copying these arrays is a checkpoint."""

    population: Array  # (P,) of POPULATION_STATE
    projection: Array  # (Q,) of PROJECTION_STATE
    x: Array  # (N,) held reading of a sensor neuron
    period: Array  # (N,) s between its spikes
    u: Array  # (input traces,) as of `clock`; not of local populations
    slope: Array  # (N,) h': 1 where a unit is on
    phi: Array  # (N,) residual, as of `anchor`; not of local layers
    cells: Array  # of local populations: all that a delivery changes of a neuron, side by side (`local`)
    anchor: Array  # (N,) s
    cross: Array  # (N,) s, next own spike
    side: Array  # (N,) sign of the threshold that it meets then
    turn: Array  # (N,) s, next on/off
    g: Array  # (error traces,) as of `error_clock`
    y: Array  # (N,) held target
    e: Array  # (N,) held error of softmax
    gate: Array  # (N,) layer: slope as the error coder saw it; output: 1 while it has a target
    error_phi: Array  # (E,)
    error_anchor: Array  # (N,) s
    error_cross: Array  # (E,) s
    error_side: Array  # (E,)
    error_amplitude: Array  # (input traces,) of an output's error, as of `error_anchor`
    charge: Array  # presynaptic traces; booked late: as of `origin`
    owed: Array  # per postsynaptic neuron: what its error spikes have added a unit of charge; or ledgers
    booked: Array  # per synapse: the part of `owed` in its weight; of past: its open product
    version: Array  # (Q,) counts the changes of `owed`
    seen: Array  # per presynaptic neuron: the version that its row has booked
    post: Array  # postsynaptic ones
    own: Array  # of neurons with steps of their own: in parts of their population's
    spent: Array  # and what they have sent, in quanta
    written: Array  # (N,) values written by the world
    tree: Array  # of minima over `cross` of the sensor neurons (`tournament`)
    error_tree: Array  # over `error_cross` of each local output
    now: Array  # (1,) s, the last instant that was run
    flags: Array  # [started, learning, diverged population, its neuron]


class Flights(NamedTuple):
    """Spikes under way on delayed projections, each projection's in order of arrival.

    Those of projection q stand at ``first[q] + head[q]`` to ``first[q] + tail[q]``; the last capacity is
    ``first[q+1] - first[q]``. Python makes more room when `advance` asks for it.
    """

    first: Array  # (Q+1,)
    head: Array  # (Q,)
    tail: Array  # (Q,)
    landed: Array  # (Q,) how many arrive in this instant
    time: Array  # s, of arrival
    neuron: Array
    quanta: Array


class Feed(NamedTuple):
    """One block of samples a population, filled by Python when it runs dry."""

    capacity: Array  # (P,) samples; 0: no feed
    samples: Array  # (P,) in the block
    cursor: Array  # (P,) next sample of the block
    more: Array  # (P,) bool: the recording goes on after the block
    time_first: Array  # (P,) offset into time
    value_first: Array  # (P,) offset into value, or into code
    time: Array
    value: Array
    coded: Array  # (P,) bool: samples are bytes that stand for levels
    level: Array  # (P, 256)
    whole: Array  # (P,) of which the bytes are parts; 0: their levels are of another kind
    code: Array  # samples that are bytes


class Fired(NamedTuple):
    """The spikes of one instant, each population's ascending from its offset on."""

    neuron: Array  # (N,), or (E,) of error spikes
    quanta: Array  # signed counts
    number: Array  # (P,) how many fired, or (C,)


class Rows(NamedTuple):
    """The rows of synapses of a packet."""

    at: Array  # (R,) offset into reach of what is not delivered yet
    after: Array  # where the row ends
    ahead: Array  # how much further on its weight stands
    scale: Array  # by which a weight is multiplied


class Scratch(NamedTuple):
    """Room for one instant; nothing in it outlives the instant.

    What local populations use is left as it was found: NaN in `arrived`.
    """

    arrived: Array  # (input traces,) summed input of the delivery; NaN: none
    returned: Array  # (error traces,) summed errors of the delivery
    soft: Array  # (N,) softmax of an output
    amplitude: Array  # room for one neuron's groups
    scaled: Array
    fired: Fired
    errors: Fired
    effect: Array  # (N,) what a row changes per unit of presynaptic spike
    incoming: Array  # (N,) presynaptic spikes, spread out
    touched: Array  # (N,) bool: whose row they touch
    delivered: Array  # (P,) bool
    turned: Array  # (P,) bool: a slope changed
    read: Array  # (P,) where a sample of this instant lies: -2 none, -1 written, else offset
    given: Array  # (P,) how many spikes a source is given
    jump: Array  # (N,) of a layer's errors
    reached: Array  # of local populations: whom a delivery reaches, in order of arrival
    reaches: Array  # (P,) how many
    amounts: Array  # what arrives at each of them
    leaving: Array  # whose residuals leave the threshold
    room: Array  # to sort them
    rows: Rows
    row: Array  # weights of one row of a shared kernel


class Probes(NamedTuple):
    """What is to be read while the engine runs, by K probes, and what was read."""

    population: Array  # (K,)
    first: Array  # (K+1,) into time
    time: Array  # s, each probe's increasing
    size: Array  # (K,) numbers in a reading
    value_first: Array  # (K+1,) into value
    value: Array  # a reading after another
    done: Array  # (K,) readings
    left: Array  # (1,) readings to come, of all


class Buffer(NamedTuple):
    """What leaves an engine while it runs: spikes on their way to the recorder, and readings."""

    time: Array  # on a clock empty: nothing is recorded
    population: Array  # from P on: error coders
    neuron: Array
    quanta: Array  # signed
    used: Array  # (1,)
    probes: Probes


class Counters(NamedTuple):
    """What the cost report is made from."""

    population: Array  # (P, POPULATION_COUNTERS)
    projection: Array  # (Q, PROJECTION_COUNTERS)
    network: Array  # (NETWORK_COUNTERS,)


def offsets(sizes: Sequence[int]) -> NDArray[np.int64]:
    """Return where each of several pieces of these sizes begins, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(np.asarray(sizes, dtype=np.int64))]).astype(np.int64)


def aligned(n: int, dtype: DTypeLike = np.float64, at: int = 0, unit: int = 64) -> NDArray[Any]:
    """Return zeros that begin `at` bytes behind a whole `unit` of memory, by default with a cache line.

    Rows that straddle two lines cost a third more time.
    """
    size = np.dtype(dtype).itemsize
    room = np.zeros(n + 2 * unit // size, dtype)
    start = (at - room.ctypes.data) % unit // size
    return room[start : start + n]


PAGE, APART = 4096, 448
"""Bytes: of a page, and by which arrays that are worked on together should lie apart in theirs."""


def spread(fields: Fields) -> Fields:
    """Return the arrays of a named tuple in other places, each further into its page than the last.

    A load from as far into a page as a store just before it waits for that, as if it were the same place.
    What is longer than many pages stays where it is.
    """
    placed = {}
    for k, (name, values) in enumerate(fields._asdict().items()):  # type: ignore[attr-defined]
        if values.nbytes <= 16 * PAGE:
            placed[name] = aligned(values.size, values.dtype, APART * k, PAGE).reshape(values.shape)
            placed[name][...] = values
    return fields._replace(**placed)  # type: ignore[attr-defined, no-any-return]


def ragged(lists: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return lists of different lengths as offsets and one array."""
    flat = [q for members in lists for q in members]
    return offsets([len(m) for m in lists]), np.asarray(flat, dtype=np.int64)


def records(layout: np.dtype[Any], columns: dict[str, Any]) -> Array:
    """Return an array of records from its columns, all of them."""
    table = np.zeros(len(next(iter(columns.values()))), dtype=layout)
    for name in layout.names or ():
        table[name] = columns[name]
    return table.view(Records) if config.DISABLE_JIT else table


class Records(np.ndarray):
    """Records whose fields are attributes, as for compiled code, with the JIT off.

    NumPy's own records are several times slower than C structures in the same memory.
    """

    def __array_finalize__(self, whole: Any) -> None:
        """Begin without structures."""
        self._rows: Any = None

    def __getitem__(self, key: Any) -> Any:
        """Return a record, or a column by its name."""
        try:
            return self._rows[key]
        except TypeError:  # a column, or the first record that is asked for
            if isinstance(key, str):
                return self.view(np.ndarray)[key]
            row = np.ctypeslib.as_ctypes_type(self.dtype)
            row.__getitem__ = lambda record, name: getattr(record, name)  # as NumPy's records
            self._rows = (row * len(self)).from_address(self.ctypes.data)
            return self._rows[key]
