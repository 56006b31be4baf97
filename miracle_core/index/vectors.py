"""A large catalogue's item vectors, kept in the run folder from one command to the next.

    RUN/catalogue.safetensors     inputs float32 [items, w]; the metadata holds their key

One file a run, replaced when its weights change and gone with the run. A file that is damaged, or
whose key is another, counts as absent.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch
from torch import Tensor

from miracle_core.errors import InputError, MiracleError
from miracle_core.index.key import catalogue_key
from miracle_core.runs.opening import TrainedRun
from miracle_core.runs.tensors import load_tensors, save_tensors

FILE = "catalogue.safetensors"
# With fewer items the adaptor is about as fast as hashing the weights and reading a file
# (docs/performance.md).
KEPT_FROM = 50_000
_NAME = "inputs"


def catalogue_vectors(run: TrainedRun) -> Tensor | None:
    """The inputs of the run's whole catalogue (eq. 2), read from the run folder or computed.

    They are kept in the run folder, if it can be written to, for the best weights on a CPU and a
    catalogue of :data:`KEPT_FROM` items or more. On a GPU the adaptor takes no time, and the last
    weights change with every epoch.

    Args:
        run: a run, on its device.

    Returns:
        [items, w]; None for a system that does not rank by vectors.
    """
    if not run.system.by_vectors:
        return None
    small = run.dataset.n_items < KEPT_FROM
    text = run.items.text
    if text is None or text.device.type != "cpu" or small or run.weights_from == "last":
        return _computed(run)
    path = run.folder.path / FILE
    key = catalogue_key(run)
    kept = _read(path, key)
    if kept is not None:
        return kept
    vectors = _computed(run)
    # A cache that can't be written (a read-only run, a full disk) costs time, and nothing else.
    with contextlib.suppress(OSError, MiracleError):
        save_tensors(path, {_NAME: vectors}, {"key": key})
    return vectors


def _computed(run: TrainedRun) -> Tensor:
    with torch.inference_mode():
        return run.system.inputs(run.items)


def _read(path: Path, key: str) -> Tensor | None:
    """The vectors in a file of this key, or None."""
    if not path.is_file():
        return None
    try:
        tensors, metadata = load_tensors(path)
    except InputError:
        return None
    return tensors.get(_NAME) if metadata.get("key") == key else None
