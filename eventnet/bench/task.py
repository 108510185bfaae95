"""What contestants share: the arrays that they work on, and what each of them must be able to do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eventnet.data.mnist import Mnist
from eventnet.errors import ConfigError
from eventnet.trial import VALIDATION

Task = Mapping[str, NDArray[Any]]
"""Arrays that all contestants of a section share, see `digits`."""

Repetition = dict[str, Any]
"""``units`` of work, ``wall_s``, and what else is told of it; plain values."""


class Contestant(Protocol):
    """What is timed; made as ``Class(task, **options)``."""

    def prepare(self) -> None:
        """Do what needs to be done once, such as compiling."""

    def repeat(self, k: int) -> Repetition:
        """Do repetition k, k = 0, 1, 2, ..., and time it."""

    def finish(self) -> dict[str, Any]:
        """Return what is known at the end, such as a score."""


def digits(data: Mnist, order: NDArray[np.int64], part: int, parts: int) -> dict[str, Any]:
    """Return a task: MNIST in an order, to be learned in so many parts, a repetition each.

    Parameters
    ----------
    data : Mnist
    order : ndarray of int64
        Of training images; the first ``part*parts`` are used.
    part, parts : int
        Images a repetition, and repetitions.

    Returns
    -------
    dict
        ``images`` (part*parts, 784) uint8 and ``labels`` in that order; ``parts``;
        ``held_images``, ``held_labels``: validation samples; ``test_images``, ``test_labels``.
    """
    if len(order) < part * parts:
        raise ConfigError(
            f"part={part}, parts={parts}: there are {len(order)} images; lower either"
        )
    used = order[: part * parts]
    return {
        "images": data.train_images[used],
        "labels": data.train_labels[used],
        "parts": np.array(parts),
        "held_images": data.train_images[VALIDATION][:1000],
        "held_labels": data.train_labels[VALIDATION][:1000],
        "test_images": data.test_images,
        "test_labels": data.test_labels,
    }


def keep(task: Task, path: Path) -> Path:
    """Write a task where the contestants' processes find it."""
    arrays: Any = dict(task)
    np.savez(path, **arrays)
    return path
