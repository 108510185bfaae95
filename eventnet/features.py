"""What a pretrained image network sees in a video: 448 features a frame, by EfficientNet-Lite0.

The network (Tan and Le 2019, arXiv:1905.11946; the Lite form rectifies by ReLU6 and leaves squeezing and
excitation out) has learned ImageNet and is not trained further. A frame is scaled to 224 x 224
pixels, the size the network was made for, ``(value - 127)/128``. Of its 16 blocks the eleventh is the
last that sees 14 x 14 places; the features are the means of that block's 112 maps in each quarter of the
picture: later ones know what is there, but not where. On one thread: 50 ms a frame or so.

The features of OpenCV's vtest.avi, which the scenario takes unless told otherwise, are carried beside
the data recipes, and how much of each block changes from frame to frame; they need no PyTorch.
``python -m eventnet.features``, in a checkout, makes the file anew.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from eventnet import resources, video
from eventnet.data import fetch
from eventnet.data.recipes import recipe
from eventnet.errors import DataError, EventNetError
from eventnet.extras import needed
from eventnet.raster import written_aside

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
T = TypeVar("T")

WEIGHTS = "efficientnet-lite0"
CARRIED = "vtest-features.npz"
SIDE, MEAN, SCALE = 224, 127.0, 128.0  # of the pixels, as the network was trained
BLOCKS, DEPTH = 16, 11  # all, and those that are passed
FEATURES = 448
EVERY = (1, 2, 4, 8)  # frames between those that changes are of


def load(path: Path, progress: bool = False) -> Singles:
    """Return a video's features: carried or cached ones, or compute and cache them.

    They are known by the SHA-256 of the video, of the weights and of what else they depend on, and are
    read without PyTorch. All are rounded to float16, to 11 binary digits.

    Parameters
    ----------
    path : Path
        The video.
    progress : bool
        Whether a bar is shown, on a terminal.

    Returns
    -------
    ndarray of float32, shape (n, 448)
        112 of the upper left quarter, then upper right, lower left and lower right.

    Raises
    ------
    ConfigError
        If OpenCV, PyTorch or the network's package is needed and not installed.
    DataError
        As `eventnet.video.pictures`.
    FetchError
        If the weights are needed and cannot be had.
    RunFolderError
        If the file cannot be written.
    """
    if (own := _carried(path)) is not None:
        return own["features"].astype(np.float32)
    made = video.kept("features", path, _settings(), lambda: {"features": _rounded(path, progress)})
    features: Singles = made["features"].astype(np.float32)
    return features


def changes(path: Path, progress: bool = False) -> Floats:
    """Return how much the pixels and each block's output change between frames: carried, or computed.

    Of a camera that sees every n-th frame, the mean over frames of ``2*|a - b|/(|a| + |b|)``, a and b one
    layer's activations at a frame and at the one before and ``|.|`` the sum of all magnitudes: the
    paper's Equation 23.

    Parameters
    ----------
    path, progress
        As in `load`.

    Returns
    -------
    ndarray of float64, shape (4, 17)
        By `EVERY` and by depth.

    Raises
    ------
    ConfigError, DataError, FetchError
        As `load`.
    """
    if (own := _carried(path)) is not None:
        return own["changes"]
    return _changes(_counted(activations(_shown(path)), path, progress))


def compute(shown: Iterable[video.Bytes]) -> Iterator[Singles]:
    """Yield the features (448,) of each picture (height, width, 3), blue, green, red, not rounded.

    Raises
    ------
    ConfigError, FetchError
        As `load`.
    """
    for *_, maps in activations(shown, DEPTH):
        halves = np.array_split(maps, 2, axis=1)
        quarters = [quarter for half in halves for quarter in np.array_split(half, 2, axis=2)]
        yield np.concatenate([quarter.mean(axis=(1, 2)) for quarter in quarters])


def relative_change(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Return ``2*|a - b|/(|a| + |b|)`` of activations, ``|.|`` the sum of all magnitudes; 0 if all are 0.

    Examples
    --------
    >>> a, b = np.array([1.0, 1.0]), np.array([1.0, 0.5])
    >>> relative_change(a, b), relative_change(a, -a), relative_change(a, a)
    (0.2857142857142857, 2.0, 0.0)
    """
    both = float(np.abs(a).sum() + np.abs(b).sum())
    return 2 * float(np.abs(a - b).sum()) / both if both else 0.0


