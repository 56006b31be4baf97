"""Items encoded a second: ours against plain loops over the same transformer.

    python -m benchmarks.text [--encoder minilm] [--data DATASET] [--items 1024] [--json]

Three ways, one after another, a few rounds, the best round of each:

    ours    encode_texts with an empty cache: equal texts once, batches of equal token count
    batch   the texts as they come, 32 at a time, padded to the longest of the 32
    fixed   the texts as they come, 32 at a time, all padded to the longest text there is

Each gives the same vectors; the largest difference is shown. Without --data the texts are
generated, their lengths spread like those of a catalogue.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import orjson
import torch

from miracle_core.data.dataset import Dataset
from miracle_core.text import load_encoder
from miracle_core.text.base import Vectors
from miracle_core.text.encode import encode_texts, item_texts
from miracle_core.text.huggingface import TransformerEncoder

BATCH = 32
ROUNDS = 3
WORDS = """
industrial scientific stainless steel nitrile glove disposable large small medium black white
pack of 100 with for and drill bit tool filament printer sensor board cable adapter tape
adhesive sanding roll abrasive grit safety glass bottle plastic tube fitting valve screw bolt
washer spring bearing digital caliper meter tester probe battery charger lamp bulb switch 1/4
inch 3.5 mm 12v 5a
""".split()  # noqa: SIM905


def generated_texts(items: int) -> list[str]:
    """Texts of 4 to 120 words, half of them below 28, a few long: log-normal, as catalogues are."""
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(np.log(28), 0.6, items), 4, 120).astype(int)
    return [" ".join(random.choice(WORDS, length)) for length in lengths]


def plain_loop(encoder: TransformerEncoder, texts: Sequence[str], pad_to: int | None) -> Vectors:
    """Batches in the order of the texts; ``pad_to`` tokens each, None: as the batch needs."""
    model = encoder.model
    rows = []
    for start in range(0, len(texts), BATCH):
        tokens = model.tokenizer(
            list(texts[start : start + BATCH]),
            padding="max_length" if pad_to else "longest",
            truncation=True,
            max_length=pad_to or encoder.identity.max_length,
            return_tensors="pt",
        ).to(model.device)
        with torch.inference_mode():
            rows.append(model(dict(tokens))["sentence_embedding"].cpu().numpy())
    return np.concatenate(rows)


def ours(encoder: TransformerEncoder, texts: Sequence[str]) -> Vectors:
    """What ``miracle encode`` does, nothing cached."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MIRACLE_CACHE"] = folder
        return encode_texts(texts, encoder).astype(np.float32)


def measure(encoder: TransformerEncoder, texts: Sequence[str], rounds: int) -> dict[str, object]:
    """Items a second of each way, and how far ahead ours is."""
    lengths = encoder.token_lengths(texts)
    longest = int(lengths.max())
    ways: dict[str, Callable[[], Vectors]] = {
        "ours": lambda: ours(encoder, texts),
        "batch": lambda: plain_loop(encoder, texts, None),
        "fixed": lambda: plain_loop(encoder, texts, longest),
    }
    encoder.encode(texts[:BATCH])  # warm
    seconds = dict.fromkeys(ways, np.inf)
    busy = dict.fromkeys(ways, np.inf)
    vectors: dict[str, Vectors] = {}
    for _ in range(rounds):
        for way, run in ways.items():
            began, began_busy = perf_counter(), process_time()
            vectors[way] = run()
            seconds[way] = min(seconds[way], perf_counter() - began)
            busy[way] = min(busy[way], process_time() - began_busy)
    rate = {way: len(texts) / taken for way, taken in seconds.items()}
    scale = float(np.abs(vectors["batch"]).max())
    apart = max(float(np.abs(vectors[way] - vectors["batch"]).max()) for way in ways)
    return {
        "encoder": encoder.identity.model_dump(mode="json"),
        "engine": encoder.engine,
        "threads": torch.get_num_threads(),
        "texts": len(texts),
        "distinct": len(set(texts)),
        "tokens": {"mean": round(float(lengths.mean()), 1), "longest": longest},
        "items_per_second": {way: round(value, 1) for way, value in rate.items()},
        "ratio": {way: round(rate["ours"] / rate[way], 2) for way in ("batch", "fixed")},
        # Processor time: what to look at when other programs share the machine.
        "cpu_seconds": {way: round(taken, 2) for way, taken in busy.items()},
        "cpu_ratio": {way: round(busy[way] / busy["ours"], 2) for way in ("batch", "fixed")},
        "largest_difference": apart / scale,
    }


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="Items encoded a second.")
    parser.add_argument("--encoder", default="minilm", help="a transformer [default: minilm]")
    parser.add_argument("--data", type=Path, help="a Dataset folder to take the texts from")
    parser.add_argument("--items", type=int, default=1024, help="how many texts [default: 1024]")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    encoder = load_encoder(options.encoder)
    if not isinstance(encoder, TransformerEncoder):
        parser.error(f"{options.encoder} is no transformer: it has no batches to compare")
    if options.data:
        texts = item_texts(Dataset.open(options.data))
        chosen = np.random.default_rng(0).permutation(len(texts))[: options.items]
        texts = [texts[row] for row in chosen]
    else:
        texts = generated_texts(options.items)
    result = measure(encoder, texts, options.rounds)
    if options.json:
        sys.stdout.write(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        for key, value in result.items():
            print(f"{key}: {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
