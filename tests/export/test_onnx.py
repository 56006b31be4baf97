"""ONNX exports match the run for every history length, and report it if they don't."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from miracle_core.data.packed import pack_lists
from miracle_core.errors import InputError, MiracleError
from miracle_core.export import export, onnx
from miracle_core.recommender import Recommender
from miracle_core.text import load_encoder
from tests.export.support import run, used
from tests.support.runs import MAX_LENGTH, TITLES
from tests.support.systems import trained
from tests.systems.test_padded import LONGEST, N_ITEMS, PADDED, side, system_of

onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime: the extra `onnx`")
pytest.importorskip("onnxscript", reason="needs onnxscript: the extra `onnx`")
LENGTHS = range(1, LONGEST + 4)


# Every node of a graph takes time, and a second layer repeats the first one's. One system has two.
ONE_LAYER = ("bert4rec", "fdsa", "heads", "s3rec", "sasrec", "unisrec")
CASES: list[tuple[str, dict[str, Any]]] = [
    *((kind, {"layers": 1} if kind in ONE_LAYER else {}) for kind in PADDED),
    ("comirec", {"routing": "dr"}),
]


@pytest.fixture(scope="module")
def exported(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of MIRACLE with a gain."""
    out = tmp_path_factory.mktemp("onnx") / "out"
    export(Recommender.load(small_run, seen="gain"), "onnx", out)
    return out


