"""Transformers as encoders, compared with plain transformers on a tiny random BERT."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from transformers import AutoModel, AutoTokenizer

from miracle_core.errors import InputError, MiracleError
from miracle_core.text import load_encoder
from tests.text.support import TEXTS, Recorder, save_tiny_bert


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("models") / "tiny-bert")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def plain(folder: Path, pooling: str, limit: int = 32) -> np.ndarray:
    """Encode each text alone with plain transformers: no batch, no padding, no mask."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    rows = []
    with torch.no_grad():
        for text in TEXTS:
            tokens = tokenizer(text, truncation=True, max_length=limit, return_tensors="pt")
            hidden = model.eval()(**tokens).last_hidden_state[0]
            rows.append((hidden[0] if pooling == "cls" else hidden.mean(dim=0)).numpy())
    return np.stack(rows)


@pytest.mark.parametrize(("suffix", "pooling"), [("", "cls"), (":cls", "cls"), (":mean", "mean")])
def test_vectors_are_those_of_plain_transformers(bert: Path, suffix: str, pooling: str) -> None:
    encoder = load_encoder(f"{bert}{suffix}")
    vectors = encoder.encode(TEXTS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, plain(bert, pooling), atol=1e-5)
    # The texts differ enough for a meaningful comparison.
    assert np.abs(vectors[1] - vectors[5]).max() > 1e-2
    identity = encoder.identity
    assert (identity.name, identity.pooling) == (f"tiny-bert{suffix}", pooling)
    assert (identity.max_length, identity.width) == (32, 16)


def test_order_and_company_change_nothing_but_last_bits(bert: Path) -> None:
    encoder = load_encoder(str(bert))
    vectors = encoder.encode(TEXTS)
    assert np.array_equal(vectors, encoder.encode(TEXTS))
    np.testing.assert_allclose(encoder.encode(TEXTS[::-1])[::-1], vectors, atol=1e-6)
    np.testing.assert_allclose(encoder.encode(TEXTS[7:8]), vectors[7:8], atol=1e-6)
    assert encoder.encode([]).shape == (0, 16)


def test_the_number_of_threads_decides_no_bit_and_is_left_alone(
    bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load_encoder(str(bert))
    forward, inside = encoder._forward, set()

    def watched(tokens: dict[str, torch.Tensor]) -> np.ndarray:
        inside.add(torch.get_num_threads())
        return forward(tokens)

    monkeypatch.setattr(encoder, "_forward", watched)
    texts = [f"{text} {other}" for text in TEXTS for other in ("red", "small glove")]
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(encoder.encode(texts))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert all(np.array_equal(results[0], other) for other in results[1:])
    assert inside == {1}  # each batch runs on one thread


def test_an_error_in_the_model_comes_out_and_threads_are_left_alone(
    bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load_encoder(str(bert))

    def fail(_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(encoder, "_forward", fail)
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="out of memory"):
        encoder.encode(TEXTS)
    assert torch.get_num_threads() == before


def save_own_modules(bert: Path, folder: Path, *extra: torch.nn.Module) -> Path:
    transformer = Transformer(str(bert))
    transformer.max_seq_length = 20
    SentenceTransformer(modules=[transformer, Pooling(16, pooling_mode="mean"), *extra]).save(
        str(folder)
    )
    return folder


def test_a_folder_with_its_own_modules_decides_pooling_norm_and_length(
    bert: Path, tmp_path: Path
) -> None:
    folder = save_own_modules(bert, tmp_path / "own", Normalize())
    encoder = load_encoder(str(folder))
    expected = plain(bert, "mean", limit=20)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=1e-5)
    assert (encoder.identity.pooling, encoder.identity.max_length) == ("mean", 20)
    # A suffix requests the bare Transformer with pooling.
    np.testing.assert_allclose(
        load_encoder(f"{folder}:cls").encode(TEXTS), plain(bert, "cls", limit=20), atol=1e-5
    )


def test_revision_is_that_of_the_contents(bert: Path, tmp_path: Path) -> None:
    revision = load_encoder(str(bert)).identity.revision
    same = save_tiny_bert(tmp_path / "elsewhere" / "tiny-bert")
    assert load_encoder(str(same)).identity.revision == revision
    (same / "README.md").write_text("a note", encoding="utf-8")
    assert load_encoder(str(same)).identity.revision == revision
    other = save_tiny_bert(tmp_path / "other", seed=1)
    assert load_encoder(str(other)).identity.revision != revision
    tokenizer = json.loads((same / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["model"]["max_input_chars_per_word"] = 99
    (same / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    assert load_encoder(str(same)).identity.revision != revision


def test_progress_counts_texts(bert: Path) -> None:
    recorder = Recorder()
    load_encoder(str(bert)).encode(TEXTS, recorder)
    assert recorder.done == len(TEXTS)


def test_loading_says_nothing(bert: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_encoder(str(bert)).encode(TEXTS[:2])
    assert capfd.readouterr() == ("", "")


def test_weights_that_give_nan_are_refused(tmp_path: Path) -> None:
    folder = save_tiny_bert(tmp_path / "broken")
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.LayerNorm.weight"][3] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(MiracleError, match="not finite"):
        load_encoder(str(folder)).encode(TEXTS[:2])


def break_no_config(folder: Path) -> str:
    (folder / "config.json").unlink()
    return "config.json is missing"


def break_pickled_weights(folder: Path) -> str:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return "never read"


def break_cut_weights(folder: Path) -> str:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    return "can't be loaded"


def break_no_tokenizer(folder: Path) -> str:
    for file in ("tokenizer.json", "vocab.txt"):
        (folder / file).unlink(missing_ok=True)
    return "tokenizer is missing"


def break_config(folder: Path) -> str:
    (folder / "config.json").write_text('{"model_type": "no-such-model"}', encoding="utf-8")
    return "can't be loaded"


def break_remote_code(folder: Path) -> str:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.C", "AutoModel": "own.M"}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "own.py").write_text("raise SystemExit('ran')", encoding="utf-8")
    return "can't be loaded"


def break_missing_shard(folder: Path) -> str:
    index = {"metadata": {}, "weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return "00001-of-00002.safetensors is missing"


def break_adapter(folder: Path) -> str:
    (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
    return "adapter"


@pytest.mark.parametrize(
    "damage",
    [
        break_no_config,
        break_pickled_weights,
        break_cut_weights,
        break_no_tokenizer,
        break_config,
        break_remote_code,
        break_missing_shard,
        break_adapter,
    ],
)
def test_an_unfit_folder_is_named(tmp_path: Path, damage) -> None:
    folder = save_tiny_bert(tmp_path / "model")
    expected = damage(folder)
    with pytest.raises(InputError, match=expected) as caught:
        load_encoder(str(folder))
    assert caught.value.where == str(folder)
    assert "minilm" in caught.value.remedy
    assert "hashing" in caught.value.remedy


@pytest.mark.parametrize(
    "modules",
    [
        [{"idx": 0, "name": "0", "path": "", "type": "os.system"}],
        [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {
                "idx": 1,
                "name": "1",
                "path": "1_Dense",
                "type": "sentence_transformers.models.Dense",
            },
        ],
        {"type": "x"},
        ["x"],
    ],
)
def test_modules_beyond_transformer_and_pooling_are_refused(tmp_path: Path, modules) -> None:
    folder = save_tiny_bert(tmp_path / "model")
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    with pytest.raises(InputError, match="modules other than") as caught:
        load_encoder(str(folder))
    assert caught.value.where.endswith("modules.json")
    # The remedy in the message works.
    assert load_encoder(f"{folder}:mean").identity.pooling == "mean"
