"""What masked pre-training saves and costs: encoding of visible patches, text masking, tokenising, the output layer.

    OMP_NUM_THREADS=1 python benchmarks/masked_encoding.py

Writes ``benchmarks/results/masked_encoding.json``. ViT-B/16 at 224 pixels, on one thread; what is compared alternates, so
that other work on the machine meets both alike, and times are of the processor.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import modicum  # noqa: F401 - before anything that imports torchvision

# isort: split
import torch
from torch.utils.flop_counter import FlopCounterMode

from modicum.data.phantoms.chest import chest
from modicum.data.reports import masked_words, train_tokenizer
from modicum.engine.training.meters import saved_tensors
from modicum.losses import masked_token_loss
from modicum.nn import MaskedEncoder, ReportEncoder, mask_patches, vision_transformer
from training_overhead import machine

RESULTS = Path(__file__).parent / "results" / "masked_encoding.json"
BATCH, PATCHES, LENGTH, WORDS = 4, 196, 100, 30_000


def seconds(work: Callable[[], Any]) -> float:
    """Of the processor."""
    began = time.process_time()
    work()
    return time.process_time() - began


def spread(values: list[float]) -> dict[str, float]:
    """Four digits, as some of the times are milliseconds."""
    return {
        "median": round(statistics.median(values), 4),
        "min": round(min(values), 4),
        "max": round(max(values), 4),
    }


def encoding(rounds: int, training: bool) -> dict[str, Any]:
    """Encoding a quarter of the patches against encoding all: ratios of time, forward alone or with the backward pass."""
    torch.manual_seed(0)
    encoder = MaskedEncoder(vision_transformer())
    images, kept = torch.rand(BATCH, 3, 224, 224), mask_patches(torch.rand(BATCH, PATCHES), 0.75).kept

    def run(chosen: torch.Tensor | None) -> None:
        with torch.set_grad_enabled(training):
            tokens = encoder(images, chosen)
            if training:
                tokens.square().mean().backward()

    run(None)
    ratios = [seconds(lambda: run(kept)) / seconds(lambda: run(None)) for _ in range(rounds)]
    operations = []
    for chosen in (kept, None):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            encoder(images, chosen)
        operations.append(counter.get_total_flops())
    return {"time": spread(ratios), "operations": operations[0] / operations[1]}


def word_by_word(tokens: torch.Tensor, continuation: list[bool]) -> torch.Tensor:
    """The published masking, as a loop, from tensor to tensor."""
    masks = []
    for report in tokens.tolist():
        masked, hide = [False] * len(report), False
        for place in range(1, len(report) - 1):
            if report[place] == 0:
                break
            if not continuation[report[place]]:
                hide = random.random() < 0.5
            masked[place] = hide
        masks.append(masked)
    return torch.tensor(masks)


def texts(rounds: int) -> dict[str, Any]:
    """Seconds for 1,000 made reports: tokenising, masking, and masking token by token.

    Two made reports are joined, which fill the hundred tokens as those of hospitals do.
    """
    reports = [f"{chest(seed, 16).report} {chest(seed + 1, 16).report}" for seed in range(1_000)]
    tokenizer = train_tokenizer(reports, WORDS)
    encoded = tokenizer.encode(reports, LENGTH)
    tokens = torch.from_numpy(encoded.tokens)
    continuation = torch.from_numpy(tokenizer.vocabulary.continuation)
    table = continuation.tolist()
    times: dict[str, list[float]] = {"tokenise": [], "mask": [], "mask_by_loop": []}
    for _ in range(rounds):
        times["tokenise"].append(seconds(lambda: tokenizer.encode(reports, LENGTH)))
        times["mask"].append(seconds(lambda: masked_words(tokens, continuation, torch.rand(tokens.shape))))
        times["mask_by_loop"].append(seconds(lambda: word_by_word(tokens, table)))
    ratios = [loop / mask for loop, mask in zip(times["mask_by_loop"], times["mask"], strict=True)]
    return {
        "tokens_a_report": round(float(encoded.mask.sum(1).mean()), 1),
        **{name: spread(found) for name, found in times.items()},
        "loop_by_vectorised": spread(ratios),
    }


def output_layer() -> dict[str, Any]:
    """Bytes that the output layer and its loss keep for the backward pass, at masked positions and at all."""
    torch.manual_seed(0)
    report = ReportEncoder(WORDS, depth=0)
    words = torch.randint(4, WORDS, (BATCH, LENGTH))
    hidden = torch.rand(BATCH, LENGTH) < 0.5
    kept = {}
    for name, counted in (("masked", hidden), ("all", torch.ones_like(hidden))):
        features = torch.randn(BATCH, LENGTH, report.width, requires_grad=True)
        with saved_tensors([*report.parameters(), features]) as account:
            masked_token_loss(report.logits(features[counted]), words[counted])
        kept[name] = account.bytes
    return {**kept, "ratio": kept["masked"] / kept["all"], "share_masked": hidden.float().mean().item()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=11, help="repetitions of each measurement")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    results = {
        "machine": machine(),
        "encoding": encoding(rounds, training=False),
        "encoding_and_backward": encoding(rounds, training=True),
        "texts": texts(rounds),
        "output_layer": output_layer(),
    }
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
