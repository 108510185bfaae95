"""Scenario files: an experiment in TOML, its mistakes in words, its schema for editors."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from eventnet.errors import ConfigError, DataError, RunFolderError
from eventnet.experiment.parts import Experiment
from eventnet.network import unknown
from eventnet.resources import folder
from eventnet.scenario import Scenario

if TYPE_CHECKING:
    from eventnet.scenario import Outcome, Session


def load(path: Path | str, settings: Sequence[str] = ()) -> Experiment:
    """Read a scenario file.

    Parameters
    ----------
    path : Path or str
    settings : sequence of str
        Changes as in ``"layers.hidden.size=40"``; numbers count the entries of a list, from 0.

    Raises
    ------
    ConfigError
        For a file that is missing or no TOML, and for keys and values that cannot be, each named by
        its path.
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"scenario file {path}: does not exist") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"scenario file {path}: is no TOML: {error}") from None
    if not table:
        raise ConfigError(
            f"scenario file {path}: is empty; `eventnet new NAME` writes one to start from"
        )
    for setting in settings:
        _set(table, setting)
    try:
        return checked(table)
    except ConfigError as error:
        lines = str(error).splitlines()
        raise ConfigError("\n".join(f"{path.name}: {line}" for line in lines)) from None


TRIED = ("str", "int", "literal['first']", "float")
"""What pydantic ends a path with where it tried several types."""


def checked(table: Mapping[str, Any]) -> Experiment:
    """Return the experiment that plain data describe.

    Raises
    ------
    ConfigError
        One line a mistake, with the key's path.

    Examples
    --------
    >>> checked({"tau": 0.1, "layers": {"hidden": {"size": 5, "stepp": 0.1}}})
    Traceback (most recent call last):
    eventnet.errors.ConfigError: layers.hidden.step: is missing: Activation that one spike stands for.
    layers.hidden.stepp: unknown key 'stepp'; did you mean 'step'?
    """
    try:
        return Experiment.model_validate(table)
    except ValidationError as error:
        found: dict[str, str] = {}
        for mistake in error.errors():
            key, words = _in_words(mistake)
            found[key] = f"{found[key]} or {words.partition(': ')[2]}" if key in found else words
        raise ConfigError("\n".join(f"{key}: {words}" for key, words in found.items())) from None


def _in_words(mistake: Any) -> tuple[str, str]:
    """Return the path of a key and what is wrong there."""
    place = list(mistake["loc"])
    while mistake["type"] != "extra_forbidden" and len(place) > 1 and place[-1] in TRIED:
        place.pop()
    key, given = ".".join(map(str, place)), mistake["input"]
    if mistake["type"] == "missing":
        return key, f"is missing: {_field(place).description or ''}"
    if mistake["type"] == "extra_forbidden":
        return key, str(unknown("key", str(place[-1]), _model_at(place[:-1]).model_fields))
    if mistake["type"] == "literal_error":
        choices = mistake["ctx"]["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        return key, str(unknown("value", str(given), choices))
    return key, f"{json.dumps(given, default=str)[:60]}: {mistake['msg'].removeprefix('Input ')}"


def _field(place: Sequence[str | int]) -> FieldInfo:
    return _model_at(place[:-1]).model_fields[str(place[-1])]


def _model_at(place: Sequence[str | int]) -> type[BaseModel]:
    """Return the class of the table at a path."""
    model: type[BaseModel] = Experiment
    names = iter(place)
    for name in names:
        annotation = model.model_fields[str(name)].annotation
        if get_origin(annotation) in (dict, list):
            next(names, None)  # a name of the user's, or a number
        model = next(_models_in(annotation))
    return model


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for member in get_args(annotation):
        yield from _models_in(member)


def _set(table: dict[str, Any], setting: str) -> None:
    """Change one value of a table, given as ``path.to.key=value``."""
    path, equals, text = setting.partition("=")
    *parents, last = path.strip().split(".")
    if not equals or not last:
        raise ConfigError(f"--set {setting}: must be key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    place: Any = table
    for name in parents:
        if isinstance(place, list) and name.isdecimal() and int(name) < len(place):
            place = place[int(name)]
        elif isinstance(place, dict) and isinstance(place.setdefault(name, {}), dict | list):
            place = place[name]
        else:
            raise ConfigError(f"--set {setting}: there is no table {name!r} in {path.strip()!r}")
    if not isinstance(place, dict):
        raise ConfigError(f"--set {setting}: {'.'.join(parents)} is a list: name an entry, from 0")
    place[last] = value


def schema() -> dict[str, Any]:
    """Return the JSON Schema of scenario files, by which editors complete and check them."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema"
    } | Experiment.model_json_schema()


def write_starter(path: Path) -> None:
    """Write a commented scenario file to start from.

    Raises
    ------
    RunFolderError
        If there is something at `path` already.
    """
    if path.exists():
        raise RunFolderError(f"{path}: exists already; choose another name")
    text = (folder("sims") / "_starter.toml").read_text(encoding="utf-8")
    path.write_text(text.replace("NAME", path.stem), encoding="utf-8")


@dataclass(frozen=True)
class FileScenario(Scenario):
    """A scenario whose parameters are the keys of its TOML file."""

    def values(self, settings: Sequence[str] = ()) -> dict[str, Any]:
        """Return what the file and ``path.to.key=value`` settings set, by the path of the key."""
        return dict(_flat(self.plain(self.configure(settings))))

    def configure(self, settings: Sequence[str]) -> Experiment:
        """Return the experiment with ``path.to.key=value`` settings applied."""
        return load(self.path, settings)

    def plain(self, parameters: Any) -> dict[str, Any]:
        """Return what was set, as plain data."""
        found: dict[str, Any] = parameters.model_dump(mode="json", exclude_unset=True)
        return found


def scenario(path: Path) -> FileScenario:
    """Return the scenario that a TOML file describes."""

    def function(experiment: Experiment, session: Session) -> Outcome:
        from eventnet.experiment.build import run

        with in_file(path):
            return run(experiment, session, base=path.parent)

    return FileScenario(path.stem, path, load(path).description, Experiment, function)


@contextmanager
def in_file(path: Path) -> Iterator[None]:
    """Let errors that name a key name its file too."""
    try:
        yield
    except (ConfigError, DataError) as error:
        if hasattr(error, "key"):
            raise type(error)(f"{path.name}: {error}") from error
        raise


def _flat(table: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    entries = table.items() if isinstance(table, dict) else enumerate(table)
    for name, value in entries:
        if isinstance(value, dict) or (
            isinstance(value, list) and value and isinstance(value[0], dict)
        ):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
