"""docs/results/benchmarks.md and its pictures, drawn from the rows that sections have left."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table as RichTable

from benchmarks import pictures
from benchmarks.streams import DENSE, OURS
from benchmarks.video import FULL, NOISE
from eventnet.bench.spiking import FINE_SHARE
from eventnet.bench.workers import Row, spread

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results" / "benchmarks"

STAGED = (*OURS, DENSE)
"""Who learns and reads in turn, of the digits that drift."""

HEAD = """# How fast it is

Made by `make bench`. All contestants of a table ran in turn on one core, one thread each, a repetition at
a time, so ratios within a table count, not single times. Figures are medians of the repetitions, in
brackets the least and the largest. Building and compiling are not in them; "start" is the time from
nothing to the first repetition. [How to run it](../../benchmarks/README.md).
"""


class Table(NamedTuple):
    """A table of text: a title, what is said below it, heads and rows."""

    title: str
    note: str
    heads: tuple[str, ...]
    rows: list[tuple[str, ...]]


def write(folder: Path) -> None:
    """Write the page and its pictures beside the folder of rows; what has not been run is not on it."""
    parts = [HEAD]
    for name, make in TABLES.items():
        path = folder / f"{name}.json"
        if not path.is_file():
            continue
        document = json.loads(path.read_text(encoding="utf-8"))
        for table in make(document):
            parts.append(markdown(table))
        if name in pictures.DRAWN:
            pictures.DRAWN[name](document, folder / f"{name}.png")
            parts.append(f"![{name}]({folder.name}/{name}.png)\n")
        parts.append(made(document["record"]))
    folder.with_suffix(".md").write_text("\n".join(parts), encoding="utf-8")


def show(name: str, document: dict[str, Any], console: Console) -> None:
    """Print a section's tables."""
    for table in TABLES[name](document):
        shown = RichTable(title=table.title, box=None, header_style="bold", title_justify="left")
        shown.add_column(table.heads[0])
        for head in table.heads[1:]:
            shown.add_column(head, justify="right")
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)


def markdown(table: Table) -> str:
    """Return a table as Markdown, with its title as a heading."""
    head = f"| {' | '.join(table.heads)} |\n|---|{'---:|' * (len(table.heads) - 1)}"
    lines = [f"| {' | '.join(row)} |" for row in table.rows]
    return "\n".join([f"## {table.title}\n", head, *lines, "", table.note, ""])


def made(record: dict[str, Any]) -> str:
    """Return a line on how rows came about."""
    versions = dict(record["versions"])
    for others in record["others"].values():
        versions |= others
    machine = record["machine"]
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"Made in {record['wall_s']:.0f} s on {record['date'][:10]} at commit "
        f"{str(record['commit'])[:15]}, {machine['processor']}, {machine['cores']} cores, mean load "
        f"{record['load']:.1f}; {told}.\n"
    )


def rates(row: Row, count: str = "units", scale: float = 1.0, digits: int = 0, **where: Any) -> str:
    """Return ``median (least to largest)``."""
    middle, low, high = (rate * scale for rate in spread(row, count, **where))
    return f"{middle:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def start(row: Row) -> str:
    """Return the seconds from nothing to the first repetition."""
    return f"{row['build_s'] + row['prepare_s']:.1f}"


def preset_rate(row: Row) -> float:
    """Return the samples/s of the whole preset: its coarse and its fine epochs, as many as there are."""
    coarse, fine = (spread(row, stage=stage)[0] for stage in ("coarse", "fine"))
    return 1 / ((1 - FINE_SHARE) / coarse + FINE_SHARE / fine)