@pytest.mark.parametrize(("kind", "own"), CASES)
def test_interests_are_those_of_the_system(tmp_path: Path, kind: str, own: dict[str, Any]) -> None:
    """Batches of one or many histories, of equal or mixed lengths, some longer than N."""
    system = system_of(kind, own, torch.float32)
    scorer = system.scorer(side(torch.float32))
    onnx.write_history(scorer, LONGEST, tmp_path / "history.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "history.onnx"))
    rng = np.random.default_rng(1)
    mixed = [rng.integers(0, N_ITEMS, length).tolist() for length in LENGTHS]
    for batch in [*([history] for history in mixed), mixed]:
        width = max(map(len, batch))
        padded = np.array([[-1] * (width - len(history)) + history for history in batch])
        vectors, active, numbers = session.run(None, {"history": padded})
        for row, history in enumerate(batch):
            packed = pack_lists([history], LONGEST)
            with torch.no_grad():
                made = system.encode(scorer.inputs[packed.items], packed).interests
            assert numbers[row][active[row]].tolist() == made.which.tolist()
            assert np.abs(vectors[row][active[row]] - made.vectors.numpy()).max() < 1e-4


@pytest.mark.parametrize("seen", ["gain", "leave-out"])
def test_the_script_recommends_what_the_recommender_does(
    small_run: Path, exported: Path, tmp_path: Path, seen: str
) -> None:
    recommender = Recommender.load(small_run, seen=seen)  # type: ignore[arg-type]
    folder = shutil.copytree(exported, tmp_path / "out")
    if seen == "leave-out":  # the rule is applied by the script, not by the networks
        about = json.loads((folder / "export.json").read_text())
        about |= {"seen": seen, "gain": recommender.gain()}
        (folder / "export.json").write_text(json.dumps(about))
    histories = [["I03"], ["I03", "I07", "I03"], [f"I{place:02}" for place in range(9)]]
    for history in histories:
        (told,) = used(folder, *history, how="together").values()
        items = recommender.recommend([[int(item[1:]) for item in history]]).frame()
        assert [item for item, _ in told] == items["item_id"].tolist()
        assert np.allclose([score for _, score in told], items["score"], atol=1e-4)


def test_a_folder_holds_nothing_of_people_or_of_this_machine(exported: Path) -> None:
    names = {file.name for file in exported.iterdir()}
    assert names == {
        "README.md",
        "export.json",
        "history.onnx",
        "item_ids.json",
        "items.npy",
        "items.onnx",
        "use.py",
    }
    for network in ("history.onnx", "items.onnx"):
        written = (exported / network).read_bytes()
        assert b".py" not in written and str(Path(sys.prefix)).encode() not in written


def test_new_items_by_their_text(small_run: Path, exported: Path) -> None:
    recommender = Recommender.load(small_run)
    about = json.loads((exported / "export.json").read_text())
    assert max(about["largest_difference"].values()) < 1e-4
    titles = ["Rubber Glove", *TITLES[:4]]
    text = load_encoder(about["encoder"]["name"]).encode(titles)
    session = onnxruntime.InferenceSession(str(exported / "items.onnx"))
    for some in (slice(0, 1), slice(0, 5)):
        (vectors,) = session.run(None, {"text": text[some].astype(np.float32)})
        assert np.abs(vectors - recommender.encode_items(titles[some]).vectors).max() < 1e-4


def test_what_cannot_be_had_is_told(
    small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = Recommender.load(trained(tmp_path, "textknn"))
    with pytest.raises(InputError, match="textknn has no form for histories that are padded"):
        export(near, "onnx", tmp_path / "out")
    recommender = Recommender.load(small_run)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(InputError, match="needs onnxruntime, which is not installed"):
            export(recommender, "onnx", tmp_path / "out")
    assert not (tmp_path / "out").exists()


class Session:
    """A network in onnxruntime that changes the first number of one of its outputs.

    Args:
        real: the session that computes the outputs.
        output: the index of the output to change.
        change: maps the first number to another one.
        since: the first call to change.
    """

    def __init__(
        self, real: Any, output: int, change: Callable[[Any], Any], since: int = 0
    ) -> None:
        self.real, self.output, self.change, self.since = real, output, change, since
        self.calls = 0

    def run(self, *given: Any) -> list[np.ndarray]:
        found = [np.array(each) for each in self.real.run(*given)]
        if self.calls >= self.since:
            first = (0,) * found[self.output].ndim
            found[self.output][first] = self.change(found[self.output][first])
        self.calls += 1
        return found


Asking = Callable[..., Path]


@pytest.fixture
def asking(
    small_run: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Asking:
    """Export correct networks, one of which is checked through a :class:`Session`."""
    session = onnx._session

    def ask(network: str, *how: Any) -> Path:
        def opened(path: Path) -> Any:
            return Session(session(path), *how) if path.name == network else session(path)

        monkeypatch.setattr(onnx, "_session", opened)
        export(Recommender.load(small_run, seen="gain"), "onnx", tmp_path / "out")
        return tmp_path / "out"

    def written(*given: Any) -> None:
        shutil.copy(exported / given[-1].name, given[-1])

    monkeypatch.setattr(onnx, "_write", written)
    return ask


@pytest.mark.parametrize(
    ("network", "output", "change", "since", "how"),
    [
        ("history.onnx", 0, lambda number: number + 1e-3, 0, "differ by 0.001"),
        ("history.onnx", 0, lambda number: number + 1e-3, MAX_LENGTH, "differ by 0.001"),
        ("history.onnx", 0, lambda _: np.nan, 0, "finite"),
        # A maximum over values with NaN may not be NaN.
        ("history.onnx", 0, lambda _: np.nan, MAX_LENGTH, "finite"),
        ("history.onnx", 0, lambda _: -np.inf, 0, "finite"),
        ("history.onnx", 1, lambda active: not active, 0, "of other interests"),
        ("history.onnx", 2, lambda number: number + 1, 0, "of other interests"),
        ("items.onnx", 0, lambda number: number - 1e-3, 0, "differ by 0.001"),
        ("items.onnx", 0, lambda _: np.nan, 0, "finite"),
    ],
    ids=["far", "far-last", "nan", "nan-last", "inf", "active", "numbers", "item", "nan-item"],
)
def test_a_network_that_gives_other_numbers_is_not_kept(
    asking: Asking,
    tmp_path: Path,
    network: str,
    output: int,
    change: Callable[[Any], Any],
    since: int,
    how: str,
) -> None:
    with pytest.raises(MiracleError, match=f"{network} gives other numbers than the run: .*{how}"):
        asking(network, output, change, since)
    assert not list(tmp_path.iterdir())


def test_a_difference_of_rounding_is_kept(asking: Asking) -> None:
    """This also shows that the stand-ins of the test above change nothing else."""
    about = json.loads((asking("history.onnx", 0, lambda n: n + 2e-5) / "export.json").read_text())
    assert 1e-5 < about["largest_difference"]["history.onnx"] < 1e-4


def test_items_known_by_embeddings_alone_have_no_text(tmp_path: Path) -> None:
    found = export(Recommender.load(trained(tmp_path, "mind")), "onnx", tmp_path / "out")
    assert found.users == 0
    assert not (tmp_path / "out" / "items.onnx").exists()
    assert "items.onnx" not in (tmp_path / "out" / "README.md").read_text()
    (told,) = used(tmp_path / "out", "I03").values()
    assert len(told) == 10
    done = run(tmp_path / "out", "together", "I03", "nothing")
    assert done.stderr == "'nothing' is no item of this export\n" and done.returncode == 2


def test_what_is_traced_is_a_copy_on_the_cpu(
    small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run may be on a GPU. Here it is on ``meta``, whose weights have no numbers to copy."""
    scorer = Recommender.load(small_run).vector_scorer()
    system = scorer.system.to("meta")
    traced: list[torch.nn.Module] = []

    def keep(model: torch.nn.Module, *_: object) -> None:
        traced.append(model)
        raise MiracleError("seen enough")

    monkeypatch.setattr(torch.nn.Module, "cpu", lambda module: module.to_empty(device="cpu"))
    monkeypatch.setattr(onnx, "_write", keep)
    for write, number in ((onnx.write_history, 3), (onnx.write_items, 8)):
        with pytest.raises(MiracleError, match="seen enough"):
            write(scorer, number, tmp_path / "network.onnx")
    for model in traced:
        assert all(weight.is_cpu for weight in model.state_dict().values())
    assert len(traced) == 2 and scorer.system is system
    assert all(weight.is_meta for weight in system.state_dict().values())


def test_a_form_that_fixes_the_number_of_histories_is_refused(tmp_path: Path) -> None:
    """``len`` of a tensor is a plain number: it would fix the batch size to the example's."""
    system = system_of("comirec", {}, torch.float32)
    scorer = system.scorer(side(torch.float32))
    encode = type(system).encode

    class Fixed(type(system)):  # type: ignore[misc]
        def encode(self, tokens: torch.Tensor, packed: Any) -> Any:
            return encode(self, tokens, packed) if len(packed.order) else None

    system.__class__ = Fixed
    with pytest.raises(MiracleError, match="made of this system: its form fixes the batch"):
        onnx.write_history(scorer, LONGEST, tmp_path / "history.onnx")
    assert not list(tmp_path.iterdir())
