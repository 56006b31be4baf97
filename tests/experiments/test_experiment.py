"""A custom experiment: planned, run, interrupted, resumed and verified."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from miracle_cli.experiment_display import Display
from miracle_cli.main import main
from miracle_core.errors import InputError
from miracle_core.experiments import tables
from miracle_core.experiments.definition import read_experiment
from miracle_core.experiments.making import make_plan
from miracle_core.experiments.running import check_shard, shard
from miracle_core.experiments.whole import conduct
from miracle_core.files import write_json
from tests.support.experiments import TINY, command, refused, texts, tiny

Capture = pytest.CaptureFixture[str]
COLUMNS = ("as-printed", "seen-aware")
ROOT = Path(__file__).resolve().parents[2]


def found_in(out: Path) -> Any:
    return json.loads((out / "experiment.json").read_text())


def test_the_plan_is_one_list_of_runs(shops: Path, tmp_path: Path) -> None:
    own = read_experiment(str(tiny(tmp_path)))
    plan = make_plan(own, [shops / "workshop", shops / "kitchen"], seeds=3)
    names = [run.name for run in plan.runs]
    assert len(set(names)) == len(names) == 2 * 2 * (3 + 3 + 1)  # popularity has no seeds
    assert "kitchen/seen-aware/gru4rec/seed-2025" in names
    rules = {(run.system, run.column): run.seen for run in plan.runs}
    assert rules["SASRec", "as printed"] == rules["Popularity", "as printed"] == "as-printed"
    assert rules["SASRec", "seen-aware"] == "gain"
    assert rules["Popularity", "seen-aware"] == "leave-out"
    for run in plan.runs:
        assert run.settings.train.seed == run.seed
        assert run.settings.seen == run.seen
        assert run.settings.model.kind == run.system.lower()
    assert "model.width" not in plan.run(names[-1]).definition()["settings"]
    assert plan.notes == ("model.width is no setting of Popularity, which run without it",)


def test_shares_are_all_runs_once(shops: Path, tmp_path: Path) -> None:
    text = TINY + '[[system]]\nname = "P"\npretrain = "domains"\nmodel.kind = "miracle"\n'
    own = read_experiment(str(tiny(tmp_path, text)))
    plan = make_plan(own, [shops / "workshop"], [shops / "kitchen"])
    shares = [shard(plan.chains(), number, 3) for number in (1, 2, 3)]
    names = [run.name for share in shares for run in share]
    assert sorted(names) == sorted(run.name for run in plan.runs)
    for share in shares:
        before: set[str] = set()
        for run in share:
            assert not run.needs or run.needs in before
            before.add(run.name)
    for bad in ("0/4", "5/4", "1", "1/", "a/b", "-1/2", "1/0"):
        with pytest.raises(InputError, match="no share"):
            check_shard(bad)


def test_a_system_that_is_not_there_is_named(shops: Path, tmp_path: Path) -> None:
    text = TINY + '[[system]]\nname = "Q"\nmodel.kind = "nobody"\n'
    plan = make_plan(read_experiment(str(tiny(tmp_path, text))), [shops / "workshop"])
    assert [(left.system, left.why) for left in plan.unavailable] == [
        ("Q", "this version has no system 'nobody'")
    ]
    assert plan.runs and all(run.system != "Q" for run in plan.runs)


def test_pre_training_and_what_follows(shops: Path, tmp_path: Path) -> None:
    text = TINY + '[[system]]\nname = "P"\npretrain = "domains"\nmodel.kind = "miracle"\n'
    own = read_experiment(str(tiny(tmp_path, text.replace('["SASRec"]', '["P"]'))))
    alone = make_plan(own, [shops / "workshop"])
    assert [(left.system, "--pretrain" in left.why) for left in alone.unavailable] == [("P", True)]
    plan = make_plan(own, [shops / "workshop"], [shops / "kitchen"], seeds=1)
    first, then = (run for run in plan.runs if run.system == "P" and run.column == "as printed")
    assert (first.kind, then.kind, then.needs) == ("pretrain", "train", first.name)
    assert first.settings.datasets == [str(shops / "kitchen")]
    assert first.settings.train.mode == "inductive"
    assert then.settings.train.freeze  # the default for a run that starts from a pre-training
    assert first.settings.model == then.settings.model


def test_the_tables(done: Path, capsys: Capture) -> None:
    out = done / "out"
    found = found_in(out)
    columns = [table["column"] for table in found["tables"]]
    assert columns == ["as printed", "seen-aware"]
    for table in found["tables"]:
        sasrec, gru4rec, popularity = table["comparison"]["systems"]
        assert sasrec["seeds"] == gru4rec["seeds"] == [2023, 2024]
        assert popularity["seeds"] == [2023]
        assert not popularity["seeded"]
    for claim in found["claims"]:
        assert claim["tests"] == 2
        assert {row["proposed"] for row in claim["rows"]} == {"SASRec"}
    text = (out / "table.md").read_text()
    best = max(
        found["tables"][0]["comparison"]["systems"],
        key=lambda system: system["metrics"]["ndcg@10"]["value"],
    )
    interval = best["metrics"]["ndcg@10"]["interval"]
    half = (interval["high"] - interval["low"]) / 2
    assert f"**{best['metrics']['ndcg@10']['value']:.4f} ± {half:.4f}**" in text
    assert "<u>" in text
    assert r"\underline{" in (out / "table.tex").read_text()
    assert main(["experiment", "verify", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "folder": str(out), "good": True, "files": 10, "wrong": [],
    }  # fmt: skip


def test_compare_and_report_read_its_folder(done: Path, tmp_path: Path, capsys: Capture) -> None:
    for table in found_in(done / "out")["tables"]:
        column = done / "out/runs/workshop" / table["column"].replace(" ", "-")
        assert main(["compare", str(column), "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        means, own = (
            {s["name"]: s["metrics"]["ndcg@10"] for s in each["systems"]}
            for each in (document, table["comparison"])
        )
        assert means == own
    page = tmp_path / "report.html"
    assert main(["report", str(done / "out"), "--out", str(page)]) == 0
    for words in ("As printed", "Seen-aware", "SASRec", "GRU4Rec", "Popularity"):
        assert words in page.read_text()
    assert "name a column" in refused(capsys, ["compare", str(done / "out")])
    both = [str(done / f"out/runs/workshop/{column}/sasrec") for column in COLUMNS]
    assert main(["compare", *both, "--seen", "leave-out", "--json"]) == 0
    systems = json.loads(capsys.readouterr().out)["systems"]
    assert [each["name"] for each in systems] == ["SASRec (as printed)", "SASRec (seen-aware)"]


def test_the_family_of_several_datasets(shops: Path, tmp_path: Path, capsys: Capture) -> None:
    tiny(
        tmp_path,
        TINY.replace("epochs = 2", "epochs = 1"),
        proposed='columns = ["as printed"]\nproposed',
    )
    args = command(tmp_path, shops, "--data", shops / "kitchen")
    assert main(args) == 0
    found = found_in(tmp_path / "out")
    (claim,) = found["claims"]
    assert claim["tests"] == len(claim["rows"]) == 4
    rows = sorted(claim["rows"], key=lambda row: row["p"])
    highest = 0.0
    for place, row in enumerate(rows):  # Holm (1979), step by step
        highest = max(highest, min(1.0, row["p"] * (4 - place)))
        assert row["adjusted_p"] == pytest.approx(highest)
    said = refused(capsys, ["compare", str(tmp_path / "out")])
    assert "different Datasets" in said and "DIR/runs/DATA" in said
    claim["rows"][0]["adjusted_p"] = 0.0123
    (tmp_path / "out" / "experiment.json").write_text(json.dumps(found))
    assert main(["experiment", "verify", str(tmp_path / "out")]) == 1
    assert "adjusted p" in capsys.readouterr().err


def test_only_what_is_missing_is_run(copy: Path, shops: Path, capsys: Capture) -> None:
    out = copy / "out"
    whole = texts(out)
    kept = out / "runs/workshop/as-printed/gru4rec/seed-2023/model.safetensors"
    lost = out / "runs/workshop/seen-aware/sasrec/seed-2024"
    ranks = out / "runs/workshop/as-printed/sasrec/seed-2023/users-test-as-printed.parquet"
    before = kept.stat().st_mtime_ns
    shutil.rmtree(lost)
    ranks.unlink()
    assert main(command(copy, shops)) == 0
    said = capsys.readouterr().err
    assert said.count("begins ") == 2
    assert "8 of 10 runs are done already" in said
    assert kept.stat().st_mtime_ns == before
    assert texts(out) == whole


def test_a_folder_grows(copy: Path, shops: Path, capsys: Capture) -> None:
    assert main(command(copy, shops, "--seeds", 3)) == 0
    assert capsys.readouterr().err.count("begins ") == 4
    assert found_in(copy / "out")["tables"][0]["comparison"]["systems"][0]["seeds"][-1] == 2025
    said = refused(capsys, command(copy, shops))
    assert "seed-2025 and 3 more, and this asks for fewer" in said


def test_shares_make_the_same_table(
    done: Path, shops: Path, tmp_path: Path, capsys: Capture
) -> None:
    tiny(tmp_path)
    assert main(command(tmp_path, shops, "--shard", "1/2")) == 0
    assert "runs of other shares are missing" in capsys.readouterr().err
    assert not (tmp_path / "out" / "experiment.json").exists()
    said = refused(capsys, ["experiment", "verify", str(tmp_path / "out")])
    assert "has not ended" in said
    assert main(command(tmp_path, shops, "--shard", "2/2")) == 0
    assert texts(tmp_path / "out") == texts(done / "out")


def started(folder: Path, shops: Path, *options: object) -> subprocess.Popen[bytes]:
    """Start the command in a new process and process group."""
    one = {name: "1" for name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS")}
    return subprocess.Popen(
        [sys.executable, "-m", "miracle_cli", *command(folder, shops, *options)],
        cwd=ROOT,
        env={**os.environ, **one},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def waited_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    for _ in range(2400):
        if path.exists():
            return
        assert process.poll() is None, "it ended before"
        time.sleep(0.05)
    pytest.fail(f"{path} does not come")


def test_a_killed_experiment_ends_with_the_same_table(
    done: Path, shops: Path, tmp_path: Path, capsys: Capture
) -> None:
    tiny(tmp_path)
    process = started(tmp_path, shops)
    cut = tmp_path / "out/runs/workshop/as-printed/gru4rec/seed-2023"
    try:
        waited_for(cut / "config.toml", process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
    assert not (tmp_path / "out" / "experiment.json").exists()
    assert main(command(tmp_path, shops)) == 0
    assert "runs are done already" in capsys.readouterr().err
    assert texts(tmp_path / "out") == texts(done / "out")


def test_jobs_and_ctrl_c(done: Path, shops: Path, tmp_path: Path) -> None:
    tiny(tmp_path)
    process = started(tmp_path, shops, "--jobs", 2, "--threads", 1)
    try:
        waited_for(tmp_path / "out/runs/workshop/as-printed/sasrec/seed-2024/config.toml", process)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does on Ctrl-C
        assert process.wait(300) == 130
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert not (tmp_path / "out" / "experiment.json").exists()
    assert main(command(tmp_path, shops)) == 0
    assert texts(tmp_path / "out") == texts(done / "out")


def test_a_stop_in_the_middle(done: Path, shops: Path, tmp_path: Path) -> None:
    plan = make_plan(read_experiment(str(tiny(tmp_path))), [shops / "workshop"])
    steps = 0

    def enough() -> bool:
        nonlocal steps
        steps += 1
        return steps > 9

    went = conduct(plan, tmp_path / "out", should_stop=enough)
    assert (went.interrupted, went.found, went.failures) == (True, None, ())
    assert 0 < len(went.missing) < len(plan.runs)
    cut = json.loads((went.missing[0].folder(tmp_path / "out") / "result.json").read_text())
    assert cut["status"] == "interrupted"
    assert conduct(plan, tmp_path / "out").found == found_in(done / "out")
    assert texts(tmp_path / "out") == texts(done / "out")


def test_the_live_table(done: Path, shops: Path) -> None:
    plan = make_plan(read_experiment(str(done / "tiny.toml")), [shops / "workshop"])
    with Display(plan.runs, done / "out") as display:
        display.begins(plan.runs[0])
        display.begins(plan.runs[1])
        display.ends(plan.runs[0], "done", "")
        console = Console(file=io.StringIO(), width=120)
        console.print(display._table())
        shown = console.file.getvalue()  # type: ignore[attr-defined]
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    best = max(
        json.loads(line)["valid"]["recall@10"]
        for line in (plan.runs[1].folder(done / "out") / "metrics.jsonl").read_text().splitlines()
    )
    assert any(f"{plan.runs[0].name} done 2/2" in line for line in lines)
    assert any(f"{plan.runs[1].name} at work 2/2 recall@10 {best:.4f}" in line for line in lines)


def test_one_that_fails_leaves_the_others(shops: Path, tmp_path: Path, capsys: Capture) -> None:
    # More negatives than items: training refuses this, but planning can't know it.
    text = TINY.replace('model.kind = "gru4rec"', 'model.kind = "gru4rec"\nloss.negatives = 9999\n'
                        'loss.recommendation = "bce"')  # fmt: skip
    tiny(tmp_path, text, seeds="columns = ['as printed']\nseeds")
    assert main(command(tmp_path, shops)) == 1
    said = capsys.readouterr()
    assert "9999 negatives are more than" in said.err
    assert "2 of 5 runs failed" in said.err
    found = found_in(tmp_path / "out")
    assert found["status"] == "incomplete"
    systems = found["tables"][0]["comparison"]["systems"]
    assert [system["name"] for system in systems] == ["SASRec", "Popularity"]
    assert "Not in the tables: GRU4Rec" in said.out


def test_the_dry_run_writes_nothing_and_knows_recorded_epochs(
    done: Path, shops: Path, tmp_path: Path, capsys: Capture
) -> None:
    tiny(tmp_path)
    args = command(tmp_path, shops, "--dry-run", "--json")
    assert main(args) == 0
    found = json.loads(capsys.readouterr().out)
    assert not (tmp_path / "out").exists()
    assert (len(found["runs"]), found["unknown"], found["seconds"]) == (10, 10, 0)
    # Where no run's time is known, no time is told.
    assert main(args[:-1]) == 0
    said = capsys.readouterr().out
    assert "10 runs: not known" in said
    assert "one after another" not in said
    assert main([*args, "--recorded", str(done)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["unknown"] == 0
    run = next(run for run in found["runs"] if run["model"] == "sasrec")
    lines = [
        json.loads(line)["seconds"]
        for path in done.rglob("*/sasrec/*/metrics.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert run["seconds_an_epoch"] == pytest.approx(sum(lines) / len(lines))
    # The finished runs took two epochs, so two are expected.
    assert (run["epochs_to_come"], run["epochs_at_most"]) == (2, False)
    assert run["seconds"] == pytest.approx(2 * run["seconds_an_epoch"])
    # With other stopping settings, only the time per epoch is known.
    more = ["--recorded", str(done), "--set", "train.epochs=7"]
    assert main([*args, *more]) == 0
    run = next(r for r in json.loads(capsys.readouterr().out)["runs"] if r["model"] == "sasrec")
    assert (run["epochs_to_come"], run["epochs_at_most"]) == (7, True)
    # Finished runs take no more time.
    assert main([*command(done, shops, "--dry-run", "--json")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {run["state"] for run in found["runs"]} == {"done"}
    assert found["seconds"] == 0


# Refusals that name both sides.


def test_changed_ranks_are_told(copy: Path, capsys: Capture) -> None:
    out = copy / "out"
    file = next(out.rglob("*/as-printed/gru4rec/seed-2024/users-test-as-printed.parquet"))
    table = pq.read_table(file)
    place = table.column_names.index("rank")
    ranks = table["rank"].to_pylist()
    ranks[0] = 1 if ranks[0] != 1 else 2
    pq.write_table(table.set_column(place, "rank", pa.array(ranks, pa.int64())), file)
    assert main(["experiment", "verify", str(out)]) == 1
    said = capsys.readouterr().err
    assert "workshop, as printed: GRU4Rec ndcg@10 mean" in said
    assert "seen-aware: GRU4Rec" not in said


def test_changed_tables_are_told(copy: Path, capsys: Capture) -> None:
    path = copy / "out" / "table.md"
    path.write_text(path.read_text().replace("SASRec", "SASRec++"))
    assert main(["experiment", "verify", str(copy / "out")]) == 1
    assert "does not say what experiment.json says" in capsys.readouterr().err


def test_tables_that_are_not_utf_8_are_told(copy: Path, capsys: Capture) -> None:
    (copy / "out" / "table.md").write_bytes(b"\xff")
    assert main(["experiment", "verify", str(copy / "out")]) == 1
    assert "does not say what experiment.json says" in capsys.readouterr().err


def test_a_changed_verdict_is_told(copy: Path, capsys: Capture) -> None:
    found = found_in(copy / "out")
    against = found["tables"][0]["comparison"]["against"][0]
    row = found["claims"][0]["rows"][0]
    against["verdict"] = row["verdict"] = "splendid"
    write_json(copy / "out" / "experiment.json", found)
    assert main(["experiment", "verify", str(copy / "out")]) == 1
    said = capsys.readouterr().err
    assert f"{against['other']} verdict: " in said
    assert f"{row['data']}, {row['other']} verdict: " in said
    assert "splendid in the table" in said


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("relative", 0.5, " relative: "),
        ("relative_interval", [0.4, 0.6], " relative_interval: "),
        ("proposed", "SASRec++", " proposed: SASRec in the table, SASRec++ in the claim"),
        ("both", "no", " both: True in the table, no in the claim"),
        ("tests", 7, "claim as printed: 2 tests, 7 in the claim"),
        ("quick", True, "quick: False in plan.json, True in experiment.json"),
        ("split", "valid", "split: test in plan.json, valid in experiment.json"),
    ],
)
def test_a_changed_claim_is_told(
    copy: Path, capsys: Capture, name: str, value: object, told: str
) -> None:
    out = copy / "out"
    found = found_in(out)
    claim = found["claims"][0]
    place = claim["rows"][0] if name in claim["rows"][0] else claim if name in claim else found
    place[name] = value
    write_json(out / "experiment.json", found)
    # As if all had been changed with care: the tables say what experiment.json says.
    (out / "table.md").write_text(tables.markdown(found))
    (out / "table.tex").write_text(tables.latex(found))
    assert main(["experiment", "verify", str(out)]) == 1
    said = capsys.readouterr().err
    assert told in said
    assert "does not say what experiment.json says" not in said


@pytest.mark.parametrize("damage", ["no claims", "other data", "a word", "no files", "no data"])
def test_a_result_whose_parts_do_not_fit_together_is_refused(
    copy: Path, capsys: Capture, damage: str
) -> None:
    out = copy / "out"
    found, kept = found_in(out), json.loads((out / "plan.json").read_text())
    table = found["tables"][0]
    if damage == "no claims":
        del found["claims"]
    elif damage == "other data":
        table["data"] = "elsewhere"
    elif damage == "a word":
        table["comparison"]["systems"][0]["metrics"]["ndcg@10"]["value"] = "high"
    elif damage == "no files":
        table["comparison"]["systems"][0]["files"] = []
    else:
        kept["data"] = {}
    write_json(out / "experiment.json", found)
    write_json(out / "plan.json", kept)
    said = refused(capsys, ["experiment", "verify", str(out)])
    assert "its parts don't fit together" in said
    assert "experiment.json" in said


def test_the_list(capsys: Capture) -> None:
    assert main(["experiment", "--json"]) == 0
    names = [each["name"] for each in json.loads(capsys.readouterr().out)]
    assert names == ["figure3", "figure4", "figure5", "figure6", "heads", "table1", "table2",
                     "table3", "table4"]  # fmt: skip
