"""A realistic, messy shop export, from its files to recommendations.

It contains accents, HTML entities, separators inside fields, page code as titles, products without
a title, exact duplicates (the export ran twice) beside true repurchases, customers and products
with too few sales, and products that nobody has bought yet.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from miracle_cli.main import main
from miracle_core.data.dataset import Dataset
from miracle_core.recommender import Recommender
from tests.support.runs import SMALL_MODEL

Capture = pytest.CaptureFixture[str]
Sale = tuple[str, str, datetime]


def utc(when: datetime) -> str:
    return when.strftime("%Y-%m-%d %H:%M:%S")


@dataclass(frozen=True)
class Form:
    """How an export is written.

    Attributes:
        separator: the field separator.
        stamp: formats a time.
        options: the command-line options that read this form.
    """

    separator: str = ","
    stamp: Callable[[datetime], str] = utc
    options: tuple[str, ...] = ()


# One line per form. The same sales in another form must give the same Dataset. Semicolons
# (``--separator``) and time zones belong here.
FORMS = {
    "commas and UTC": Form(),
    "dates and times with a T": Form(stamp=lambda when: when.strftime("%Y-%m-%dT%H:%M:%S")),
}

COFFEE = [f"Café crème, moulu n° {n}; 250 g" for n in range(8)]
CABLES = [f"USB cable {n} m, 5 V &amp; 2 A" for n in range(8)]
TITLES = {
    **{f"k{n}": title for n, title in enumerate(COFFEE)},
    **{f"c{n}": title for n, title in enumerate(CABLES)},
    "blank": "",  # sold, but has no title
    "code": "<script>track('pdp')</script>",  # sold, but page code is not a title
    "new-coffee": "Café crème, moulu; nouveau",  # not bought yet
    "new-cable": "USB cable, braided",
    "new-blank": "  ",
}
UNSOLD = ["new-coffee", "new-cable"]
START = datetime(2024, 1, 30, 23, 50, tzinfo=UTC)  # the sales span the end of a month


def sales() -> list[Sale]:
    """The sales (customer, product, time) in the order of the export."""
    found: list[Sale] = []
    for customer in range(24):
        kind, name = ("k", "zoë") if customer % 2 else ("c", "José Núñez")
        for step in range(6):
            item = f"{kind}{(customer // 2 + step * (1 + customer % 3)) % 8}"
            found.append((f"{name} {customer}", item, START + timedelta(hours=step, days=customer)))
    found += [("once", "k1", START), ("once", "c1", START + timedelta(minutes=1))]
    # Bought again later, so this is not a duplicate.
    found += [("zoë 1", "k3", START + timedelta(days=60)), ("zoë 1", "k3", START + timedelta(90))]
    found += [("zoë 3", "blank", START + timedelta(3)), ("zoë 5", "code", START + timedelta(4))]
    # The last two days were exported twice.
    return found + [sale for sale in found if sale[2] >= START + timedelta(days=22)]


def write_shop(folder: Path, form: Form) -> tuple[Path, Path]:
    """The two files of the export."""
    folder.mkdir()
    paths = folder / "ventes.csv", folder / "produits.csv"
    tables: tuple[list[Any], list[Any]] = (
        [("client", "sku", "quand"), *((u, i, form.stamp(when)) for u, i, when in sales())],
        [("sku", "nom"), *TITLES.items()],
    )
    for path, rows in zip(paths, tables, strict=True):
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter=form.separator).writerows(rows)
    return paths


def preprocess(folder: Path, form: Form, *more: str) -> list[str]:
    """Run the command that reads the export."""
    ventes, produits = write_shop(folder / "raw", form)
    return [
        *("preprocess", str(ventes), "--items", str(produits), "--out", str(folder / "data")),
        *("--user-column", "client", "--item-column", "sku", "--time-column", "quand"),
        *("--title-column", "nom", "--format", "table", *form.options, *more),
    ]


def expected(*, duplicates: bool) -> dict[str, list[str]]:
    """Every customer's items in time order, from a plain reading of the sales."""
    titled = [sale for sale in sales() if sale[1] not in ("blank", "code")]
    rows = titled if duplicates else list(dict.fromkeys(titled))
    found: dict[str, list[str]] = {}
    for user, item, _ in sorted(rows, key=lambda sale: sale[2]):
        found.setdefault(user, []).append(item)
    return found


