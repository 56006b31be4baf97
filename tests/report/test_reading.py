"""What readers ask of a report: who wins, how surely, on which data, and by which rules."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from miracle_cli.main import main
from miracle_core.evaluation.user_results import read_user_results
from miracle_core.report.charts import Study
from miracle_core.report.comparison import Comparison
from miracle_core.report.measured import NONE, apart, in_ranking, in_training
from miracle_core.report.page import Paper, page
from miracle_core.report.systems import SystemRuns
from miracle_core.report.words import absolute, amount
from miracle_core.training.finetuning import finetune
from tests.report.support import ranks_near, system_of
from tests.report.test_report import cells, compared, tables, whole
from tests.report.test_report import words as all_words
from tests.support.runs import tiny_settings, tiny_shop

PAPER = Paper("A paper, table 2", {"SASRec": {"recall@10": 0.1}})


def words(html: str) -> str:
    """What a reader sees: all text but the style sheet."""
    return all_words(re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL))


def headed(html: str, heading: str) -> list[list[str]]:
    """The cells of the table that follows a heading."""
    parts = list(whole(html).iter())
    place = next(
        n
        for n, each in enumerate(parts)
        if each.tag in ("h3", "summary") and "".join(each.itertext()).startswith(heading)
    )
    return cells(next(each for each in parts[place:] if each.tag == "table"))


class TestWithoutAClaim:
    def test_others_are_held_against_the_highest_mean(self) -> None:
        """Popularity is given first, as people list simple systems first."""
        given = compared(proposed=None).systems
        found = Comparison([given[2], given[1], given[0]])
        assert found.reference.name == "miracle"
        html = page([found])
        rows = headed(html, "MIRACLE against each other system: NDCG@10")
        assert [row[0] for row in rows[1:]] == ["SASRec", "Popularity"]
        assert "Popularity is" not in words(html)
        assert Comparison(given, proposed="popularity").reference.name == "popularity"

    def test_equal_means_leave_the_first_given_first(self) -> None:
        systems = [system_of(name, [[1, 60, 60]] * 2) for name in ("sasrec", "gru4rec")]
        assert Comparison(systems).reference.name == "sasrec"

    def test_every_two_systems_stand_in_one_table(self) -> None:
        found = compared(proposed=None)
        rows = headed(page([found]), "Every two systems: differences in NDCG@10")
        assert rows[0][1:] == ["SASRec", "Popularity"]
        assert [row[0] for row in rows[1:]] == ["MIRACLE", "SASRec"]
        assert rows[2][1] == ""
        miracle, sasrec, popularity = found.systems
        for cell, one, two in (
            (rows[1][1], miracle, sasrec),
            (rows[1][2], miracle, popularity),
            (rows[2][2], sasrec, popularity),
        ):
            own = found.difference(one, two, "ndcg@10")
            value, ends = absolute(own)
            assert cell == f"{value}{'' if own.side else ' ≈'}{ends}"

    def test_every_metric_of_the_first_against_the_others(self) -> None:
        found = compared(proposed=None)
        rows = headed(page([found]), "MIRACLE against each other system: every metric")
        assert rows[0][1:] == ["NDCG@10", "Recall@10", "MRR@10", "Recall@50", "NDCG@50", "MRR@50"]
        for row, other in zip(rows[1:], found.systems[1:], strict=True):
            for cell, metric in zip(row[1:], found.metrics, strict=True):
                size = amount(found.difference(found.systems[0], other, metric))
                assert cell.startswith(size.signed)
                assert cell.endswith(size.signed_span)

    def test_nothing_is_said_of_tests_or_of_a_command_line(self) -> None:
        said = words(page([compared(proposed=None)]))
        for gone in ("p (Holm)", "p (within", "p is how often", "--", "Equal means"):
            assert gone not in said
        assert "No hypothesis was fixed beforehand, so there is no test" in said
        assert "the interval" in headed(page([compared(proposed=None)]), "MIRACLE against")[0]

    def test_a_single_run_is_marked_in_the_tables_of_differences(self) -> None:
        rng = np.random.default_rng(0)
        systems = [
            system_of(name, ranks_near(rng, 0.3, runs, 300))
            for name, runs in (("sasrec", 1), ("gru4rec", 2), ("miracle", 2))
        ]
        html = page([Comparison(systems)])
        rows = headed(html, "Every two systems")
        single = [rows[0].index("SASRec")] if "SASRec" in rows[0] else []
        marked = sum("†" in cell for row in rows[1:] for cell in row)
        assert marked == 2  # SASRec is in two of three pairs
        assert all("†" in rows[1][place] for place in single)
        assert "†: one run of a system" in words(html)
        assert "Of SASRec there is one run, so these intervals are of users only" in words(html)


class TestWithAClaim:
    def test_it_is_told_what_is_corrected_for_and_what_equal_means(self) -> None:
        html = page([compared()])
        said = words(html)
        assert "It is corrected for 2 comparisons (Holm)" in said
        assert "equivalence test (two one-sided tests at .05, not corrected)" in said
        assert "2 % are our choice" in said
        assert "the corrected p decides that" in said
        assert "surely" not in said
        assert "would be needed" not in said
        rows = headed(html, "MIRACLE against each other system: NDCG@10")
        assert rows[0][1] == "verdict"
        assert rows[0][4:6] == ["p (Holm)", "p (within 2 %)"]
        assert rows[2][1] == "better"
        assert re.fullmatch(r"< 0\.0001|0\.\d{4}", rows[2][4])

    def test_the_differences_of_other_metrics_and_pairs_are_there_too(self) -> None:
        html = page([compared()])
        assert headed(html, "Every two systems")
        assert headed(html, "MIRACLE against each other system: every metric")


def test_every_metric_is_drawn_also_those_that_the_first_loses() -> None:
    captions = [
        "".join(each.itertext())
        for each in whole(page([compared()])).iter("figcaption")
        if list(each) and each[0].tag == "b"
    ]
    assert captions == ["NDCG@10", "Recall@10", "MRR@10", "Recall@50", "NDCG@50", "MRR@50"]


def test_users_whom_either_serves_better_and_those_whom_neither_does() -> None:
    systems = [
        system_of("miracle", [[1, 5, 60, 60]] * 2),
        system_of("sasrec", [[2, 1, 3, 60]] * 2),
    ]
    found = Comparison(systems, proposed="miracle")
    assert found.against[0].wins["all"] == {"better": 0.25, "worse": 0.5, "neither": 0.25}
    row = headed(page([found]), "MIRACLE against each other system")[1]
    assert row[-1] == "25.0 % / 50.0 %neither: 25.0 %"


class TestHowToRead:
    def test_metrics_have_their_formulas(self) -> None:
        said = words(page([compared()]))
        assert "in NDCG@K 1/log2(r + 1) and in MRR@K 1/r" in said

    def test_intervals_name_their_method_and_what_is_fixed(self) -> None:
        said = words(page([compared()]))
        assert "95 % t intervals" in said
        assert "Satterthwaite" in said
        assert "Held fixed are the split, the training data and the settings" in said
        # A system without seeds needs no warning that its interval is too narrow.
        assert "Training Popularity again gives the same" in said
        assert "too narrow" not in said

    def test_the_rule_of_the_history_names_its_source(self) -> None:
        alone, beside = words(page([compared()])), words(page([compared()], paper=PAPER))
        assert "most papers" not in alone
        assert "as the paper does" not in alone
        assert "as the paper does whose figures stand below" in beside
        assert "most of all by text" in alone
        assert "which is not on this page" in alone
        both = words(page([compared(), compared("leave-out", None)]))
        assert "The other rule has a table of its own below" in both

    def test_numbers_are_written_one_way(self) -> None:
        said = words(page([compared(), compared("leave-out", None)], paper=PAPER))
        assert not re.search(r"\d%", said)
        assert not re.search(r"(?<![\w.-])-\d", said)
        assert "\N{MINUS SIGN}" in words(page([compared(proposed="sasrec")]))


class TestSlices:
    def test_they_are_of_the_primary_metric_and_have_numbers(self) -> None:
        found = compared()
        html = page([found])
        rows = headed(html, "NDCG@10 by length of the history in numbers")
        cut = found.groups["history_length"]
        assert rows[0][1:] == [f"{own.label} {len(own.members):,} users" for own in cut]
        assert [row[0] for row in rows[1:]] == ["MIRACLE", "SASRec", "Popularity"]
        value = found.systems[0].values("ndcg@10")[:, cut[0].members].mean()
        assert rows[1][1].startswith(f"{value:.4f}")
        assert "can't be compared by overlap" in words(html)
        assert "cut into quarters" not in words(html)

    def test_items_that_training_never_saw_are_a_group_of_their_own(self) -> None:
        found = compared()
        cut = found.groups["target_popularity"]
        assert (cut[0].least, cut[0].most) == (0, 0)
        assert cut[1].least == 1
        rows = headed(page([found]), "NDCG@10 by popularity of the held-out item in numbers")
        assert rows[0][1].startswith("0 ")

    def test_a_mean_of_nothing_has_no_interval_and_says_why(self) -> None:
        ranks = np.where(np.arange(60) % 5 == 0, 60, 1)  # users with unsold targets
        systems = [system_of(name, [ranks] * 2) for name in ("sasrec", "gru4rec")]
        html = page([Comparison(systems)])
        rows = headed(html, "NDCG@10 by popularity of the held-out item in numbers")
        assert rows[1][1] == "0.0000"
        assert "that is no sure 0" in words(html)
        assert "that is no sure 0" not in words(page([compared()]))


class TestSystems:
    @pytest.mark.parametrize(
        ("rule", "ranking", "training"),
        [
            ("as-printed", "history kept (as-printed)", "history like any item (as-printed)"),
            ("leave-out", "history left out (leave-out)", "history left out (leave-out)"),
            ("gain", "gain of repeats added (gain)", "gain of repeats learned (gain)"),
        ],
    )
    def test_seen_rules_are_words(self, rule: str, ranking: str, training: str) -> None:
        own = system_of("sasrec", [[1, 2]], seen=rule, trained_seen=rule)
        assert (in_ranking(own.about), in_training(own)) == (ranking, training)
        assert in_training(system_of("popularity", [[1, 2]], trained_seen=rule)) == "none"
        # An outside system may or may not learn.
        assert in_training(system_of("mine", [[1, 2]], trained_seen=rule)) == training

    def test_a_search_stands_beside_its_system(self) -> None:
        study = Study("SASRec", "recall@10", (0.1, 0.2, None))
        rows = headed(page([compared()], studies=[study]), "The systems")
        assert {row[0]: row[-1] for row in rows[1:]} == {
            "MIRACLE": NONE,
            "SASRec": "3 trials",
            "Popularity": NONE,
        }

    def test_settings_that_a_file_does_not_hold_are_not_known(self) -> None:
        assert apart(system_of("sasrec", [[1, 2]])) == "not known"

    def test_where_a_run_starts_is_told_without_its_path(self) -> None:
        settings = {"pretrained": "/home/ann/runs/first", "train.epochs": 3}
        said = apart(system_of("sasrec", [[1, 2]], settings=settings))
        assert said == "starts from a pre-trained run, train.epochs = 3"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of two trained systems and one that only counts."""
    folder = tmp_path_factory.mktemp("trained")
    data = tiny_shop(folder / "data")
    for seed in (3, 4):
        settings = tiny_settings(
            data=str(data.folder), train__seed=seed, train__epochs=2, train__batch_size=8
        )
        finetune(settings, folder / "miracle" / f"seed-{seed}")
    counted = ["--model", "popularity", "--data", str(data.folder), "--out", str(folder / "pop")]
    assert main(["train", *counted]) == 0
    asked = ["report", str(folder / "miracle"), str(folder / "pop"), "--seen", "as-printed"]
    assert main([*asked, "--out", str(folder / "page.html")]) == 0
    return folder


