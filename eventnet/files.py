"""Files that are there whole or not at all, and that stay within their folder."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from eventnet.errors import DataError, EventNetError, RunFolderError

STEPS = ("opened", "written", "synced", "renamed")
"""Of a write, in order; from the first to the last but one a kill leaves `path` as it was."""

PIECE = 1 << 20  # bytes that are read at a time


def reached(step: str, path: Path) -> None:
    """Do nothing: the tests of faults strike here, at any of `STEPS` of any file."""


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a temporary neighbour of `path` to write; sync it and rename it to `path` at the end.

    Whoever looks at `path` sees the whole new file or what was there before, also after a kill or
    a power failure. On an error the temporary file is removed.

    Raises
    ------
    RunFolderError
        If the file cannot be written, naming `path`.
    """
    aside = path.with_name(f".{path.name}.partial")
    try:
        aside.unlink(missing_ok=True)  # what a kill has left, or a link that leads elsewhere
        os.close(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        reached("opened", path)
        yield aside
        reached("written", path)
        sync(aside)
        reached("synced", path)
        aside.replace(path)
        reached("renamed", path)
        sync(path.parent)
    except BaseException as error:
        # The folder may be what is wrong, so removing the remains may fail as well.
        with suppress(OSError):
            aside.unlink()
        if isinstance(error, OSError) and not isinstance(error, EventNetError):
            raise RunFolderError(
                f"{path}: cannot be written ({error}): free space or choose another place"
            ) from error
        raise


def sync(path: Path) -> None:
    """Have a file, or the entries of a folder, on the disk itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def understood(path: Path, what: str) -> Iterator[None]:
    """Let whatever a library says about a damaged file become a `DataError` that names the file.

    Parsers of zip, NumPy, HDF5 and Parquet raise nearly every exception there is, MemoryError too when
    a length is damaged.
    """
    try:
        yield
    except EventNetError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: cannot be read as {what}: {reason}") from error


DENSEST = 1032
"""What a byte of a file can stand for in Deflate; other codecs hardly get there with measurements."""


def believable(path: Path, size: int) -> None:
    """Let a file pass that says that it holds so many bytes.

    Raises
    ------
    DataError
        If it is too small for that: its content is made up, and would fill the memory.
    """
    room = DENSEST * path.stat().st_size + (64 << 20)
    if size > room:
        raise DataError(
            f"{path}: says that it holds {size} bytes, which its own {path.stat().st_size} cannot; "
            "it is damaged or means harm: get it anew"
        )


def crc32(path: Path) -> int:
    """Return the CRC-32 of a file's content."""
    found = 0
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            found = zlib.crc32(piece, found)
    return found


def no_link(path: Path) -> Path:
    """Return a file of a run folder.

    Raises
    ------
    DataError
        If it is a link: a folder that came from elsewhere could show any file of this machine.
    """
    if path.is_symlink():
        raise DataError(
            f"{path}: is a link; a run folder's files must be its own: put a copy there"
        )
    return path
