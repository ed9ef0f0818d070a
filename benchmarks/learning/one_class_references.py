r"""PaDiM, PatchCore and reverse distillation against another library on the same features; what a coreset loses.

    MALLOC_MMAP_THRESHOLD_=4000000 python benchmarks/learning/one_class_references.py --data DIR \
        --weights lite0.safetensors --reference FOLDER

(Without that limit, the reference's search for a coreset can fragment glibc's heap: 21 GB for 18,000 patches.)

``DIR`` holds ``octa_vessels`` and ``fundus_dr_grading``. ``FOLDER`` has anomalib and what it imports (not ours):

    pip install --target FOLDER --no-deps anomalib jsonargparse omegaconf antlr4-python3-runtime==4.9.3 einops tifffile \
        platformdirs scikit-image lazy-loader imageio FrEIA kornia

Its models get the very maps that ours get (EfficientNet-Lite0, ImageNet weights; its own extractor is replaced), and
PaDiM the same choice of channels. Two sets, three seeds each: angiograms, of which half of the tested ones are blurred,
dimmed or noisy a little, and photographs of grade 0 against those of grades 1 to 4.

Each number twice: of one formula on the same inputs (distances, scores with the same memory, maps), and of the whole
method, AUROC against AUROC. The whole of PaDiM differs by intent: coarser maps are enlarged bilinearly here and by the
nearest value there, and a map's corners are aligned here.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from octa_quality import auroc, degraded
from scipy.stats import spearmanr
from torch import Tensor, nn

from modicum.data.weights_file import read_weights
from modicum.engine.environment import environment
from modicum.nn import Backbone
from modicum.nn.backbones import load_backbone_weights
from modicum.nn.one_class import FeatureTaps, PadimScorer, PatchcoreScorer, distance_map
from modicum.nn.one_class.scorer import OneClassScore, OneClassScorer

RESULTS = Path(__file__).parents[1] / "results" / "one_class_references.json"
SIDE, BATCH, SEEDS = 128, 16, (0, 1, 2)
LAYERS = ["fine", "middle", "coarse"]


class SameMaps(nn.Module):
    """Stands in for anomalib's extractor."""

    def __init__(self, taps: FeatureTaps, layers: list[str]) -> None:
        super().__init__()
        self.taps, self.layers = taps, layers

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = dict(zip(LAYERS, self.taps(images), strict=True))
        return {name: maps[name] for name in self.layers}


def read(path: Path, change: str | None, rng: np.random.Generator) -> np.ndarray:
    """An image of ``SIDE`` pixels in ``[0, 1]``, channels first; padded to a square."""
    image = cv2.imread(str(path))[:, :, ::-1] / 255.0
    if change:
        image = np.repeat(degraded(image[:, :, 0], change, False, rng)[:, :, None], 3, 2)
    side = max(image.shape[:2])
    above, left = ((side - length) // 2 for length in image.shape[:2])
    square = np.zeros((side, side, 3))
    square[above : above + image.shape[0], left : left + image.shape[1]] = image
    return cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_AREA).transpose(2, 0, 1)


