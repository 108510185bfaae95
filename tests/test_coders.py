"""Options of a coder: the short form, and what is claimed of the committed one."""

from __future__ import annotations

import json
from pathlib import Path

from eventnet.reproduce import coders

KEPT = Path(__file__).resolve().parent.parent / "docs" / "results" / "paper"


def test_when_quick_it_has_the_same_numbers() -> None:
    kept = [row["what"] for row in json.loads((KEPT / "coders.json").read_text())["numbers"]]
    assert [number.what for number in coders.run(quick=True).numbers] == kept


def test_what_diverges_is_as_wrong_as_can_be() -> None:
    found = coders.measured("drone", {"step": 1e-9}, 0, quick=True)
    assert found == (float("inf"), float("inf"))


def test_the_usual_setting_is_among_those_that_are_tried() -> None:
    for task in coders.TASKS:
        tried = coders.options(task)
        assert tried["usual"][0] == {"step": coders.TASKS[task]["step"]}
        for many in tried.values():
            assert len({json.dumps(given, sort_keys=True) for given in many}) == len(many)


def test_what_is_said_of_the_options_stands_in_the_committed_figure() -> None:
    kept = json.loads((KEPT / "coders.json").read_text())["numbers"]
    found = {row["what"]: row["here"] for row in kept}

    def cost(task: str, option: str) -> float:
        return float(found[f"{task}, {option}: additions a sample at that error"])

    assert cost("drone", "two taps") < 0.8 * cost("drone", "usual")
    assert cost("drone", "threshold") < cost("drone", "usual")
    assert cost("video", "threshold") < 0.7 * cost("video", "usual")
    for option in ("threshold", "two taps", "learned, populations", "learned, neurons"):
        assert cost("MNIST", option) > 0.99 * cost("MNIST", "usual")
    assert cost("MNIST", "learned, populations") < 1.01 * cost("MNIST", "usual")
    assert cost("Temporal MNIST", "learned, populations") < 1.14 * cost("Temporal MNIST", "usual")
