"""docs/results/paper.md: what was reproduced, beside the paper and the authors' program.

``python -m eventnet.reproduce.page [DIR]``, in a checkout, copies the PNG and JSON of every target
that was reproduced into DIR, by default ``reproduced``, to docs/results/paper, and writes the page
anew from all that lie there.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from eventnet.reproduce import TARGETS
from eventnet.reproduce.command import beside, shown

RESULTS = Path(__file__).resolve().parent.parent.parent / "docs" / "results"

HEAD = """# The paper's figures and tables, reproduced

O'Connor et al., *Temporally Efficient Deep Learning with Spikes* (ICLR 2018). Each section is made by
the command it names, and this page from their numbers by `python -m eventnet.reproduce.page`.

"paper" is what the paper prints; "program" is what the authors' published program gives, where that
is known. An exclamation mark stands where the number here differs from it in a digit that it shows.

Equations 13, 19 and 20 are wrong as printed: 13 lacks a factor k_beta/(1 - k_alpha^2), 19 keeps the
product before a spike where it must keep the one after it, 20 divides by k_alpha - 1 where it must
multiply by k_beta/(1 - k_alpha^2). `eventnet/updates.py` has them corrected; figure 9 shows both.
"""


def main() -> None:
    """Gather what was reproduced and write the page."""
    source = Path(sys.argv[1] if len(sys.argv) > 1 else "reproduced")
    kept = RESULTS / "paper"
    if not RESULTS.is_dir():
        raise SystemExit(f"{RESULTS}: no such folder; run this in a checkout")
    kept.mkdir(exist_ok=True)
    for target in TARGETS:
        if (source / f"{target}.json").is_file():
            shutil.copy(source / f"{target}.json", kept)
            # Every version stays in the history: 64 colours take a third of the bytes.
            picture = Image.open(source / f"{target}.png").convert("RGB").quantize(64)
            picture.save(kept / f"{target}.png", optimize=True)
        for row in (source / "rows" / target).glob("*.json"):
            (kept / "rows" / target).mkdir(parents=True, exist_ok=True)
            shutil.copy(row, kept / "rows" / target)
    (RESULTS / "paper.md").write_text(page(kept), encoding="utf-8")


def page(kept: Path) -> str:
    """Return the page of all targets whose numbers are in the folder `kept`."""
    paths = [kept / f"{target}.json" for target in TARGETS]
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.is_file()]
    return "\n".join([HEAD, *(_section(document) for document in documents)])


def _section(document: dict[str, Any]) -> str:
    target, record = document["target"], document["record"]
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    settings = ", ".join(f"{name} {_plain(value)}" for name, value in document["settings"].items())
    machine = record["machine"]
    seed = "no seed" if record["seed"] is None else f"seed {record['seed']}"
    keys = [k for k in ("paper", "program", "note") if any(row[k] for row in document["numbers"])]
    lines = [
        f"## {document['title']}: {TARGETS[target]}",
        "",
        f"`{record['command']}`, {seed}; {settings}.",
        "",
        f"![{document['title']}](paper/{target}.png)",
        "",
        "| | " + " | ".join(["here", *keys]) + " |",
        "|---|" + "---|" * (1 + len(keys)),
    ]
    for row in document["numbers"]:
        cells = [row["what"], shown(row["here"])]
        cells += [(row[key] if key == "note" else beside(row, key)) for key in keys]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        f"Made in {record['wall_s']:.1f} s on {record['date'][:10]} at commit {record['commit']}, "
        f"{machine['processor']}, {machine['cores']} cores; {versions}.",
        "",
    ]
    return "\n".join(lines)


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return "{" + ", ".join(_plain(v) for v in value) + "}"
    return f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
