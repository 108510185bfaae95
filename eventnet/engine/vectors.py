"""Loops over the clocked engine's arrays, each in its precision.

A scalar takes that precision first: a double among singles would make doubles of all.
"""

from __future__ import annotations

import math

import numpy as np

from eventnet.engine.equations import MAX_COUNT
from eventnet.engine.jit import Array, apart, inlined, kernel, summing
from eventnet.engine.marks import MARKS, lowest, nonzero

FADED = 1e18
"""A decayed trace below so many times the smallest normal number is zero.

Denormal numbers would slow every later pass.
"""

PLAIN = 2.0**20
"""Counts that add up to less are each in range, and their sum is exact in single precision."""

FEW = 8
"""Of so many elements one may fire for going from spike to spike to be faster than on vectors."""


@summing
def dot(a: Array, b: Array) -> float:
    """Return ``sum a*b``."""
    total: float = a.dtype.type(0.0)
    for k in range(a.shape[0]):
        total += a[k] * b[k]
    return total


@summing
def size_of(a: Array) -> float:
    """Return ``sum |a|``."""
    total: float = a.dtype.type(0.0)
    for k in range(a.shape[0]):
        total += abs(a[k])
    return total


@apart
def copy(out: Array, values: Array) -> None:
    """Write `values` into `out`."""
    for k in range(out.shape[0]):
        out[k] = values[k]


@apart
def add_row(out: Array, row: Array, factor: float) -> None:
    """Add ``factor*row`` to `out` in place."""
    scale = out.dtype.type(factor)
    for k in range(out.shape[0]):
        out[k] += scale * row[k]


@kernel
def add_spikes(out: Array, count: Array, spike: Array, n: int, factor: float) -> None:
    """Add ``factor*count`` to `out` in place; `spike` lists the `n` neurons whose count is not 0."""
    if n * FEW > count.shape[0]:
        add_row(out, count, factor)
        return
    scale = out.dtype.type(factor)
    for k in range(n):
        out[spike[k]] += scale * count[spike[k]]


@apart
def add_two(out: Array, a: Array, b: Array, by: tuple[float, float]) -> None:
    """Add two rows to `out` in place, times the two numbers."""
    fa, fb = out.dtype.type(by[0]), out.dtype.type(by[1])
    for k in range(out.shape[0]):
        out[k] += fa * a[k] + fb * b[k]


@apart
def add_four(
    out: Array, a: Array, b: Array, c: Array, d: Array, by: tuple[float, float, float, float]
) -> None:
    """Add four rows to `out` in place, times the four numbers: one pass over `out` instead of four."""
    single = out.dtype.type
    fa, fb, fc, fd = single(by[0]), single(by[1]), single(by[2]), single(by[3])
    for k in range(out.shape[0]):
        out[k] += fa * a[k] + fb * b[k] + (fc * c[k] + fd * d[k])


@apart
def add_eight(
    out: Array,
    a: Array,
    b: Array,
    c: Array,
    d: Array,
    e: Array,
    f: Array,
    g: Array,
    h: Array,
    by: Array,
) -> None:
    """Add eight rows to `out` in place, times the eight numbers in `by`."""
    fa, fb, fc, fd, fe, ff, fg, fh = by[0], by[1], by[2], by[3], by[4], by[5], by[6], by[7]
    for k in range(out.shape[0]):
        left = fa * a[k] + fb * b[k] + (fc * c[k] + fd * d[k])
        out[k] += left + (fe * e[k] + ff * f[k] + (fg * g[k] + fh * h[k]))


@kernel
def add_rows(
    out: Array, weights: Array, rows: Array, n: int, count: Array, amplitude: float
) -> None:
    """Add ``amplitude*count[i]`` times row i to `out` for the `n` rows that fired (Eq. 8)."""
    size = out.shape[0]
    k = 0
    while k + 4 <= n:
        a, b, c, d = rows[k], rows[k + 1], rows[k + 2], rows[k + 3]
        add_four(
            out,
            weights[a * size : (a + 1) * size],
            weights[b * size : (b + 1) * size],
            weights[c * size : (c + 1) * size],
            weights[d * size : (d + 1) * size],
            (
                amplitude * count[a],
                amplitude * count[b],
                amplitude * count[c],
                amplitude * count[d],
            ),
        )
        k += 4
    while k < n:
        a = rows[k]
        add_row(out, weights[a * size : (a + 1) * size], amplitude * count[a])
        k += 1


@kernel
def add_dots(
    out: Array, weights: Array, count: Array, spike: Array, n: int, amplitude: float
) -> None:
    """Add to each element of `out` its row times the counts; `spike` lists the `n` that are not 0."""
    size = count.shape[0]
    few = n * FEW <= size
    for k in range(out.shape[0]):
        row = weights[k * size : (k + 1) * size]
        if few:
            total = 0.0
            for m in range(n):
                total += row[spike[m]] * count[spike[m]]
        else:
            total = dot(row, count)
        out[k] += amplitude * total


