"""A fixed camera's pixels go through spiking convolutions that learn online how much moves where.

OpenCV's sample of pedestrians, or any other video (`--set video=FILE`), at 192 x 144 grey: three
convolutions, the mean over each quarter of the picture and a kernel of 1 x 1, on the camera's clock,
beside the same network dense. The target is the moving area in each quarter, by OpenCV's background
subtractor. Learned are the first 70 % of the video, in several passes; then the network is frozen
and scored on the rest. Settings were chosen on the last fifth of what is learned
(`--set score=validation`).
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from eventnet import cctv
from eventnet.cctv import Settings
from eventnet.data import fetch
from eventnet.scenario import Outcome, Session


@dataclass(frozen=True)
class Parameters(Settings):
    """What `--set key=value` can change."""

    video: str = ""  # a file; default: OpenCV's vtest.avi
    width: int = cctv.WIDTH  # pixels, multiples of 16
    height: int = cctv.HEIGHT
    dense: bool = True  # the dense network as well: most of the time
    score: Literal["test", "validation"] = "test"


def run(p: Parameters, session: Session) -> Outcome:
    """Learn online, freeze, score, compare."""
    progress = session.report is not None
    path = Path(p.video) if p.video else fetch("vtest", progress=progress) / "vtest.avi"
    task = cctv.watch(path, p.width, p.height, choosing=p.score == "validation")
    settings = Settings(**{field.name: getattr(p, field.name) for field in fields(Settings)})
    spiking = cctv.Spiking(task, settings, session.seed, session.engine)
    end = spiking.end(settings.passes)
    result = session.run(spiking.sim, end)
    if result.until < end:
        return Outcome(result, metrics={})
    told, reading = spiking.read()
    r2, learned = task.r2(told), settings.passes * task.learned
    dense = cctv.Dense(task, settings, session.seed)
    work = dense.net.work
    baselines = {
        "the mean of each quarter's pixels, scaled": {"r2": cctv.sum_of_pixels(task)},
        "the mean of what is learned": {"r2": cctv.mean_predictor(task)},
    }
    if p.dense and session.compares:
        for _ in range(settings.passes):
            dense.learn()
        said = {"r2": task.r2(dense.read()[0])}
        skipping, forward = dense.skipping()
        baselines = {
            "the same network dense, SGD": said
            | {"additions a frame": sum(work), "additions a frame, reading": work.forward},
            "the same, skipping zeros": said
            | {"additions a frame": skipping, "additions a frame, reading": forward},
        } | baselines
    return Outcome(
        result,
        metrics={
            "r2": r2,
            "additions a frame": result.cost.total("additions") / learned,
            "additions a frame, reading": reading.cost.total("additions") / len(told),
        },
        error=1 - r2,
        baselines=baselines,
    )
