"""Where the scenarios and data recipes live: beside the package in a checkout, inside it in a wheel."""

from __future__ import annotations

from pathlib import Path

from eventnet.errors import EventNetError

_PACKAGE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """Return the folder of shipped resources called `name` ("sims" or "datasets").

    A wheel carries the folder inside the package, so that nothing but ``eventnet`` is put into
    site-packages; a checkout and an editable install have it next to the package.

    Raises
    ------
    EventNetError
        If the folder is in neither place.

    Examples
    --------
    >>> folder("sims").name
    'sims'
    """
    for candidate in (_PACKAGE / name, _PACKAGE.parent / name):
        if candidate.is_dir():
            return candidate
    raise EventNetError(
        f"the {name!r} folder is neither in {_PACKAGE} nor beside it: reinstall eventnet"
    )
