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
        "pretrain": {"encoder_rate": 1.0},
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
        "pretrain": {"encoder_rate": 1.0},
        "train": {"average": 0.0},
    },
}
# What the kind of a run says beneath its preset.
PRETRAINING: dict[str, Any] = {"train": {"mode": "inductive", "epochs": 3, "batch_size": 2048}}
FROM_PRETRAINED: dict[str, Any] = {"train": {"freeze": True}}
