"""The clocked engine's data: flat arrays in named tuples, and the numbers that say how it works."""

from __future__ import annotations

from typing import NamedTuple

from eventnet.engine.jit import Array
from eventnet.engine.marks import MARKS

FORGOTTEN = {8: 1e-25, 4: 1e-12}
"""A presynaptic trace of fewer spikes than this is zero when changes are booked, by a number's bytes.

What it could still bring is far below the rounding of a weight.
"""

CHUNK = MARKS
"""A window's slots come in multiples of it: whole vectors."""

MOST_SLOTS = 64
"""Ticks with presynaptic spikes for which changes of weights may wait, at most.

The longer, the fewer rows are written whose traces are still fading; the more memory is read at each.
"""

WINDOW_FADE = {8: 2.0**-16, 4: 2.0**-8}
"""How far a presynaptic trace may decay within a window, by the size of a number in bytes.

`wait` may cancel that many bits.
"""

WIDE = 32
"""Postsynaptic neurons from which on a row of weights is worth adding by itself."""

BLOCK = 64
"""Neurons of a lazy population that are touched together."""

PRICED_EVERY = 61
"""Ticks with targets between steps of scales that have a price: a prime, so as not to beat with data."""

PRICED_MEAN, OWN_PRICED_MEAN = 100.0, 1000.0
"""Over so many steps the means run of what spikes cost and of what is lost for want of them.

The second is for scales of single neurons, of which a tick says less.
"""

PRICED_RATE, OWN_PRICED_RATE = 0.005, 0.001
"""By how much the logarithm of a scale moves in a step, at most."""

WIDEST = 4.0
"""A neuron's scale stays within this factor of its population's.

A neuron that hardly matters would become ever coarser, until a rare spike of it upsets everything.
"""

SLOWNESS_TICKS = 100
"""Over so many ticks the means run by which a layer's changes are measured."""

RULES = {"STDP": 0, "Past": 1, "Reconstruction": 2, "TrueGradient": 3}
FUTURE, PAST, RECONSTRUCTION, TRUE = range(4)

# Columns of what is counted of a population; the learned ones while learning is on.
EVENTS, QUANTA, ERROR_EVENTS, ERROR_QUANTA, LEARNED_EVENTS, LEARNED_QUANTA = range(6)

# Columns of what is counted of a projection beyond its populations' spikes.
BOOKED_ROWS, SKIP_FORWARD, SKIP_BACKWARD, SKIP_UPDATE, GUARDED, VALUED = range(6)
# The synapses that spikes crossed, of a shared kernel, and the same times their counts.
CROSSED, RETURNED, TAUGHT_ROWS, TAUGHT_COLUMNS = range(6, 14, 2)
PROJECTION_COUNTS = 14

# Entries of the network's counters.
TICKS, READINGS, TEACHINGS, LEARNED_TICKS = range(4)


class Net(NamedTuple):
    """What a run does not change. P populations, Q projections, N neurons in all."""

    kind: Array  # (P,) SENSOR, LAYER or OUTPUT
    first: Array  # (P+1,) offset of a population's neurons
    alpha: Array  # (P,) k_alpha of the forward coder, or its first tap
    second: Array  # (P,) its second tap, 0: none
    before_first: Array  # (P+1,) offset of the neurons that have two, or scales of their own
    encodes: Array  # (P,) bool: has a forward coder, of signals that change
    scale_first: Array  # (P+1,) offset of the scales that are learned
    share_first: Array  # (P+1,) offset of the neurons that have scales of their own
    priced: Array  # (P,) bool: something says what its scales are worth
    fan: Array  # (P,) additions that a quantum causes, forward and in updates
    price: Array  # (1,) of an addition, in units of the loss; 0: scales are not learned
    relative: Array  # (P,) k_beta relative to the mean, or k_beta itself if scales are fixed
    shift: Array  # (P,) by how much the threshold is above 1/2
    leak: Array  # (P,) slope where a unit is off
    softmax: Array  # (P,) bool
    has_error: Array  # (P,) bool: encodes an error
    error_alpha: Array  # (P,)
    error_relative: Array  # (P,)
    constant: Array  # (P,) bool: a sensor that carries learned biases, no spikes
    teacher: Array  # (P,) the projection that carries its learned bias, -1: none
    keeps_pre: Array  # (P,) bool: its presynaptic trace is needed
    keeps_post: Array  # (P,) bool
    order: Array  # layers and outputs, topological
    error_order: Array  # layers that encode an error
    in_first: Array  # (P+1,) into in_list: projections that arrive
    in_list: Array
    trace_first: Array  # (P+1,) offset of the input traces: one block of neurons a group
    group_first: Array  # (P+1,) into group_alpha: the distinct k_alpha of what arrives
    group_alpha: Array
    group_second: Array
    group_before_first: (
        Array  # (groups+1,) offset of the input traces that are predicted by two taps
    )
    group: Array  # (Q,) to which of its target's groups a projection adds
    back_first: Array  # the same six for errors that come back to layers
    back_list: Array
    back_trace_first: Array
    back_group_first: Array
    back_group_alpha: Array
    back_group: Array
    slowness: Array  # (P,) weight of the penalty on a layer's changes
    move_first: Array  # (P+1,) offset of the changes of layers that have one
    source: Array  # (Q,)
    target: Array  # (Q,)
    weight_first: Array  # (Q+1,) offset of a projection's weights
    plastic: Array  # (Q,) bool
    valued: Array  # (Q,) bool: says what its source's scale is worth
    flipped: Array  # (Q,) bool: weights are stored by column: a row would be too short to add
    late: Array  # (Q,) bool: changes wait until the window ends
    pre_first: Array  # (Q+1,) offset of late rows
    slots: Array  # (Q,) of a window, a multiple of CHUNK
    window_fade: Array  # (1,) that ends a window
    forgotten: Array  # (1,) of a presynaptic trace
    waiting_first: Array  # (Q+1,) offset of late rows' slots
    moves_first: Array  # (Q+1,) offset of late columns, slots + 1 blocks of them
    area_first: Array  # (Q+1,) offset of the past rule's products
    synapses: Array  # (Q,) how many
    shared: Array  # (Q,) bool: of a kernel that passes over images
    geometry: Array  # (Q, GEOMETRY) of the kernel, zeros: none
    seen_first: Array  # (Q+1,) into seen
    seen: Array  # what sees each row and column of a kernel's source
    change_first: Array  # (Q+1,) offset of what a tick teaches a kernel
    position_first: Array  # (Q+1,) into position
    position: Array  # of the target's positions, how many see a source neuron
    joined_pre: Array  # (P,) bool: a kernel that learns leads out of it
    joined_post: Array  # (P,) bool: or into it
    block_first: Array  # (P+1,) offset of a population's blocks
    rule: Array  # (1,)
    cap: Array  # (1,) of the guard, inf: none
    eta: Array  # (1,) adaptation rate of the scales, 0: fixed
    clock: Array  # t0, ticks per second


