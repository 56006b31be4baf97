"""``miracle report``: a self-contained, well-formed page with the right figures."""

from __future__ import annotations

import csv
import io
import math
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from scipy import stats

from miracle_cli.main import main
from miracle_cli.report import _paper
from miracle_core.data.dataset import Dataset
from miracle_core.evaluation.slices import groups
from miracle_core.report import svg
from miracle_core.report.charts import Study, slice_points, sliced
from miracle_core.report.comparison import Comparison
from miracle_core.report.measured import NONE
from miracle_core.report.page import Paper, page
from miracle_core.report.statistics import mean
from miracle_core.report.systems import SystemRuns
from miracle_core.report.words import shown
from miracle_core.training.finetuning import finetune
from tests.report.support import ranks_near, system_of
from tests.support.runs import (
    other_shop,
    random_model,
    tiny_settings,
    tiny_shop,
    write_run,
)

HOSTILE = "<script>alert(1)</script>\u202e &amp; \x1b[31m"


def whole(html: str) -> ET.Element:
    """Parse the page: every tag must be closed and every text escaped."""
    assert html.startswith("<!doctype html>\n")
    return ET.fromstring(html.removeprefix("<!doctype html>\n"))


def words(html: str) -> str:
    return " ".join("".join(whole(html).itertext()).split())


def tables(html: str) -> list[ET.Element]:
    return list(whole(html).iter("table"))


def cells(table: ET.Element) -> list[list[str]]:
    return [["".join(cell.itertext()) for cell in row] for row in table.iter("tr")]


def compared(
    seen: str = "as-printed", proposed: str | None = "miracle", **about: Any
) -> Comparison:
    rng = np.random.default_rng(2)
    hits = {"miracle": 0.34, "sasrec": 0.3, "popularity": 0.1}
    systems = [
        system_of(
            name,
            ranks_near(rng, share, 1 if name == "popularity" else 5, 600),
            seeded=name != "popularity",
            seen=seen,
            trained_seen=seen,
            **about,
        )
        for name, share in hits.items()
    ]
    return Comparison(systems, proposed=proposed)


