"""What the presets and the kinds of runs say that the defaults of the settings don't."""

from __future__ import annotations

from typing import Any, Literal

Preset = Literal["default", "paper", "reference"]

# What each preset says that the defaults don't; docs/pretraining.md has the whole table.
PRESETS: dict[Preset, dict[str, Any]] = {
    "default": {},
    # Equations as printed: no noise on the gate (eq. 3), no dropout before the experts (eq. 4).
    "paper": {
        "model": {
            "agreement": "h",
            "text_scale": "raw",
            "score": "inner",
            "temperature": 1.0,
            "repeat": False,
            "gate_noise": False,
            "adaptor_dropout": 0.0,
        },
        "pretrain": {"log_q": False},
        "train": {"average": 0.0},
    },
    "reference": {
        "model": {
            "agreement": "q",
            "text_scale": "raw",
            "score": "inner",
            "temperature": 1.0,
            "repeat": False,
        },
        "pretrain": {"log_q": False},
        "train": {"average": 0.0},
    },
}
# What the kind of a run says beneath its preset.
FROM_PRETRAINED: dict[str, Any] = {"train": {"freeze": True}}


def pretraining(preset: Preset) -> dict[str, Any]:
    """What a pre-training says beneath its preset."""
    # 3 are the authors'. With the correction of candidates (log_q) more than 2 serve the domains
    # themselves; what is fine-tuned gains no more than seeds make (docs/decisions/0023).
    epochs = 2 if preset == "default" else 3
    return {"train": {"mode": "inductive", "epochs": epochs, "batch_size": 2048}}
