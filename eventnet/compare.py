"""What differs between two runs: in what they were made of, and in what came out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from eventnet.errors import RunFolderError
from eventnet.files import understood
from eventnet.runs import RunFolder

Pairs = dict[str, tuple[Any, Any]]
"""By name of a figure or a setting, what the one run has and what the other; None: nothing."""


class Differences(NamedTuple):
    """What differs between two runs; see `differences`."""

    configuration: Pairs
    result: Pairs


def differences(a: RunFolder, b: RunFolder) -> Differences:
    """Return what differs between two runs, finished or not.

    Settings inside others are named by dots: ``parameters.tau``, ``network.populations.hidden.size``.

    Raises
    ------
    RunFolderError
        If a folder says nothing of how its run was made.
    """
    for run in (a, b):
        if not run.config:
            raise RunFolderError(f"{run.path}: not a run folder: it has no config.json")
    with understood(a.path, "a run folder"):
        ours = _configuration(a), _result(a)
    with understood(b.path, "a run folder"):
        theirs = _configuration(b), _result(b)
    return Differences(*map(_unequal, ours, theirs))


def _configuration(run: RunFolder) -> dict[str, Any]:
    made = {k: v for k, v in run.config.items() if k not in ("config", "started")}
    given = {k: v for k, v in run.config["config"].items() if k != "last_file"}
    return dict(_flat(given | made))


def _result(run: RunFolder) -> dict[str, Any]:
    told = run.metrics
    cost = run.end.get("cost", {"populations": {}, "totals": {}})
    totals = told.get("operations", cost["totals"])
    whole = run.summary()
    found = {key: whole[key] for key in ("state", "simulated_s", "wall_s", "spikes")}
    found["fit"] = {"spiking": told.get("metrics", {})} | told.get("baselines", {})
    for what in ("events", "quanta"):
        counted = told.get(what) or _by_coder(cost["populations"], what)
        found[what] = {name: n for name, n in counted.items() if n}
    found["operations"] = {k: v["all"] for k, v in totals.items() if "all" in v}
    return dict(_flat(found))


def _by_coder(populations: dict[str, dict[str, int]], what: str) -> dict[str, int]:
    found = {name: row[what] for name, row in populations.items()}
    return found | {f"{name}.error": row[f"error_{what}"] for name, row in populations.items()}


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested data with their dotted names."""
    if isinstance(value, list) and value and all(isinstance(v, dict) for v in value):
        value = {_name(v): v for v in value}
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _name(described: dict[str, Any]) -> str:
    """Return the name of a population or a projection."""
    return described.get("name") or f"{described['source']} -> {described['target']}"


def _unequal(a: dict[str, Any], b: dict[str, Any]) -> Pairs:
    pairs = {key: (a.get(key), b.get(key)) for key in a | b}
    return {key: (one, other) for key, (one, other) in pairs.items() if one != other}
