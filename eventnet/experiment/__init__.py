"""Experiments as data: what a scenario file in TOML says, and the same as Python classes.

`parts` has the classes, `file` reads the TOML, `tables` and `signals` the recordings, `build` makes
a simulation.
"""

from __future__ import annotations

from eventnet.experiment.build import Built, build
from eventnet.experiment.file import load
from eventnet.experiment.parts import (
    Connection,
    Experiment,
    Layer,
    Learning,
    Output,
    Phase,
    Probe,
    RunFolder,
    Score,
    Sensor,
    Source,
    Teacher,
)

__all__ = [
    "Built",
    "Connection",
    "Experiment",
    "Layer",
    "Learning",
    "Output",
    "Phase",
    "Probe",
    "RunFolder",
    "Score",
    "Sensor",
    "Source",
    "Teacher",
    "build",
    "load",
]
