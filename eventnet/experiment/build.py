"""Makes a simulation of an experiment, runs it and scores it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eventnet.baselines import held, least_squares, r2
from eventnet.errors import ConfigError, DataError, at_key
from eventnet.experiment.parts import Experiment, Learning, Part, Phase, Score, Signal
from eventnet.experiment.signals import Heard, Seen, hear_and_see
from eventnet.network import Network, unknown
from eventnet.plasticity import STDP, Past, Reconstruction, Rule
from eventnet.simulation import Run, Simulation
from eventnet.world import Probe

if TYPE_CHECKING:
    from eventnet.scenario import Outcome, Session

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Built:
    """An experiment, ready to run.

    Attributes
    ----------
    experiment : Experiment
    sim : Simulation
    heard : dict
        What each sensor and each teacher is given, by the name of the population.
    until : float
        End, s.
    """

    experiment: Experiment
    sim: Simulation
    heard: dict[str, Heard]
    until: float
    _scored: dict[str, Probe]

    def arrivals(self, until: float) -> dict[str, dict[str, object]]:
        """Return the books of every sensor and teacher at time `until` (s), as plain data."""
        return {name: heard.books(until).as_dict() for name, heard in self.heard.items()}


def build(
    experiment: Experiment, *, base: Path | str = ".", seed: int = 0, engine: str = "compiled"
) -> Built:
    """Read the files of an experiment, build its network and give it its sensors and teachers.

    Parameters
    ----------
    experiment : Experiment
    base : Path or str
        The folder that relative paths start from.
    seed : int
        Of weights, jitter and dropout.
    engine : str

    Raises
    ------
    ConfigError, DataError
        Each names the key that it is about.

    Examples
    --------
    >>> import tempfile
    >>> from eventnet.experiment import Connection, Experiment, Output, Sensor, Teacher
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "log.csv").write_text("t,angle,torque\\n0,0.1,-1\\n20,0.4,-4\\n40,0.2,-2\\n")
    >>> log = dict(file="log.csv", time="t", unit="ms")
    >>> built = build(
    ...     Experiment(
    ...         tau=0.1,
    ...         sensors={"angle": Sensor(**log, columns=["angle"], step=0.05)},
    ...         outputs={"torque": Output(teacher=Teacher(**log, columns=["torque"]))},
    ...         connections=[Connection(source="angle", target="torque")],
    ...     ),
    ...     base=folder,
    ...     engine="actors",
    ... )
    >>> built.until, built.sim.run(built.until).cost.populations["angle"]["events"] > 0
    (0.04, True)
    """
    experiment = split(experiment)
    heard, seen = _hear_and_see(experiment, Path(base), seed)
    ends = [h.stamps[-1] for h in heard.values()] + [s.train.times[-1] for s in seen.values()]
    last = max(ends, default=math.nan)
    until = experiment.until or float(last)
    if not math.isfinite(until):
        with at_key("until"):
            raise ConfigError("missing: no file says when the experiment ends")
    widths = {name: h.width for name, h in heard.items()}
    net = network(experiment, widths | {name: s.neurons for name, s in seen.items()})
    sim = simulation(experiment, net, seed=seed, engine=engine)
    for name in experiment.sensors:
        with at_key(f"sensors.{name}"):
            sim.feed(name, heard[name].fed)
    for name in experiment.sources:
        with at_key(f"sources.{name}"):
            sim.feed(name, seen[name].train)
    for name, output in experiment.outputs.items():
        if output.teacher is not None:
            with at_key(f"outputs.{name}.teacher"):
                sim.teach(name, heard[name].fed)
    for name, probe in experiment.probes.items():
        with at_key(f"probes.{name}"):
            sim.probe(name, rate=probe.rate)
    scored = {name: _score_probe(experiment, sim, heard, name, until) for name in experiment.scores}
    return Built(experiment, sim, heard, until, scored)


def split(experiment: Experiment) -> Experiment:
    """Return the experiment whose scores are of the chosen split and that ends with it.

    Examples
    --------
    >>> whole = Experiment(
    ...     tau=0.1,
    ...     until=9.0,
    ...     learning=Learning(lr=0.1, phases=[Phase(until=6.0)]),
    ...     scores={"turn": Score()},
    ...     validation=[5.0, 6.0],
    ...     score="validation",
    ... )
    >>> chosen = split(whole)
    >>> chosen.until, chosen.learning.phases[0].until, chosen.scores["turn"].start
    (6.0, 5.0, 5.0)
    """
    if experiment.score == "test":
        return experiment
    if experiment.validation is None:
        with at_key("validation"):
            raise ConfigError('missing: score = "validation" scores a window, as in [16.0, 20.0] s')
    start, stop = experiment.validation
    if not 0 < start < stop <= (experiment.until or math.inf):
        with at_key("validation"):
            raise ConfigError(f"{start:g} to {stop:g} s: must lie within the run, after its start")
    changed: dict[str, Any] = {
        "until": stop,
        "scores": dict.fromkeys(experiment.scores, Score(start=start, stop=stop)),
    }
    if experiment.learning is not None:
        phases = experiment.learning.phases or [Phase(until=start)]
        begins = [0.0, *(phase.until for phase in phases)]
        kept = [
            phase.model_copy(update={"until": min(phase.until, start)})
            for begin, phase in zip(begins, phases, strict=False)
            if begin < start
        ]
        changed["learning"] = experiment.learning.model_copy(update={"phases": kept})
    return experiment.model_copy(update=changed)


def _hear_and_see(
    experiment: Experiment, base: Path, seed: int
) -> tuple[dict[str, Heard], dict[str, Seen]]:
    signals = signals_of(experiment)
    sources = {f"sources.{name}": source for name, source in experiment.sources.items()}
    heard, seen = hear_and_see(signals, sources, base=base, origin=experiment.origin, seed=seed)
    return (
        {key.split(".")[1]: found for key, found in heard.items()},
        {key.split(".")[1]: found for key, found in seen.items()},
    )


def signals_of(experiment: Experiment) -> dict[str, Signal]:
    """Return every sensor and every teacher by its key."""
    found: dict[str, Signal] = {f"sensors.{k}": sensor for k, sensor in experiment.sensors.items()}
    for name, output in experiment.outputs.items():
        if output.teacher is not None:
            found[f"outputs.{name}.teacher"] = output.teacher
    return found


def simulation(experiment: Experiment, net: Network, *, seed: int, engine: str) -> Simulation:
    """Return a simulation that learns as the experiment says, without sensors and teachers."""
    sim = Simulation(
        net,
        plasticity=rule(experiment.learning),
        engine=engine,
        seed=seed,
        raster=None if experiment.recording.raster else False,
    )
    _learn_in_phases(sim, experiment.learning)
    return sim


def network(experiment: Experiment, widths: Mapping[str, int]) -> Network:
    """Return the network of an experiment; `widths` of what populations are given, by name."""
    net = Network(tau=experiment.tau)
    for name, sensor in experiment.sensors.items():
        with at_key(f"sensors.{name}"):
            size = _size(sensor.size, widths.get(name), "columns")
            net.sensor(name, size, **given(sensor, "step", "tau", "threshold"))
    for name, source in experiment.sources.items():
        with at_key(f"sources.{name}"):
            net.source(name, widths[name], **given(source, "step", "tau"))
    for name, layer in experiment.layers.items():
        with at_key(f"layers.{name}"):
            net.layer(name, **given(layer, *type(layer).model_fields))
    for name, output in experiment.outputs.items():
        with at_key(f"outputs.{name}"):
            size = _size(output.size, widths.get(name), "columns of the teacher")
            rest = set(type(output).model_fields) - {"size", "teacher"}
            net.output(name, size, **given(output, *rest))
    for k, connection in enumerate(experiment.connections):
        with at_key(f"connections.{k}"):
            net.connect(**given(connection, *type(connection).model_fields))
    return net


def given(part: Part, *names: str) -> dict[str, Any]:
    """Return the fields of `part` that were set, for a call that has defaults of its own."""
    return {name: getattr(part, name) for name in names if name in part.model_fields_set}


def _size(size: int | None, width: int | None, what: str) -> int:
    if size is None and width is None:
        raise ConfigError("size is missing: no file says how many components there are")
    if size is not None and width is not None and size != width:
        raise ConfigError(f"size={size}: its {what} give {width}; leave one out")
    found = size if width is None else width
    assert found is not None
    return found


def rule(learning: Learning | None) -> Rule | None:
    """Return the learning rule that a file names."""
    if learning is None:
        return None
    if learning.rule == "stdp":
        return STDP(learning.lr, cap=learning.cap)
    if "cap" in learning.model_fields_set:
        with at_key("learning.cap"):
            raise ConfigError(f"cap={learning.cap}: only stdp has a guard; leave it out")
    return {"past": Past, "reconstruction": Reconstruction}[learning.rule](learning.lr)


def _learn_in_phases(sim: Simulation, learning: Learning | None) -> None:
    if learning is None or not learning.phases:
        return
    start = 0.0
    for k, phase in enumerate(learning.phases):
        with at_key(f"learning.phases.{k}.until"):
            if phase.until <= start:
                raise ConfigError(f"{phase.until:g} s: must be after {start:g} s")
        sim.scale_lr(phase.factor, at=start)
        start = phase.until
    sim.switch_learning(False, at=start)


# -- scores ----------------------------------------------------------------------------------------


def _window(experiment: Experiment, score: Score, until: float) -> tuple[float, float]:
    """Return the times from (exclusive where learning ended there) and to which an output is scored."""
    phases = experiment.learning.phases if experiment.learning is not None else []
    start = score.start if score.start is not None else (phases[-1].until if phases else 0.0)
    return start, until if score.stop is None else min(score.stop, until)


def _targets(heard: Heard, start: float, stop: float) -> NDArray[np.bool_]:
    """Return which targets, one at a time and none of them NaN, lie within a window."""
    inside = (heard.stamps >= start) & (heard.stamps <= stop) & (heard.stamps >= 0)
    inside &= np.append(np.diff(heard.stamps) > 0, True)
    return np.asarray(inside & ~np.isnan(heard.values).any(axis=1))


def _score_probe(
    experiment: Experiment, sim: Simulation, heard: dict[str, Heard], name: str, until: float
) -> Probe:
    with at_key(f"scores.{name}"):
        taught = [n for n, output in experiment.outputs.items() if output.teacher is not None]
        if name not in taught:
            raise unknown("output with a teacher", name, taught)
        start, stop = _window(experiment, experiment.scores[name], until)
        chosen = _targets(heard[name], start, stop)
        if chosen.sum() < 2:
            raise DataError(
                f"{chosen.sum()} targets between {start:g} and {stop:g} s: must be 2 at least; choose "
                "another start or stop"
            )
    probe = Probe(sim.network.population(name), heard[name].stamps[chosen])
    sim.world.add(probe)
    return probe


def score(built: Built, until: float) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return figures and baselines of every scored output, by name, after a run to `until` (s).

    R2 a component and, for softmax, the share of targets whose largest component is named; beside
    them what least squares makes of all sensors' held readings, fitted on what comes before.
    """
    metrics: dict[str, Any] = {}
    baselines: dict[str, dict[str, Any]] = {}
    many = len(built._scored) > 1
    for name, probe in built._scored.items():
        heard, label = built.heard[name], f"{name} " if many else ""
        read = probe.values
        if len(read) < 2:
            continue
        start, stop = float(probe.times[0]), float(probe.times[-1])
        chosen = _targets(heard, start, stop)
        targets = heard.values[chosen]
        metrics[f"{label}r2"] = r2(read, targets)
        if built.experiment.outputs[name].loss == "softmax":
            hit = read.argmax(axis=1) == targets.argmax(axis=1)
            metrics[f"{label}accuracy %"] = 100 * float(hit.mean())
        fit = _targets(heard, 0.0, np.nextafter(start, -math.inf))
        features = _features(built, heard.stamps)
        if fit.sum() > features.shape[1] + 1:
            rows = np.concatenate([features[fit], features[chosen]])
            both = np.concatenate([heard.values[fit], targets])
            n = int(fit.sum())
            line = least_squares(rows, both, slice(0, n), slice(n, None))
            baselines.setdefault("least squares, all sensors", {})[f"{label}r2"] = line
    return metrics, baselines


