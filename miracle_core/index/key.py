"""One hash of all that a run's item vectors depend on."""

from __future__ import annotations

import hashlib

from miracle_core.runs.opening import TrainedRun
from miracle_core.version import __version__

_LAYOUT = 1


def catalogue_key(run: TrainedRun) -> str:
    """A SHA-256 that changes with the weights, the features, the catalogue or the settings.

    It is made from the weights in memory, not from their file, which a running training may replace
    at any moment. The program's version counts too, since the next one may compute other vectors.
    """
    text = "" if run.encoder is None else run.dataset.feature_set(run.encoder).sha256
    digest = hashlib.sha256()
    settings = run.settings.model.model_dump_json()
    parts = (_LAYOUT, __version__, run.dataset.manifest.fingerprint, text, settings)
    digest.update("\n".join(map(str, parts)).encode())
    for name, tensor in sorted(run.system.state_dict().items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(memoryview(tensor.detach().cpu().contiguous().numpy()))
    return digest.hexdigest()