def training(document: dict[str, Any]) -> list[Table]:
    """Return a table an order of the images."""
    tables = []
    for order, rows in document["orders"].items():
        ours = preset_rate(rows["eventnet"])
        lines = [
            ("**eventnet, preset**", f"**{ours:,.0f}**", "1", *score(rows["eventnet"], document))
        ]
        for name, row in rows.items():
            stages = dict.fromkeys(r.get("stage") for r in row["repetitions"])
            for stage in stages:
                where = {} if stage is None else {"stage": stage}
                label = name if stage is None else f"{name}, {stage} pixels"
                times = "" if stage else f"{ours / spread(row)[0]:.2f}"
                last = ("", "", "") if stage else score(row, document)
                lines.append((label, rates(row, **where), times, *last))
        tables.append(
            Table(
                f"Learning, {order} MNIST, one image at a time",
                f"784-200-10, {document['part'] * document['parts']:,} training images once, in the same "
                "order from the same weights (snnTorch: a fiftieth of them, from its own weights). "
                '"times": eventnet\'s rate over this one. The dense steps are the same step in float32; '
                "their learning rate and eventnet's are each the best of .01, .02, .04 and .08 on "
                "validation samples of the shuffled order. "
                f"eventnet's preset has coarse pixels in {1 - FINE_SHARE:.0%} of its epochs, then fine; "
                "its row is the mixture. It scores by its spikes.",
                ("", "samples/s", "times", "test %", "samples", "start, s"),
                lines,
            )
        )
    return tables


def score(row: Row, document: dict[str, Any]) -> tuple[str, str, str]:
    """Return accuracy, samples learned and start."""
    samples = sum(r["units"] for r in row["repetitions"])
    return f"{row['test %']:.2f}", f"{samples:,}", start(row)


def micros(row: Row, stage: str) -> tuple[float, float, float]:
    """Return median, least and largest microseconds a unit; who has no stages has learned only."""
    middle, low, high = spread(row, **({"stage": stage} if has_stages(row) else {}))
    return 1e6 / middle, 1e6 / high, 1e6 / low


def has_stages(row: Row) -> bool:
    """Return whether it learned and read in turn."""
    return "stage" in row["repetitions"][0]


def work(row: Row, stage: str, count: str) -> str:
    """Return how many of something were counted in a unit, over all repetitions of a stage."""
    of_stage = [r for r in row["repetitions"] if r["stage"] == stage]
    return f"{sum(r[count] for r in of_stage) / sum(r['units'] for r in of_stage):,.1f}"


def frames(
    title: str, note: str, head: str, by_rate: dict[str, dict[str, Row]]
) -> tuple[Table, ...]:
    """Return tables of time a frame, learning and reading, and of work a frame, a row a rate."""
    tables = []
    for stage in ("training", "inference"):
        first = next(iter(by_rate.values()))
        names = [n for n, row in first.items() if stage == "training" or has_stages(row)]
        lines = []
        for rate, rows in by_rate.items():
            times = {n: micros(rows[n], stage) for n in names}
            dense = times[DENSE][0]
            cells = []
            for name, (middle, low, high) in times.items():
                ahead = f", **{dense / middle:.2g}**" if name in OURS else ""
                cells.append(f"{middle:,.3g} ({low:,.3g} to {high:,.3g}){ahead}")
            lines.append((rate, *cells))
        told = f"{note} In bold: how many times faster than {DENSE}."
        tables.append(Table(f"{title}, {stage}: microseconds a frame", told, (head, *names), lines))
    heads = [f"{name.split(', ')[1]}, {what}" for name in OURS for what in ("events", "additions")]
    lines = [
        (
            f"{rate}, {stage}",
            *(work(rows[name], stage, what) for name in OURS for what in ("events", "additions")),
            work(rows[DENSE], stage, "additions"),
        )
        for rate, rows in by_rate.items()
        for stage in ("training", "inference")
    ]
    additions = (
        "Additions as the paper counts them: a row or column is added once a quantum. Of the dense "
        "step: multiply-adds whose factors are not 0."
    )
    return (
        *tables,
        Table(f"{title}: events and additions a frame", additions, (head, *heads, DENSE), lines),
    )