def angiograms(data: Path, seed: int) -> tuple[Tensor, Tensor, np.ndarray]:
    """70 to fit to, 80 to test, of which each second one is degraded; and which are."""
    rng = np.random.default_rng(seed)
    files = sorted((data / "octa_vessels" / "images").glob("*.png"))
    order = rng.permutation(len(files))
    kinds = ["blur", "noise", "dim", "shadow", "motion"]
    fit = [read(files[k], None, rng) for k in order[:70]]
    bad = np.arange(80) % 2 == 1
    test = [read(files[k], kinds[n // 2 % 5] if bad[n] else None, rng) for n, k in enumerate(order[70:150])]
    return torch.tensor(np.stack(fit)).float(), torch.tensor(np.stack(test)).float(), bad


def photographs(data: Path, seed: int) -> tuple[Tensor, Tensor, np.ndarray]:
    """70 of grade 0 to fit to; 60 others of grade 0 and 60 ill ones to test, of other patients."""
    rng = np.random.default_rng(seed)
    table = pd.read_csv(data / "fundus_dr_grading" / "labels.csv", dtype=str)
    drawn = table.sample(frac=1, random_state=seed)
    fit = drawn[drawn["dr_grade"] == "0"][:70]
    rest = drawn[~drawn["patient"].isin(fit["patient"])]
    test = pd.concat([rest[rest["dr_grade"] == "0"][:60], rest[rest["dr_grade"] != "0"][:60]])
    images = [
        torch.tensor(
            np.stack([read(data / "fundus_dr_grading" / "images" / n, None, rng) for n in part["image"]])
        )
        for part in (fit, test)
    ]
    return images[0].float(), images[1].float(), (test["dr_grade"] != "0").to_numpy()


def fitted(scorer: OneClassScorer, maps: list[list[Tensor]]) -> OneClassScorer:
    for batch in maps:
        scorer.see(batch, 0)
    scorer.finish(0)
    return scorer


@torch.no_grad()
def scores(scorer: OneClassScorer, maps: list[list[Tensor]]) -> np.ndarray:
    found: list[OneClassScore] = [scorer(batch, (SIDE, SIDE)) for batch in maps]
    return torch.cat([one.score for one in found]).numpy()


def off(own: Tensor | np.ndarray, theirs: Tensor | np.ndarray) -> float:
    """Largest difference, relative to the largest value."""
    first, second = (np.asarray(one, dtype=np.float64) for one in (own, theirs))
    return float(np.abs(first - second).max() / np.abs(second).max())


def compare_padim(taps: FeatureTaps, fit: Tensor, test: Tensor, bad: np.ndarray) -> dict[str, float]:
    """Distances on the same embedding, and scores from end to end."""
    from anomalib.models.image.padim.anomaly_map import AnomalyMapGenerator
    from anomalib.models.image.padim.torch_model import PadimModel

    seen, shown = maps_of(taps, fit), maps_of(taps, test)
    own = PadimScorer(taps.channels)
    fitted(own, seen)
    model = PadimModel("resnet18", pre_trained=False, n_features=len(own.chosen))
    model.feature_extractor, model.layers = SameMaps(taps, LAYERS), LAYERS
    model.idx = own.chosen
    model.train()
    for part in fit.split(BATCH):
        model(part)
    model.fit()
    model.eval()
    with torch.no_grad():
        theirs = torch.cat([model(part).pred_score for part in test.split(BATCH)]).numpy()
        # The same embedding through both formulas: ours enlarges bilinearly, so theirs is fitted to that.
        vectors = torch.cat([own._vectors(batch)[0] for batch in seen], 1)
        places, grid = own._vectors(shown[0])
        model.gaussian.fit(vectors.permute(1, 2, 0).unflatten(2, grid))
        stats = [model.gaussian.mean, model.gaussian.inv_covariance]
        same = AnomalyMapGenerator.compute_distance(places.permute(1, 2, 0).unflatten(2, grid), stats)[:, 0]
        formula = off(own.distances(shown[0]), same)
    mine = scores(own, shown)
    return {
        "formula_off": formula,
        "auroc": auroc(mine[bad], mine[~bad]),
        "auroc_anomalib": auroc(theirs[bad], theirs[~bad]),
        "rank_correlation": float(spearmanr(mine, theirs).statistic),
    }


def compare_patchcore(taps: FeatureTaps, fit: Tensor, test: Tensor, bad: np.ndarray) -> dict[str, float]:
    """Scores with the same memory, and with a memory of each library's own choice; a tenth of the patches and all."""
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    seen, shown = maps_of(taps, fit), maps_of(taps, test)
    own, whole = PatchcoreScorer(taps.channels, chunk=10**9), PatchcoreScorer(taps.channels, share=1.0)
    fitted(own, seen)
    began = time.process_time()
    fitted(whole, seen)
    model = PatchcoreModel(LAYERS[1:], "resnet18", pre_trained=False)
    model.feature_extractor = SameMaps(taps, LAYERS[1:])
    model.train()
    for part in fit.split(BATCH):
        model(part)
    torch.manual_seed(0)
    model.subsample_embedding(0.1)
    model.eval()

    def theirs() -> np.ndarray:
        with torch.no_grad():
            return torch.cat([model(part).pred_score for part in test.split(BATCH)]).numpy()

    of_own_choice = theirs()
    model.memory_bank = own.bank
    of_our_memory = theirs()
    mine, all_patches = scores(own, shown), scores(whole, shown)
    return {
        "formula_off": off(mine, of_our_memory),
        "auroc": auroc(mine[bad], mine[~bad]),
        "auroc_anomalib": auroc(of_own_choice[bad], of_own_choice[~bad]),
        "auroc_all_patches": auroc(all_patches[bad], all_patches[~bad]),
        "rank_correlation": float(spearmanr(mine, of_own_choice).statistic),
        "patches": len(own.bank),
        "patches_anomalib": round(0.1 * whole.num_patches),
        "patches_all": len(whole.bank),
        "seconds": time.process_time() - began,
    }


def compare_distillation_maps() -> float:
    """The map of reverse distillation from the same maps of teacher and student."""
    from anomalib.models.image.reverse_distillation.anomaly_map import (
        AnomalyMapGenerationMode,
        AnomalyMapGenerator,
    )

    torch.manual_seed(0)
    sizes = [(24, SIDE // 4), (40, SIDE // 8), (112, SIDE // 16)]
    teacher, student = ([torch.rand(4, c, s, s) for c, s in sizes] for _ in range(2))
    theirs = AnomalyMapGenerator((SIDE, SIDE), mode=AnomalyMapGenerationMode.ADD)(teacher, student)[:, 0]
    return off(distance_map(teacher, student, (SIDE, SIDE), 4.0), theirs)


def maps_of(taps: FeatureTaps, images: Tensor) -> list[list[Tensor]]:
    return [taps(part) for part in images.split(BATCH)]


def render(found: dict[str, Any]) -> str:
    """The page of results: means over seeds, least and most in brackets."""

    def cell(rows: list[dict[str, Any]], method: str, name: str) -> str:
        values = [row[method][name] for row in rows]
        return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"

    columns = ("auroc", "auroc_anomalib", "rank_correlation")
    lines = [
        "# One-class scorers and anomalib on the same features",
        "",
        f"Against anomalib {found['anomalib']}: AUROC of both, Spearman's correlation of their scores, and the largest "
        "difference of one formula on the same inputs, relative to the largest value. Mean over seeds, least and most. "
        "Written by `one_class_references.py`.",
        "",
        "| | AUROC here | AUROC anomalib | correlation | formula off by | AUROC of all patches | loss of the coreset |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, rows in found["sets"].items():
        for method in ("padim", "patchcore"):
            cells = [cell(rows, method, column) for column in columns]
            cells.append(f"{max(row[method]['formula_off'] for row in rows):.1e}")
            if method == "patchcore":
                lost = [row[method]["auroc_all_patches"] - row[method]["auroc"] for row in rows]
                cells += [
                    cell(rows, method, "auroc_all_patches"),
                    f"{np.mean(lost):+.3f} (at most {max(lost):+.3f})",
                ]
            lines.append(f"| {method}, {name} | " + " | ".join([*cells, "", ""][:6]) + " |")
    lines += [
        "",
        f"Reverse distillation's map, of the same maps: off by {found['reverse_distillation_map_off']:.1e}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--reference", type=Path, required=True, help="folder with anomalib")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    sys.path.append(str(given.reference))
    import anomalib

    backbone = Backbone("tf_efficientnet_lite0", (SIDE, SIDE))
    load_backbone_weights(backbone, read_weights(given.weights), str(given.weights))
    backbone.set_normalisation([127 / 255] * 3, [128 / 255] * 3)  # of these weights
    taps = FeatureTaps(backbone).eval()
    found: dict[str, Any] = {"reverse_distillation_map_off": compare_distillation_maps(), "sets": {}}
    for name, make in (("angiograms", angiograms), ("photographs", photographs)):
        rows = []
        for seed in given.seeds:
            fit, test, bad = make(given.data, seed)
            rows.append({
                "seed": seed, "padim": compare_padim(taps, fit, test, bad),
                "patchcore": compare_patchcore(taps, fit, test, bad),
            })  # fmt: skip
            print(name, rows[-1], flush=True)
        found["sets"][name] = rows
    content = {
        "date": time.strftime("%Y-%m-%d"),
        "anomalib": anomalib.__version__,
        **found,
        "environment": environment(),
    }
    given.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    given.out.with_suffix(".md").write_text(render(content), encoding="utf-8")


if __name__ == "__main__":
    main()