def sequences(dataset: Dataset) -> dict[str, list[str]]:
    ids = dataset.items["item_id"].to_list()
    return {
        name: [ids[item] for item in dataset.sequence(user)]
        for user, name in enumerate(dataset.users["user_id"])
    }


KEEP = ("--on-error", "skip", "--k-core", "0", "--duplicates", "drop", "--keep-unsold")


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_sale_is_kept_or_counted(form: Form, tmp_path: Path, capsys: Capture) -> None:
    assert main(preprocess(tmp_path, form, *KEEP, "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    dataset = Dataset.open(tmp_path / "data")
    assert sequences(dataset) == expected(duplicates=False)
    assert [(skip["reason"], skip["rows"]) for skip in found["skipped"]] == [
        ("an item without text", 2)
    ]
    everything, once = (sum(map(len, expected(duplicates=kept).values())) for kept in (True, False))
    assert everything > once
    assert {(loss["step"], loss["items"], loss["interactions"]) for loss in found["lost"]} == {
        ("items without text dropped", 3, 2),  # blank, code and new-blank
        ("exact duplicates dropped", 0, everything - once),
    }
    titles = dict(dataset.items.select("item_id", "title").iter_rows())
    assert set(titles) == set(TITLES) - {"blank", "code", "new-blank"}
    assert titles["c2"] == "USB cable 2 m, 5 V & 2 A"
    assert titles["k2"] == "Café crème, moulu n° 2; 250 g"
    assert main(["data", "verify", str(tmp_path / "data")]) == 0


def test_stopping_names_the_first_product_without_a_title(tmp_path: Path, capsys: Capture) -> None:
    assert main(preprocess(tmp_path, Form())) == 2
    err = capsys.readouterr().err
    assert "'blank' has no text" in err
    assert f"produits.csv:{2 + list(TITLES).index('blank')}" in err
    assert "--on-error skip" in err


def test_the_summary_says_what_the_defaults_lose_and_how_to_keep_it(
    tmp_path: Path, capsys: Capture
) -> None:
    assert main(preprocess(tmp_path, Form(), "--on-error", "skip")) == 0
    out, err = capsys.readouterr()
    rows = [" ".join(line.split()) for line in out.splitlines()]
    assert "items nobody took dropped 0 2 (9.5%) 0 --keep-unsold" in rows
    assert any(row.startswith("5-core 1 (4.0%) 0 2 (") and "--k-core 0" in row for row in rows)
    repeats = expected(duplicates=True)
    again = len(sales()) - len(set(sales()))
    assert f"{again} of these are exact duplicates" in err
    assert "--duplicates drop" in err
    assert sequences(Dataset.open(tmp_path / "data")) == {
        user: items for user, items in repeats.items() if user != "once"
    }


def test_new_products_are_recommended(tmp_path: Path, capsys: Capture) -> None:
    data, run = str(tmp_path / "data"), str(tmp_path / "run")
    assert main(preprocess(tmp_path, Form(), *KEEP, "--encoder", "hashing:64")) == 0
    quick = [f"--set={name}={value}" for name, value in SMALL_MODEL.items()]
    quick += ["--epochs", "8", "--batch-size", "16", "--learning-rate", "0.01"]
    train = ["finetune", "--data", data, "--out", run, "--mode", "inductive", *quick]
    assert main(train) == 0
    capsys.readouterr()
    assert main(["recommend", run, "--user", "zoë 1", "--top-k", "99", "--json"]) == 0
    ranked = [item["item_id"] for item in json.loads(capsys.readouterr().out)["items"]]
    assert len(ranked) == len(TITLES) - 3
    # By text similarity, the new coffee ranks before any cable.
    first = ranked.index("new-coffee")
    assert all(first < ranked.index(item) for item in (*[f"c{n}" for n in range(8)], "new-cable"))
    assert main(["evaluate", run, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["items"], found["users"]) == (len(TITLES) - 3, 24)
    # A typed title finds the new product.
    assert Recommender.load(run).match("usb cable braided")[0].item_id == "new-cable"
