"""Figure 9: four update rules on two random spike trains end at one sum."""

from __future__ import annotations

import numpy as np

from eventnet import updates
from eventnet.coding import Floats, Ints, decode
from eventnet.plot import PALETTE
from eventnet.reproduce import Number, Result
from eventnet.reproduce.drawing import RECONSTRUCTION, SIGNAL, SPIKES, drawing

TICKS, SEED = 2000, 1236
KP, KD = 0.03, 2.0
RATE = 0.05  # spikes a tick, of either sign
SILENT, LAST = TICKS * 3 // 4, TICKS * 7 // 8


def trains() -> tuple[Ints, Ints]:
    """Return the input's and the error's train: random, then silent but for one input spike."""
    rng = np.random.RandomState(SEED)
    odds = (RATE / 2, 1 - RATE, RATE / 2)
    s, s_e = (rng.choice((-1, 0, 1), size=TICKS, p=odds) for _ in range(2))
    s[SILENT:] = s_e[SILENT:] = 0
    s[LAST] = 1
    return s, s_e


def run(quick: bool) -> Result:
    """Compute the figure; it takes a second either way."""
    s, s_e = trains()
    rules = {
        "reconstruction": updates.reconstruction(s, s_e, KP, KD),
        "stdp (Eq. 13, corrected)": updates.stdp(s, s_e, KP, KD),
        "past (Eq. 19, corrected), flushed": updates.past(s, s_e, KP, KD, flush=True),
        "future (Eq. 20, corrected)": updates.future(s, s_e, KP, KD),
    }
    numbers = [Number(f"sum, {rule}", float(added.sum())) for rule, added in rules.items()]
    open_ended = float(updates.past(s, s_e, KP, KD).sum())
    numbers.append(Number("sum, past (Eq. 19, corrected), not flushed", open_ended))
    numbers += [Number(f"sum, {rule}", value) for rule, value in as_printed(s, s_e).items()]

    styles = (
        (PALETTE["blue"], 4.5, "-"),
        (PALETTE["orange"], 2.6, "-"),
        (PALETTE["black"], 1.0, "-"),
        (PALETTE["vermillion"], 1.4, (0, (3, 2))),
    )
    with drawing(10, 6) as figure:
        panels = figure.subplots(3, 1, sharex=True)
        for ax, train, name, title in (
            (panels[0], s, "x", "presynaptic\nspikes, signal"),
            (panels[1], s_e, "e", "postsynaptic\nspikes, signal"),
        ):
            ax.plot(train, color=SIGNAL, lw=0.8, label=rf"$\bar {name}_t$ spikes")
            ax.plot(decode(train, KP, KD), color=RECONSTRUCTION, label=rf"$\hat {name}_t$")
            ax.set(ylim=(-2, 2), ylabel=title)
        for (rule, added), (color, width, dashes) in zip(rules.items(), styles, strict=True):
            label = rule.partition(" ")[0]
            panels[2].plot(-added.cumsum(), color=color, lw=width, ls=dashes, label=label)
        panels[2].set(xlim=(0, TICKS), xlabel="t (ticks)")
        panels[2].set_ylabel(r"$\sum_{\tau=0}^t\Delta w_\tau/\eta$")
        for ax in panels:
            ax.axhline(0, color=SPIKES, lw=0.8)
            ax.legend(loc="lower right")
    settings = {"ticks": TICKS, "kp": KP, "kd": KD, "rate": RATE, "silent from": SILENT}
    return Result("Figure 9", SEED, settings | {"input spike": LAST}, tuple(numbers), figure)


def as_printed(s: Ints, s_e: Ints) -> dict[str, float]:
    """Return the sums of the three rules as the paper prints them, each with its mistake."""
    k_alpha, k_beta = KD / (KP + KD), 1 / (KP + KD)
    lag = np.arange(-TICKS + 1, TICKS)
    paired = np.convolve(s, k_beta * k_alpha ** np.abs(lag))[TICKS - 1 : 2 * TICKS - 1] * s_e

    x_hat, e_hat = decode(s, KP, KD), decode(s_e, KP, KD)
    x_before, e_before = (np.append(0.0, k_alpha * trace[:-1]) for trace in (x_hat, e_hat))
    ahead = float((s * e_hat + x_before * s_e).sum())
    return {
        "stdp, Eq. 13 as printed": float(paired.sum()),
        "past, Eq. 19 as printed": _product_before(s, s_e, x_before * e_before, k_alpha**2),
        "future, Eq. 20 as printed, divided by k_alpha - 1": ahead / (k_alpha - 1),
        "future, Eq. 20 as printed, divided by k_alpha^2 - 1": ahead / (k_alpha**2 - 1),
    }


def _product_before(s: Ints, s_e: Ints, before: Floats, decay: float) -> float:
    """Return the sum of Eq. 19 as printed: it keeps the product as it is before a spike."""
    u, total = 0.0, 0.0
    for t in np.flatnonzero((s != 0) | (s_e != 0)):
        v = before[t]
        total += (u - v) / (1 - decay)
        u = v
    return float(total)
