"""What a sweep varies: ``tau=0.05,0.1`` is a list, ``step=log:0.05:2:12`` twelve values between two."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from eventnet.errors import ConfigError

FORMS = "give NAME=a,b,c or NAME=log:LOW:HIGH:N or NAME=lin:LOW:HIGH:N"


@dataclass(frozen=True)
class Axis:
    """A parameter and the values it takes, each as ``--set`` takes it.

    Attributes
    ----------
    name : str
    values : tuple of str
        Empty where only the ends of a span were given, which is enough to search in.
    span : tuple or None
        Low, high and whether between them ratios count; None of a list.
    whole : bool
        Whether values are whole numbers.
    """

    name: str
    values: tuple[str, ...]
    span: tuple[float, float, bool] | None = None
    whole: bool = False

    def ends(self) -> tuple[str, ...]:
        """Return what a scenario must take for the whole axis to be taken."""
        if self.span is None:
            return self.values
        return tuple(str(round(end) if self.whole else end) for end in self.span[:2])


def axis(text: str, default: Any) -> Axis:
    """Read one axis; `default` of the parameter says whether its values are whole numbers.

    Raises
    ------
    ConfigError
        For a form that is none, or a span that is empty or not positive where ratios count.

    Examples
    --------
    >>> axis("step=log:0.25:4:3", 0.1).values
    ('0.25', '1.0', '4.0')
    >>> axis("hidden=log:10:1000:3", 200).values
    ('10', '100', '1000')
    >>> axis("hidden=[200],[200,200]", ()).values
    ('[200]', '[200,200]')
    """
    name, equals, spec = (part.strip() for part in text.partition("="))
    if not (name and equals and spec):
        raise ConfigError(f"--grid {text}: {FORMS}")
    whole = isinstance(default, int) and not isinstance(default, bool)
    if spec.partition(":")[0] in ("log", "lin"):
        return _between(text, name, spec, whole)
    values = tuple(value.strip() for value in re.split(r",(?![^\[]*\])", spec))
    if not all(values) or len(set(values)) < len(values):
        raise ConfigError(f"--grid {text}: a value is empty or there twice")
    return Axis(name, values, whole=whole)


def _between(text: str, name: str, spec: str, whole: bool) -> Axis:
    kind, *ends = spec.split(":")
    try:
        low, high = (float(end) for end in ends[:2])
        n = int(ends[2]) if len(ends) == 3 else 0
    except ValueError:
        raise ConfigError(f"--grid {text}: {FORMS}") from None
    log = kind == "log"
    if len(ends) > 3 or not (-np.inf < low < high < np.inf) or (log and low <= 0):
        least = "0 < LOW < HIGH" if log else "LOW < HIGH"
        raise ConfigError(f"--grid {text}: must be {kind}:LOW:HIGH:N with {least}")
    if len(ends) == 3 and n < 2:
        raise ConfigError(f"--grid {text}: {n} values; must be 2 at least")
    found = (np.geomspace if log else np.linspace)(low, high, n) if n else np.empty(0)
    if whole:
        texts = dict.fromkeys(str(round(value)) for value in found)
    else:
        texts = dict.fromkeys(repr(float(value)) for value in found)
    return Axis(name, tuple(texts), (low, high, log), whole)