class TestMeasured:
    def test_the_data_say_where_they_come_from_and_how_they_were_split(self, trained: Path) -> None:
        said = words((trained / "page.html").read_text())
        assert re.search(r"tiny has [\d,]+ interactions of [\d,]+ users with 30 items", said)
        assert "Split: leave-one-out." in said
        assert "In the test the validation item is part of the history" in said
        assert "step of the preparation" in said

    def test_every_run_has_its_figures_epochs_and_time(self, trained: Path) -> None:
        rows = headed((trained / "page.html").read_text(), "Every run (3), as printed")
        assert rows[0][-2:] == ["best epoch", "an epoch took"]
        by_seed = {(row[0], row[1]): row for row in rows[1:]}
        assert set(by_seed) == {("MIRACLE", "3"), ("MIRACLE", "4"), ("Popularity", "none")}
        assert re.fullmatch(r"[12] of 2", by_seed["MIRACLE", "3"][-2])
        assert re.fullmatch(r"\d+\.\d s", by_seed["MIRACLE", "3"][-1])
        assert by_seed["Popularity", "none"][-2] == NONE
        assert by_seed["Popularity", "none"][-1].endswith(" s in all")
        said = words((trained / "page.html").read_text())
        assert "highest validation Recall@10" in said

    def test_settings_other_than_the_defaults(self, trained: Path) -> None:
        rows = headed((trained / "page.html").read_text(), "The systems")
        own: dict[str, Any] = {row[0]: row for row in rows[1:]}
        assert "train.epochs = 2" in own["MIRACLE"][5]
        assert "train.seed" not in own["MIRACLE"][5]
        assert own["Popularity"][5] == "none"
        assert own["Popularity"][3] == "none"
        assert own["MIRACLE"][4] != NONE
        assert own["Popularity"][4] == NONE

    def test_from_scratch_is_said_of_what_learned_from_the_very_data(self, trained: Path) -> None:
        run = trained / "miracle" / "seed-3"
        (file,) = run.glob("users-*.parquet")
        found = read_user_results(file)
        scratch = "from scratch: it learned from this Dataset alone"
        assert apart(SystemRuns("miracle", (found,))).startswith(scratch)
        # Ranked on other data than the run holds, or a file without its run: nobody can tell.
        other = replace(found, about=found.about.model_copy(update={"fingerprint": "0" * 64}))
        assert scratch not in apart(SystemRuns("miracle", (other,)))
        assert scratch not in apart(
            SystemRuns("miracle", (replace(found, where=Path("a.parquet")),))
        )

    def test_files_alone_do_not_say(self, trained: Path, tmp_path: Path) -> None:
        files = []
        for place, run in enumerate((trained / "miracle" / "seed-3", trained / "pop")):
            files.append(str(tmp_path / f"{place}.parquet"))
            asked = ["evaluate", str(run), "--seen", "as-printed", "--save-users", files[-1]]
            assert main(asked) == 0
        out = tmp_path / "page.html"
        assert main(["report", *files, "--out", str(out)]) == 0
        assert "do not say where the data come from" in words(out.read_text())
        rows = headed(out.read_text(), "Every run (2)")
        assert {row[-1] for row in rows[1:]} == {NONE}


def test_the_page_has_no_empty_table() -> None:
    for html in (page([compared()]), page([compared(proposed=None)])):
        assert all(len(each) > 1 for each in map(cells, tables(html)))
        assert isinstance(whole(html), ET.Element)
