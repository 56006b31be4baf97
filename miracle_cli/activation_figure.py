"""The paper's figure 6 as an image: which capsules the items of some users activate."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from miracle_cli.output import plain
from miracle_core.errors import InputError
from miracle_core.files import replacing

if TYPE_CHECKING:
    from miracle_core.recommender.results import Activations

KINDS = (".png", ".svg")
_DPI = 150


def check(path: Path) -> None:
    """See that a figure can be drawn, before anything slow begins.

    Raises:
        InputError: another kind of file, a folder, or matplotlib is not installed.
    """
    if path.suffix.lower() not in KINDS or path.is_dir():
        raise InputError(
            "is not an image format that can be written",
            where=f"--figure {path}",
            remedy=f"end its name in {' or '.join(KINDS)}",
        )
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError(
            "a figure needs matplotlib, which is not installed",
            where=f"--figure {path}",
            remedy="install it (pip install matplotlib), or read the same as text without --figure",
        )


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
    # Text stays text in an SVG, and nothing in it depends on the day or the process.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "miracle", "text.usetex": False}):
        figure = Figure(figsize=(2.5 + 0.28 * n_capsules, 1.2 + 0.3 * n_users), layout="tight")
        axes = figure.subplots()
        image = axes.imshow(sample.counts, cmap="Blues", vmin=0, aspect="auto")
        axes.set_xticks(range(0, n_capsules, max(n_capsules // 16, 1)))
        axes.set_yticks(
            range(n_users),
            [
                f"{plain(user_id)[-5:]}  n={length}"
                for user_id, length in zip(sample.user_ids, sample.lengths, strict=True)
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
