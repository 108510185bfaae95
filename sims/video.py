"""A fixed camera's video: spiking top layers on pretrained features learn how much moves where.

EfficientNet-Lite0's 448 features of each frame, of OpenCV's sample of pedestrians or of any other video
(`--set video=FILE`), go to two hidden layers and an output, on the camera's clock. The target is the
moving area in each quarter of the picture, by OpenCV's background subtractor. Learned are the first 70 %
of the video, in several passes; then the layers are frozen and scored on the rest. Settings were
chosen on the last fifth of what is learned (`--set score=validation`), at 10 frames a second.

The sample's features come with eventnet; those of other videos are computed once, with PyTorch
(`pip install "eventnet[features]"`), and kept.
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

from eventnet import top_layers
from eventnet.data import fetch
from eventnet.scenario import Outcome, Session
from eventnet.top_layers import Settings


@dataclass(frozen=True)
class Parameters(Settings):
    """What `--set key=value` can change."""

    video: str = ""  # a file; default: OpenCV's vtest.avi
    every: int = 1  # every n-th frame is seen
    score: Literal["test", "validation"] = "test"


def run(p: Parameters, session: Session) -> Outcome:
    """Learn online, freeze, score, compare."""
    progress = session.report is not None
    path = Path(p.video) if p.video else fetch("vtest", progress=progress) / "vtest.avi"
    choosing = p.score == "validation"

    def watched(smoothing: float) -> top_layers.Watched:
        return top_layers.watch(
            path, p.every, smoothing=smoothing, choosing=choosing, progress=progress
        )

    task = watched(p.smoothing)
    settings = Settings(**{field.name: getattr(p, field.name) for field in fields(Settings)})
    spiking = top_layers.Spiking(task, settings, session.seed, session.engine)
    result = session.run(spiking.sim, spiking.end(settings.passes))
    if result.until < spiking.end(settings.passes):
        return Outcome(result, metrics={})
    told, reading = spiking.read()
    r2, learned = task.r2(told), settings.passes * task.frames
    outcome = Outcome(
        result,
        metrics={
            "r2": r2,
            "additions a frame": top_layers.additions(result.cost, learned),
            "additions a frame, reading": top_layers.additions(reading.cost, len(told)),
        },
        error=1 - r2,
    )
    if not session.compares:
        return outcome
    plain = watched(0.0)
    dense = top_layers.Dense(task, settings, session.seed)
    for _ in range(settings.passes):
        dense.learn()
    ridge = top_layers.best_ridge(top_layers.watch(path, choosing=True))
    multiply_adds, skipping = dense.mlp.trained.a_sample()
    return replace(
        outcome,
        baselines={
            "the same layers dense, SGD": {
                "r2": task.r2(dense.read()[0]),
                "additions a frame": multiply_adds,
            },
            "least squares, features not smoothed": {
                "r2": plain.r2(top_layers.least_squares(plain, ridge))
            },
            "persistence: the last truth that was taught": {"r2": top_layers.held_truth(task)},
            "the truth of the frame before": {"r2": top_layers.persistence(task)},
        },
        dense={
            "dense SGD at every frame": int(multiply_adds * learned),
            "the same, skipping zeros": int(skipping * learned),
        },
    )
