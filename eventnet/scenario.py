"""Scenarios: short scripts that build a world and a network with the public API and score the run.

A scenario is a Python file, in `sims/` or anywhere, that defines::

    @dataclass(frozen=True)
    class Parameters:          # every field with a default: what `--set key=value` can change
        tau: float = 0.05
        score: Literal["test", "validation"] = "test"  # `eventnet sweep` sees validation alone

    def run(p: Parameters, session: Session) -> Outcome:
        ...
        return Outcome(run, metrics={...}, baselines={...}, error=...)

The first paragraph of its docstring is its description. Or it is a TOML file: `eventnet.experiment`.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from eventnet.errors import ConfigError, DataError, RunFolderError
from eventnet.network import unknown
from eventnet.record import Record
from eventnet.resources import folder

if TYPE_CHECKING:
    from eventnet.export.rerun import RerunFile
    from eventnet.simulation import Run, Simulation

Metrics = Mapping[str, float | Sequence[float]]
Report = Callable[[float, float, int, float | None], None]

METRICS = "metrics.json"


@dataclass(frozen=True)
class Outcome:
    """What a scenario returns.

    Attributes
    ----------
    run : Run
    metrics : mapping
        What was reached: a number, or one number a component, by name.
    baselines : mapping
        By name of the baseline, the same figures.
    dense : mapping
        Operation counts of dense networks that the scenario itself ran, by name.
    arrivals : mapping
        What became of each sensor's readings (`eventnet.arrivals.Books`), by name.
    live : mapping
        Of a live run: how far it was behind, what was refused.
    error : float or None
        What a sweep makes small, such as 1 - R2, of the split that was scored.
    """

    run: Run
    metrics: Metrics
    baselines: Mapping[str, Metrics] = field(default_factory=dict)
    dense: Mapping[str, int] = field(default_factory=dict)
    arrivals: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    live: Mapping[str, object] = field(default_factory=dict)
    error: float | None = None


@dataclass(frozen=True)
class LiveOptions:
    """Where a live run's readings come from, and by which clock (`eventnet.wire`).

    Without a port: standard input.
    """

    port: int | None = None
    clock: Literal["sender", "unix"] = "sender"


@dataclass(frozen=True)
class Session:
    """What a scenario is given beside its parameters.

    Attributes
    ----------
    seed : int
    engine : str
    until : float or None
        End the simulation at this time, s; None: where the scenario ends by itself.
    folder : Path
        The run folder to record into.
    report : callable or None
        Takes simulated time, end, spikes so far and a running error for the progress bar.
    config : dict
        Written into the run folder.
    live : LiveOptions or None
        Not from recordings, but from what comes meanwhile. Only of scenarios in TOML.
    rerun : RerunFile or None
        A file for the Rerun viewer to write into.
    record : Record or None
        How the run folder is written; None: without checkpoints.
    compares : bool
        Whether baselines are wanted. A sweep looks at none of them, and they can take most of the time.
    """

    seed: int
    engine: str
    until: float | None
    folder: Path
    report: Report | None = None
    config: dict[str, Any] = field(default_factory=dict)
    live: LiveOptions | None = None
    rerun: RerunFile | None = None
    record: Record | None = None
    compares: bool = True

    def run(
        self,
        sim: Simulation,
        until: float,
        error: Callable[[], float | None] = lambda: None,
        *,
        end: float | None = None,
    ) -> Run:
        """Run `sim` to `until` (or to the user's own end), recorded, with a progress bar.

        `error` gives the running error that the bar shows. A scenario that runs in parts gives the
        `end` of all; what a first part has begun to record, the next ones do not record again.
        """
        until = until if self.until is None else min(until, self.until)
        report, rerun = self.report, self.rerun
        whole = until if end is None else end

        def progress(t: float, spikes: int) -> None:
            if report is not None:
                report(t, whole, spikes, error())
            if rerun is not None:
                rerun.passed(t)

        record = self.record
        if record is None and not (end is not None and self.folder.exists()):
            record = Record(self.folder, config=self.config)
        if record is not None:
            record.in_parts = end is not None
        if rerun is not None:
            rerun.begin(sim, whole, self.config)
        run = sim.run(until, record=record, progress=progress if report or rerun else None)
        if rerun is not None:
            rerun.end(run)
        return run


class _Built(BaseException):
    """Ends a scenario where it would run; not an Exception, which the scenario might catch."""

    def __init__(self, sim: Simulation) -> None:
        super().__init__()
        self.sim = sim


class _Rehearsal(Session):
    """A session that stops at `run` and writes nothing."""

    def run(
        self,
        sim: Simulation,
        until: float,
        error: Callable[[], float | None] = lambda: None,
        *,
        end: float | None = None,
    ) -> Run:
        """Hand the simulation to `build`."""
        raise _Built(sim)


@dataclass(frozen=True)
class Scenario:
    """A scenario that was found and loaded."""

    name: str
    path: Path
    description: str
    parameters: type
    function: Callable[[Any, Session], Outcome]

    def defaults(self) -> dict[str, Any]:
        """Return every parameter with its default."""
        return self.values()

    def values(self, settings: Sequence[str] = ()) -> dict[str, Any]:
        """Return every parameter as ``key=value`` settings have it, as plain data, by its key."""
        return self.plain(self.configure(settings))

    def plain(self, parameters: Any) -> dict[str, Any]:
        """Return parameters as plain data."""
        return dataclasses.asdict(parameters)

    def configure(self, settings: Sequence[str]) -> Any:
        """Return the parameters with ``key=value`` settings applied.

        Raises
        ------
        ConfigError
            For a key that does not exist or a value of another type.
        """
        types = get_type_hints(self.parameters)
        values: dict[str, Any] = {}
        for setting in settings:
            key, equals, text = setting.partition("=")
            key = key.strip()
            if not equals:
                raise ConfigError(f"--set {setting}: must be key=value")
            if key not in types:
                raise unknown(f"parameter of {self.name}", key, types)
            values[key] = _convert(text.strip(), types[key], key)
        return self.parameters(**values)

    def validated(self, settings: Sequence[str]) -> list[str]:
        """Return settings with which the validation split is scored, and no test data are touched.

        Raises
        ------
        ConfigError
            If the scenario does not say what its validation split is, or the settings want another.
        """
        if "validation" not in get_args(get_type_hints(self.parameters).get("score")):
            raise ConfigError(
                f"scenario {self.name}: does not say what its validation split is; give its "
                'Parameters a field score: Literal["test", "validation"], as in sims/drone.py'
            )
        for setting in settings:
            key, _, value = setting.partition("=")
            if key.strip() == "score" and value.strip() != "validation":
                raise ConfigError(
                    f"{setting}: settings are chosen on validation data; leave it out"
                )
        return [*settings, "score=validation"]


def _convert(text: str, kind: Any, key: str) -> Any:
    """Read one value of the type that a parameter declares."""
    if isinstance(kind, UnionType):  # "float | None": None is the default, what is set is the rest
        (kind,) = (member for member in get_args(kind) if member is not NoneType)
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise unknown(f"value of {key}", text, get_args(kind))
        return text
    if kind is str:
        return text
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ConfigError(f"{key}={text}: must be true or false")
        return text.lower() == "true"
    try:
        if kind is int:
            return int(text)
        if kind is float:
            return float(text)
        value = ast.literal_eval(text)
        if get_origin(kind) is tuple:  # (int, ...): "200,100", and "200" alone
            (member, _) = get_args(kind)
            values = value if isinstance(value, tuple | list) else (value,)
            return tuple(_member(v, member) for v in values)
    except (ValueError, SyntaxError, TypeError):
        name = str(kind) if get_origin(kind) else getattr(kind, "__name__", str(kind))
        raise ConfigError(f"{key}={text}: must be of type {name}") from None
    return value


def _member(value: Any, kind: Any) -> Any:
    """Return a number of a tuple as the parameter declares it; 2 is a float, 2.5 no int."""
    if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
        raise TypeError
    return kind(value)


def names() -> list[str]:
    """Return the scenarios that come with eventnet."""
    return sorted(
        p.stem
        for p in folder("sims").iterdir()
        if p.suffix in (".py", ".toml") and not p.stem.startswith("_")
    )


def load(which: str) -> Scenario:
    """Load a scenario by name, or from a Python or TOML file.

    Raises
    ------
    ConfigError
        If there is none of that name, or the file is not a scenario.
    """
    path = Path(which)
    if path.suffix not in (".py", ".toml"):
        if which not in names():
            raise unknown("scenario", which, names())
        (path,) = (p for p in folder("sims").glob(f"{which}.*") if p.suffix in (".py", ".toml"))
    if path.suffix == ".toml":
        from eventnet.experiment.file import scenario

        return scenario(path)
    if not path.is_file():
        raise ConfigError(f"scenario file {which}: does not exist")
    module_name = f"eventnet_scenario_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ConfigError(f"scenario {path}, line {error.lineno}: {error.msg}") from error
    parameters = getattr(module, "Parameters", None)
    function = getattr(module, "run", None)
    if not (dataclasses.is_dataclass(parameters) and callable(function)):
        raise ConfigError(
            f"scenario {path}: must define a dataclass Parameters and a function run(p, session)"
        )
    assert isinstance(parameters, type)
    description = (inspect.getdoc(module) or "").split("\n\n")[0].replace("\n", " ")
    return Scenario(path.stem, path, description, parameters, function)


def next_folder(name: str, runs: Path = Path("runs")) -> Path:
    """Return the first ``runs/NAME-k`` that does not exist."""
    k = 1
    while (runs / f"{name}-{k}").exists():
        k += 1
    return runs / f"{name}-{k}"


def build(
    scenario: Scenario,
    settings: Sequence[str] = (),
    *,
    seed: int = 0,
    report: Report | None = None,
) -> Simulation:
    """Return the simulation that a scenario builds, without running it or making a run folder.

    The scenario does all that comes before `Session.run`: data sets are fetched, sources fed.

    Raises
    ------
    EventNetError
        As of `execute`, and if the scenario never calls `Session.run`.
    """
    session = _Rehearsal(seed, "compiled", None, next_folder(scenario.name), report)
    try:
        scenario.function(scenario.configure(settings), session)
    except _Built as built:
        return built.sim
    raise ConfigError(f"scenario {scenario.path}: never calls session.run(sim, ...)")


def execute(
    scenario: Scenario,
    settings: Sequence[str] = (),
    *,
    seed: int = 0,
    engine: str = "compiled",
    until: float | None = None,
    out: Path | None = None,
    report: Report | None = None,
    live: LiveOptions | None = None,
    rerun: Path | None = None,
    checkpoint_every: float | None = None,
    on_divergence: Literal["stop", "halve-lr"] = "stop",
    resume: bool = False,
) -> dict[str, Any]:
    """Run a scenario into a run folder and return the summary that is also its ``metrics.json``.

    With `rerun`, what happens is also written into that file, for the Rerun viewer. With `resume`, `out`
    the folder of the same run, which goes on from its last checkpoint.

    Raises
    ------
    EventNetError
        With one clear message; what an earlier run left is never touched.
    """
    from eventnet.engine import ENGINES
    from eventnet.files import written_aside
    from eventnet.runs import versions, writing

    parameters = scenario.configure(settings)
    if engine not in ENGINES:
        raise unknown("engine", engine, ENGINES)
    if until is not None and not 0 < until < float("inf"):
        raise ConfigError(f"until={until} s: must be positive and finite")
    target = next_folder(scenario.name) if out is None else out
    if target.exists() and not resume:
        raise RunFolderError(f"{target}: exists already; choose another folder or remove it")
    own = scenario.path.parent != folder("sims")
    config = {
        "scenario": scenario.name,
        "parameters": scenario.plain(parameters),
        "last_file": METRICS,  # which says that all is there
        "file": str(scenario.path.resolve()) if own else scenario.name,
        "settings": list(settings),
        "seed": seed,
        "engine": engine,
        "until": until,
        "checkpoint_every": checkpoint_every,
        "on_divergence": on_divergence,
    }
    if live is not None and scenario.path.suffix != ".toml":
        raise ConfigError(
            f"--live: {scenario.path.name} is no scenario in TOML (eventnet new NAME)"
        )
    record = Record(
        target,
        checkpoint_every=checkpoint_every,
        resume=resume,
        on_divergence=on_divergence,
        config=config,
    )
    with ExitStack() as stack:
        stack.enter_context(writing(target))
        watch = None if rerun is None else stack.enter_context(_rerun_file(rerun, target))
        session = Session(seed, engine, until, target, report, config, live, watch, record)
        outcome = scenario.function(parameters, session)
        summary = summarize(scenario, config, seed, engine, outcome) | {"versions": versions()}
        with written_aside(target / METRICS) as path:
            path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return summary


def _rerun_file(path: Path, target: Path) -> AbstractContextManager[RerunFile]:
    from eventnet.export.rerun import rerun_file

    return rerun_file(path, target.name)


def resume(
    run_folder: Path,
    *,
    until: float | None = None,
    checkpoint_every: float | None = None,
    report: Report | None = None,
) -> tuple[Scenario, dict[str, Any]]:
    """Go on with a run that ended, was interrupted or killed; return its scenario and the summary.

    Parameters
    ----------
    run_folder : Path
    until, checkpoint_every : float, optional
        In the place of what the run was given at first, s.

    Raises
    ------
    ConfigError
        If it has reached its end and no later one is given, or its scenario has changed.
    DataError, RunFolderError
        If it is no run folder of a scenario, or nothing in it can be used.
    """
    from eventnet.record import told_by

    told = told_by(run_folder)
    if "file" not in told.get("config", {}):
        raise DataError(
            f"{run_folder}: was not made by `eventnet run`; use eventnet.Record in a script"
        )
    config = told["config"]
    if until is None:
        until = config["until"]
        if (run_folder / METRICS).exists():
            raise ConfigError(
                f"{run_folder}: has reached its end; give --until, a later one, to go on"
            )
    scenario = load(config["file"])
    return scenario, execute(
        scenario,
        config["settings"],
        seed=config["seed"],
        engine=config["engine"],
        until=until,
        out=run_folder,
        report=report,
        checkpoint_every=checkpoint_every or config["checkpoint_every"],
        on_divergence=config["on_divergence"],
        resume=True,
    )


def summarize(
    scenario: Scenario, config: dict[str, Any], seed: int, engine: str, outcome: Outcome
) -> dict[str, Any]:
    """Return an outcome as plain data."""
    cost = outcome.run.cost
    costs = cost.as_dict()
    return {
        "scenario": scenario.name,
        "parameters": config["parameters"],
        "seed": seed,
        "engine": engine,
        "simulated_s": outcome.run.until - outcome.run.start,
        "wall_s": outcome.run.wall_s,
        "events": {name: p["events"] for name, p in cost.populations.items()}
        | {f"{name}.error": p["error_events"] for name, p in cost.populations.items()},
        "quanta": {name: p["quanta"] for name, p in cost.populations.items()}
        | {f"{name}.error": p["error_quanta"] for name, p in cost.populations.items()},
        "additions": {
            name: {k: v["additions"] for k, v in row.items()}
            for name, row in costs["projections"].items()
        },
        "operations": costs["totals"] | {"energy_uj": costs["energy_uj"]},
        "dense": dict(outcome.dense),
        "guarded": cost.guarded,
        "metrics": dict(outcome.metrics),
        "error": outcome.error,
        "baselines": {name: dict(row) for name, row in outcome.baselines.items()},
        "arrivals": {name: dict(books) for name, books in outcome.arrivals.items()},
        "live": dict(outcome.live),
        "folder": str(outcome.run.folder),
    }
