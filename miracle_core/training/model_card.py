"""The run folder's ``README.md``: a model card made from the run's settings and results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from miracle_core.config import Settings
from miracle_core.config.sections import TrainSettings
from miracle_core.data.dataset import Dataset, EncoderIdentity
from miracle_core.files import write_text
from miracle_core.runs.folder import RunFolder
from miracle_core.version import __version__

_SEEN = {
    "as-printed": "candidates like any other, as the paper ranks",
    "leave-out": "left out of the candidates (not of the paper)",
    "gain": "their scores gain a learned number (not of the paper)",
}
_USE = [
    "    miracle evaluate RUN",
    '    miracle recommend RUN --title "an item\'s title"',
    "    miracle inspect RUN",
]
_USE_ZERO_SHOT = ["    miracle evaluate RUN --data DATA"]
_USE_PRETRAINED = ["    miracle finetune --from RUN --data DATA --out NEW"]


def write_model_card(
    folder: RunFolder,
    settings: Settings,
    datasets: Sequence[Dataset],
    encoder: EncoderIdentity | None,
    result: dict[str, Any],
) -> None:
    """Write the card: what the model is, what it learned from, how well it does, how to use it."""
    train, spec = settings.train, settings.spec
    names = ", ".join(dataset.name for dataset in datasets)
    defaults = type(settings.model)(kind=spec.name).model_dump()
    changed = {k: v for k, v in settings.model.model_dump().items() if v != defaults[k]}
    lines = [
        f"# {spec.title} {'pre-trained ' if settings.datasets else ''}on {names}",
        "",
        f"{spec.paper}. Made with Miracle {__version__}.",
        "",
        *(
            f"- Data ({dataset.name}): {dataset.n_users:,} users, {dataset.n_items:,} items, "
            f"{dataset.n_interactions:,} interactions; fingerprint "
            f"`{dataset.manifest.fingerprint[:16]}`."
            for dataset in datasets
        ),
    ]
    if encoder is not None:
        lines.append(
            f"- Text vectors: `{encoder.name}` ({encoder.width} wide, {encoder.pooling} pooling)."
        )
    if "attributes" in result:
        counts = [f"{name} ({n:,} values)" for name, n in result["attributes"].items()]
        lines.append(f"- Attributes: {', '.join(counts) or 'the Dataset has none'}.")
    told = ", ".join(f"{name} {value}" for name, value in changed.items()) or "the defaults"
    lines += [
        f"- Model: `{spec.name}`, {train.mode}; settings: {told}.",
        f"- Items that the history holds: {_SEEN[settings.seen]}.",
    ]
    lines += _learned(result, train)
    lines += [
        "",
        *_table(result, datasets, train.metric),
        "Use it:",
        "",
        *(_USE_ZERO_SHOT if settings.datasets and spec.zero_shot else []),
        *(_USE_PRETRAINED if settings.datasets else _USE),
        "",
        "Every setting is in `config.toml`"
        + ("; every validation in `metrics.jsonl`." if result["epochs"] else "."),
        "",
    ]
    write_text(folder.path / "README.md", "\n".join(lines))


def _learned(result: dict[str, Any], train: TrainSettings) -> list[str]:
    """How long the model learned, from which examples, and what it began with."""
    lines = []
    if result["epochs"]:
        lines.append(
            f"- Training: {result['status']} after {result['epochs']} epochs, best epoch "
            f"{result['best_epoch']} by validation {train.metric}, seed {train.seed}."
        )
    if "objectives" in result:
        lines.append(f"- Objectives that ran: {', '.join(result['objectives'])}.")
    if "few_examples" in result:
        part = result["few_examples"]
        lines.append(
            f"- Learned from {part['learned']:,} of the {part['of']:,} training examples "
            "(`examples.npy`)."
        )
    if "transfer" in result:
        transfer = result["transfer"]
        items = transfer.get("items")
        lines.append(
            f"- Start: an earlier run; {items['kept']:,} of its items are kept, "
            f"{items['gone']:,} are gone, {items['new']:,} are new."
            if items
            else f"- Start: weights pre-trained on {', '.join(transfer['domains'])}; "
            f"{'with' if transfer['frozen'] else 'without'} a frozen sequence encoder."
        )
    return lines


def _table(result: dict[str, Any], datasets: Sequence[Dataset], metric: str) -> list[str]:
    """The figures of each part that was measured; nothing where none was."""
    rows: dict[str, dict[str, float]] = {
        name: result[name] for name in ("valid", "test") if name in result
    }
    domains = result.get("domains", {})
    if len(domains) > 1:
        rows = {
            **{f"valid, {name}": metrics for name, metrics in domains.items()},
            "valid, mean": result["valid"],
        }
    if not rows:
        return []
    splits = ", ".join(sorted({dataset.manifest.split for dataset in datasets}))
    columns = list(next(iter(rows.values())))
    return [
        f"Loss and its terms, split {splits}:"
        if metric == "loss"
        else f"Full ranking over all items, split {splits}:",
        "",
        "| split | " + " | ".join(columns) + " |",
        "|---|" + "---|" * len(columns),
        *(
            f"| {row} | " + " | ".join(f"{metrics[name]:.4f}" for name in columns) + " |"
            for row, metrics in rows.items()
        ),
        "",
    ]