def error_of(built: Built, metrics: Mapping[str, Any]) -> float | None:
    """Return the mean over scored outputs of 1 - R2 or, for softmax, of the share of wrong targets."""
    errors = []
    for name in built._scored:
        label = f"{name} " if len(built._scored) > 1 else ""
        if f"{label}r2" not in metrics:
            return None
        if built.experiment.outputs[name].loss == "softmax":
            errors.append(1 - metrics[f"{label}accuracy %"] / 100)
        else:
            errors.append(1 - float(np.mean(metrics[f"{label}r2"])))
    return float(np.mean(errors)) if errors else None


def _features(built: Built, at: Floats) -> Floats:
    fed = [built.heard[name].fed for name in built.experiment.sensors]
    return np.column_stack([held(f.times, np.asarray(f.values), at) for f in fed])


# -- the run ---------------------------------------------------------------------------------------


def run(experiment: Experiment, session: Session, *, base: Path | str = ".") -> Outcome:
    """Build, run, score and record an experiment, as `eventnet run my.toml` does."""
    from eventnet.scenario import Outcome

    if session.live is not None:
        from eventnet.experiment.live import run_live

        return run_live(experiment, session, base=Path(base))
    built = build(experiment, base=base, seed=session.seed, engine=session.engine)
    done = session.run(built.sim, built.until)
    if done.folder is not None:
        keep(built, done, done.folder)
    metrics, baselines = score(built, done.until)
    return Outcome(
        done,
        metrics,
        baselines,
        arrivals=built.arrivals(done.until),
        error=error_of(built, metrics),
    )


def keep(built: Built, done: Run, folder: Path) -> None:
    """Write the probes' readings into the run folder, in the unit of the teacher, and a checkpoint."""
    for name in built.experiment.probes:
        trace = done.output(name)
        (folder / "probes").mkdir(exist_ok=True)
        heard = built.heard.get(name)
        values = trace.values if heard is None else heard.scaling.back(trace.values)
        path = folder / "probes" / f"{name}.{built.experiment.recording.probes}"
        _write_table(path, trace.times, values)
    if built.experiment.recording.checkpoint:
        built.sim.save(folder / "checkpoint")


def _write_table(path: Path, times: Floats, values: Floats) -> None:
    import pyarrow as pa
    from pyarrow import csv, parquet

    columns = {"time": times} | {str(k): values[:, k] for k in range(values.shape[1])}
    table = pa.table(columns)
    (csv.write_csv if path.suffix == ".csv" else parquet.write_table)(table, path)