class TestPage:
    def test_it_stands_alone(self) -> None:
        html = page([compared()])
        tree = whole(html)
        tags = {each.tag for each in tree.iter()}
        assert not tags & {"script", "link", "img", "iframe", "object", "embed", "form", "use"}
        for each in tree.iter():
            assert not {"src", "href", "onload", "style-src"} & each.attrib.keys()
        assert "url(" not in html
        assert "@import" not in html
        assert not re.search(r"https?:", html)
        assert "default-src 'none'" in html

    def test_text_of_data_is_never_markup(self) -> None:
        found = compared(dataset=HOSTILE)
        systems = [
            system_of(HOSTILE, found.systems[0].values("recall@10").astype(int) + 1, "sasrec"),
            found.systems[1],
        ]
        systems[1] = system_of("two", systems[1].values("recall@10").astype(int) + 1, "sasrec")
        html = page(
            [Comparison(systems)],
            studies=[Study(HOSTILE, "recall@10", (0.1, 0.2))],
            paper=Paper(HOSTILE, {HOSTILE: {"recall@10": 0.1}}),
        )
        whole(html)
        assert "<script" not in html
        assert not set(html) & {"\x1b", "\u202e"}

    def test_the_same_input_gives_the_same_bytes(self) -> None:
        assert page([compared()]) == page([compared()])

    def test_who_wins_by_how_much_and_how_sure(self) -> None:
        found = compared()
        html = page([found])
        said = words(html)
        assert "MIRACLE, SASRec and Popularity on shop" in said
        own = found.against[1].differences["ndcg@10"]
        assert own.relative is not None
        assert f"MIRACLE is better than Popularity by {own.relative * 100:.0f} % (" in said
        assert "p < .001" in said
        assert "How to read this" in said
        # The best mean is bold and the second underlined, each above its interval.
        table = next(each for each in whole(html).iter("table"))
        rows = {row[0][0].text: row for row in table.iter("tr") if row[0].tag == "td"}
        for name, tag in (("MIRACLE", "strong"), ("SASRec", "u"), ("Popularity", None)):
            system = next(each for each in found.systems if each.name == name.lower())
            mine = found.means[system.name]["ndcg@10"]
            cell = rows[name][2]
            assert [each.tag for each in cell] == ([tag] if tag else []) + ["small"]
            assert f"{mine.value:.4f}" in "".join(cell.itertext())
            assert cell[-1].text == f"{mine.interval.low:.4f} to {mine.interval.high:.4f}"

    def test_the_two_columns_stand_apart(self) -> None:
        html = page([compared(), compared("leave-out", None)])
        headings = [each.text for each in whole(html).iter("h2")]
        assert headings[:4] == ["In short", "How to read this", "As printed", "Seen-aware"]
        assert "never compared with each other" in words(html)

    def test_the_paper_stands_beside_what_is_printed_only(self) -> None:
        paper = Paper(
            "A paper, table 2", {"SASRec": {"recall@10": 0.1003}, "FDSA": {"mrr@10": 0.2}}
        )
        html = page([compared()], paper=paper)
        table = next(each for each in tables(html) if "printed" in "".join(each[0].itertext()))
        rows = [["".join(cell.itertext()) for cell in row] for row in table.iter("tr")]
        assert rows[0][:3] == ["system", "Recall@10printed", "ours"]
        assert [row[0] for row in rows[1:]] == ["SASRec", "FDSA", "MIRACLE", "Popularity"]
        assert rows[1][1] == "0.1003"
        assert rows[1][2].startswith("0.3")
        own = compared().means["sasrec"]["recall@10"].value
        assert rows[1][2].endswith(f"+{(own / 0.1003 - 1) * 100:.0f} % *")
        # Results that were not run here, and those that the paper lacks, are marked.
        assert rows[2][1:] == [NONE, NONE, "0.2000", NONE]
        assert rows[3][1] == NONE
        near = Paper("A paper", {"SASRec": {"recall@10": own}})
        assert "0 % *" not in words(page([compared()], paper=near))
        assert "Beside the paper" not in page([compared("leave-out")], paper=paper)

    def test_a_search_of_settings(self) -> None:
        studies = [
            Study("SASRec", "recall@10", (0.1, None, 0.3, 0.2)),
            Study("MIRACLE", "recall@10", (None, 0.2)),
            Study("Nothing", "ndcg@10", (None, None)),
        ]
        html = page([compared()], studies=studies)
        assert "Trials of each: SASRec 4, MIRACLE 2." in words(html)
        curves = [
            each.attrib["d"] for each in whole(html).iter("path") if "curve" in each.attrib["class"]
        ]
        # The best so far: .1, .1, then .3 from the third trial on. A single trial gives one point.
        assert [len(re.findall("[HV]", curve)) for curve in curves] == [4, 0]

    def test_one_system(self) -> None:
        html = page([Comparison(compared().systems[:1], alone=True)])
        assert "MIRACLE on shop" in words(html)
        assert "against" not in words(html).partition("What was measured")[0]
        assert "p is how often" not in words(html)


def test_points_of_slices_are_means_of_their_users() -> None:
    own = compared().systems[0]
    cut = groups(own.runs[0].lengths)
    for group in cut:
        found = slice_points(own, "recall@10", group.members, None)
        expected = mean(own.values("recall@10")[:, group.members])
        assert found == svg.Point(expected.value, expected.interval.low, expected.interval.high)
    clusters = np.arange(600) // 3
    found = slice_points(own, "recall@10", cut[0].members, clusters)
    within = np.unique(clusters[cut[0].members], return_inverse=True)[1]
    expected = mean(own.values("recall@10")[:, cut[0].members], within)
    assert (found.low, found.high) == (expected.interval.low, expected.interval.high)
    alone = slice_points(own, "recall@10", np.arange(3), np.zeros(600, dtype=np.int64))
    assert (alone.low, alone.high) == (None, None)