class State(NamedTuple):
    """Everything that a run changes, except weights. Copying these arrays is a checkpoint."""

    x: Array  # (N,) held reading, h(z), or an output's z
    last: Array  # (N,) of layers: x of the tick before
    before: Array  # of coders with two taps: x two ticks ago
    phi: Array  # (N,) residual, in spikes
    on: Array  # (N,) h'(z)
    u: Array  # (input traces,)
    u_before: Array  # of those with two taps: u a tick ago
    bias: Array  # (N,)
    beta: Array  # (P,) k_beta
    share: Array  # of neurons with scales of their own: in parts of k_beta
    sent: Array  # (N,) what is decoded of a signal, if scales are learned
    sent_before: Array  # of coders with two taps: sent a tick ago
    paid: Array  # of learned scales, running means: the price of a tick's additions
    spoilt: Array  # and of d*(x_hat - x)
    mean: Array  # (P,) mu
    y: Array  # (N,) held target, nan: none
    e: Array  # (N,) error
    error_last: Array
    error_phi: Array
    g: Array  # (error traces,)
    error_beta: Array
    error_mean: Array
    pre: Array  # (N,) presynaptic trace; scaled by k_beta in the past and reconstruction rules
    pre_before: Array  # of coders with two taps: pre a tick ago
    post: Array  # (N,) postsynaptic trace
    area: Array  # the product of traces after a synapse's last spike (past rule)
    charge: Array  # a late row: its presynaptic trace, as of the window's first tick
    waiting: Array  # (late rows * slots,) their spikes in each slot of the window
    touched: Array  # (late rows,) how many of their slots hold spikes
    moves: Array  # V of each slot of the window, a block of late columns a slot; then `owed`
    ticks: Array  # (Q,) of the window that have passed
    taken: Array  # (Q,) slots of the window that are taken
    fade: Array  # (Q,) k_alpha to the window's ticks so far
    written: Array  # (N,) values written by the world
    written_time: Array  # (P,) s, when they take effect; inf: none
    rate: Array  # (Q,) learning rate a tick
    lazy: Array  # (P,) its u, x, g and e are held, and a tick touches only what reaches it
    held: Array  # (P,) decay of u and x since they were held
    held_error: Array  # (P,) of g and e
    kernel_pre: Array  # (N,) held presynaptic trace, if kernels learn
    kernel_post: Array  # (N,)
    held_pre: Array  # (P,) its decay since
    held_post: Array  # (P,)
    move: Array  # of slow layers: x less that of the tick before
    square: Array  # (P,) running mean of |x|^2, and of |move|^2
    move_square: Array
    flags: Array  # [next tick, learning, diverged population, a target holds]


class Scratch(NamedTuple):
    """Room for one tick; nothing in it outlives the tick, except the last tick's counts."""

    arrived: Array  # (input traces,)
    returned: Array  # (error traces,)
    spike_count: Array  # (N,) signed counts of this tick, 0 for none
    spike: Array  # (N,) neurons that fired, per population at its offset
    spikes: Array  # (P,) how many
    quanta: Array  # (P,) sum of |count|
    error_count: Array
    error_spike: Array
    error_spikes: Array
    error_quanta: Array
    rate: Array  # (Q,) learning rate in use
    power: Array  # (P,) of the signals that a target learns by
    overlap: Array  # (MOST_SLOTS,)
    item: Array  # (MOST_SLOTS + 4,) slots of the window that have a share
    share: Array  # (MOST_SLOTS + 4,)
    found: (
        Array  # (P,) the sample that was taken, or what `clocked_kernels.NOTHING` and `WRITTEN` say
    )
    nonzero: Array  # (P,) units that a network which skips zeros would have to process
    change: Array  # what spikes have taught shared kernels, by rows and by columns
    mark: Array  # bool: blocks of neurons that spikes have reached
    error_mark: Array
    ahead: Array  # of coders with two taps: what their presynaptic traces are worth from now on
    slope: Array  # (N,) dL/dx_hat, if scales are learned
    single: Array  # (1,) a neuron
    crossed: Array  # (2,) synapses that nobody counts


class Counts(NamedTuple):
    """What `ClockedEngine.counters` is made from."""

    population: Array  # (P, 6)
    projection: Array  # (Q, PROJECTION_COUNTS)
    network: Array  # (4,)
