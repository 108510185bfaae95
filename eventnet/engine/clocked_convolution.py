"""Kernels that spikes pass through, on the clock: each adds its patch, each teaches it.

A kernel lies twice among the weights. By rows, ``[source channel, y, x, target channel]``, what a spike
adds to one row of the target is one run of numbers: with a stride it is every so many columns of the
kernel, which therefore lie together, the last first (`column_order`). By columns, ``[target channel, y,
x, source channel]``, the same holds for what an error spike sends back to one row of the source. What
both teach in a tick is summed in two arrays that lie alike (`Scratch.change`) and written at its end.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventnet.convolution import Convolution
from eventnet.engine.clocked_arrays import (
    BLOCK,
    FUTURE,
    RECONSTRUCTION,
    TAUGHT_COLUMNS,
    TAUGHT_ROWS,
    TRUE,
    Counts,
    Net,
    Scratch,
    State,
)
from eventnet.engine.jit import Array, kernel, summing
from eventnet.engine.lanes import add_run
from eventnet.engine.vectors import fade_all

# Entries of a projection's geometry.
IN_HEIGHT, IN_WIDTH, IN_CHANNELS, OUT_HEIGHT, OUT_WIDTH, OUT_CHANNELS = range(6)
HEIGHT, WIDTH, STRIDE_Y, STRIDE_X, PADDING_Y, PADDING_X, POOLING = range(6, 13)
GEOMETRY = 13

# Numbers about each row and column of the source in `seen_from`.
ROWS, COLUMNS = 2, 3


def geometry(shared: Convolution | None) -> list[int]:
    """Return a projection's geometry as kernels take it; zeros: it has no kernel."""
    if shared is None:
        return [0] * GEOMETRY
    sides = (shared.kernel, shared.stride, shared.padding)
    return [*shared.source, *shared.target, *(n for side in sides for n in side), shared.pooling]


def column_order(shared: Convolution) -> list[int]:
    """Return the columns of a kernel as they lie by rows: those of one phase of the stride together."""
    width, stride = shared.kernel[1], shared.stride[1]
    return [x for phase in range(stride) for x in reversed(range(phase, width, stride))]


