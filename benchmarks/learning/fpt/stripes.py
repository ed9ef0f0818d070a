"""The stripe task: FPT and FPT+ see a detail that the side network's small image has lost, and what that takes.

    OMP_NUM_THREADS=1 python benchmarks/learning/fpt/stripes.py      # a few minutes on one thread

The task, the random frozen network (width 96, 4 blocks) and the training (256 images, 8 epochs of AdamW, 3e-3, batches
of 16) are those of ``tests/nn/stripes.py``; every setting is learned with two seeds, which also draw the frozen network,
and scored on 128 other images. Writes ``benchmarks/results/fpt_stripes.json`` and ``stripes.md`` beside this file.
"""

import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import modicum  # noqa: F401 - before anything that imports torchvision

# isort: split
import torch

from modicum.engine.environment import environment
from modicum.nn import count_parameters
from modicum.nn.key_value_taps import KeyValueTaps

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "tests" / "nn"))
from stripes import Trial, random_transformer, stripes  # noqa: E402

SEEDS = (0, 1)
COMMAND = "OMP_NUM_THREADS=1 python benchmarks/learning/fpt/stripes.py"
PLUS = Trial()
FPT = Trial(plus=False, layers=(0, 1, 2, 3))


def trials() -> dict[str, list[tuple[str, Trial]]]:
    """What is tried, by the setting that varies."""
    return {
        "method": [
            ("FPT", FPT),
            ("FPT, prompts' output zeroed", replace(FPT, fused=False)),
            ("FPT+", PLUS),
            ("FPT+, prompts' output zeroed", replace(PLUS, fused=False)),
        ],
        "layers (FPT+)": [
            (", ".join(map(str, layers)), replace(PLUS, layers=layers))
            for layers in ((0,), (1,), (2,), (3,), (0, 1), (2, 3), (0, 1, 2, 3))
        ],
        "share of tokens, rho (FPT+)": [
            (f"{rho:g}", replace(PLUS, rho=rho)) for rho in (0.01, 0.05, 0.1, 0.2, 0.5, 1.0)
        ],
        "prompts a layer, n (FPT+)": [(str(n), replace(PLUS, prompts=n)) for n in (1, 2, 4, 8, 16)],
        "pixels of the side image (FPT+)": [
            (str(side), replace(PLUS, side=side)) for side in (8, 16, 32, 64)
        ],
        "score (FPT+)": [(score, replace(PLUS, score=score)) for score in ("global", "class_token")],
    }


def measured(trial: Trial, known: dict[Trial, dict[str, Any]]) -> dict[str, Any]:
    """Area under the curve for each seed, learnable parameters, and processor seconds of a run."""
    if trial not in known:
        train, test = stripes(256, 0), stripes(128, 1)
        began = time.process_time()
        scores = [trial.run(random_transformer(seed), train, test, seed) for seed in SEEDS]
        seconds = (time.process_time() - began) / len(SEEDS)
        network = trial.network(KeyValueTaps(random_transformer(), trial.layers, trial.rho))
        known[trial] = {
            "auroc": [round(score, 4) for score in scores],
            "learnable": count_parameters(network)[1],
            "seconds": round(seconds, 2),
        }
    return known[trial]


def main() -> None:
    torch.set_num_threads(1)
    known: dict[Trial, dict[str, Any]] = {}
    groups: dict[str, list[dict[str, Any]]] = {}
    for group, variants in trials().items():
        groups[group] = []
        for name, trial in variants:
            groups[group].append({"name": name, "settings": asdict(trial), **measured(trial, known)})
            print(group, groups[group][-1], flush=True)
    result = {
        "command": COMMAND,
        "date": time.strftime("%Y-%m-%d"),
        "environment": environment(),
        "seeds": SEEDS,
        "groups": groups,
    }
    (ROOT / "benchmarks" / "results" / "fpt_stripes.json").write_text(json.dumps(result, indent=1) + "\n")
    text = Path(__file__).with_suffix(".md").read_text() if Path(__file__).with_suffix(".md").exists() else ""
    head, mark, _ = text.partition("<!-- results -->\n")
    Path(__file__).with_suffix(".md").write_text(f"{head}{mark or '<!-- results -->'}\n{markdown(groups)}\n")


def markdown(groups: dict[str, list[dict[str, Any]]]) -> str:
    """A table for each setting that varies."""
    parts = []
    for group, rows in groups.items():
        lines = [f"| {group} | AUROC, seed 0 | seed 1 | learned parameters | s a run |"]
        lines.append("| --- | --- | --- | --- | --- |")
        for row in rows:
            first, second = row["auroc"]
            lines.append(
                f"| {row['name']} | {first:.3f} | {second:.3f} | {row['learnable']:,} | {row['seconds']:.1f} |"
            )
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


if __name__ == "__main__":
    main()
