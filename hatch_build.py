"""Puts the scenarios and recipes into a wheel, inside the package (see eventnet/resources.py)."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Resources(BuildHookInterface):  # type: ignore[type-arg]
    """Adds `sims` and `datasets` to what is built."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add them, except to an editable install, which has them beside the package.

        There a copy would make site-packages/eventnet a namespace package, and that would be found
        before the checkout's.
        """
        if version != "editable":
            build_data["force_include"] |= {
                "sims": "eventnet/sims",
                "datasets": "eventnet/datasets",
            }