@apart
def decode(trace: Array, factor: float, arrived: Array, out: Array) -> None:
    """Let `trace` decay and take what has arrived (Eq. 5), and add it to `out`; all in place."""
    scale, zero = trace.dtype.type(factor), trace.dtype.type(0.0)
    least = trace.dtype.type(FADED * np.finfo(trace.dtype).tiny)
    for k in range(trace.shape[0]):
        faded = scale * trace[k]
        trace[k] = (faded if abs(faded) > least else zero) + arrived[k]
        out[k] += trace[k]


@apart
def fade_tapped(trace: Array, before: Array, taps: tuple[float, float]) -> None:
    """Let `trace` go on as predicted from its last two values, in place."""
    w1, w2 = trace.dtype.type(taps[0]), trace.dtype.type(taps[1])
    zero = trace.dtype.type(0.0)
    least = trace.dtype.type(FADED * np.finfo(trace.dtype).tiny)
    for k in range(trace.shape[0]):
        faded = w1 * trace[k] + w2 * before[k]
        before[k] = trace[k]
        trace[k] = faded if abs(faded) > least else zero


@kernel
def decode_tapped(
    trace: Array, before: Array, taps: tuple[float, float], arrived: Array, out: Array
) -> None:
    """`decode` where a trace is predicted from its last two values (Eq. 15); all in place."""
    fade_tapped(trace, before, taps)
    for k in range(trace.shape[0]):
        trace[k] += arrived[k]
        out[k] += trace[k]


@apart
def fade_all(trace: Array, factor: float) -> None:
    """Let `trace` decay in place."""
    scale, zero = trace.dtype.type(factor), trace.dtype.type(0.0)
    least = trace.dtype.type(FADED * np.finfo(trace.dtype).tiny)
    for k in range(trace.shape[0]):
        faded = scale * trace[k]
        trace[k] = faded if abs(faded) > least else zero


@apart
def activate(z: Array, on: Array, leak: float) -> None:
    """Replace z by h(z) and write h' into `on`."""
    slope, one, zero = z.dtype.type(leak), z.dtype.type(1.0), z.dtype.type(0.0)
    for j in range(z.shape[0]):
        on[j] = one if z[j] >= zero else slope
        z[j] *= on[j]


@apart
def change_from(x: Array, before: Array) -> None:
    """Replace what x was before by how much it has changed."""
    for j in range(x.shape[0]):
        before[j] = x[j] - before[j]


@apart
def add_slowness(e: Array, on: Array, move: Array, x: Array, gain: float, less: float) -> None:
    """Add ``h'*(gain*move - less*x)`` to errors, in place."""
    up, down = e.dtype.type(gain), e.dtype.type(less)
    for j in range(e.shape[0]):
        e[j] += on[j] * (up * move[j] - down * x[j])


@apart
def look_up(held: Array, code: Array, level: Array, whole: float) -> None:
    """Write into `held` the levels of bytes, or their parts of a `whole` that is not 0."""
    divisor = held.dtype.type(whole if whole != 0.0 else 1.0)
    for k in range(held.shape[0]):
        held[k] = level[code[k]] if whole == 0.0 else held.dtype.type(code[k]) / divisor


@inlined
def rounded(p: float, shift: float | None, rounding: float) -> float:
    """Return the count of a residual (Eq. 3), halves to even.

    Adding and subtracting 1.5/eps rounds ``|p| < .5/eps`` to whole numbers. With a `shift`, by which the
    threshold is above 1/2, it is ``sign(p)*round(|p| - shift)`` where that is not negative.
    """
    if shift is None:
        return (p + rounding) - rounding
    nothing = shift - shift
    beyond = abs(p) - shift
    size = ((beyond if beyond > nothing else nothing) + rounding) - rounding
    return size if p > nothing else -size


@inlined
def summed(phi: float, x: float, last: float, kp: float, kd: float) -> float:
    """Return what is quantized: ``phi + kp*x + kd*(x - last)`` (Eq. 4)."""
    return phi + (kp * x + kd * (x - last))


@apart
def encode(
    x: Array,
    last: Array,
    phi: Array,
    count: Array,
    alpha: float,
    beta: float,
    shift: float | None,
) -> None:
    """Encode and quantize one tick: writes phi, count and, to `last`, x."""
    kp, kd = phi.dtype.type((1.0 - alpha) / beta), phi.dtype.type(alpha / beta)
    rounding = phi.dtype.type(1.5 / np.finfo(phi.dtype).eps)
    above = None if shift is None else phi.dtype.type(shift)
    for k in range(x.shape[0]):
        now = phi.dtype.type(x[k])
        p = summed(phi[k], now, last[k], kp, kd)
        s = rounded(p, above, rounding)
        count[k] = s
        phi[k] = p - s
        last[k] = now


