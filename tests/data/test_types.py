"""Ids, times and titles in columns of every type are kept as Python would read them."""

from __future__ import annotations

from datetime import datetime, timedelta

import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miracle_core.data.dataset import Dataset
from miracle_core.data.interactions import Interactions
from miracle_core.data.prepare import PrepareSettings, prepare
from miracle_core.data.readers import ReadOptions, read
from miracle_core.errors import InputError

IDS = [
    *(pl.Int8(), pl.Int16(), pl.Int32(), pl.Int64(), pl.UInt8(), pl.UInt16(), pl.UInt32()),
    *(pl.UInt64(), pl.Float32(), pl.Float64(), pl.Decimal(20, 2), pl.String(), pl.Categorical()),
]
TIMES = [
    *(pl.Int64(), pl.Float64(), pl.String(), pl.Date(), pl.Datetime("ms"), pl.Datetime("us")),
    *(pl.Datetime("ns"), pl.Datetime("us", "Asia/Tokyo")),
]
START = datetime(2024, 1, 1)


@given(
    st.lists(st.tuples(*[st.integers(1, 100)] * 3), min_size=1, max_size=12),
    *(st.sampled_from(IDS), st.sampled_from(IDS), st.sampled_from(TIMES)),
    st.sampled_from([pl.String(), pl.Categorical(), pl.Int16()]),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_types_of_parquet(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[int, int, int]],
    user: pl.DataType,
    item: pl.DataType,
    time: pl.DataType,
    title: pl.DataType,
) -> None:
    days = [day for _, _, day in rows]
    dated = time.is_temporal()
    when = pl.Series([START + timedelta(days=day) for day in days]) if dated else pl.Series(days)
    if isinstance(time, pl.Datetime) and time.time_zone:
        when = when.dt.replace_time_zone("UTC")

    def column(values: list[int], kind: pl.DataType) -> pl.Series:
        numbers = pl.Series(values, dtype=pl.Int64)
        return (numbers.cast(pl.String) if kind == pl.Categorical else numbers).cast(kind)

    items = [item for _, item, _ in rows]
    frame = pl.DataFrame(
        {
            "user_id": column([user for user, _, _ in rows], user),
            "item_id": column(items, item),
            "when": when.cast(time),
            "title": column(items, title),
        }
    )
    path = tmp_path_factory.mktemp("types") / "t.parquet"
    frame.write_parquet(path)
    found = read("table", [path], ReadOptions(time="when"))
    microseconds = [(START - datetime(1970, 1, 1)) // timedelta(microseconds=1)] * len(days)
    expected = [at + day * 86_400 * 10**6 for at, day in zip(microseconds, days, strict=True)]
    assert found.events.rows() == [
        (str(user), str(item), time)
        for (user, item, _), time in zip(rows, expected if dated else days, strict=True)
    ]
    assert dict(found.items.select("item_id", "title").iter_rows()) == {
        str(item): str(item) for item in items
    }


def by_pandas(rows: list[tuple[str, str, int]], core: int, since: int, drop: bool) -> pd.DataFrame:
    """The expected result in pandas: filters, duplicates and k-core, as documented."""
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "time"])
    frame = frame[frame["time"] >= since]
    frame = frame.drop_duplicates() if drop else frame
    size = -1
    while len(frame) != size:
        size = len(frame)
        of_user = frame.groupby("user_id")["time"].transform("size")
        of_item = frame.groupby("item_id")["time"].transform("size")
        frame = frame[(of_user >= core) & (of_item >= core)]
    frame = frame.sort_values("time", kind="stable")
    frame["back"] = frame.groupby("user_id").cumcount(ascending=False)
    frame["length"] = frame.groupby("user_id")["time"].transform("size")
    return frame


@given(
    st.lists(
        st.tuples(st.sampled_from("uvwx"), st.sampled_from("abcde"), st.integers(0, 9)),
        min_size=1,
        max_size=40,
    ),
    *(st.integers(0, 3), st.integers(0, 5), st.booleans()),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_filters_and_the_split_are_those_of_pandas(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str, int]],
    core: int,
    since: int,
    drop: bool,
) -> None:
    expected = by_pandas(rows, core, since, drop)
    events = pl.DataFrame(rows, ["user_id", "item_id", "time"], orient="row")
    items = pl.DataFrame({"item_id": list("abcde"), "title": list("abcde"), "text": list("abcde")})
    log = Interactions.checked(events, items, name="toy")
    asked = PrepareSettings(k_core=core, since=str(since), duplicates="drop" if drop else "keep")
    folder = tmp_path_factory.mktemp("pandas") / "out"
    if expected.empty:
        with pytest.raises(InputError):
            prepare(log, asked, folder)
        return
    dataset: Dataset = prepare(log, asked, folder)
    users, ids = dataset.users["user_id"].to_list(), dataset.items["item_id"].to_list()
    kept = {
        users[user]: "".join(ids[item] for item in dataset.sequence(user))
        for user in range(dataset.n_users)
    }
    assert kept == expected.groupby("user_id")["item_id"].agg("".join).to_dict()
    for split, back in (("valid", 1), ("test", 0)):
        examples = dataset.examples(split)
        targets = {
            users[user]: ids[int(dataset.sequences[position])]
            for user, position in zip(examples.users, examples.positions, strict=True)
        }
        said = expected[(expected["back"] == back) & (expected["length"] >= 3)]
        assert targets == dict(zip(said["user_id"], said["item_id"], strict=True))
