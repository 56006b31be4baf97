"""Miracle: train, measure and look inside a multi-interest recommender (MIRACLE, SIGIR 2023).

    from miracle_core import Dataset, Recommender, train, evaluate, compare

The names are found when they are first asked for: importing the package imports neither torch nor
polars. docs/python.md shows how to use them.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from miracle_core.api import TrainingResult, compare, encode, evaluate, train
    from miracle_core.config import make_settings
    from miracle_core.data.dataset import Dataset
    from miracle_core.errors import InputError, MiracleError
    from miracle_core.ranking.rules import Rules
    from miracle_core.recommender import ItemId, NewTitle, Recommender
    from miracle_core.registry import SystemSpec, register
    from miracle_core.version import __version__

# Where each name lies.
_PLACES = {
    "TrainingResult": "miracle_core.api",
    "compare": "miracle_core.api",
    "encode": "miracle_core.api",
    "evaluate": "miracle_core.api",
    "train": "miracle_core.api",
    "make_settings": "miracle_core.config",
    "Dataset": "miracle_core.data.dataset",
    "InputError": "miracle_core.errors",
    "MiracleError": "miracle_core.errors",
    "ItemId": "miracle_core.recommender",
    "NewTitle": "miracle_core.recommender",
    "Recommender": "miracle_core.recommender",
    "Rules": "miracle_core.ranking.rules",
    "SystemSpec": "miracle_core.registry",
    "register": "miracle_core.registry",
    "__version__": "miracle_core.version",
}

__all__ = [
    "Dataset",
    "InputError",
    "ItemId",
    "MiracleError",
    "NewTitle",
    "Recommender",
    "Rules",
    "SystemSpec",
    "TrainingResult",
    "__version__",
    "compare",
    "encode",
    "evaluate",
    "make_settings",
    "register",
    "train",
]


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with _collector_paused():
        return getattr(import_module(place), name)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """While libraries are imported: they make many objects that stay, and hardly any garbage.

    Looking through them again and again took a fifth of the time (docs/performance.md).
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
