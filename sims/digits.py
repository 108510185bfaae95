"""Handwritten digits, learned and read out asynchronously: each image is held for two time constants.

The 8 x 8 digits that scikit-learn carries, enlarged to 28 x 28, are shown one after another to a
784-200-10 network on a continuous clock. Errors and updates happen when spikes arrive; the score is
the spiking readout's at the end of each held-out image, on a frozen copy.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

import eventnet as en
from eventnet.scenario import Outcome, Session


@dataclass(frozen=True)
class Parameters:
    """What `--set key=value` can change."""

    hidden: int = 200
    tau: float = 1.0  # s
    hold: float = 2.0  # s for which an image is shown
    step: float = 0.25
    error_step: float = 0.1
    lr: float = 0.004  # per second; a quarter of it after half of the passes, a twentieth after 3/4
    passes: int = 12
    loss: Literal["softmax", "squared"] = "softmax"
    train: int = 1500  # images; the rest of the 1,797 is held out
    score: Literal["test", "validation"] = (
        "test"  # validation: the last fifth of `train` is held out
    )


def run(p: Parameters, session: Session) -> Outcome:
    """Learn in several passes, freeze a copy, score it."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise en.ConfigError(
            'the digits come with scikit-learn: pip install "eventnet[digits]"'
        ) from error
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))  # one split, whatever the seed
    images, labels = images[order], labels[order]
    # Nearest neighbour to 28 x 28: 8 pixels of 3 or 4 rows each.
    rows = np.arange(28) * 8 // 28
    enlarged = (images.reshape(-1, 8, 8)[:, rows][:, :, rows] / 16.0).reshape(-1, 784)
    train, test = slice(0, p.train), slice(p.train, len(images))
    if p.score == "validation":
        train, test = slice(0, p.train * 4 // 5), slice(p.train * 4 // 5, p.train)

    net = en.Network(tau=p.tau)
    net.sensor("image", 784, step=p.step)
    net.layer("hidden", p.hidden, step=p.step, error_step=p.error_step)
    net.output("digit", 10, error_step=p.error_step, loss=p.loss)
    net.connect("image", "hidden")
    net.connect("hidden", "digit")
    sim = en.Simulation(net, plasticity=en.STDP(lr=p.lr), engine=session.engine, seed=session.seed)
    shuffle = np.random.default_rng(session.seed)
    shown = np.concatenate([shuffle.permutation(train.stop) for _ in range(p.passes)])
    sim.feed("image", en.Periodic(enlarged[shown], rate=1 / p.hold))
    sim.teach("digit", en.Periodic(np.eye(10)[labels[shown]], rate=1 / p.hold))
    end = len(shown) * p.hold
    # Each image moves the weights its own way: a falling rate lets them settle between images.
    sim.scale_lr(0.25, at=0.5 * end)
    sim.scale_lr(0.05, at=0.75 * end)
    run = session.run(sim, end)

    def score(part: slice) -> float:
        """Return the accuracy of the spiking readout, in percent."""
        frozen = sim.copy()
        n = len(labels[part])
        frozen.feed("image", en.Periodic(enlarged[part], rate=1 / p.hold))
        frozen.probe("digit", times=(np.arange(n) + 0.999) * p.hold)
        read = frozen.run(until=n * p.hold).output("digit").values
        return float(100 * (read.argmax(axis=1) == labels[part]).mean())

    def unquantized(part: slice) -> float:
        """Return the accuracy of the same weights without spikes, in percent."""
        hidden = np.maximum(enlarged[part] @ sim.weights("image -> hidden"), 0.0)
        read = hidden @ sim.weights("hidden -> digit")
        return float(100 * (read.argmax(axis=1) == labels[part]).mean())

    held_out = score(test)
    return Outcome(
        run,
        metrics={"held out %": held_out, "trained on %": score(train)},
        error=100 - held_out,
        baselines={
            "the same weights without spikes": {
                "held out %": unquantized(test),
                "trained on %": unquantized(train),
            }
        },
    )
