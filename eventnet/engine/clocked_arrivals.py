"""What reaches a population in a tick of the clocked engine: rows of spikes, columns of errors."""

from __future__ import annotations

from eventnet.engine.clocked_arrays import CROSSED, RETURNED, Counts, Net, Scratch, State
from eventnet.engine.clocked_convolution import pass_columns, pass_rows
from eventnet.engine.clocked_learning import read_waiting, return_waiting
from eventnet.engine.jit import Array, kernel
from eventnet.engine.vectors import add_dots, add_rows


@kernel
def arrive(
    p: int,
    net: Net,
    state: State,
    weights: Array,
    scratch: Scratch,
    counts: Counts,
    special: int | None,
) -> None:
    """Add the rows of the spikes that reach `p` (writes arrived, and the marks of their blocks)."""
    n = net.first[p + 1] - net.first[p]
    for k in range(net.in_first[p], net.in_first[p + 1]):
        q = net.in_list[k]
        src = net.source[q]
        n_spikes = scratch.spikes[src]
        if n_spikes == 0:
            continue
        c, d = net.first[src], net.first[src + 1]
        place = net.trace_first[p] + net.group[q] * n
        w = weights[net.weight_first[q] : net.weight_first[q + 1]]
        out = scratch.arrived[place : place + n]
        spike, count = scratch.spike[c:d], scratch.spike_count[c:d]
        if special is not None:
            mark = scratch.mark[net.block_first[p] : net.block_first[p + 1]]
            if net.shared[q]:
                crossed = counts.projection[q, CROSSED : CROSSED + 2]
                unit = state.beta[src]
                seen = net.seen[net.seen_first[q] : net.seen_first[q + 1]]
                shape = net.geometry[q]
                pass_rows(shape, seen, w, out, spike, n_spikes, count, unit, False, crossed, mark)
                continue
            mark[:] = True
        if net.flipped[q]:
            add_dots(out, w, count, spike, n_spikes, state.beta[src])
        else:
            add_rows(out, w, spike, n_spikes, count, state.beta[src])
            if state.ticks[q] > 0:
                read_waiting(q, out, net, state, scratch, state.beta[src])


@kernel
def come_back(
    p: int,
    net: Net,
    state: State,
    weights: Array,
    scratch: Scratch,
    counts: Counts,
    special: int | None,
) -> None:
    """Add the columns of the error spikes that reach layer `p` (writes returned, and marks)."""
    n = net.first[p + 1] - net.first[p]
    for k in range(net.back_first[p], net.back_first[p + 1]):
        q = net.back_list[k]
        dst = net.target[q]
        n_spikes = scratch.error_spikes[dst]
        if n_spikes == 0:
            continue
        c, d = net.first[dst], net.first[dst + 1]
        place = net.back_trace_first[p] + net.back_group[q] * n
        w = weights[net.weight_first[q] : net.weight_first[q + 1]]
        out = scratch.returned[place : place + n]
        spike, count = scratch.error_spike[c:d], scratch.error_count[c:d]
        if special is not None:
            mark = scratch.error_mark[net.block_first[p] : net.block_first[p + 1]]
            if net.shared[q]:
                by_columns = w[w.shape[0] // 2 :]
                crossed = counts.projection[q, RETURNED : RETURNED + 2]
                unit = state.error_beta[dst]
                pass_columns(
                    net.geometry[q],
                    by_columns,
                    out,
                    spike,
                    n_spikes,
                    count,
                    unit,
                    False,
                    crossed,
                    mark,
                )
                continue
            mark[:] = True
        if net.flipped[q]:
            add_rows(out, w, spike, n_spikes, count, state.error_beta[dst])
        else:
            add_dots(out, w, count, spike, n_spikes, state.error_beta[dst])
            if state.ticks[q] > 0:
                return_waiting(q, out, net, state, scratch, state.error_beta[dst])