@apart
def encode_tapped(
    x: Array,
    last: Array,
    before: Array,
    phi: Array,
    count: Array,
    taps: tuple[float, float],
    beta: float,
    share: Array,
    shift: float,
) -> None:
    """`encode` what a prediction from two ticks misses (Eq. 14): writes phi, count, last, before.

    With `share`, which may be empty, neuron k has the scale ``beta*share[k]``.
    """
    w1, w2 = phi.dtype.type(taps[0]), phi.dtype.type(taps[1])
    unit = phi.dtype.type(beta)
    rounding = phi.dtype.type(1.5 / np.finfo(phi.dtype).eps)
    above = phi.dtype.type(shift)
    for k in range(x.shape[0]):
        now = phi.dtype.type(x[k])
        own = unit * share[k] if share.shape[0] > 0 else unit
        p = phi[k] + (now - w1 * last[k] - w2 * before[k]) / own
        s = rounded(p, above, rounding)
        count[k] = s
        phi[k] = p - s
        before[k] = last[k]
        last[k] = now


@apart
def encode_codes(
    code: Array,
    level: Array,
    whole: float,
    x: Array,
    phi: Array,
    count: Array,
    alpha: float,
    beta: float,
    shift: float | None,
) -> None:
    """`encode` the levels of bytes, or their parts of a `whole` that is not 0: writes x, phi, count."""
    kp, kd = x.dtype.type((1.0 - alpha) / beta), x.dtype.type(alpha / beta)
    rounding = x.dtype.type(1.5 / np.finfo(x.dtype).eps)
    above = None if shift is None else x.dtype.type(shift)
    if whole != 0.0:
        divisor = x.dtype.type(whole)
        for k in range(x.shape[0]):
            now = x.dtype.type(code[k]) / divisor
            p = summed(phi[k], now, x[k], kp, kd)
            s = rounded(p, above, rounding)
            count[k] = s
            phi[k] = p - s
            x[k] = now
    else:
        for k in range(x.shape[0]):
            now = level[code[k]]
            p = summed(phi[k], now, x[k], kp, kd)
            s = rounded(p, above, rounding)
            count[k] = s
            phi[k] = p - s
            x[k] = now


@kernel
def total_in_range(count: Array) -> int:
    """Return ``sum |count|``; -1 if one is not what was to be rounded, or too large."""
    most = min(MAX_COUNT, 0.5 / np.finfo(count.dtype).eps)
    total = 0
    for k in range(count.shape[0]):
        if not abs(count[k]) <= most:
            return -1
        total += int(abs(count[k]))
    return total


@kernel
def list_spikes(count: Array, spike: Array) -> tuple[int, float]:
    """Write the neurons with a count into `spike`; return how many, and ``sum |count|``."""
    found = 0
    size = 0.0
    whole = count.shape[0] // MARKS * MARKS
    for start in range(0, whole, MARKS):
        bits = nonzero(count, start)
        while bits != 0:
            k = start + lowest(bits)
            bits &= bits - 1
            spike[found] = k
            found += 1
            size += abs(count[k])
    for k in range(whole, count.shape[0]):
        if count[k] != 0.0:
            spike[found] = k
            found += 1
            size += abs(count[k])
    return found, size


@summing
def count_nonzero(a: Array) -> int:
    """Return how many elements are not 0: a sum of their own type, which runs on vectors."""
    one, zero = a.dtype.type(1.0), a.dtype.type(0.0)
    n = zero
    for k in range(a.shape[0]):
        n += one if a[k] != zero else zero
    return int(n)


@apart
def softmax_error(z: Array, y: Array, e: Array) -> None:
    """Write ``softmax(z) - y``, or 0 where any target is missing, into `e`."""
    missing = 0
    largest = z[0]
    for k in range(z.shape[0]):
        missing += math.isnan(y[k])
        largest = max(largest, z[k])
    if missing > 0:
        e[:] = 0.0
        return
    total = 0.0
    for k in range(z.shape[0]):
        e[k] = math.exp(z[k] - largest)
        total += e[k]
    for k in range(z.shape[0]):
        e[k] = e[k] / total - y[k]


@apart
def squared_error(z: Array, y: Array, e: Array) -> None:
    """Write ``z - y``, or 0 where the target is missing, into `e`."""
    for k in range(z.shape[0]):
        e[k] = 0.0 if math.isnan(y[k]) else z[k] - y[k]
