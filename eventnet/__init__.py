"""Exact, event-driven spiking networks that learn online from sensors at any rate.

>>> import eventnet as en
>>> net = en.Network(tau=0.1)
"""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

TYPE_CHECKING = False  # type checkers take it for true; `typing` itself takes a while to import
if TYPE_CHECKING:
    from typing import Any

    from eventnet.errors import ConfigError as ConfigError
    from eventnet.errors import DataError as DataError
    from eventnet.errors import Diverged as Diverged
    from eventnet.errors import EventNetError as EventNetError
    from eventnet.errors import FetchError as FetchError
    from eventnet.errors import RunFolderError as RunFolderError
    from eventnet.network import Network as Network
    from eventnet.plasticity import STDP as STDP
    from eventnet.plasticity import PairSTDP as PairSTDP
    from eventnet.plasticity import Past as Past
    from eventnet.plasticity import Reconstruction as Reconstruction
    from eventnet.plasticity import Rule as Rule
    from eventnet.plasticity import TrueGradient as TrueGradient
    from eventnet.raster import Raster as Raster
    from eventnet.record import Record as Record
    from eventnet.simulation import Run as Run
    from eventnet.simulation import Simulation as Simulation
    from eventnet.sources import Periodic as Periodic
    from eventnet.sources import Recording as Recording
    from eventnet.sources import SpikeTrain as SpikeTrain
    from eventnet.world import Sampled as Sampled

# Numba alone takes a second to import: a name is loaded when it is first used.
_HOMES = {
    "ConfigError": "errors",
    "DataError": "errors",
    "Diverged": "errors",
    "EventNetError": "errors",
    "FetchError": "errors",
    "RunFolderError": "errors",
    "Network": "network",
    "PairSTDP": "plasticity",
    "Past": "plasticity",
    "Periodic": "sources",
    "Raster": "raster",
    "Reconstruction": "plasticity",
    "Record": "record",
    "Recording": "sources",
    "Rule": "plasticity",
    "Run": "simulation",
    "STDP": "plasticity",
    "Sampled": "world",
    "Simulation": "simulation",
    "SpikeTrain": "sources",
    "TrueGradient": "plasticity",
}

__all__ = sorted([*_HOMES, "__version__"])


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"eventnet.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'eventnet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