def activations(shown: Iterable[video.Bytes], blocks: int = BLOCKS) -> Iterator[list[Singles]]:
    """Yield of each picture its scaled pixels (3, 224, 224) and the outputs of so many blocks.

    Parameters
    ----------
    shown : iterable of ndarray of uint8, shape (height, width, 3)
        Blue, green, red.
    blocks : int
        From 1 to 16.

    Yields
    ------
    list of ndarray of float32, shape (maps, height, width)

    Raises
    ------
    ConfigError, FetchError
        As `load`.
    """
    torch, cv2 = needed("torch", "features", "features of a video"), video.opencv()
    network = _network(torch)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for picture in shown:
            scaled = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
            # Red, green, blue; the order of the axes in memory stays, which is the faster one.
            pixels = (scaled[:, :, ::-1].astype(np.float32) - MEAN) / SCALE
            seen = [torch.from_numpy(pixels).permute(2, 0, 1)[None]]
            with torch.inference_mode():
                x = network._swish(network._bn0(network._conv_stem(seen[0])))
                for block in network._blocks[:blocks]:
                    seen.append(x := block(x))
            yield [maps[0].numpy() for maps in seen]
    finally:
        torch.set_num_threads(threads)


def _network(torch: Any) -> Any:
    library = needed("efficientnet_lite_pytorch", "features", "features of a video")
    (file,) = recipe(WEIGHTS).files
    network = library.EfficientNet.from_name(WEIGHTS)
    weights = fetch(WEIGHTS, progress=True) / file.name
    network.load_state_dict(torch.load(weights, weights_only=True, map_location="cpu"))
    return network.eval().to(memory_format=torch.channels_last)


def _settings() -> tuple[Any, ...]:
    (weights,) = recipe(WEIGHTS).files
    return weights.sha256, SIDE, DEPTH


def _carried(path: Path) -> dict[str, NDArray[Any]] | None:
    with np.load(resources.folder("datasets") / CARRIED, allow_pickle=False) as file:
        return dict(file) if str(file["digest"]) == video.digest(path, _settings()) else None


def _shown(path: Path) -> Iterator[video.Bytes]:
    return (picture for _, picture in video.pictures(path))


def _rounded(path: Path, progress: bool) -> NDArray[np.float16]:
    return np.array(list(_counted(compute(_shown(path)), path, progress))).astype(np.float16)


def _changes(layers: Iterable[list[Singles]]) -> Floats:
    past: deque[list[Singles]] = deque(maxlen=max(EVERY))
    found: dict[int, list[list[float]]] = {every: [] for every in EVERY}
    for k, now in enumerate(layers):
        for every in EVERY:
            if k and k % every == 0:
                then = past[-every]
                found[every].append(
                    [relative_change(*both) for both in zip(now, then, strict=True)]
                )
        past.append(now)
    if not found[max(EVERY)]:
        raise DataError(f"a video of {k + 1} frames: changes are of {max(EVERY) + 1} or more")
    return np.array([np.mean(rows, axis=0) for rows in found.values()])


def _counted(made: Iterable[T], path: Path, progress: bool) -> Iterable[T]:
    from rich.console import Console
    from rich.progress import track

    return track(
        made,
        "what a network sees in the video",
        total=len(video.load(path).times),
        console=Console(stderr=True),
        transient=True,
        disable=not (progress and sys.stderr.isatty()),
    )


def main() -> None:
    """Compute what is carried of OpenCV's vtest.avi, and write its file."""
    path = fetch("vtest", progress=True) / "vtest.avi"
    features = _rounded(path, progress=True)
    changed = _changes(_counted(activations(_shown(path)), path, progress=True))
    digest = np.array(video.digest(path, _settings()))
    with written_aside(resources.folder("datasets") / CARRIED) as aside, aside.open("wb") as file:
        np.savez_compressed(file, digest=digest, features=features, changes=changed)


if __name__ == "__main__":
    try:
        main()
    except EventNetError as error:
        raise SystemExit(f"error: {error}") from None
