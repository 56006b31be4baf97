"""Transformers as text encoders: tokenizer, model and pooling are sentence-transformers' own.

A model is always loaded from a local folder, from safetensors only, with remote code off. An id on
the Hugging Face Hub is turned into such a folder first: its snapshot in the local Hub cache,
brought up to date where the network allows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from sentence_transformers.util import batch_to_device
from transformers.utils import logging as transformers_logging

from miracle_core.data.dataset import EncoderIdentity
from miracle_core.errors import InputError
from miracle_core.files import read_json, sha256_file
from miracle_core.progress import SILENT, Progress, stage
from miracle_core.text.base import Vectors, require_finite

PoolingName = Literal["cls", "mean"]
INSTEAD = "name a local folder, minilm (weights in a Python package) or hashing (no weights)"
# Tokens read of a text: the model's own limit, but never more than this. Catalogue text is
# shorter; one long outlier would make its batch slow and large on a model that reads 8,192.
MAX_TOKENS = 512
# Texts of a batch: 8 to 16 are fastest on a processor's core, 128 half as fast
# (docs/decisions/0003-text-length-and-batches.md).
BATCH = 16

_WEIGHTS = "model*.safetensors"
_INDEX = "model.safetensors.index.json"
_TOKENIZER = "tokenizer.json"
_VOCABULARIES = (
    "vocab.txt",
    "vocab.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)
_TOKENIZER_EXTRAS = ("merges.txt", "special_tokens_map.json", "added_tokens.json")
_SETTINGS = ("config.json", "tokenizer_config.json", "sentence_bert_config.json")
_MODULES = "modules.json"
_MODULE_SETTINGS = (_MODULES, "config_sentence_transformers.json", "*/config.json")
_DOWNLOADED = (
    *(_WEIGHTS, _INDEX, _TOKENIZER),
    *(*_VOCABULARIES, *_TOKENIZER_EXTRAS, *_SETTINGS, *_MODULE_SETTINGS),
)
# Whatever a damaged, foreign or hostile folder makes the libraries raise.
_LOAD_ERRORS = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError),
    *(ImportError, RuntimeError, SafetensorError),
)


class TransformerEncoder:
    """A Transformer with a pooling, float32 [texts, width].

    Args:
        name: what to call it in a Dataset's manifest.
        model: the modules Transformer, Pooling and perhaps Normalize.
        revision: a hash of the files it was loaded from.

    Attributes:
        model: what was given.
    """

    def __init__(self, name: str, model: SentenceTransformer, revision: str) -> None:
        self.model = model.eval()
        model.max_seq_length = min(int(model.max_seq_length or MAX_TOKENS), MAX_TOKENS)
        mode = model[1].pooling_mode
        self.identity = EncoderIdentity(
            name=name,
            revision=revision,
            pooling=mode if isinstance(mode, str) else "+".join(mode),
            max_length=model.max_seq_length,
            width=model[1].pooling_output_dimension,
        )
        self.engine = f"torch {torch.__version__} {model.device.type}, {BATCH} texts a thread"

    def token_lengths(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """Tokens read of each text, with the special ones, int64 [texts]."""
        encoded = self.model.tokenizer(
            list(texts), truncation=True, max_length=self.identity.max_length
        )
        return np.array([len(row) for row in encoded["input_ids"]], dtype=np.int64)

    def encode(self, texts: Sequence[str], progress: Progress = SILENT) -> Vectors:
        """One vector a text (see :class:`miracle_core.text.base.TextEncoder`).

        Texts go through the model in batches of :data:`BATCH` of nearly equal token count:
        next to nothing is computed on padding. Each batch is one thread's work, so that the
        number of threads decides no bit.
        """
        vectors = np.empty((len(texts), self.identity.width), dtype=np.float32)
        if not texts:
            return vectors
        order = np.argsort(-self.token_lengths(texts), kind="stable")
        batches = [order[start : start + BATCH] for start in range(0, len(texts), BATCH)]
        # Only the model runs in several threads: a tokenizer must not.
        tokens = (self._tokenize([texts[row] for row in rows]) for rows in batches)
        workers = torch.get_num_threads() if self.model.device.type == "cpu" else 1
        with _threads(workers) as pool:
            for rows, part in zip(batches, pool.map(self._forward, tokens), strict=True):
                vectors[rows] = part
                progress.advance(len(rows))
        require_finite(vectors, texts, self.identity.name)
        return vectors

    def _tokenize(self, texts: list[str]) -> dict[str, Any]:
        prompt = self.model.prompts.get(self.model.default_prompt_name)
        tokens: dict[str, Any] = self.model.preprocess(texts, prompt=prompt)
        return tokens

    def _forward(self, tokens: dict[str, Any]) -> Vectors:
        with torch.inference_mode():
            features = self.model(batch_to_device(tokens, self.model.device))
            vectors: Vectors = features["sentence_embedding"].cpu().numpy()
            return vectors


@contextmanager
def _threads(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Set torch to one thread within the block, and back to its own number afterwards."""
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)


