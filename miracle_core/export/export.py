"""A run to a folder of plain files: NumPy, FAISS, ONNX, or the layout of Hugging Face.

export.json            what this is: system, Dataset, seen rule, gain, max_length
item_ids.json          of the catalogue; a row's place is an item's number
README.md, use.py      what it is, and a script that uses it without this package
numpy, faiss:
items.npy | items.faiss   float32 [items, d], as scores multiply them
interests.npy             float32 [interests, d], a user's adjacent
interest_users.npy        int64 [interests], whose each is: a place in user_ids.json
interest_numbers.npy      int64 [interests]; of MIRACLE the capsule
user_ids.json, history.npy int32, history_offsets.npy int64 [users + 1]
onnx:
history.onnx, items.onnx  :mod:`miracle_core.export.onnx`; items.npy as above
huggingface:
model.safetensors, config.json, items.safetensors
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
from safetensors.numpy import save_file

from miracle_core.errors import InputError
from miracle_core.export import onnx, scripts
from miracle_core.export.onnx import PADDING, check_exportable
from miracle_core.files import replacing, replacing_folder, write_json, write_text
from miracle_core.index.search import faiss_library
from miracle_core.paths import as_path
from miracle_core.recommender import Recommender
from miracle_core.version import __version__

Target = Literal["numpy", "faiss", "onnx", "huggingface"]
TARGETS: tuple[Target, ...] = ("numpy", "faiss", "onnx", "huggingface")
FORMAT = 1


@dataclass(frozen=True)
class ExportResult:
    """What was written.

    Attributes:
        out: the folder.
        target: which format.
        items: how many items are in it.
        users: how many users are in it; 0 if the target has none.
        bytes: of all its files.
        replaced: whether it replaced an earlier export.
    """

    out: Path
    target: Target
    items: int
    users: int
    bytes: int
    replaced: bool

    def summary(self) -> dict[str, Any]:
        """The JSON contract of ``miracle export``."""
        return {**vars(self), "out": str(self.out)}


def export(recommender: Recommender, target: Target, out: str | Path) -> ExportResult:
    """Write a run as files for other programs.

    Args:
        recommender: the run, with the seen rule that is exported.
        target: ``numpy``, ``faiss``, ``onnx`` or ``huggingface``.
        out: the folder; an export there is replaced.

    Raises:
        InputError: no such target, a system that does not rank by vectors alone or that ONNX can't
            hold, a library is not installed, or ``out`` holds something else.
        MiracleError: what was written as ONNX gives other numbers than the run.
    """
    if target not in TARGETS:
        raise InputError(
            f"{target!r} is nothing to export to", where="--to", remedy=", ".join(TARGETS)
        )
    path = as_path(out)
    _check_out(path)
    items = recommender.item_vectors()  # refused before anything is written
    recommender.check_vectors_alone()
    if target == "faiss":
        faiss_library()
    if target == "onnx":
        check_exportable(recommender.system.name, recommender.vector_scorer().system)
    replaced = (path / "export.json").is_file()
    with replacing_folder(path) as folder:
        about = _about(recommender, target)
        _write_ids(folder / "item_ids.json", items.ids)
        users = 0
        if target == "huggingface":
            _huggingface(recommender, items.vectors, folder)
        elif target == "onnx":
            np.save(folder / "items.npy", items.vectors)
            about |= _networks(recommender, folder)
        else:
            users = recommender.n_users
            _catalogue(items.vectors, target, folder)
            _users(recommender, folder)
        write_json(folder / "export.json", about)
        script = getattr(scripts, target.upper())
        write_text(folder / "use.py", script)
        write_text(folder / "README.md", _card(recommender, about, script))
    size = sum(file.stat().st_size for file in path.iterdir())
    return ExportResult(path, target, len(items), users, size, replaced)


def _about(recommender: Recommender, target: Target) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "target": target,
        "version": __version__,
        "system": recommender.system.name,
        "dataset": recommender.dataset.name,
        "fingerprint": recommender.dataset.manifest.fingerprint,
        "mode": recommender.mode,
        "seen": recommender.seen,
        "gain": recommender.gain(),
        "max_length": recommender.max_length,
        "items": recommender.n_items,
        "users": recommender.n_users,
    }


def _catalogue(vectors: np.ndarray, target: Target, folder: Path) -> None:
    if target == "numpy":
        np.save(folder / "items.npy", vectors)
        return
    faiss = faiss_library()
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors))
    faiss.write_index(index, str(folder / "items.faiss"))


def _users(recommender: Recommender, folder: Path) -> None:
    dataset = recommender.dataset
    ids = dataset.users["user_id"].to_list()
    found = recommender.user_interests()
    assert found.interests is not None
    place = {user_id: row for row, user_id in enumerate(ids)}
    owners = np.array([place[user_id] for user_id in found.ids], dtype=np.int64)
    np.save(folder / "interests.npy", found.vectors)
    np.save(folder / "interest_users.npy", owners)
    np.save(folder / "interest_numbers.npy", found.interests)
    np.save(folder / "history.npy", np.asarray(dataset.sequences))
    np.save(folder / "history_offsets.npy", np.asarray(dataset.offsets))
    _write_ids(folder / "user_ids.json", ids)


def _huggingface(recommender: Recommender, items: np.ndarray, folder: Path) -> None:
    weights, settings = recommender.state()
    with replacing(folder / "model.safetensors") as beside:
        save_file(weights, beside)
    with replacing(folder / "items.safetensors") as beside:
        save_file({"items": np.ascontiguousarray(items)}, beside)
    system = recommender.system
    config = {
        "model_type": system.name,
        "architectures": [system.system.rpartition(":")[2]],
        "library_name": "miracle",
        "miracle_version": __version__,
        **settings,
    }
    write_json(folder / "config.json", config)


def _networks(recommender: Recommender, folder: Path) -> dict[str, Any]:
    """Write the networks; returns their entries of ``export.json``."""
    scorer = recommender.vector_scorer()
    max_length = check_exportable(recommender.system.name, scorer.system)
    difference = {"history.onnx": onnx.write_history(scorer, max_length, folder / "history.onnx")}
    encoder = recommender.text_encoder()
    if encoder is not None:
        path = folder / "items.onnx"
        difference["items.onnx"] = onnx.write_items(scorer, encoder.width, path)
    return {
        "padding": PADDING,
        "encoder": None if encoder is None else encoder.model_dump(),
        "largest_difference": difference,
    }


def _write_ids(path: Path, ids: Any) -> None:
    path.write_bytes(orjson.dumps(list(ids)))


def _check_out(path: Path) -> None:
    if not path.exists():
        return
    if not path.is_dir() or (any(path.iterdir()) and not (path / "export.json").is_file()):
        raise InputError(
            "holds something else than an export",
            where=f"--out {path}",
            remedy="name another folder",
        )


_SEEN = {
    "as-printed": "Items that the history holds are recommended like any other.",
    "leave-out": "Items that the history holds are left out: all of `history`, however long.",
    "gain": "The score of an item gains `gain` where the newest `max_length` items of the history "
    "hold it.",
}


_UP_TO_NOW = ["- Interests are of whole histories up to the day of the export."]
_OF_TARGET: dict[Target, list[str]] = {
    "numpy": _UP_TO_NOW,
    "faiss": _UP_TO_NOW,
    "huggingface": [],
    "onnx": [
        "- `history.onnx` takes `history`, int64 [batch, length]: items by their place in "
        f"`item_ids.json`, oldest first, and {PADDING} before the first item of a shorter history. "
        "Batch and length may be any; the newest `max_length` items are read.",
        "- It gives `interests`, float32 [batch, k, d], `active`, bool [batch, k], and `numbers`, "
        "int64 [batch, k]. Only active interests mean something; of MIRACLE a number is a capsule.",
        "- The network doesn't know the seen rule: apply it to the scores, as `use.py` does.",
        "- The weights and the catalogue are in it, and nothing of any user.",
    ],
}
_TEXT = [
    "- `items.onnx` takes `text`, float32 [items, d_b]: texts as `encoder` in `export.json` "
    "encodes them. It gives `vectors`, float32 [items, d], of items that the catalogue doesn't "
    "hold: put them below `items.npy`, and they are recommended. Histories can't hold them until "
    "the next export.",
]


def _card(recommender: Recommender, about: dict[str, Any], script: str) -> str:
    """The folder's README, with the front matter that model hubs read."""
    title = f"{recommender.system.title} on {recommender.dataset.name}"
    lines = [
        "---",
        "library_name: miracle",
        "pipeline_tag: other",
        "tags:",
        "- recommendation",
        f"- {recommender.system.name}",
        "---",
        "",
        f"# {title}",
        "",
        f"{recommender.system.paper}. Exported for {about['target']} by Miracle {__version__}.",
        "",
        f"- {about['items']:,} items, {about['users']:,} users; fingerprint of the data "
        f"`{about['fingerprint'][:16]}`; {about['mode']}.",
        "- The score of an item is the largest inner product of its vector with one of the user's "
        "interests. Items of equal score may stand in another order than Miracle's.",
        f"- {_SEEN[recommender.seen]} (`seen` in `export.json`: {recommender.seen})",
        *_OF_TARGET[about["target"]],
        *(_TEXT if about.get("encoder") else []),
        "",
        "Use it without Miracle (`use.py`):",
        "",
        *(f"    {line}".rstrip() for line in script.splitlines()),
        "",
    ]
    return "\n".join(lines)
