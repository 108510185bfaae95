"""Section: a million neurons with a thousand million synapses, and 300,000 that learn, each beside 1,000.

Inference needs some 9 GB, and each minutes to be built: EVENTNET_BENCH_LARGEST=1 or its name asks for it.
"""

from __future__ import annotations

from typing import Any

from benchmarks import size
from eventnet.bench.workers import Told

NEURONS, LEARNING = 1_000_000, 300_000
ENVIRONMENTS = ()


def run(quick: bool, told: Told) -> dict[str, Any]:
    """Return rows as `size` does."""
    found = []
    for learn, largest in ((False, NEURONS), (True, LEARNING)):
        found += size.rows((100, 1_000) if quick else (1_000, largest), learn, quick, told)
    return {"rows": found}
