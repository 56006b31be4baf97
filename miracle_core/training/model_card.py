"""The run folder's ``README.md``: a model card made of what the run knows about itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from miracle_core.config import Settings
from miracle_core.data.dataset import Dataset, EncoderIdentity
from miracle_core.files import write_text
from miracle_core.training.run_folder import RunFolder
from miracle_core.version import __version__

_USE = [
    "    miracle evaluate RUN",
    '    miracle recommend RUN --title "an item\'s title"',
    "    miracle inspect RUN",
]
_USE_PRETRAINED = [
    "    miracle evaluate RUN --data DATA",
    "    miracle finetune --from RUN --data DATA --out NEW",
]


def write_model_card(
    folder: RunFolder,
    settings: Settings,
    datasets: Sequence[Dataset],
    encoder: EncoderIdentity,
    result: dict[str, Any],
) -> None:
    """Write the card: what the model is, what it learned from, how well it does, how to use it."""
    model, train = settings.model, settings.train
    names = ", ".join(dataset.name for dataset in datasets)
    lines = [
        f"# MIRACLE {'pre-trained ' if settings.datasets else ''}on {names}",
        "",
        "A multi-interest sequential recommender (Tang et al., SIGIR 2023), trained with "
        f"Miracle {__version__}.",
        "",
        *(
            f"- Data ({dataset.name}): {dataset.n_users:,} users, {dataset.n_items:,} items, "
            f"{dataset.n_interactions:,} interactions; fingerprint "
            f"`{dataset.manifest.fingerprint[:16]}`."
            for dataset in datasets
        ),
        f"- Text vectors: `{encoder.name}` ({encoder.width} wide, {encoder.pooling} pooling).",
        f"- Model: {model.capsules} capsules, width {model.width}, {model.experts} experts, "
        f"{model.layers} layers; {train.mode}.",
        f"- Score: {model.score}, the best interest counts"
        f"{'; items the history holds get a learned gain (not of the paper)' * model.repeat}.",
        f"- Training: {result['status']} after {result['epochs']} epochs, best epoch "
        f"{result['best_epoch']} by validation {train.metric}, seed {train.seed}.",
    ]
    if "transfer" in result:
        transfer = result["transfer"]
        lines.append(
            f"- Start: weights pre-trained on {', '.join(transfer['domains'])}; "
            f"{'with' if transfer['frozen'] else 'without'} a frozen sequence encoder."
        )
    lines.append("")
    rows: dict[str, dict[str, float]] = {
        name: result[name] for name in ("valid", "test") if name in result
    }
    domains = result.get("domains", {})
    if len(domains) > 1:
        rows = {
            **{f"valid, {name}": metrics for name, metrics in domains.items()},
            "valid, mean": result["valid"],
        }
    if rows:
        splits = ", ".join(sorted({dataset.manifest.split for dataset in datasets}))
        columns = list(next(iter(rows.values())))
        lines += [
            f"Full ranking over all items, split {splits}, history items included as candidates:",
            "",
            "| split | " + " | ".join(columns) + " |",
            "|---|" + "---|" * len(columns),
        ]
        lines += [
            f"| {row} | " + " | ".join(f"{metrics[name]:.4f}" for name in columns) + " |"
            for row, metrics in rows.items()
        ]
        lines.append("")
    lines += [
        "Use it:",
        "",
        *(_USE_PRETRAINED if settings.datasets else _USE),
        "",
        "Every setting is in `config.toml`; every validation in `metrics.jsonl`.",
        "",
    ]
    write_text(folder.path / "README.md", "\n".join(lines))
