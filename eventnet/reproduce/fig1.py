"""Figure 1: a signal encoded with twelve pairs of gains, its spikes and its reconstruction."""

from __future__ import annotations

import numpy as np

from eventnet.coding import decode, encode, quantize
from eventnet.reproduce import Number, Result
from eventnet.reproduce.drawing import RECONSTRUCTION, SIGNAL, SPIKES, drawing
from eventnet.reproduce.signals import lowpass

TICKS, CUTOFF, SEED = 550, 0.005, 1234
KP = (0.0, 0.01, 0.1, 2.0)
KD = (0.0, 1.0, 4.0)

# Mean absolute error and number of spikes, rows by kp, columns by kd. The paper's figure leaves the
# second number of (kp=0, kd=1) illegible.
PAPER = (
    (("nan", "0"), ("0.26", None), ("0.057", "37")),
    (("1.8", "5"), ("0.24", "10"), ("0.065", "40")),
    (("1.6", "52"), ("0.2", "53"), ("0.056", "69")),
    (("0.16", "1031"), ("0.09", "1033"), ("0.042", "1039")),
)
PROGRAM = (
    (("nan", "0"), (".262", "12"), (".0574", "37")),
    (("1.82", "5"), (".243", "10"), (".0648", "40")),
    (("1.60", "52"), (".202", "53"), (".0562", "69")),
    ((".157", "1031"), (".0902", "1033"), (".0420", "1039")),
)


def run(quick: bool) -> Result:
    """Compute the figure; it takes a second either way."""
    x = lowpass(TICKS, CUTOFF, np.random.RandomState(SEED))
    numbers = []
    with drawing(10, 6) as figure:
        panels = figure.subplots(len(KP), len(KD), sharex=True, sharey=True)
        for i, kp in enumerate(KP):
            for j, kd in enumerate(KD):
                s = quantize(encode(x, kp, kd))
                x_hat = decode(s, kp, kd)
                error, count = float(np.abs(x - x_hat).mean()), int(np.abs(s).sum())
                at = f"kp={kp:g}, kd={kd:g}"
                (paper_error, paper_count), (error_there, count_there) = PAPER[i][j], PROGRAM[i][j]
                numbers += [
                    Number(f"mean absolute error, {at}", error, paper_error, error_there),
                    Number(f"spikes N, {at}", count, paper_count, count_there),
                ]
                ax = panels[len(KP) - 1 - i, j]
                ax.plot(x_hat, color=RECONSTRUCTION, label=r"$\hat x_t$ reconstruction", lw=1.4)
                ax.plot(s, color=SPIKES, label="$s_t$ spikes a tick", lw=0.8)
                ax.plot(x, color=SIGNAL, label="$x_t$ signal", lw=1.4)
                ax.text(
                    *(0.015, 0.03),
                    rf"$\langle|x_t-\hat x_t|\rangle_t={error:.2g}$,  $N={count}$",
                    transform=ax.transAxes,
                    bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
                )
                ax.label_outer()
        for kp, row in zip(reversed(KP), panels, strict=True):
            row[0].set_ylabel(f"$k_p={kp:g}$")
        for kd, ax in zip(KD, panels[-1], strict=True):
            ax.set_xlabel(f"$k_d={kd:g}$\nt (ticks)")
        panels[0, 0].set(xlim=(0, TICKS), ylim=(1.1 * x.min(), 1.1 * x.max()))
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles[::-1], labels[::-1], loc="outside upper right", ncols=3)
        figure.supylabel("signal (standard deviations), spikes", fontsize=9)
    settings = {"ticks": TICKS, "cutoff": CUTOFF, "kp": list(KP), "kd": list(KD)}
    return Result("Figure 1", SEED, settings, tuple(numbers), figure)
