"""Figure 3: what the past and the future update add at one spike, as areas under a curve."""

from __future__ import annotations

import numpy as np

from eventnet import updates
from eventnet.coding import decode, encode, quantize
from eventnet.reproduce import Number, Result
from eventnet.reproduce.drawing import (
    FUTURE,
    PAST,
    RECONSTRUCTION,
    SIGNAL,
    SPIKES,
    drawing,
)
from eventnet.reproduce.signals import lowpass

TICKS, WARM_UP, CUTOFF, SEED = 1000, 500, 0.0003, 1278
KP, KD = 0.0015, 0.5
SHOWN = 3 * TICKS // 4
SILENCE = 10_000  # ticks after which what a spike still adds is below 1e-25 of the whole


def run(quick: bool) -> Result:
    """Compute the figure; it takes a second either way."""
    rng = np.random.RandomState(SEED)
    x, e = (lowpass(TICKS + WARM_UP, CUTOFF, rng)[WARM_UP:] for _ in "xe")
    x, e = (signal if signal.mean() > 0 else -signal for signal in (x, e))
    s, s_e = (quantize(encode(signal, KP, KD)) for signal in (x, e))
    x_hat, e_hat = decode(s, KP, KD), decode(s_e, KP, KD)
    product = x_hat * e_hat

    ticks = np.arange(TICKS)
    spikes = np.flatnonzero((s != 0) | (s_e != 0))
    at = int(np.flatnonzero(s_e)[1])
    last = int(spikes[spikes < at][-1])
    before = slice(last, at)
    # What would follow if nobody fired any more, with and without the error's spike.
    quiet = np.pad(ticks, (0, SILENCE), constant_values=TICKS)
    alone = decode(np.where(quiet <= at, np.pad(s, (0, SILENCE)), 0), KP, KD)
    with_it = decode(np.where(quiet <= at, np.pad(s_e, (0, SILENCE)), 0), KP, KD)
    without = decode(np.where(quiet < at, np.pad(s_e, (0, SILENCE)), 0), KP, KD)

    past_updates, future_updates = (rule(s, s_e, KP, KD) for rule in (updates.past, updates.future))
    numbers = (
        Number("tick of the spike", at),
        Number("tick of the last spike before it", last),
        Number("past update at the spike (Eq. 19, corrected)", float(past_updates[at])),
        Number("area under the product since the last spike", float(product[before].sum())),
        Number("future update at the spike (Eq. 20, corrected)", float(future_updates[at])),
        Number("area that the spike adds", float((alone * (with_it - without)).sum())),
        Number("sum of the true gradient", float((x * e).sum())),
        Number("sum of the reconstructed gradient", float(product.sum())),
        Number("spikes of the input", int(np.abs(s).sum())),
        Number("spikes of the error", int(np.abs(s_e).sum())),
    )

    past = {"color": PAST, "alpha": 0.45, "hatch": "\\\\", "edgecolor": "white", "lw": 0}
    future = {"color": FUTURE, "alpha": 0.45, "hatch": "//", "edgecolor": "white", "lw": 0}
    after = slice(at, TICKS)
    alone, with_it, without = (curve[:TICKS] for curve in (alone, with_it, without))
    with drawing(7, 4.6) as figure:
        panels = figure.subplots(3, 1, sharex=True)
        for ax, signal, count, trace, name in (
            (panels[0], x, s, x_hat, "x"),
            (panels[1], e, s_e, e_hat, "e"),
        ):
            ax.plot(signal, color=SIGNAL, label=f"${name}$")
            ax.plot(count, color=SPIKES, lw=1.8, label=rf"$\bar {name}$ spikes")
            ax.plot(trace, color=RECONSTRUCTION, label=rf"$\hat {name}$")
            ax.fill_between(ticks[before], 0, trace[before], **past)
            ax.set_ylim(-0.5, 4)
            ax.set_ylabel(f"${name}$ (s.d.)")
        panels[0].fill_between(ticks[after], 0, alone[after], **future)
        panels[1].fill_between(ticks[after], without[after], with_it[after], **future)
        panels[1].annotate(
            "spike",
            xy=(at + 4, 0.4),
            xytext=(at + 60, 0.35),
            va="center",
            fontweight="bold",
            arrowprops={"arrowstyle": "-|>", "color": SPIKES},
        )
        ax = panels[2]
        ax.plot(x * e, color=SIGNAL, label=r"true $x_te_t$")
        ax.plot(product, color=RECONSTRUCTION, label=r"reconstructed $\hat x_t\hat e_t$")
        ax.fill_between(ticks[before], 0, product[before], label="past update", **past)
        ax.fill_between(
            ticks[after],
            (alone * without)[after],
            (alone * with_it)[after],
            label="future update",
            **future,
        )
        ax.set_ylabel(r"$\partial L/\partial w$")
        ax.set(xlim=(0, SHOWN), ylim=(-0.8, 10), xlabel="t (ticks)")
        for ax, columns in zip(panels, (1, 1, 2), strict=True):
            ax.axhline(0, color=SPIKES, lw=0.8)
            ax.legend(loc="upper left", ncols=columns)
    settings = {"ticks": TICKS, "warm-up": WARM_UP, "cutoff": CUTOFF, "kp": KP, "kd": KD}
    return Result("Figure 3", SEED, settings, numbers, figure)
