"""MNIST on a clock, one image a tick: the paper's experiment, and a cheaper network that does better.

A network learns from signed spikes, pixel by pixel only what differs from the image before; beside it
a perceptron with the same weights, order and learning rates. Settings were chosen on training samples
50,000 to 59,999; the test images are scored once, after the last epoch. The run folder holds a
checkpoint of each epoch, and `--set resume=FOLDER` goes on from it.

`--set preset=` takes "eventnet", "paper" (Figure 5) or "paper-schedule" (Appendix F);
`--set order=temporal` puts like after like. Any four idx files will do in place of MNIST:
`--set train_images=PATH`, `train_labels`, `test_images`, `test_labels`.
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import mean
from typing import Any, Literal

import eventnet as en
from eventnet.classifier import PRESETS, Settings
from eventnet.data import fetch, mnist
from eventnet.scenario import Outcome, Session
from eventnet.simulation import Run, Simulation
from eventnet.trial import VALIDATION, Trial


@dataclass(frozen=True)
class Parameters:
    """What `--set key=value` can change; None and 0: as the preset has it."""

    preset: Literal["eventnet", "paper", "paper-schedule"] = "eventnet"
    order: Literal["preset", "given", "shuffled", "temporal"] = "preset"
    hidden: tuple[int, ...] | None = None  # 200,200: two hidden layers
    epochs: int = 0
    samples: int = 0  # training images, from the first on
    rule: Literal["preset", "future", "past", "reconstruction", "true"] = "preset"
    k_alpha: float | None = None
    k_alpha_later: float | None = None
    step: float | None = None
    step_later: float | None = None
    later_from: int = 0  # epochs before k_alpha_later and step_later; negative: from the end
    hidden_step: float | None = None
    error_step: float | None = None
    hidden_error_step: float | None = None
    adapt: float | None = None
    price: float | None = None  # of an addition, in units of the loss: steps are learned
    scales: Literal["preset", "population", "neuron"] = "preset"
    threshold: float | None = None
    lr: float | None = None
    lr_end: float | None = None
    score: Literal["test", "validation"] = "test"  # validation: training samples 50,000 to 59,999
    resume: str = ""  # the folder of an interrupted run
    train_images: str = ""
    train_labels: str = ""
    test_images: str = ""
    test_labels: str = ""


def run(p: Parameters, session: Session) -> Outcome:
    """Train, score, compare."""
    if session.until is not None:
        raise en.ConfigError(f"until={session.until} s: here it is --set epochs=N that ends a run")
    settings = choose(p)
    data = read(p, progress=session.report is not None)
    if p.score == "validation":
        settings, data = held_out(p, settings, data)
    n = min(settings.samples, len(data.train_images))
    trial = Trial(replace(settings, samples=n), data, session.seed)
    end = float(settings.epochs * n)
    score: list[float] = []

    def runner(sim: Simulation, until: float) -> Run:
        """Run an epoch; the bar shows the share of errors at the end of the one before."""
        return session.run(sim, until, lambda: score[-1] if score else None, end=end)

    def told(row: dict[str, Any]) -> None:
        score.append(100 - row.get("validation", row["train"]))

    training = trial.training()
    row = trial.run(
        session.folder,
        resume=p.resume or None,
        runner=runner,
        told=told,
        training=training,
        compares=session.compares,
    )
    last = row["curve"][-1]
    if training.last_run is None:
        raise en.ConfigError(f"resume={p.resume}: all epochs of that run are done; see its metrics")
    outcome = Outcome(
        replace(training.last_run, folder=session.folder),
        error=100 - row["test"]["spiking"],
        metrics={
            f"{p.score} %": row["test"]["spiking"],
            "additions a sample": last["additions"],
            "additions a sample, mean of all epochs": mean(e["additions"] for e in row["curve"]),
            "additions a sample, reading": row["reading"]["additions"],
            "events a sample": last["events"],
            "energy a sample, uJ": last["energy_uj"],
        },
    )
    if not session.compares:
        return outcome
    minus = [row["comparison"][k] for k in ("points", "low", "high")]
    return replace(
        outcome,
        metrics=dict(outcome.metrics) | {"minus the perceptron, points": minus},
        baselines={
            "the same weights unquantized": {f"{p.score} %": row["test"]["unquantized"]},
            "perceptron": {
                f"{p.score} %": row["test"]["mlp"],
                "additions a sample": row["mlp"]["dense"],
                "energy a sample, uJ": row["mlp"]["dense_uj"],
            },
            "perceptron, skipping zeros": {
                f"{p.score} %": row["test"]["mlp"],
                "additions a sample": row["mlp"]["zero_skipping"],
                "energy a sample, uJ": row["mlp"]["zero_skipping_uj"],
            },
        },
    )


def held_out(p: Parameters, settings: Settings, data: mnist.Mnist) -> tuple[Settings, mnist.Mnist]:
    """Return what a validation is made with: the validation samples stand for the test images."""
    if p.samples > VALIDATION.start:
        raise en.ConfigError(
            f"samples={p.samples}: {VALIDATION.start:,} training images may be learned with "
            f"score={p.score}; lower it"
        )
    settings = replace(settings, samples=min(settings.samples, VALIDATION.start))
    images, labels = data.train_images[VALIDATION], data.train_labels[VALIDATION]
    if not len(images):
        raise en.ConfigError(
            f"score={p.score}: there are {len(data.train_images):,} training images; samples 50,000 to "
            "59,999 are needed"
        )
    return settings, data._replace(test_images=images, test_labels=labels)


def choose(p: Parameters) -> Settings:
    """Return the preset with what was changed."""
    own = {field.name for field in fields(Settings)}
    given = {k: v for k, v in vars(p).items() if k in own and v not in (None, "preset")}
    for name in ("epochs", "samples", "later_from"):
        if given[name] == 0:
            del given[name]
    if "lr" in given and "lr_end" not in given:
        given["lr_end"] = given["lr"] * PRESETS[p.preset].lr_end / PRESETS[p.preset].lr
    return replace(PRESETS[p.preset], **given)


def read(p: Parameters, progress: bool) -> mnist.Mnist:
    """Return the four files that were named, or MNIST."""
    named = {k: getattr(p, k) for k in mnist.Mnist._fields}
    if not any(named.values()):
        return mnist.load(fetch("mnist", progress=progress))
    missing = [k for k, path in named.items() if not path]
    if missing:
        raise en.ConfigError(f"{', '.join(missing)}: name all four idx files, or none for MNIST")
    return mnist.load_files(
        train_images=Path(p.train_images),
        train_labels=Path(p.train_labels),
        test_images=Path(p.test_images),
        test_labels=Path(p.test_labels),
    )