def streams(document: dict[str, Any]) -> list[Table]:
    """Return tables of time a frame, of work a frame and of accuracy."""
    lines = []
    for ticks, rows in document["ticks"].items():
        ahead = (f"{rows[n]['ahead']:+.2f} ± {rows[n]['ahead_error']:.2f}" for n in OURS)
        lines.append((ticks, *(f"{rows[n]['test %']:.2f}" for n in STAGED), *ahead))
    return [
        *frames(
            "Digits that drift",
            "784-200-10. Each digit is shown for a second, drifts by two pixels meanwhile, and is "
            "seen in so many frames; making these is in no time. All compute in float32 or keep "
            "their weights in it, and the dense ones take a step a frame.",
            "frames a digit",
            document["ticks"],
        ),
        Table(
            "Digits that drift: accuracy, test %",
            f"After the same {document['digits']:,} digits, at the last frame of each of "
            f"{document['test']:,} test digits; the difference with its standard error, pair by pair. "
            "The network on events has one setting for all rates of frames; the dense step's learning "
            "rate is the best of those tried at each on validation samples.",
            ("frames a digit", *STAGED, "clocked - dense", "asynchronous - dense"),
            lines,
        ),
    ]


def video(document: dict[str, Any]) -> list[Table]:
    """Return tables of time a frame, of work a frame and of errors."""
    lines = [
        (
            rate,
            *(f"{found['rows'][n]['r2']:.3f}" for n in STAGED),
            *(f"{100 * found[share]:.1f}" for share in ("lit", "changed")),
        )
        for rate, found in document["rates"].items()
    ]
    return [
        *frames(
            "A fixed camera's video",
            "3072-200-4. Frames of 64 x 48 pixels: how far each is from its median in what is learned, 0 "
            f"below {NOISE} grey levels and 1 from {FULL} on. To be told is how much moves in each "
            "quarter of the picture, as OpenCV's background subtractor finds it in the full-size one. "
            "All get the same bytes, compute in float32 or keep their weights in it, and take a frame "
            "at a time; making frames is in no time.",
            "frames/s",
            {rate: found["rows"] for rate, found in document["rates"].items()},
        ),
        Table(
            "A fixed camera's video: R2 on what was not learned",
            "Of all four quarters over the last 30 % of the recording, after "
            f"{document['passes']} passes over the first 70 %, whose quarters change places from pass "
            "to pass. The network on events has one setting for all rates of frames, the dense step "
            "the best of a few learning rates at each; both are chosen on the last fifth of what is "
            "learned. Beside it the share of pixels that are not 0, and of those that differ from the "
            "frame before.",
            ("frames/s", *STAGED, "lit %", "changed %"),
            lines,
        ),
    ]


def simulation(document: dict[str, Any]) -> list[Table]:
    """Return the table of simulators."""
    rows = document["rows"]
    ours = spread(rows["eventnet"])[0]
    lines = []
    for name, row in rows.items():
        missing = row.get("missing")
        lines.append(
            (
                name,
                rates(row, "events", 1e-6, 2),
                f"{1e3 / spread(row)[0]:.3f}",
                "" if "learning" in name else f"{ours / spread(row)[0]:.2f}",
                "" if missing is None else f"{100 * missing:.1f}",
                start(row),
            )
        )
    return [
        Table(
            "Continuous time: images held for two seconds",
            "784-200-10 with tau 1 s and step .5, no clock; the others simulate the same network and "
            'images without learning. "times": eventnet\'s simulated seconds a second over these. '
            '"missing": hidden spikes that are not seen, of the exact number in the first '
            f"{document['part']} images. Brian2's time is that of its loop alone.",
            ("", "M spikes/s", "ms a simulated s", "times", "missing %", "start, s"),
            lines,
        )
    ]


