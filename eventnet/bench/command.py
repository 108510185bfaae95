"""The command `eventnet bench`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from eventnet.bench.workers import Row, Told

FULL = 2_000, 5, 40
QUICK = 50, 2, 2
"""Images a repetition and repetitions; images a repetition in continuous time."""


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--quick", is_flag=True, help="Few images, to see that it works: the figures are rough."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def bench(quick: bool, as_json: bool) -> None:
    """Measure on this machine, in a minute, how fast eventnet is.

    A 784-200-10 network learns MNIST one image at a time, beside perceptrons that do the same
    with multiply-adds, and simulates it in continuous time. All run in turn on one core.
    `make bench` in a checkout adds PyTorch, JAX, Brian2 and others.

    \b
    Examples:
      eventnet bench
      eventnet bench --json > here.json
    """
    from rich.console import Console

    with progress(silent=as_json) as told:
        rows = measure(quick, told)
    if as_json:
        from eventnet.reproduce.record import machine
        from eventnet.simulation import versions

        click.echo(json.dumps(rows | {"machine": machine(), "versions": versions()}))
        return
    out = Console()
    out.print(training_table(rows["training"]))
    out.print()
    out.print(simulation_table(rows["simulation"]))


def measure(quick: bool, told: Told) -> dict[str, dict[str, Row]]:
    """Return the rows of the two sections, ``training`` and ``simulation``."""
    from pathlib import Path
    from tempfile import TemporaryDirectory

    import numpy as np

    from eventnet.bench.task import digits, keep
    from eventnet.bench.workers import Entry, interleave
    from eventnet.data import fetch, mnist
    from eventnet.trial import VALIDATION

    data = mnist.load(fetch("mnist"))
    order = np.random.default_rng(0).permutation(VALIDATION.start)
    part, parts, held = QUICK if quick else FULL
    dense = "eventnet.bench.perceptrons"
    learners = {
        "eventnet": Entry("eventnet.bench.spiking:Preset"),
        "perceptron, skipping zeros": Entry(f"{dense}:Compiled", {"skip_zeros": True}),
        "perceptron, dense": Entry(f"{dense}:Compiled", {"skip_zeros": False}),
        "perceptron, NumPy": Entry(f"{dense}:Numpy"),
    }
    simulators = {
        f"eventnet, {what}": Entry("eventnet.bench.spiking:HeldImages", {"learn": learn})
        for what, learn in (("without learning", False), ("with learning", True))
    }
    with TemporaryDirectory() as folder:
        task = keep(digits(data, order, part, parts), Path(folder) / "training.npz")
        trained = interleave(learners, task, parts, told)
        task = keep(digits(data, order, held, parts), Path(folder) / "simulation.npz")
        simulated = interleave(simulators, task, parts, told)
    return {"training": trained, "simulation": simulated}


def training_table(rows: dict[str, Row]) -> Table:
    """Return the table of learners: samples a second, accuracy, compile time."""
    from eventnet.bench.workers import spread
    from eventnet.report.table import table

    found = table("learning, batch 1", "samples/s", "from", "to", "test %", "start s")
    for name, row in rows.items():
        # Pixels are coarse first and fine in the end, which costs more.
        for stage in dict.fromkeys(r.get("stage") for r in row["repetitions"]):
            rates = spread(row, **({} if stage is None else {"stage": stage}))
            found.add_row(
                name if stage is None else f"{name}, {stage} pixels",
                *(f"{rate:,.0f}" for rate in rates),
                f"{row['test %']:.2f}",
                f"{row['build_s'] + row['prepare_s']:.1f}",
            )
    return found


def simulation_table(rows: dict[str, Row]) -> Table:
    """Return the table of simulators: spikes a second, wall time a simulated second."""
    from eventnet.bench.workers import spread
    from eventnet.report.table import table

    found = table("continuous time", "M spikes/s", "from", "to", "ms a simulated s", "start s")
    for name, row in rows.items():
        found.add_row(
            name,
            *(f"{rate / 1e6:.2f}" for rate in spread(row, "events")),
            f"{1e3 / spread(row)[0]:.2f}",
            f"{row['build_s'] + row['prepare_s']:.1f}",
        )
    return found


@contextmanager
def progress(silent: bool) -> Iterator[Told]:
    """Yield what is told who is at work; a terminal shows it."""
    from rich.console import Console

    console = Console(stderr=True, quiet=silent)
    with console.status("") as status:

        def told(name: str, k: int) -> None:
            what = "building" if k < 0 else f"repetition {k + 1}"
            status.update(f"{name}: {what}")

        yield told