@pytest.mark.parametrize("clustered", [False, True])
def test_differences_in_slices_are_taken_user_by_user(clustered: bool) -> None:
    """Against plain loops over the ranks of each group's users, and the paired t of clusters."""
    clusters = np.arange(600) // 3 if clustered else None
    comparison = Comparison(compared().systems, proposed="miracle", clusters=clusters)
    table = sliced(comparison, "history_length").rpartition("<table>")[2]
    rows = [
        [re.sub("<[^>]*>", " ", cell) for cell in re.findall("<t[dh][^>]*>(.*?)</t[dh]>", row)]
        for row in table.split("<tr>")[1:]
    ]
    cut = comparison.groups["history_length"]
    assert [head.split()[0] for head in rows[0][1:]] == [group.label for group in cut]

    def gains(own: SystemRuns, user: int) -> float:
        ranks = [int(run.ranks[user]) for run in own.runs]
        return sum(1 / math.log2(rank + 1) if rank <= 10 else 0.0 for rank in ranks) / len(ranks)

    others = [own for own in comparison.ranked() if own is not comparison.reference]
    assert [row[0] for row in rows[1:]] == [shown(own) for own in others]
    for own, row in zip(others, rows[1:], strict=True):
        for group, cell in zip(cut, row[1:], strict=True):
            apart = [gains(comparison.reference, u) - gains(own, u) for u in group.members]
            said, low, high = map(float, re.findall(r"[+-]\d\.\d+", cell.replace("\u2212", "-")))
            assert said == pytest.approx(sum(apart) / len(apart), abs=6e-5)
            assert low < said < high
            assert ("\u2248" in cell) == (low <= 0 <= high)
            # The interval is no narrower than that of users alone, as a paired t test has it.
            units = np.bincount(np.arange(len(apart)), apart)
            if clusters is not None:
                where = np.unique(clusters[group.members], return_inverse=True)[1]
                units = np.bincount(where, apart - np.mean(apart))
            n = len(units)
            spread = math.sqrt(n * units.var(ddof=1)) / len(apart)
            users_only = stats.t.ppf(0.975, n - 1) * spread
            assert (high - low) / 2 > users_only * 0.99 - 1e-4
    alone = Comparison(comparison.systems[:1], alone=True)
    assert "differ by in each group" not in sliced(alone, "history_length")


def shop_run(folder: Path, dataset: Dataset, seed: int, **changes: Any) -> Path:
    settings = tiny_settings(data=str(dataset.folder), train__seed=seed, **changes)
    return write_run(folder, dataset, settings, random_model(settings, dataset, seed))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    data = tiny_shop(folder / "data")
    for seed in (1, 2):
        shop_run(folder / "wide" / f"seed-{seed}", data, seed, model__inner=12)
        shop_run(folder / "narrow" / f"seed-{seed}", data, seed + 5)
    return folder


class TestPaper:
    """The paper's figures appear only if the data is the paper's."""

    def found(self, users: int, candidates: int, split: str = "test") -> Paper | None:
        ranks = np.ones((2, users), dtype=np.int64)
        own = system_of("sasrec", ranks, dataset="Scientific", candidates=candidates, split=split)
        return _paper([Comparison([own], alone=True)])

    def test_by_name_and_counts(self, capsys: pytest.CaptureFixture[str]) -> None:
        found = self.found(8442, 4385)
        assert found is not None
        assert found.rows["MIRACLE"]["recall@10"] == 0.1343
        assert "Scientific" in found.source
        assert self.found(8442, 4385, "valid") is None
        assert capsys.readouterr().err == ""
        assert self.found(8441, 4385) is None
        assert "8,442 users and 4,385 items, this one 8,441" in capsys.readouterr().err


