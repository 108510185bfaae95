"""Figure 10: what changing weights and quantization cost a product, over 32 x 32 pairs of gains."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from eventnet.coding import Floats, decode, delta, encode, quantize
from eventnet.reproduce import Number, Result
from eventnet.reproduce.drawing import (
    APPROXIMATION,
    PRODUCT,
    RECONSTRUCTION,
    SIGNAL,
    SPIKES,
    drawing,
)
from eventnet.reproduce.signals import lowpass

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TICKS, SEED = 20_000, 1238
X_CUTOFF, W_CUTOFF = 0.01, 0.002
POINTS = 32
KP = np.geomspace(0.001, 0.1, POINTS)
KD = np.geomspace(0.1, 10.0, POINTS)
EXAMPLE = 0.01, 1.0
SHOWN = 500  # ticks of the example
ROWS = 8  # of kp at a time: what quantizes them stays below 200 MB


class Maps(NamedTuple):
    """Cosines of the angle to the true product x*w, and spikes; all by kp and kd."""

    weights: Floats
    quantization: Floats
    both: Floats
    spikes: Floats


NAMES = {
    "weights": r"$S_C(x\odot w,\ dec(enc(x)\odot w))$",
    "quantization": r"$S_C(x\odot w,\ dec(Q(enc(x)))\odot w)$",
    "both": r"$S_C(x\odot w,\ dec(Q(enc(x))\odot w))$",
    "spikes": r"$\log_{10}(N_{ops})$",
}


def signals() -> tuple[Floats, Floats]:
    """Return the signal and the weight, both of mean about 0 and deviation 1."""
    rng = np.random.RandomState(SEED)
    return lowpass(TICKS, X_CUTOFF, rng), lowpass(TICKS, W_CUTOFF, rng)


def maps(x: Floats, w: Floats, kp: Floats, kd: Floats) -> Maps:
    """Return what every pair of gains does to a product.

    Parameters
    ----------
    x, w : ndarray, shape (n,)
        Signal and weight.
    kp, kd : ndarray, shapes (p,) and (d,)
        Spikes per unit of signal; not both 0.

    Returns
    -------
    Maps
        Each of shape (p, d).
    """
    parts = [_rows(x, w, kp[k : k + ROWS], kd) for k in range(0, len(kp), ROWS)]
    return Maps(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _rows(x: Floats, w: Floats, kp: Floats, kd: Floats) -> Maps:
    p, d = (gains.ravel() for gains in np.meshgrid(kp, kd, indexing="ij"))
    a = x[:, None] * p + delta(x)[:, None] * d  # Eq. 4, a pair a column
    s, weight, true = quantize(a), w[:, None], x * w
    found = (
        _cosine(true, _decoded(a * weight, p, d)),
        _cosine(true, _decoded(s, p, d) * weight),
        _cosine(true, _decoded(s * weight, p, d)),
        np.abs(s).sum(axis=0).astype(np.float64),
    )
    return Maps(*(values.reshape(len(kp), len(kd)) for values in found))


def _decoded(s: Any, p: Floats, d: Floats) -> Floats:
    """Return Eq. 5 on columns, each with gains of its own: a filter of first order."""
    from scipy.signal import lfilter

    filters = zip(s.T, p + d, d, strict=True)
    columns = [lfilter([1 / total], [1, -gain / total], column) for column, total, gain in filters]
    return np.stack(columns, axis=1)


def _cosine(true: Floats, columns: Floats) -> Floats:
    cosines: Floats = true @ columns / (np.linalg.norm(true) * np.linalg.norm(columns, axis=0))
    return cosines


def run(quick: bool) -> Result:
    """Compute the figure; it takes seconds either way."""
    x, w = signals()
    found = maps(x, w, KP, KD)
    with drawing(12, 5) as figure:
        _example(figure, x, w)
        _pictures(figure, found)
    settings = {
        "ticks": TICKS,
        "x cutoff": X_CUTOFF,
        "w cutoff": W_CUTOFF,
        "kp": [KP[0], KP[-1]],
        "kd": [KD[0], KD[-1]],
        "points": POINTS,
    }
    return Result("Figure 10", SEED, settings, tuple(_numbers(found)), figure)


WORDS = {
    "weights": "cosine, changing weight alone",
    "quantization": "cosine, quantization alone",
    "both": "cosine, both",
    "spikes": "spikes N",
}


def _numbers(found: Maps) -> list[Number]:
    numbers = []
    for name, words in WORDS.items():
        values = getattr(found, name)
        for i, j in product((0, -1), repeat=2):
            at = f"kp={KP[i]:g}, kd={KD[j]:g}"
            value = float(values[i, j])
            numbers.append(Number(f"{words}, {at}", int(value) if name == "spikes" else value))
    i, j = (int(k) for k in np.unravel_index(found.both.argmax(), found.both.shape))
    numbers.append(Number("cosine, both, the largest", float(found.both[i, j])))
    numbers += [Number("kp there", float(KP[i])), Number("kd there", float(KD[j]))]
    numbers.append(Number("spikes N there", int(found.spikes[i, j])))
    least = min(float(values.min()) for values in found[:3])
    ends = np.log10([found.spikes.min(), found.spikes.max()])
    bar = "the paper's colour bar has ticks from {} to {}"
    return [
        *numbers,
        Number("cosine, the least of all three maps", least, note=bar.format(0.4, "1.0")),
        Number("log10 of spikes N, the least", float(ends[0]), note=bar.format(1.75, "3.50")),
        Number("log10 of spikes N, the largest", float(ends[1])),
    ]


def _example(figure: Figure, x: Floats, w: Floats) -> None:
    kp, kd = EXAMPLE
    a = encode(x, kp, kd)
    s = quantize(a)
    shown = slice(TICKS - SHOWN, TICKS)
    ticks = np.arange(TICKS)[shown]
    panels = {
        (2, 4, (1, 2)): (
            ("$x_t$", x, SIGNAL),
            ("$Q(enc(x_t))$", s, SPIKES),
            ("$w_t$", w, RECONSTRUCTION),
        ),
        (2, 4, (5, 6)): (
            (r"$x_t\cdot w_t$", x * w, PRODUCT),
            (r"$dec(enc(x_t)\cdot w_t)$", decode(a * w, kp, kd), SIGNAL),
            (r"$dec(Q(enc(x_t))\cdot w_t)$", decode(s * w, kp, kd), APPROXIMATION),
        ),
    }
    for place, curves in panels.items():
        ax = figure.add_subplot(*place)
        for label, values, colour in curves:
            ax.plot(ticks, values[shown], color=colour, label=label, lw=1.1)
        ax.set(xlim=(ticks[0], ticks[-1]), ylabel="signal (s.d.), spikes")
        ax.legend(loc="upper left", ncols=3)
    figure.axes[0].set_title(f"Example: $k_p={kp:g}$, $k_d={kd:g}$", fontsize=9)
    figure.axes[1].set_xlabel("t (ticks)")


def _pictures(figure: Figure, found: Maps) -> None:
    cosines = found[:3]
    least = min(float(values.min()) for values in cosines)
    for place, (name, title) in zip((3, 4, 7, 8), NAMES.items(), strict=True):
        ax: Axes = figure.add_subplot(2, 4, place)
        counted = name == "spikes"
        values = np.log10(found.spikes) if counted else getattr(found, name)
        drawn = ax.pcolormesh(KD, KP, values, shading="nearest", cmap="viridis")
        if not counted:
            drawn.set_clim(least, 1.0)
        drawn.set_rasterized(True)
        ax.set(xscale="log", yscale="log", xlabel="$k_d$", ylabel="$k_p$")
        ax.set_title(title, fontsize=8)
        ax.grid(False)
        figure.colorbar(drawn, ax=ax)
