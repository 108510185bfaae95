"""Figure 4: how much a pair of spikes changes a weight, by their distance in time."""

from __future__ import annotations

import math

import numpy as np

from eventnet.coding import time_constant
from eventnet.reproduce import Number, Result
from eventnet.reproduce.drawing import SIGNAL, SPIKES, drawing
from eventnet.updates import stdp, stdp_kernel

KP, KD = 0.1, 2.0
REACH = 100  # ticks on each side
LAG = np.arange(-REACH, REACH + 1)


def run(quick: bool) -> Result:
    """Compute the figure; it takes a second either way."""
    g = stdp_kernel(LAG, KP, KD)
    memory, step = time_constant(KP, KD, dt=1.0)
    k_alpha = KD / (KP + KD)
    s, s_e = np.zeros((2, 2 * REACH + 1))
    s[REACH - 10] = s_e[REACH] = 1
    numbers = (
        Number("k_alpha", k_alpha),
        Number("k_beta", step),
        Number("time constant of the kernel (ticks)", memory),
        Number("distance that halves the change (ticks)", math.log(2) * memory),
        Number("change by a coincident pair (Eq. 13, corrected)", float(g[REACH])),
        Number("change by a coincident pair (Eq. 13, as printed)", step),
        Number("change at a distance of 10 ticks, from the kernel", float(g[REACH + 10])),
        Number(
            "change at a distance of 10 ticks, from two spikes", float(stdp(s, s_e, KP, KD).sum())
        ),
    )
    panels = (
        ((-1, -1), r"$sign(\bar x_t)=sign(\bar e_t)$"),
        ((1, 1), r"$sign(\bar x_t)\neq sign(\bar e_t)$"),
        ((-1, 1), "Classic STDP rule"),
    )
    with drawing(7.5, 2.4) as figure:
        axes = figure.subplots(1, 3, sharex=True, sharey=True)
        for ax, (signs, title) in zip(axes, panels, strict=True):
            # One line a side: a sign that jumps at 0 must not be joined by a stroke.
            for sign, side in zip(signs, (LAG <= 0, LAG >= 0), strict=True):
                ax.plot(LAG[side], sign * g[side], color=SIGNAL, lw=1.6)
            ax.axhline(0, color=SPIKES, lw=0.6)
            ax.axvline(0, color=SPIKES, lw=0.6)
            ax.set_title(title, fontsize=9, fontweight="normal")
            ax.set_xlabel(r"$t_{post}-t_{pre}$ (ticks)")
        axes[0].set_ylabel(r"$\Delta w/\eta$ a pair")
        axes[0].set_xlim(-REACH, REACH)
    settings = {"kp": KP, "kd": KD, "reach": REACH}
    return Result("Figure 4", None, settings, numbers, figure)
