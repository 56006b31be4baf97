"""Steam's reviews and games: JSON lines, or the Python literals of the first release.

reviews    username (user_id), product_id, date (timestamp)
games      id, app_name (title), genres and tags, developer (publisher)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from miracle_core.data.interactions import Interactions
from miracle_core.data.readers.opening import expand
from miracle_core.data.readers.options import ReadOptions
from miracle_core.data.readers.release import Form, joined, sort_json
from miracle_core.data.skips import Skips
from miracle_core.errors import InputError
from miracle_core.progress import Progress

FORM = Form(
    events={
        # The names of players who renamed themselves are lost; an id is better where there is one.
        "user_id": ("user_id", "username"),
        "item_id": ("product_id", "item_id"),
        "time": ("date", "timestamp"),
    },
    items={
        "item_id": ("id", "item_id"),
        "title": ("app_name", "title"),
        "categories": ("genres", "tags"),
        "brand": ("developer", "publisher"),
    },
    kinds={"genres": "texts", "tags": "texts"},
)


def read(paths: Sequence[Path], options: ReadOptions, progress: Progress) -> Interactions:
    """Read reviews and games.

    Raises:
        InputError: files missing, or anything in them that can't be read, with its place.
    """
    options.refuse_all_but("steam", "items")
    if options.with_ratings:
        raise InputError(
            "Steam's reviews have no ratings", where="--format steam", remedy="don't ask for them"
        )
    skips = Skips(options.on_error == "skip")
    files = expand([*paths, *([options.items] if options.items else [])])
    found = sort_json(files, FORM, options, skips, progress)
    return joined(found, "steam", paths, options, skips, progress)