def seen_from(shared: Convolution | None) -> list[int]:
    """Return what sees each row and each column of the source.

    Of each row the first and the last row of the target; then of each column the first column of the
    target, how many there are, and where the kernel's columns for them begin (`column_order`).
    """
    found: list[int] = []
    if shared is None:
        return found
    (down, right), (above, before) = shared.stride, shared.padding
    for y in range(above, above + shared.source[0]):
        top = max((y - shared.kernel[0]) // down + 1, 0)
        found += [top, min(y // down, shared.target[0] - 1)]
    order = column_order(shared)
    for x in range(before, before + shared.source[1]):
        columns = [to for to in range(shared.target[1]) if 0 <= x - to * right < shared.kernel[1]]
        start = order.index(x - columns[0] * right) if columns else 0
        found += [min(columns, default=0), len(columns), start]
    return found


def laid_out(shared: Convolution, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a kernel by rows and then by columns."""
    ordered = weights[:, column_order(shared)]
    if shared.pooling:
        return np.concatenate([ordered.ravel(), weights.ravel()])
    rows, columns = ordered.transpose(2, 0, 1, 3), weights.transpose(3, 0, 1, 2)
    return np.concatenate([rows.ravel(), columns.ravel()])


def gathered(shared: Convolution, stored: NDArray[Any]) -> NDArray[Any]:
    """Return the kernel that lies by rows at the beginning of `stored`."""
    n, back = len(stored) // 2, np.argsort(column_order(shared))
    if shared.pooling:
        return stored[:n].reshape(shared.kernel)[:, back].copy()
    height, width, of, to = shared.weight_shape
    rows = stored[:n].reshape(of, height, width, to)
    return np.ascontiguousarray(rows.transpose(1, 2, 0, 3)[:, back])


@kernel
def pass_rows(
    shape: Array,
    seen: Array,
    weights: Array,
    image: Array,
    spike: Array,
    n: int,
    count: Array,
    amplitude: float,
    teach: bool,
    counts: Array,
    mark: Array,
) -> None:
    """Add ``amplitude*count`` times the patches of `n` spikes to the target `image` (Eq. 8).

    With `teach` the other way round: add what the image holds there to the kernel. `counts` takes the
    synapses that were crossed, and the same times ``|count|``; `mark` the blocks that were reached.
    `seen` is that of `seen_from`.
    """
    channels, to_channels = shape[IN_CHANNELS], shape[OUT_CHANNELS]
    height, width = shape[HEIGHT], shape[WIDTH]
    wide, pooling, stride = shape[OUT_WIDTH], shape[POOLING] != 0, shape[STRIDE_Y]
    run = 1 if pooling else to_channels
    across = shape[IN_WIDTH] * channels
    per_row, per_pixel = 1.0 / across, 1.0 / channels
    for m in range(n):
        i = spike[m]
        s = amplitude * count[i]
        y = int((i + 0.5) * per_row)  # a division of whole numbers takes as long as a run
        x = int((i - y * across + 0.5) * per_pixel)
        channel = i - y * across - x * channels
        top, bottom = seen[ROWS * y], seen[ROWS * y + 1]
        x = ROWS * shape[IN_HEIGHT] + COLUMNS * x
        first, n_x, start = seen[x], seen[x + 1], seen[x + 2]
        if n_x <= 0:
            continue
        if not pooling:
            start += channel * height * width
        y += shape[PADDING_Y]
        for to in range(top, bottom + 1):
            row = (start + (y - to * stride) * width) * run
            at = (to * wide + first) * to_channels
            if pooling:
                for k in range(n_x):
                    image[at + k * to_channels + channel] += s * weights[row + k]
            elif teach:
                add_run(weights, row, image, at, n_x * run, s)
            else:
                add_run(image, at, weights, row, n_x * run, s)
            if not teach:
                for block in range(at // BLOCK, (at + n_x * to_channels - 1) // BLOCK + 1):
                    mark[block] = True
        crossed = max(bottom - top + 1, 0) * n_x * run
        counts[0] += crossed
        counts[1] += crossed * int(abs(count[i]))


@kernel
def pass_columns(
    shape: Array,
    weights: Array,
    image: Array,
    spike: Array,
    n: int,
    count: Array,
    amplitude: float,
    teach: bool,
    counts: Array,
    mark: Array,
) -> None:
    """The same for errors: patches of the source `image`, the kernel by columns (Eq. 12)."""
    channels, of_channels = shape[OUT_CHANNELS], shape[IN_CHANNELS]
    height, width = shape[HEIGHT], shape[WIDTH]
    wide, pooling = shape[IN_WIDTH], shape[POOLING] != 0
    run = 1 if pooling else of_channels
    across = shape[OUT_WIDTH] * channels
    per_row, per_pixel = 1.0 / across, 1.0 / channels
    for m in range(n):
        j = spike[m]
        s = amplitude * count[j]
        y = int((j + 0.5) * per_row)
        x = int((j - y * across + 0.5) * per_pixel)
        channel = j - y * across - x * channels
        x = x * shape[STRIDE_X] - shape[PADDING_X]
        y = y * shape[STRIDE_Y] - shape[PADDING_Y]
        first = max(-x, 0)
        n_x = min(wide - x, width) - first
        top, bottom = max(-y, 0), min(shape[IN_HEIGHT] - y, height)
        start = 0 if pooling else channel * height * width
        for k_y in range(top, bottom):
            row = (start + k_y * width + first) * run
            at = ((y + k_y) * wide + x + first) * of_channels
            if pooling:
                for k in range(n_x):
                    image[at + k * of_channels + channel] += s * weights[row + k]
            elif teach:
                add_run(weights, row, image, at, n_x * run, s)
            else:
                add_run(image, at, weights, row, n_x * run, s)
            if not teach:
                for block in range(at // BLOCK, (at + n_x * of_channels - 1) // BLOCK + 1):
                    mark[block] = True
        crossed = (bottom - top) * n_x * run
        counts[0] += crossed
        counts[1] += crossed * int(abs(count[j]))


@kernel
def write_kernel(
    shape: Array, weights: Array, change: Array, of_rows: float, of_columns: float
) -> None:
    """Add what a tick taught to both copies of a kernel (writes weights), and forget it (change)."""
    channels, to_channels = shape[IN_CHANNELS], shape[OUT_CHANNELS]
    height, width, stride = shape[HEIGHT], shape[WIDTH], shape[STRIDE_X]
    half = weights.shape[0] // 2
    rows, columns = weights[:half], weights[half:]
    taught, returned = change[:half], change[half:]
    by_row, by_column = weights.dtype.type(of_rows), weights.dtype.type(of_columns)
    at = 0
    for line in range(channels * height):
        channel = line // height
        for phase in range(min(stride, width)):
            x = phase + (width - phase - 1) // stride * stride
            while x >= 0:
                place = ((line - channel * height) * width + x) * channels + channel
                for _ in range(to_channels):
                    rows[at] += by_row * taught[at] + by_column * returned[place]
                    columns[place] = rows[at]
                    at += 1
                    place += height * width * channels
                x -= stride
    change[:] = 0.0


@summing
def power_of(positions: Array, x: Array) -> float:
    """Return ``sum r*x*x``, r the number of positions that see each neuron of the source."""
    total: float = x.dtype.type(0.0)
    for i in range(x.shape[0]):
        total += positions[i] * x[i] * x[i]
    return total


@kernel
def teach_kernels(net: Net, state: State, weights: Array, scratch: Scratch, counts: Counts) -> None:
    """Let shared kernels learn (writes weights and the held traces): each weight by all its synapses.

    Traces are held: the decay since a tick that they share stands apart, in `held_pre` and `held_post`,
    so that a tick touches only those of its spikes. Errors teach first, by the presynaptic traces before
    this tick's spikes; then spikes, by the postsynaptic ones with this tick's errors: as in Eq. 20.
    """
    rule = net.rule[0]
    fade_held(net.alpha, net.joined_pre, state.held_pre, state.kernel_pre, net)
    fade_held(net.error_alpha, net.joined_post, state.held_post, state.kernel_post, net)
    if rule == RECONSTRUCTION:
        hold_spikes(net, state, scratch, True, True)
    if rule in (RECONSTRUCTION, TRUE):
        for q in range(net.source.shape[0]):
            if net.shared[q] and net.plastic[q]:
                factor = state.held_pre[net.source[q]] * state.held_post[net.target[q]]
                gain = -scratch.rate[q] * (1.0 if rule == TRUE else factor)
                correlate(q, gain, net, state, weights, scratch)
        return
    for stage in range(2):
        for q in range(net.source.shape[0]):
            if net.shared[q] and net.plastic[q]:
                src, dst = net.source[q], net.target[q]
                a, b, c, d = net.first[src], net.first[src + 1], net.first[dst], net.first[dst + 1]
                change = scratch.change[net.change_first[q] : net.change_first[q + 1]]
                half = change.shape[0] // 2
                if stage == 0:
                    pass_columns(
                        net.geometry[q],
                        change[half:],
                        state.kernel_pre[a:b],
                        scratch.error_spike[c:d],
                        scratch.error_spikes[dst],
                        scratch.error_count[c:d],
                        1.0,
                        True,
                        counts.projection[q, TAUGHT_COLUMNS : TAUGHT_COLUMNS + 2],
                        scratch.mark,
                    )
                else:
                    pass_rows(
                        net.geometry[q],
                        net.seen[net.seen_first[q] : net.seen_first[q + 1]],
                        change[:half],
                        state.kernel_post[c:d],
                        scratch.spike[a:b],
                        scratch.spikes[src],
                        scratch.spike_count[a:b],
                        1.0,
                        True,
                        counts.projection[q, TAUGHT_ROWS : TAUGHT_ROWS + 2],
                        scratch.mark,
                    )
        hold_spikes(net, state, scratch, stage == 1, stage == 0)
    for q in range(net.source.shape[0]):
        src, dst = net.source[q], net.target[q]
        if net.shared[q] and net.plastic[q] and scratch.spikes[src] + scratch.error_spikes[dst] > 0:
            fade = net.alpha[src] * net.error_alpha[dst]
            gain = -scratch.rate[q] * (state.beta[src] * state.error_beta[dst] / (1.0 - fade))
            write_kernel(
                net.geometry[q],
                weights[net.weight_first[q] : net.weight_first[q + 1]],
                scratch.change[net.change_first[q] : net.change_first[q + 1]],
                gain * state.held_post[dst],
                gain * state.held_pre[src],
            )


@kernel
def correlate(
    q: int, factor: float, net: Net, state: State, weights: Array, scratch: Scratch
) -> None:
    """Add ``factor`` times the sum of all products of two signals to a kernel: traces, or x and e."""
    src, dst = net.source[q], net.target[q]
    a, b, c, d = net.first[src], net.first[src + 1], net.first[dst], net.first[dst + 1]
    true = net.rule[0] == TRUE
    x = state.x[a:b] if true else state.kernel_pre[a:b]
    e = state.e[c:d] if true else state.kernel_post[c:d]
    change = scratch.change[net.change_first[q] : net.change_first[q + 1]]
    by_columns, crossed, single = change[change.shape[0] // 2 :], scratch.crossed, scratch.single
    for j in range(d - c):
        if e[j] != 0.0:
            single[0] = j
            pass_columns(
                net.geometry[q], by_columns, x, single, 1, e, 1.0, True, crossed, scratch.mark
            )
    write_kernel(
        net.geometry[q], weights[net.weight_first[q] : net.weight_first[q + 1]], change, 0.0, factor
    )


@kernel
def fade_held(alpha: Array, joined: Array, held: Array, trace: Array, net: Net) -> None:
    """Let held traces decay a tick (writes held); once that is much, by themselves (writes trace)."""
    for p in range(held.shape[0]):
        if joined[p]:
            held[p] *= alpha[p]
            if held[p] < net.window_fade[0]:
                fade_all(trace[net.first[p] : net.first[p + 1]], held[p])
                held[p] = 1.0


@kernel
def hold_spikes(net: Net, state: State, scratch: Scratch, pre: bool, post: bool) -> None:
    """Add this tick's spikes, or its error spikes, to the held traces of those that kernels join."""
    scaled = net.rule[0] != FUTURE
    for p in range(net.kind.shape[0]):
        a = net.first[p]
        if pre and net.joined_pre[p]:
            unit = (state.beta[p] if scaled else 1.0) / state.held_pre[p]
            for m in range(scratch.spikes[p]):
                i = a + scratch.spike[a + m]
                state.kernel_pre[i] += unit * scratch.spike_count[i]
        if post and net.joined_post[p]:
            unit = (state.error_beta[p] if scaled else 1.0) / state.held_post[p]
            for m in range(scratch.error_spikes[p]):
                j = a + scratch.error_spike[a + m]
                state.kernel_post[j] += unit * scratch.error_count[j]
