"""Settings as older versions named them, in today's names, so that old config files load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from miracle_core.errors import InputError

# The only system that older versions knew.
_KIND = "miracle"
# Settings of MIRACLE alone that used to be in sections that every system shares.
_MOVED = {
    ("loss", "coverage"): "coverage",
    ("loss", "orthogonality"): "orthogonality",
    ("loss", "contrast"): "contrast",
    ("pretrain", "mask_probability"): "mask_probability",
    ("pretrain", "mask_min_length"): "mask_min_length",
}
# Settings that are gone, each with the one value that means what is done today, and why it is gone.
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
        InputError: a setting that is gone has a value that is no longer supported, or a setting is
            given under both its old and its new name.
    """
    today = {k: dict(v) if isinstance(v, Mapping) else v for k, v in layer.items()}
    for (section, name), new in _MOVED.items():
        if _has(today, section, name):
            _give(today, new, today[section].pop(name), where, f"{section}.{name}")
    for (section, name), (value, why) in _GONE.items():
        if _has(today, section, name) and today[section].pop(name) != value:
            raise InputError(why, where=f"{where}: {section}.{name}", remedy="leave it out")
    _give_rule(today, where)
    return today


def _has(layer: Mapping[str, Any], section: str, name: str) -> bool:
    return isinstance(layer.get(section), Mapping) and name in layer[section]


def _give(layer: dict[str, Any], name: str, value: Any, where: str, old: str) -> None:
    model = layer.setdefault("model", {})
    if not isinstance(model, dict):
        return  # not a section: validation says so
    if name in model:
        raise InputError(
            f"is given as model.{name} too", where=f"{where}: {old}", remedy="leave one out"
        )
    model[name] = value


def _give_rule(layer: dict[str, Any], where: str) -> None:
    """The seen rule was MIRACLE's setting ``model.repeat``: gain or as printed."""
    model = layer.get("model")
    if not isinstance(model, dict) or model.get("kind", _KIND) != _KIND:
        return
    if not isinstance(model.get("repeat"), bool):
        return
    if "seen" in layer:
        raise InputError(
            "is given as seen too", where=f"{where}: model.repeat", remedy="leave one out"
        )
    layer["seen"] = "gain" if model.pop("repeat") else "as-printed"
