"""What a small network learns from pasted lesions on drawn discs, and what keeps it from learning.

    python benchmarks/learning/lesionpaste/discs.py

The discs and the network are those of ``tests/methods/paste_phantoms.py``: 64 pixels, 200 normal discs, as many pasted
ones anew in each of 14 epochs, one annotated disc with six lesions. The images are grey, read as three channels. AUROC of
80 discs with 1, 3 and 6 lesions (20 % larger and darker than the annotated ones, in any direction) and with one smaller
lesion that lies across the annotated ones, each against 80 normal ones.

``tinted`` is LesionPaste as it was, and as the release recolours: hue, saturation and gamma change each channel of a grey
lesion by itself. ``4 epochs`` (52 steps) stops early.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from modicum.engine.environment import environment
from modicum.transforms import LesionAugmentation
from modicum.transforms.cut_paste import cut_paste
from modicum.transforms.lesion_draws import NO_AUGMENTATION

RESULTS = Path(__file__).parents[2] / "results" / "lesionpaste_discs.json"
PHANTOMS = Path(__file__).parents[3] / "tests" / "methods"
NORMAL, TESTED, SEEDS = 200, 80, (0, 1, 2)


def makers(seed: int) -> dict[str, tuple[Callable[[Tensor], Tensor], int]]:
    """By name, what makes abnormal images of normal ones, and for how many epochs."""
    from paste_phantoms import EPOCHS, annotated_bank, pasting

    bank, tinted = annotated_bank(seed), annotated_bank(seed)
    drawn = torch.Generator().manual_seed(seed)
    # One pixel of one lesion has another red: then the bank is no longer grey.
    tinted.pixels[0, :1] += 1 / 255
    return {
        "lesionpaste": (pasting(bank, LesionAugmentation()), EPOCHS),
        "4 epochs": (pasting(bank, LesionAugmentation()), 4),
        "lesions not varied": (pasting(bank, NO_AUGMENTATION), EPOCHS),
        "tinted": (pasting(tinted, LesionAugmentation()), EPOCHS),
        "cutpaste": (lambda images: cut_paste(images, drawn), EPOCHS),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    sys.path.insert(0, str(PHANTOMS))
    from paste_phantoms import area, discs, ill_discs, learned, small_turned_discs

    rows = []
    for seed in SEEDS:
        normal, clean = (
            discs(n, torch.Generator().manual_seed(seed + k)) for n, k in ((NORMAL, 0), (TESTED, 500))
        )
        tested = {f"{number} lesions": ill_discs(TESTED, number, seed) for number in (1, 3, 6)}
        tested["smaller, across"] = small_turned_discs(TESTED, seed)
        for name, (make, epochs) in makers(seed).items():
            network = learned(normal, make, epochs)
            areas = {what: area(network, clean, ill) for what, ill in tested.items()}
            rows.append({"maker": name, "seed": seed, **areas})
            print(rows[-1], flush=True)
    names = [key for key in rows[0] if key not in {"maker", "seed"}]
    means = {
        maker: {name: statistics.mean(row[name] for row in rows if row["maker"] == maker) for name in names}
        for maker in dict.fromkeys(row["maker"] for row in rows)
    }
    content = {"date": time.strftime("%Y-%m-%d"), "means": means, "rows": rows, "environment": environment()}
    given.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
