"""Checkpoints: a simulation's state in one file, without pickle.

The file is a NumPy ``.npz``: the arrays of the state as they are, numbered, and two texts in JSON, the
state with a number in place of each array, and a description of what the state belongs to. The
archive's comment holds the version of this format and the SHA-256 of all that stands before it.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventnet.errors import ConfigError, DataError
from eventnet.files import PIECE, no_link, written_aside

Arrays = list[NDArray[Any]]

DESCRIPTION, STATE = "description", "state"

MARK = b"eventnet checkpoint 1 "
"""What the comment begins with; the number changes with the format."""


def save(path: Path, description: dict[str, Any], state: dict[str, Any]) -> None:
    """Write a state and what it belongs to; whoever looks at `path` sees the old file or the new.

    Parameters
    ----------
    path : Path
    description : dict
        Plain data for JSON, compared by `load`.
    state : dict
        Dicts, lists, tuples, numbers, texts, None, and arrays of numbers, nested.

    Raises
    ------
    ConfigError
        For an object of any other type, naming its place.
    RunFolderError
        If the file cannot be written.
    """
    arrays: Arrays = []
    tree = json.dumps(packed(state, arrays, "state"))
    members = {str(k): array for k, array in enumerate(arrays)}
    texts = {DESCRIPTION: json.dumps(description), STATE: tree}
    for name, text in texts.items():
        members[name] = np.frombuffer(text.encode(), dtype=np.uint8)
    with written_aside(path) as aside:
        with aside.open("wb") as file:
            np.savez(file, **members)  # type: ignore[arg-type]  # mypy takes them for allow_pickle
        with zipfile.ZipFile(aside, "a") as archive:
            archive.comment = MARK + bytes(hashlib.sha256().digest_size)
        digest = _digest(aside)
        with aside.open("r+b") as file:
            file.seek(-len(digest), os.SEEK_END)
            file.write(digest)


def load(path: Path, description: dict[str, Any]) -> dict[str, Any]:
    """Return the state that `save` wrote for the same description.

    Raises
    ------
    DataError
        If the file is missing, truncated or damaged, or no checkpoint.
    ConfigError
        If it belongs to something else, naming the first difference.
    """
    told, state = read(path)
    found = _difference(told, json.loads(json.dumps(description)))
    if found:
        raise ConfigError(f"{path} is another simulation's checkpoint: {found}")
    return state


def read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the description and the state that `save` wrote.

    Raises
    ------
    DataError
        If the file is missing, truncated or damaged, or no checkpoint.
    """
    try:
        _check(no_link(path))
        with np.load(path, allow_pickle=False) as file:
            members = {name: file[name] for name in file.files}
        texts = [json.loads(members.pop(name).tobytes()) for name in (DESCRIPTION, STATE)]
        state = _unpacked(texts[1], [members[str(k)] for k in range(len(members))])
    except Exception as error:  # zip, NumPy and JSON raise what comes
        raise DataError(
            f"{path}: no checkpoint, or a truncated or damaged one ({error}); take an earlier one"
        ) from error
    assert isinstance(state, dict)
    return texts[0], state


def _check(path: Path) -> None:
    """Raise ValueError for a file of another kind or version, or one that was changed."""
    length = len(MARK) + hashlib.sha256().digest_size
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - length, 0))
        comment = file.read()
    if not comment.startswith(MARK):
        raise ValueError(f"it does not end with the mark {MARK.decode().strip()!r}")
    if comment[len(MARK) :] != _digest(path):
        raise ValueError("its checksum does not fit")


def _digest(path: Path) -> bytes:
    """Return the SHA-256 of a file up to the room for it at the end."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        left = file.seek(0, os.SEEK_END) - found.digest_size
        file.seek(0)
        while left > 0:
            piece = file.read(min(PIECE, left))
            found.update(piece)
            left -= len(piece)
    return found.digest()


def packed(value: Any, arrays: Arrays, where: str) -> Any:
    """Return `value` as JSON knows it; arrays go to `arrays`."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        arrays.append(value)
        return {"array": len(arrays) - 1}
    if isinstance(value, dict):
        items = [
            (packed(k, arrays, where), packed(v, arrays, f"{where}[{k!r}]"))
            for k, v in value.items()
        ]
        return {"dict": items}
    if isinstance(value, list | tuple):
        name = "list" if isinstance(value, list) else "tuple"
        return {name: [packed(v, arrays, f"{where}[{k}]") for k, v in enumerate(value)]}
    raise ConfigError(
        f"{where} is a {type(value).__name__}: the state() of a process must return plain data and "
        "arrays of numbers to be saved"
    )


def _unpacked(value: Any, arrays: Arrays) -> Any:
    """Return what `packed` was given."""
    if not isinstance(value, dict):
        return value
    [(kind, content)] = value.items()
    if kind == "array":
        return arrays[content]
    if kind == "dict":
        return {_unpacked(k, arrays): _unpacked(v, arrays) for k, v in content}
    members = [_unpacked(v, arrays) for v in content]
    return members if kind == "list" else tuple(members)


def _difference(theirs: Any, ours: Any, where: str = "") -> str:
    """Return in words where two descriptions first differ; empty: nowhere."""
    if isinstance(theirs, dict) and isinstance(ours, dict) and theirs.keys() == ours.keys():
        pairs = [(f"{where}.{key}", theirs[key], ours[key]) for key in theirs]
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        pairs = [(f"{where}[{k}]", *pair) for k, pair in enumerate(zip(theirs, ours, strict=True))]
    else:
        if theirs == ours:
            return ""
        return f"{where.removeprefix('.')} is {_short(theirs)} there and {_short(ours)} here"
    return next((text for place, a, b in pairs if (text := _difference(a, b, place))), "")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
