"""Settings as older versions named them, in today's names, so that old config files load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from miracle_core.errors import InputError

# These were in sections that every system shares, and are MIRACLE's alone.
_MOVED = {
    ("loss", "coverage"): "coverage",
    ("loss", "orthogonality"): "orthogonality",
    ("loss", "contrast"): "contrast",
    ("pretrain", "mask_probability"): "mask_probability",
    ("pretrain", "mask_min_length"): "mask_min_length",
}
# These are gone: each with the value that means what is done today.
_GONE = {
    ("train", "kernels"): ("torch", "the Triton kernels were slower and are gone"),
    ("train", "compile"): (False, "compiling layers gained nothing and is gone"),
}


def migrated(layer: Mapping[str, Any], where: str) -> dict[str, Any]:
    """One layer of settings in today's names.

    Args:
        layer: nested settings, of any version.
        where: what to call the place in an error.

    Raises:
        InputError: a setting that is gone has a value that nothing does any more, or a setting is
            given under its old and its new name.
    """
    today = {k: dict(v) if isinstance(v, Mapping) else v for k, v in layer.items()}
    for (section, name), new in _MOVED.items():
        if _has(today, section, name):
            _give(today, new, today[section].pop(name), where, f"{section}.{name}")
    for (section, name), (value, why) in _GONE.items():
        if _has(today, section, name) and today[section].pop(name) != value:
            raise InputError(why, where=f"{where}: {section}.{name}", remedy="leave it out")
    if _has(today, "model", "repeat") and isinstance(today["model"]["repeat"], bool):
        gain = today["model"].pop("repeat")
        today.setdefault("seen", "gain" if gain else "as-printed")
    if today.get("loss") == {}:
        del today["loss"]
    return today


def _has(layer: Mapping[str, Any], section: str, name: str) -> bool:
    return isinstance(layer.get(section), Mapping) and name in layer[section]


def _give(layer: dict[str, Any], name: str, value: Any, where: str, old: str) -> None:
    model = layer.setdefault("model", {})
    if name in model:
        raise InputError(
            f"is given as model.{name} too", where=f"{where}: {old}", remedy="leave one out"
        )
    model[name] = value
