"""The run folder's ``README.md``: a model card made of what the run knows about itself."""

from __future__ import annotations

from typing import Any

from miracle_core.config import Settings
from miracle_core.data.dataset import Dataset
from miracle_core.files import write_text
from miracle_core.training.run_folder import RunFolder
from miracle_core.version import __version__


def write_model_card(
    folder: RunFolder, settings: Settings, dataset: Dataset, result: dict[str, Any]
) -> None:
    """Write the card: what the model is, what it learned from, how well it does, how to use it."""
    entry = dataset.feature_set(settings.encoder or None).encoder
    model, train = settings.model, settings.train
    lines = [
        f"# MIRACLE on {dataset.name}",
        "",
        "A multi-interest sequential recommender (Tang et al., SIGIR 2023), trained with "
        f"Miracle {__version__}.",
        "",
        f"- Data: {dataset.n_users:,} users, {dataset.n_items:,} items, "
        f"{dataset.n_interactions:,} interactions; fingerprint "
        f"`{dataset.manifest.fingerprint[:16]}`.",
        f"- Text vectors: `{entry.name}` ({entry.width} wide, {entry.pooling} pooling).",
        f"- Model: {model.capsules} capsules, width {model.width}, {model.experts} experts, "
        f"{model.layers} layers; {train.mode}.",
        f"- Training: {result['status']} after {result['epochs']} epochs, best epoch "
        f"{result['best_epoch']} by validation {train.metric}, seed {train.seed}.",
        "",
    ]
    splits = [name for name in ("valid", "test") if name in result]
    if splits:
        names = list(result[splits[0]])
        lines += [
            f"Full ranking over all items, split {dataset.manifest.split}, history items included "
            "as candidates:",
            "",
            "| split | " + " | ".join(names) + " |",
            "|---|" + "---|" * len(names),
        ]
        lines += [
            f"| {split} | " + " | ".join(f"{result[split][name]:.4f}" for name in names) + " |"
            for split in splits
        ]
        lines.append("")
    lines += [
        "Use it:",
        "",
        "    miracle evaluate RUN",
        '    miracle recommend RUN --title "an item\'s title"',
        "    miracle inspect RUN",
        "",
        "Every setting is in `config.toml`; every validation in `metrics.jsonl`.",
        "",
    ]
    write_text(folder.path / "README.md", "\n".join(lines))
