"""The paper's figure 6 as an image: which capsules the items of some users activate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from miracle_cli.output import plain
from miracle_core.errors import InputError
from miracle_core.files import replacing

if TYPE_CHECKING:
    from miracle_core.recommender.results import Activations

KINDS = (".png", ".svg")
_DPI = 150
_LENGTHS = (24, 48, 96)  # characters of a user id


def check(path: Path) -> None:
    """See that a figure can be drawn, before anything slow begins.

    Raises:
        InputError: another kind of file, or a folder.
    """
    if path.suffix.lower() not in KINDS or path.is_dir():
        raise InputError(
            "is not an image format that can be written",
            where=f"--figure {path}",
            remedy=f"end its name in {' or '.join(KINDS)}",
        )


def told_apart(user_ids: Sequence[str]) -> list[str]:
    """User ids for the rows: whole, or shortened in the middle as far as all still differ."""
    whole = [plain(user_id) for user_id in user_ids]
    for length in _LENGTHS:
        short = [_middle_out(label, length) for label in whole]
        if len(set(short)) == len(set(whole)):
            return short
    return whole


def _middle_out(text: str, length: int) -> str:
    """Text of at most ``length`` characters: its two ends, and an ellipsis for what was between."""
    if len(text) <= length:
        return text
    head = length // 2
    return f"{text[:head]}…{text[len(text) - (length - head - 1) :]}"


def draw(sample: Activations, dataset: str, path: Path) -> None:
    """Draw a row a user and a column a capsule, the darker the more items.

    Args:
        sample: the users and their counts.
        dataset: the Dataset's name, for the title.
        path: where to; an existing file is replaced once the new one is whole.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    n_users, n_capsules = sample.counts.shape
    labels = told_apart(sample.user_ids)
    # Text stays text in an SVG, and nothing in it depends on the day or the process.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "miracle", "text.usetex": False}):
        figure = Figure(figsize=(2.5 + 0.28 * n_capsules, 1.2 + 0.3 * n_users), layout="tight")
        axes = figure.subplots()
        image = axes.imshow(sample.counts, cmap="Blues", vmin=0, aspect="auto")
        axes.set_xticks(range(0, n_capsules, max(n_capsules // 16, 1)))
        axes.set_yticks(
            range(n_users),
            [
                f"{user_id}  n={length}"
                for user_id, length in zip(labels, sample.lengths, strict=True)
            ],
            parse_math=False,
        )
        axes.set_xlabel("capsule")
        axes.set_title(f"Items that activate each capsule ({plain(dataset)})", parse_math=False)
        figure.colorbar(image, ax=axes, label="items", ticks=MaxNLocator(integer=True))
        kind = path.suffix.lower().removeprefix(".")
        with replacing(path) as beside:
            metadata = {"Date": None} if kind == "svg" else {"Software": None}
            figure.savefig(beside, format=kind, dpi=_DPI, metadata=metadata)
