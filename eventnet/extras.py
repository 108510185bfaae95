"""Libraries that only some commands need: imported when they are, and named when they are missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from eventnet.errors import ConfigError


def needed(module: str, extra: str, what: str) -> Any:
    """Import and return a module of an optional library.

    Parameters
    ----------
    module : str
        Its name, as in an ``import``.
    extra : str
        The extra of eventnet that installs it.
    what : str
        What needs it, in the plural.

    Raises
    ------
    ConfigError
        If it is not installed.

    Examples
    --------
    >>> needed("json", "none", "tests").dumps(1)
    '1'
    """
    try:
        return import_module(module)
    except ImportError as error:
        library = module.partition(".")[0]
        raise ConfigError(f'{what} need {library}: pip install "eventnet[{extra}]"') from error
