"""Figure 2: with changes alone (kp = 0) a product with a changing weight drifts from the truth."""

from __future__ import annotations

import numpy as np

from eventnet.coding import decode, encode, quantize
from eventnet.reproduce import Number, Result
from eventnet.reproduce.drawing import (
    APPROXIMATION,
    PRODUCT,
    RECONSTRUCTION,
    SIGNAL,
    drawing,
)
from eventnet.reproduce.signals import lowpass

TICKS, SEED = 2000, 1234
KP, KD = (0.0, 0.01, 0.1), 1.0
X_CUTOFF, W_CUTOFF = 0.03, 0.01
QUARTER = TICKS // 4


def run(quick: bool) -> Result:
    """Compute the figure; it takes a second either way."""
    rng = np.random.RandomState(SEED)
    x = lowpass(TICKS, X_CUTOFF, rng)
    w = lowpass(TICKS, W_CUTOFF, rng) + 1
    z = x * w
    numbers = []
    with drawing(10, 4.6) as figure:
        panels = figure.subplots(1 + len(KP), 1, sharex=True, sharey=True)
        panels[0].plot(x, color=SIGNAL, label="$x_t$")
        panels[0].plot(w, color=RECONSTRUCTION, label="$w_t$")
        panels[0].set_title(f"In all plots, $k_d={KD:g}$", fontsize=9, fontweight="normal")
        for kp, ax in zip(KP, panels[1:], strict=True):
            s = quantize(encode(x, kp, KD))
            z_hat = decode(s * w, kp, KD)
            error = np.abs(z_hat - z)
            at = f"kp={kp:g}"
            numbers += [
                Number(f"mean absolute error, first quarter, {at}", float(error[:QUARTER].mean())),
                Number(f"mean absolute error, last quarter, {at}", float(error[-QUARTER:].mean())),
                Number(f"absolute error at the last tick, {at}", float(error[-1])),
                Number(f"spikes N, {at}", int(np.abs(s).sum())),
            ]
            ax.plot(z, color=PRODUCT, lw=2, label=r"$z_t=x_t\cdot w_t$")
            ax.plot(
                z_hat,
                color=APPROXIMATION,
                lw=1,
                label=r"$\hat z_t=dec_{k_pk_d}(Q(enc_{k_pk_d}(x_t))\cdot w_t)$",
            )
            ax.set_ylabel(f"$k_p={kp:g}$")
        panels[-1].set(xlim=(0, TICKS), ylim=(-4.5, 4.5), xlabel="t (ticks)")
        pairs = [ax.get_legend_handles_labels() for ax in panels[:2]]
        handles, labels = ([*a, *b] for a, b in zip(*pairs, strict=True))
        figure.legend(handles, labels, loc="outside upper right", ncols=4)
        figure.supylabel("signal (standard deviations of $x$)", fontsize=9)
    settings = {
        "ticks": TICKS,
        "x cutoff": X_CUTOFF,
        "w cutoff": W_CUTOFF,
        "w mean": 1,
        "kp": list(KP),
        "kd": KD,
    }
    return Result("Figure 2", SEED, settings, tuple(numbers), figure)
