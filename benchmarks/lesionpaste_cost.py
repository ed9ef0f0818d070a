"""What pasting costs: seconds of one CPU core an image of 512 pixels, and the memory of the bank.

    OMP_NUM_THREADS=1 python benchmarks/lesionpaste_cost.py

A bank as in the specification: 20 MA of radius 4, 12 HE of 10, 15 EX of 8 and 4 SE of 14 pixels. The release's code takes
about 0.32 s (MA), 0.20 s (HE), 0.27 s (EX) and 0.08 s (SE) an image, 0.83 s for an image with all types.
"""

import json
import time
from pathlib import Path

import numpy as np
import torch

from modicum.engine.environment import environment
from modicum.transforms import LesionBank, LesionPaste, LesionRule

RESULTS = Path(__file__).parent / "results" / "lesionpaste_cost.json"
SIDE, IMAGES = 512, 16
LESIONS = {"MA": (20, 4), "HE": (12, 10), "EX": (15, 8), "SE": (4, 14)}
RELEASE = 0.83


def drawn_masks(generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Discs that do not touch."""
    y, x = np.mgrid[:SIDE, :SIDE]
    taken = np.zeros((SIDE, SIDE), bool)
    masks = {}
    for name, (count, radius) in LESIONS.items():
        mask = np.zeros((1, SIDE, SIDE), bool)
        while count:
            middle = generator.integers(60, SIDE - 60, 2)
            away = np.hypot(x - middle[0], y - middle[1])
            if (taken & (away <= radius + 3)).any():
                continue
            taken |= away <= radius + 3
            mask[0] |= away <= radius
            count -= 1
        masks[name] = mask
    return masks


def main() -> None:
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    bank = LesionBank.from_masks(
        generator.random((1, 3, SIDE, SIDE), dtype=np.float32), drawn_masks(generator)
    )
    images = torch.rand(IMAGES, 3, SIDE, SIDE)
    found: dict[str, object] = {"bank_bytes": bank.nbytes, "lesions": len(bank)}
    everything = {name: LesionRule(-1, 10.0) for name in LESIONS}
    for title, rules in (("by_severity", None), ("all_types", everything)):
        paste = LesionPaste(bank, rules=rules)
        seconds = []
        for batch in range(5):
            began = time.process_time()
            paste(images, torch.arange(IMAGES) + IMAGES * batch)
            seconds.append((time.process_time() - began) / IMAGES)
        median = float(np.median(seconds))
        found[title] = {"seconds": seconds, "median": median, "times_faster_than_release": RELEASE / median}
        print(title, f"{median:.4f} CPU s an image, {RELEASE / median:.0f} times the release")
    RESULTS.write_text(json.dumps({**found, "environment": environment()}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