def roofline(document: dict[str, Any]) -> list[Table]:
    """Return a table of rates, a column a size."""
    sizes = document["sizes"]
    lines = []
    for name in next(iter(sizes.values())):
        cells = []
        for rows in sizes.values():
            row = rows[name]
            cell = rates(row, scale=1e-9, digits=2)
            cells.append(f"{cell}, **{row['share']:.0%}**" if "share" in row else cell)
        lines.append((name, *cells))
    return [
        Table(
            "The roofline: dense projections against rows added to a vector",
            "Thousand million synapses a second. AXPY adds random rows to a vector (read) or a vector to "
            "random rows (change), as long as the projection's. The projections get packets of an eighth "
            "of their neurons: forward; with an update of the rows that fired; with error spikes of an "
            "eighth of the targets as well. These are whole instants, with the encoding of all neurons; "
            '"alone" is what of them the projection does. In bold the share of the rate of AXPY of the '
            "same precision, each synapse that is read or changed counting as one of its own.",
            ("", *sizes),
            lines,
        )
    ]


def size(document: dict[str, Any]) -> list[Table]:
    """Return the table of sizes."""
    return [
        _sizes(
            document,
            "Size: sparse, a thousand synapses a neuron, the same activity at every size",
            "float32, continuous time. Each neuron of a source sends 10 spikes a second (tau .1 s) "
            "through sparse rows to a layer of as many, whose neurons send some two for each that comes "
            "in; with learning it is an output whose errors teach all synapses by STDP. The source's "
            "spikes come one at a time, of neurons drawn at random, or in packets of a thousand. "
            '"Events" are all spikes, of both and of errors; "synapses" are read, or changed. "slower": '
            "events/s of the smallest network, which ran in turn with it, over these. Memory is the "
            "process's peak.",
        )
    ]


def largest(document: dict[str, Any]) -> list[Table]:
    """Return the table of the largest networks."""
    return [
        _sizes(
            document,
            "Size: the largest networks",
            "As above; each beside the smallest, in a run of its own (`python -m benchmarks largest`).",
        )
    ]


def _sizes(document: dict[str, Any], title: str, note: str) -> Table:
    rows, lines = document["rows"], []
    for row in rows:
        head = (
            f"{row['neurons']:,}",
            f"{row['synapses']:.0e}".replace("e+0", "e").replace("e+", "e"),
            "yes" if row["learn"] else "no",
        )
        if "failed" in row:
            lines.append((*head, row["failed"], "", "", "", "", "", ""))
            continue
        same = [r for r in rows if (r["learn"], r.get("packet")) == (row["learn"], row["packet"])]
        events = spread(row, "events")[0]
        lines.append(
            (
                *head,
                f"{row['packet']:,}",
                rates(row, "events", 1e-3),
                f"{spread(same[0], 'events')[0] / events:.1f}",
                f"{events / spread(row)[0]:.1f}",
                f"{spread(row, 'synapses')[0] / 1e6:,.0f}",
                f"{row['peak_gb']:.2f}",
                f"{row['network_s']:.1f}",
            )
        )
    heads = (
        "neurons",
        "synapses",
        "learning",
        "packet",
        "k events/s",
        "slower",
        "events a spike in",
        "M synapses/s",
        "peak GB",
        "build, s",
    )
    return Table(title, note, heads, lines)


def cores(document: dict[str, Any]) -> list[Table]:
    """Return the table of two replicas."""
    lines = []
    for name, row in document["rows"].items():
        alone, together = (
            {"repetitions": [{"units": r, "wall_s": 1} for r in row[key]]}
            for key in ("alone", "together")
        )
        digits = 0 if spread(alone)[0] > 1000 else 1
        both = (rates(r, digits=digits) for r in (alone, together))
        lines.append((name, *both, f"{row['gain']:.2f}"))
    return [
        Table(
            "Two cores: two networks in two processes",
            "Samples a second (continuous time: simulated seconds; arithmetic: numbers drawn). Networks "
            "share nothing and gain what the machine gives: the last row touches no memory, and "
            "where it gains little the two cores are threads of one. One network does not scale at all: "
            "each of its instants waits for the one before, and takes microseconds.",
            ("", "alone", "two together", "gain"),
            lines,
        )
    ]


TABLES: dict[str, Callable[[dict[str, Any]], list[Table]]] = {
    "training": training,
    "streams": streams,
    "video": video,
    "simulation": simulation,
    "roofline": roofline,
    "size": size,
    "largest": largest,
    "cores": cores,
}