class TestCommand:
    def test_several_systems(
        self, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "page.html"
        asked = ["report", str(runs / "wide"), str(runs / "narrow"), "--proposed", "wide"]
        assert main([*asked, "--out", str(out)]) == 0
        said = capsys.readouterr()
        assert said.out == ""
        assert f"written to {out}" in said.err
        assert "wide and narrow on tiny" in words(out.read_text())
        # Settings that distinguish systems of the same kind.
        assert "model.inner = 12" in words(out.read_text())

    def test_one_run_in_depth(
        self, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert main(["report", str(runs / "wide" / "seed-1")]) == 0
        html = (tmp_path / "report.html").read_text()
        tree = whole(html)
        headings = ["".join(each.itertext()) for each in tree.iter("h2")]
        assert headings[-4:] == ["Training", "Capsules", "Some users", "What was measured"]
        assert "figure 6 of the paper" in words(html)
        assert "What came next," in words(html)
        assert not {"\x1b", "\x07", "\u202e"} & set(html)  # some titles contain these
        assert len([each for each in tree.iter("div") if each.attrib.get("class") == "user"]) > 1

    def test_curves_of_each_seed(self, runs: Path, tmp_path: Path) -> None:
        for seed in (3, 4):
            settings = tiny_settings(
                data=str(runs / "data"), train__seed=seed, train__epochs=2, train__batch_size=8
            )
            finetune(settings, tmp_path / "trained" / f"seed-{seed}")
        out = tmp_path / "page.html"
        assert main(["report", str(tmp_path / "trained"), "--out", str(out)]) == 0
        curves = [
            each for each in whole(out.read_text()).iter("path") if "curve" in each.attrib["class"]
        ]
        assert len(curves) == 4  # validation and loss, for two seeds
        assert "seed 3" in words(out.read_text())

    def test_systems_without_capsules_or_epochs(self, runs: Path, tmp_path: Path) -> None:
        run, out = tmp_path / "run", tmp_path / "page.html"
        data = str(runs / "data")
        assert main(["train", "--model", "popularity", "--data", data, "--out", str(run)]) == 0
        assert main(["report", str(run), "--out", str(out)]) == 0
        said = words(out.read_text())
        assert "fitted at once, so there are no curves" in said
        assert "Capsules" not in said

    def test_files_alone(self, runs: Path, tmp_path: Path) -> None:
        file, out = tmp_path / "users.parquet", tmp_path / "page.html"
        run = str(runs / "wide" / "seed-1")
        assert main(["evaluate", run, "--save-users", str(file)]) == 0
        assert main(["report", str(file), "--out", str(out)]) == 0
        assert "Training" not in words(out.read_text())

    @pytest.mark.parametrize("form", ["md", "tex", "csv"])
    def test_the_tables_are_those_of_compare(
        self, form: str, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        asked = [str(runs / "wide"), str(runs / "narrow"), "--proposed", "wide"]
        option = {"md": "--markdown", "tex": "--latex", "csv": "--csv"}[form]
        assert main(["compare", *asked, option, str(tmp_path / "compare")]) == 0
        capsys.readouterr()
        assert main(["report", *asked, "--format", form]) == 0
        assert capsys.readouterr().out == (tmp_path / "compare").read_text()
        out = tmp_path / f"tables.{form}"
        assert main(["report", *asked, "--out", str(out)]) == 0
        assert out.read_text() == (tmp_path / "compare").read_text()

    @pytest.mark.parametrize("form", ["md", "tex", "csv"])
    def test_tables_of_one_system(
        self, form: str, runs: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["report", str(runs / "wide"), "--format", form]) == 0
        said = capsys.readouterr().out
        assert "miracle" in said
        assert "p (Holm)" not in said  # there is no system to compare with

    def test_both_columns_in_one_csv(
        self, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        files = []
        for rule in ("as-printed", "leave-out"):
            files.append(str(tmp_path / f"{rule}.parquet"))
            run = str(runs / "wide" / "seed-1")
            assert main(["evaluate", run, "--seen", rule, "--save-users", files[-1]]) == 0
        capsys.readouterr()
        assert main(["report", *files, "--format", "csv"]) == 0
        rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
        assert len([row for row in rows if row["metric"] == "ndcg@10"]) == 2
        assert "metric" not in {row["metric"] for row in rows}

    def test_a_study(self, runs: Path, tmp_path: Path) -> None:
        pytest.importorskip("optuna", reason="optuna is not installed")
        study, out = tmp_path / "study", tmp_path / "page.html"
        asked = ["tune", "--data", str(runs / "data"), "--model", "textknn", "--trials", "3"]
        assert main([*asked, "--out", str(study)]) == 0
        run = str(runs / "wide" / "seed-1")
        assert main(["report", run, "--study", str(study), "--out", str(out)]) == 0
        assert "Trials of each: Nearness of text 3." in words(out.read_text())

    @pytest.mark.parametrize(
        ("more", "says"),
        [
            (["--proposed", "nobody"], "choose one of"),
            (["--out", "page.docx"], "end it in .html"),
            (["--split", "train"], "is not a split"),
            (["--primary", "auc@10"], "is not a metric"),
            (["--seen", "never"], "is not a seen rule"),
            (["--study", "nowhere"], "study.json"),
            (["--out", "."], "is a folder"),
        ],
    )
    def test_refusals(
        self,
        more: list[str],
        says: str,
        runs: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert main(["report", str(runs / "wide"), str(runs / "narrow"), *more]) == 2
        assert says in capsys.readouterr().err
        assert not list(tmp_path.iterdir())

    def test_one_seed_on_two_datasets_is_told_as_two_datasets(
        self, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run = shop_run(tmp_path / "run", other_shop(tmp_path / "other"), 1, model__inner=12)
        assert main(["report", str(runs / "wide" / "seed-1"), str(run)]) == 2
        assert "are of different Datasets or splits: tiny" in capsys.readouterr().err

    def test_other_data_is_refused_in_one_column_and_in_two(
        self, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        data = other_shop(tmp_path / "other")
        for rule, says in (("gain", "of different Datasets"), ("as-printed", "make a report for")):
            run = shop_run(tmp_path / rule, data, 1, seen=rule)
            asked = ["report", str(runs / "wide" / "seed-1"), str(run)]
            assert main([*asked, "--out", str(tmp_path / "page.html")]) == 2
            said = capsys.readouterr().err
            assert says in said
            assert "tiny" in said
            assert "other" in said
