"""Cost of PRIOR's local loss batched and sample by sample, and of reading, splitting and encoding reports.

    OMP_NUM_THREADS=1 python benchmarks/local_alignment.py

Forward and backward of local attention and both local losses, 49 regions, 6 sentences of 768 features; the release loops
over samples. Reports are those of phantoms. The best of some rounds.
"""

import argparse
import time
from collections.abc import Callable

import modicum  # noqa: F401 - before anything that imports torchvision

# isort: split
import numpy as np
import torch

from modicum.data.phantoms.chest import chest
from modicum.data.reports import encode_sentences, train_tokenizer
from modicum.losses import region_consistency, sentence_contrast
from modicum.nn import LocalAttention

WIDTH, REGIONS, SENTENCES = 768, 49, 6


def best(work: Callable[[], object], rounds: int) -> float:
    """CPU seconds of the fastest of some rounds, so that other work on the machine does not count."""
    seconds = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return min(seconds)


def loss(attention: LocalAttention, head: torch.nn.Module, part: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Both local losses."""
    regions, sentences, present = part
    of_sentences, of_regions = attention(regions, sentences, present)
    return region_consistency(head(regions), regions, head(of_regions), of_regions) + sentence_contrast(
        of_sentences, sentences, present
    )


def batched_and_looped(batch: int, rounds: int) -> tuple[float, float]:
    """Seconds of a step over the whole batch at once, and sample by sample."""
    torch.manual_seed(0)
    attention = LocalAttention(WIDTH)
    head = torch.nn.Sequential(
        torch.nn.Linear(WIDTH, WIDTH // 2), torch.nn.ReLU(), torch.nn.Linear(WIDTH // 2, WIDTH)
    )
    regions, sentences = torch.randn(batch, REGIONS, WIDTH), torch.randn(batch, SENTENCES, WIDTH)
    present = torch.ones(batch, SENTENCES, dtype=torch.bool)

    def whole() -> None:
        loss(attention, head, (regions, sentences, present)).backward()

    def looped() -> None:
        parts = [(regions[i : i + 1], sentences[i : i + 1], present[i : i + 1]) for i in range(batch)]
        (sum(loss(attention, head, part) for part in parts) / batch).backward()

    whole()
    return best(whole, rounds), best(looped, rounds)


def reports_a_second(count: int, rounds: int) -> float:
    """Reports that are split and encoded in a second; every report is another one."""
    made = [chest(patient, 32).report for patient in range(min(count, 400))]
    texts = [f"{made[number % len(made)]} Study number {number} of this list." for number in range(count)]
    tokenizer = train_tokenizer(texts[:2000], 5000)
    return count / best(lambda: encode_sentences(tokenizer, texts, 256, 32), rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 98])
    parser.add_argument("--reports", type=int, default=4000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for batch in arguments.batches:
        whole, looped = batched_and_looped(batch, arguments.rounds)
        print(
            f"B = {batch}: batched {whole:.3f} s, looped {looped:.3f} s, {looped / whole:.2f} times as fast"
        )
    print(f"{np.floor(reports_a_second(arguments.reports, arguments.rounds)):,.0f} reports a second")


if __name__ == "__main__":
    main()
