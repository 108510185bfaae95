"""The process of one contestant: ``python -m eventnet.bench.worker``, told over its standard input.

The first line is ``{"contestant": "module:Class", "task": path, "options": {...}}``; then each line is
``[method, ...arguments]``. Each is answered by one line of JSON on standard output.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from typing import Any

import numpy as np

from eventnet.bench.task import Contestant


def make(contestant: str, task: str | None, options: dict[str, Any]) -> Contestant:
    """Return a contestant from its name ``"module:Class"``."""
    module, _, name = contestant.partition(":")
    made: Contestant = getattr(importlib.import_module(module), name)(
        {} if task is None else dict(np.load(task, allow_pickle=False)), **options
    )
    return made


def main() -> None:
    """Make the contestant and do what is told until the input ends."""
    # Whatever a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(value: Any) -> None:
        answers.write(json.dumps(value) + "\n")

    try:
        request = json.loads(sys.stdin.readline())
        begin = time.perf_counter()
        contestant = make(**request)
        built = time.perf_counter()
        contestant.prepare()
        answer({"build_s": built - begin, "prepare_s": time.perf_counter() - built})
        for line in sys.stdin:
            method, *arguments = json.loads(line)
            answer(getattr(contestant, method)(*arguments))
    except Exception as error:
        traceback.print_exc()
        answer({"error": f"{type(error).__name__}: {error}"})
        sys.exit(1)


if __name__ == "__main__":
    main()
