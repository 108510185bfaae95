"""One experiment on images: a spiking classifier, the perceptron beside it, and what both are worth.

A `Trial` trains both from the same weights, in the same order, with the same learning rates, and can
be interrupted: after each epoch its folder holds a checkpoint from which the next call goes on.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventnet.classifier import Epoch, Settings, Training, as_dict
from eventnet.cost import INT_ADD_PJ, INT_MULTIPLY_PJ
from eventnet.data.epochs import orders
from eventnet.data.mnist import Bytes, Mnist
from eventnet.errors import ConfigError, DataError
from eventnet.mcnemar import compare
from eventnet.mlp import Mlp
from eventnet.raster import written_aside
from eventnet.simulation import Run, Simulation

VALIDATION = slice(50_000, 60_000)
"""Training samples on which settings are chosen."""

CURVE = "curve.json"

Row = dict[str, Any]
Told = Callable[[Row], None]


@dataclass(frozen=True)
class Trial:
    """An experiment.

    Attributes
    ----------
    settings : Settings
    data : Mnist
        The first ``settings.samples`` training images are learned; where they leave the training samples
        50,000 to 59,999 out, these are scored after each epoch. The test images are scored once, at
        the end.
    seed : int
        Of the initial weights and of a shuffled order.
    """

    settings: Settings
    data: Mnist
    seed: int = 0

    def images(self) -> tuple[Bytes, NDArray[np.uint8]]:
        """Return the training images and labels that are used."""
        n = self.settings.samples
        if n > len(self.data.train_images):
            raise ConfigError(
                f"samples={n}: there are {len(self.data.train_images)} training images; lower it"
            )
        return self.data.train_images[:n], self.data.train_labels[:n]

    def held_out(self) -> tuple[Bytes, NDArray[np.uint8]]:
        """Return the validation images and labels: none where they are learned or not there."""
        part = VALIDATION if self.settings.samples <= VALIDATION.start else slice(0, 0)
        return self.data.train_images[part], self.data.train_labels[part]

    def training(self) -> Training:
        """Return the spiking network at the start."""
        images, labels = self.images()
        order = orders(self.settings.order, images, seed=self.seed)
        return Training(self.settings, images, labels, order, self.seed)

    def run(
        self,
        folder: Path | None = None,
        *,
        resume: Path | str | None = None,
        runner: Callable[[Simulation, float], Run] | None = None,
        told: Told = lambda row: None,
        training: Training | None = None,
        compares: bool = True,
    ) -> Row:
        """Train, or go on with a training that was interrupted, and score.

        Parameters
        ----------
        folder : Path, optional
            Where checkpoints go.
        resume : Path or str, optional
            The folder of an interrupted trial, to go on from; default: `folder`, if there is one in it.
        runner : callable, optional
            As in `Training.run`.
        told : callable
            Is given the curve's row after each epoch.
        training : Training, optional
            What `training` returned, to watch it.
        compares : bool
            Whether the perceptron is trained too, and the unquantized network scored.

        Returns
        -------
        dict
            Plain data: ``curve``, ``test``, ``reading``, ``train`` and ``settings``; of the perceptron
            ``comparison``, ``mlp`` and ``mlp_curve``.

        Raises
        ------
        Diverged, TrainingDiverged
            The checkpoint of the last good epoch is kept.
        ConfigError, DataError
            If the folder's checkpoint is another trial's or damaged.
        """
        spiking = training or self.training()
        if resume is not None and not (Path(resume) / CURVE).is_file():
            raise DataError(f"{resume}: holds no checkpoint; name the folder of an interrupted run")
        curve = self._resume(spiking, folder if resume is None else Path(resume))
        while spiking.epoch < self.settings.epochs:
            row = self._row(spiking, spiking.run(runner))
            curve.append(row)
            if folder is not None:
                self._keep(spiking, curve, folder)
            told(row)
        said = spiking.predict(self.data.test_images)
        row = self._scores(spiking, curve, said)
        if compares:
            self._compare(spiking, row, said)
        return row

    def _row(self, spiking: Training, epoch: Epoch) -> Row:
        row: Row = as_dict(epoch)
        images, labels = self.held_out()
        if len(images):
            row["validation"] = percent(spiking.predict(images), labels)
            row["validation_unquantized"] = percent(spiking.unquantized(images), labels)
        images, labels = self.images()
        row["train"] = percent(spiking.predict(images[:10_000]), labels[:10_000])
        return row

    def _scores(self, spiking: Training, curve: list[Row], said: NDArray[np.integer]) -> Row:
        images, labels = self.images()
        return {
            "settings": asdict(self.settings),
            "seed": self.seed,
            "curve": curve,
            "test": {"spiking": percent(said, self.data.test_labels)},
            "reading": self._reading(spiking),
            "train": {"spiking": percent(spiking.predict(images), labels)},
        }

    def _compare(self, spiking: Training, row: Row, said: NDArray[np.integer]) -> None:
        """Add to a row what the perceptron and the unquantized network reach and cost."""
        images, labels = self.images()
        test, truth = self.data.test_images, self.data.test_labels
        mlp, row["mlp_curve"] = self._perceptron(spiking)
        by_mlp = mlp.predict(test)
        row["test"]["unquantized"] = percent(spiking.unquantized(test), truth)
        row["test"]["mlp"] = percent(by_mlp, truth)
        row["train"]["mlp"] = percent(mlp.predict(images), labels)
        found = compare(truth, said, by_mlp)
        row["comparison"] = {
            "points": 100 * found.difference,
            "low": 100 * found.low,
            "high": 100 * found.high,
            "p": found.p_value,
        }
        mac = INT_ADD_PJ + INT_MULTIPLY_PJ
        dense, skipping = mlp.trained.a_sample()
        row["mlp"] = {
            "dense": dense,
            "zero_skipping": skipping,
            "dense_uj": dense * mac * 1e-6,
            "zero_skipping_uj": skipping * mac * 1e-6,
        }

    def _reading(self, spiking: Training) -> Row:
        """Return what reading the test images takes an image, like after like where so it was learned."""
        images, labels = self.data.test_images, self.data.test_labels
        order = orders("temporal" if self.settings.order == "temporal" else "given", images)(0)
        said, run = spiking.read(images[order])
        return {
            "spiking": percent(said, labels[order]),
            "additions": run.cost.total("additions") / len(images),
        }

    def _perceptron(self, spiking: Training) -> tuple[Mlp, list[Row]]:
        """Train the perceptron from the same weights, in the same order, with the same rates."""
        images, labels = self.images()
        settings = self.settings
        biases = [np.zeros(n) for n in spiking.sizes[1:]] if settings.bias else None
        mlp = Mlp(spiking.initial, biases, skip_zeros=True)
        order = orders(settings.order, images, seed=self.seed)
        curve = []
        held, truth = self.held_out()
        for epoch in range(settings.epochs):
            mlp.train(images, labels, order(epoch), settings.lr_of(epoch))
            row: Row = {"epoch": epoch + 1}
            if len(held):
                row["validation"] = percent(mlp.predict(held), truth)
            row["train"] = percent(mlp.predict(images[:10_000]), labels[:10_000])
            row["dense"], row["zero_skipping"] = mlp.trained.a_sample()
            curve.append(row)
        return mlp, curve

    # -- on disk -----------------------------------------------------------------------------------

    def _keep(self, spiking: Training, curve: list[Row], folder: Path) -> None:
        # The curve says which checkpoint belongs to it: a crash between the two leaves the older pair.
        folder.mkdir(parents=True, exist_ok=True)
        name = f"epoch-{spiking.epoch}.npz"
        spiking.save(folder / name)
        document = {"trial": self.identity(), "checkpoint": name, "curve": curve}
        with written_aside(folder / CURVE) as aside:
            aside.write_text(json.dumps(document) + "\n", encoding="utf-8")
        for old in folder.glob("epoch-*.npz"):
            if old.name != name:
                old.unlink()

    def _resume(self, spiking: Training, folder: Path | None) -> list[Row]:
        if folder is None or not (folder / CURVE).exists():
            return []
        path = folder / CURVE
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            curve, name, trial = found["curve"], found["checkpoint"], found["trial"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: cannot be read ({error}); remove it to begin anew") from error
        if trial != self.identity():
            differ = [k for k, v in self.identity().items() if trial.get(k) != v]
            raise ConfigError(
                f"{folder}: holds another trial, which differs in {', '.join(differ)}; give another "
                "folder"
            )
        spiking.load(folder / name, len(curve))
        return list(curve)

    def identity(self) -> Row:
        """Return what makes it this trial and no other, as plain data."""
        plain: Row = json.loads(json.dumps(asdict(self.settings)))
        return plain | {"seed": self.seed, "data": self._checksum}

    @cached_property
    def _checksum(self) -> int:
        images, labels = self.images()
        return zlib.crc32(labels.tobytes(), zlib.crc32(images.tobytes()))


def percent(said: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return the share of equal labels, in percent.

    >>> percent(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 0]))
    75.0
    """
    return 100 * int((said == truth).sum()) / len(truth)
