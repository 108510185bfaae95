"""What a run cost, from counters that the engines keep, beside what dense networks would have cost.

Per projection and pass (forward, backward, update) three figures are given:

* ``events``: non-zero spikes that crossed it; ``quanta``: their counts summed, ``sum |s|``;
* ``additions``: the paper's basis (Eq. 8): a row or column is added once per quantum, without any
  multiplication, ``quanta * fan``;
* ``multiply_adds``: what this program does: a row or column is added once per event, scaled by its
  count, ``events * fan``.

An update follows a spike on both sides: ``fan`` is n_out for a presynaptic, n_in for an error spike.
That is how the paper counts it; this program books the columns of error spikes late, a row at a time
and when the row is read, so that many error spikes cost one pass over a row.

The dense networks are those that would be recomputed at every reading and trained at every target:
``dense`` multiplies everything, ``zero_skipping`` passes over inputs that are 0 and units that are
off, which is the honest competitor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventnet.engine import arrays as ar
from eventnet.engine.plan import Plan

PASSES = ("forward", "backward", "update")

# Horowitz 2014, 45 nm, 32 bits, picojoules.
INT_ADD_PJ, INT_MULTIPLY_PJ = 0.1, 3.1
FLOAT_ADD_PJ, FLOAT_MULTIPLY_PJ = 0.9, 3.7

WEIGHT_BYTES = 8


@dataclass(frozen=True)
class Pass:
    """One projection in one pass."""

    events: int
    quanta: int
    additions: int
    multiply_adds: int
    bytes_read: int
    bytes_written: int
    dense: int
    zero_skipping: int


@dataclass(frozen=True)
class Cost:
    """The counts of one run.

    Attributes
    ----------
    populations : dict
        Per population: events, quanta, error_events, error_quanta.
    projections : dict
        Per projection and pass, a `Pass`.
    paper_operations : int
        The additions that the paper's tables count (O'Connor et al. 2018, section 5): the sum of
        ``additions`` over the passes of all projections but those that lead to an output; biases are
        free. The paper's "kOps/sample 711000" is this number a sample, in operations. For one hidden
        layer: ``|s|*n_out`` forward, ``|s|*n_out + |s_e|*n_in`` update.
    guarded : dict
        Per plastic projection, the share of updates in which the guard held the rate back.
    instants, readings, teachings : int
        Instants that were run; those with a sensor reading; those with a target.
    """

    populations: dict[str, dict[str, int]]
    projections: dict[str, dict[str, Pass]]
    paper_operations: int
    guarded: dict[str, float]
    instants: int
    readings: int
    teachings: int

    def total(self, field: str, passes: tuple[str, ...] = PASSES) -> int:
        """Sum one figure (such as ``"additions"``) over projections and `passes`."""
        return sum(
            getattr(row[name], field) for row in self.projections.values() for name in passes
        )

    @property
    def events(self) -> int:
        """All spikes, error spikes included."""
        return sum(p["events"] + p["error_events"] for p in self.populations.values())

    def energy_uj(self) -> dict[str, float]:
        """Return the energy of the arithmetic in microjoules, 32-bit integers (Horowitz 2014).

        A multiply-add counts in full, .1 + 3.1 pJ; the paper counted half of that.
        """
        mac = INT_ADD_PJ + INT_MULTIPLY_PJ
        return {
            "spiking_additions": self.total("additions") * INT_ADD_PJ * 1e-6,
            "spiking_multiply_adds": self.total("multiply_adds") * mac * 1e-6,
            "dense": self.total("dense") * mac * 1e-6,
            "zero_skipping": self.total("zero_skipping") * mac * 1e-6,
        }

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "populations": self.populations,
            "projections": {
                name: {k: vars(v) for k, v in row.items()} for name, row in self.projections.items()
            },
            "totals": {
                field: {p: self.total(field, (p,)) for p in PASSES} | {"all": self.total(field)}
                for field in ("additions", "multiply_adds", "dense", "zero_skipping")
            },
            "paper_operations": self.paper_operations,
            "energy_uj": self.energy_uj(),
            "guarded": self.guarded,
            "instants": self.instants,
            "readings": self.readings,
            "teachings": self.teachings,
        }


def spikes_in(counters: ar.Counters) -> int:
    """Return how many spikes and error spikes an engine has counted."""
    return int(counters.population[:, [ar.EVENTS, ar.ERROR_EVENTS]].sum())


def snapshot(counters: ar.Counters) -> ar.Counters:
    """Copy an engine's counters, to take the difference later."""
    return ar.Counters(*(array.copy() for array in counters))


def cost_between(
    plan: Plan, before: Sequence[NDArray[np.int64]], after: Sequence[NDArray[np.int64]]
) -> Cost:
    """Return the cost of what happened between two snapshots."""
    population, projection, network = (b - a for a, b in zip(before, after, strict=True))
    instants, readings, teachings = (int(k) for k in network)
    rows: dict[str, dict[str, Pass]] = {}
    late = plan.rule is not None and plan.rule.compiled == "booked"
    guarded: dict[str, float] = {}
    for q in plan.projections:
        c = [int(k) for k in projection[q.index]]
        taught = teachings if plan.has_error[q.target.index] else 0
        returned = taught if plan.has_error[q.source.index] else 0
        learned = taught if plan.plastic[q.index] else 0
        row, column, booked = ar.ROW, ar.COLUMN, c[ar.BOOKED]
        work = {
            "forward": (
                *c[ar.FORWARD : ar.FORWARD + 2],
                c[ar.FORWARD + 3],
                c[ar.FORWARD + 2],
                readings * q.synapses,
                c[ar.SKIP_FORWARD],
            ),
            "backward": (
                *c[ar.BACKWARD : ar.BACKWARD + 2],
                c[ar.BACKWARD + 3],
                c[ar.BACKWARD + 2],
                returned * q.synapses,
                c[ar.SKIP_BACKWARD],
            ),
            "update": (
                c[row] + c[column],
                c[row + 1] + c[column + 1],
                c[row + 3] + c[column + 3],
                c[row + 2] + (booked + c[column] if late else c[column + 2]),
                learned * q.synapses,
                c[ar.SKIP_UPDATE],
            ),
        }
        rows[q.name] = {
            name: Pass(
                events=events,
                quanta=quanta,
                additions=additions,
                multiply_adds=multiply_adds,
                bytes_read=multiply_adds * plan.dtype.itemsize,
                bytes_written=multiply_adds * plan.dtype.itemsize * (name == "update"),
                dense=dense,
                zero_skipping=skipping,
            )
            for name, (events, quanta, additions, multiply_adds, dense, skipping) in work.items()
        }
        if plan.plastic[q.index]:
            guarded[q.name] = c[ar.GUARDED] / max(c[ar.PASSES], 1)
    return Cost(
        populations={
            p.name: {
                "events": int(population[p.index, ar.EVENTS]),
                "quanta": int(population[p.index, ar.QUANTA]),
                "error_events": int(population[p.index, ar.ERROR_EVENTS]),
                "error_quanta": int(population[p.index, ar.ERROR_QUANTA]),
            }
            for p in plan.populations
        },
        projections=rows,
        paper_operations=sum(
            rows[q.name][name].additions
            for q in plan.projections
            for name in PASSES
            if q.target.kind != "output" and not q.source.constant
        ),
        guarded=guarded,
        instants=instants,
        readings=readings,
        teachings=teachings,
    )