def load_folder(name: str, folder: Path, pooling: PoolingName | None) -> TransformerEncoder:
    """Load a model from a folder; the network is not touched.

    Args:
        name: what to call it.
        folder: holds ``config.json``, ``model.safetensors`` (or shards of it) and a tokenizer.
        pooling: ``cls`` or ``mean`` over the folder's Transformer; None takes the folder's own
            sentence-transformers modules where it has them (``modules.json``), else ``cls``.

    Raises:
        InputError: a file is missing or damaged, or the folder's own modules are more than a
            Transformer, a pooling and a normalisation.
    """
    problem = _problem(folder)
    if problem:
        raise InputError(
            f"can't be loaded as a text encoder: {problem}", where=str(folder), remedy=INSTEAD
        )
    own_modules = pooling is None and (folder / _MODULES).is_file()
    if own_modules:
        _require_known_modules(folder / _MODULES)
    with _quiet():
        try:
            model = _own_model(folder) if own_modules else _plain_model(folder, pooling or "cls")
        except _LOAD_ERRORS as error:
            raise InputError(
                f"can't be loaded as a text encoder: {_first_line(error)}",
                where=str(folder),
                remedy=INSTEAD,
            ) from error
    return TransformerEncoder(name, model, _revision(folder, own_modules))


def load_hub(
    name: str, hub_id: str, pooling: PoolingName | None, progress: Progress
) -> TransformerEncoder:
    """Load a model by its id on the Hugging Face Hub.

    Without a network (or with ``HF_HUB_OFFLINE=1``) the snapshot in the local Hub cache is taken.

    Raises:
        InputError: it is neither on the network nor in the cache, or can't be loaded.
    """
    try:
        with stage(progress, f"fetch {hub_id}"), _quiet():
            folder = Path(snapshot_download(hub_id, allow_patterns=list(_DOWNLOADED)))
    except (OSError, ValueError) as error:
        raise InputError(
            f"text encoder {hub_id!r} is not a folder and can't be loaded from the Hugging Face "
            f"Hub: {_first_line(error)}",
            remedy=INSTEAD,
        ) from error
    return load_folder(name, folder, pooling)


def _problem(folder: Path) -> str | None:
    """What keeps a folder from being a model with safetensors weights, or None."""
    if not (folder / "config.json").is_file():
        return "config.json is missing"
    if (folder / "adapter_config.json").is_file():
        return "it is an adapter to a model, not a whole model"
    if (folder / _INDEX).is_file():
        index = read_json(folder / _INDEX)
        shards = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(shards, dict):
            return f"{_INDEX} has no weight_map"
        absent = sorted(f for f in set(shards.values()) if not (folder / str(f)).is_file())
        if absent:
            return f"{absent[0]} is missing"
    elif not any(folder.glob(_WEIGHTS)):
        return "model.safetensors is missing (weights in other formats are never read)"
    if not any((folder / file).is_file() for file in (_TOKENIZER, *_VOCABULARIES)):
        return "its tokenizer is missing (tokenizer.json or vocab.txt)"
    return None


def _require_known_modules(path: Path) -> None:
    """Refuse any module but Transformer, Pooling, Normalize, in this order.

    Others may load weights that are no safetensors or import what the folder names.
    """
    modules = read_json(path)
    kinds = []
    if isinstance(modules, list):
        kinds = [str(entry.get("type")) if isinstance(entry, dict) else "?" for entry in modules]
    ours = all(kind.startswith("sentence_transformers.") for kind in kinds)
    short = [kind.rpartition(".")[2] for kind in kinds]
    known = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])
    if not ours or short not in known:
        raise InputError(
            f"asks for modules other than Transformer, Pooling, Normalize: {', '.join(kinds)}",
            where=str(path),
            remedy="add :mean or :cls to the encoder's name to pool its Transformer alone",
        )


# float32 whatever the checkpoint's own type is: the same arithmetic on every machine.
_ARGUMENTS: dict[str, Any] = {
    "local_files_only": True,
    "trust_remote_code": False,
    "model_kwargs": {"use_safetensors": True, "dtype": torch.float32},
}


def _own_model(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(str(folder), **_ARGUMENTS)


def _plain_model(folder: Path, pooling: PoolingName) -> SentenceTransformer:
    transformer = Transformer.load(str(folder), **_ARGUMENTS)
    width = transformer.get_embedding_dimension()
    return SentenceTransformer(modules=[transformer, Pooling(width, pooling_mode=pooling)])


def _revision(folder: Path, own_modules: bool) -> str:
    """SHA-256 over the names and hashes of all files that decide a vector.

    Nothing is kept of it between runs: 90 MB take 0.1 s, importing the libraries takes 4 s.
    """
    patterns = [_WEIGHTS, *_SETTINGS]
    if (folder / _TOKENIZER).is_file():
        patterns.append(_TOKENIZER)
    else:
        patterns.extend((*_VOCABULARIES, *_TOKENIZER_EXTRAS))
    if own_modules:
        patterns.extend(_MODULE_SETTINGS)
    files = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(folder).as_posix()} {sha256_file(path)}\n".encode())
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the libraries' own bars and reports: the caller shows the progress."""
    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
