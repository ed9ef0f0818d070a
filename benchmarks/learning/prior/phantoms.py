"""PRIOR, its ablation, its rivals and controls on made radiographs with made reports: retrieval, prompts, few labels.

    OMP_NUM_THREADS=1 python benchmarks/learning/prior/phantoms.py --work runs/prior_phantoms            # all cells
    OMP_NUM_THREADS=1 python benchmarks/learning/prior/phantoms.py --work runs/prior_phantoms --seeds 0  # some of them
    OMP_NUM_THREADS=1 python benchmarks/learning/prior/phantoms.py --work runs/prior_phantoms --summary  # only the table

Small and short. The ablation has a ResNet of four blocks (``CNN``, 8 x 8 regions of an image of 64 pixels), as PRIOR has
a large one; MAE and MRM need a transformer (``VIT``), on which PRIOR and random weights stand beside them. All starts of
a network see the same training images equally often; PRIOR's stages divide the epochs. Few labels are those that
``label_fraction`` draws for a seed (as in ``benchmarks/learning/radiographs``), the same for all starts; the head is a
logistic regression on standardised features. ``shuffled`` learns from reports of other patients, ``scrambled`` reads
local features as PRIOR's release does, ``random`` does not learn. Phantoms carry the ablation and say nothing of
patients. Each seed has its own file in ``benchmarks/results/prior_phantoms``, so that several processes share the work
by ``--seeds``; what is there is not learned again.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import modicum

# isort: split
import grounding
import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from timm.models import is_model, register_model
from timm.models.resnet import BasicBlock, ResNet

from modicum.atomic_files import write_text
from modicum.data.label_fraction import keep_label_fraction
from modicum.data.layouts import load_manifest
from modicum.data.phantoms import write_chest_dataset
from modicum.engine.environment import environment
from modicum.nn import Backbone

HERE = Path(__file__).parent
RESULTS = HERE.parents[1] / "results" / "prior_phantoms"
PATIENTS, SIDE, DATA_SEED, SEEDS = 1100, 64, 7, (0, 1, 2)
CNN, VIT = "small_resnet", "test_vit"
EPOCHS = {CNN: 8, VIT: 12}
FRACTIONS = {"train": 0.7, "val": 0.05, "test": 0.25}
GREY = {"backbone.mean": [0.4978] * 3, "backbone.std": [0.2449] * 3}
NETWORK: dict[str, Any] = {
    "image_size": SIDE, "device": "cpu", "precision": "32", "leaks": "allow", "resamples": 200,
    "write_report": False, **GREY,
}  # fmt: skip
PRETRAINING: dict[str, Any] = {
    **NETWORK, "weights": "random", "batch_size": 32, "weight_decay": 0.05, "augment": "none", "schedule": "cosine",
}  # fmt: skip
RATE = 1e-3
TEXT = {"text_width": 64, "text_depth": 2, "text_heads": 4, "text_hidden": 128, "report_length": 72,
        "max_sentences": 8, "width": 64}  # fmt: skip
PRIOR = {**TEXT, "heads": 4, "prototypes": 64, "queries": 8, "decoder_depth": 2, "decoder_heads": 4,
         "temperature": 0.07}  # fmt: skip
GLOBAL_ALONE = {"local_image_weight": 0, "local_text_weight": 0}
MASKED = {"decoder_width": 64, "decoder_depth": 2, "decoder_heads": 4}
REPORTS = {"report_length": 72, "report_width": 64, "report_depth": 2, "report_heads": 4}
LOCAL = {**PRIOR, "last_stage": "align"}
STARTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "random": (CNN, "", {}),
    "convirt": (CNN, "convirt", TEXT),
    "gloria": (CNN, "gloria", TEXT),
    "global": (CNN, "prior", {**LOCAL, **GLOBAL_ALONE}),
    "+ local": (CNN, "prior", LOCAL),
    "+ prototypes": (CNN, "prior", {**PRIOR, "last_stage": "prototype"}),
    "+ reconstruction": (CNN, "prior", PRIOR),
    "scrambled": (CNN, "prior", {**LOCAL, "regions": "scrambled"}),
    "shuffled": (CNN, "prior", LOCAL),
    "random, ViT": (VIT, "", {}),
    "mae, ViT": (VIT, "mae", MASKED),
    "mrm, ViT": (VIT, "mrm", {**MASKED, **REPORTS}),
    "+ local, ViT": (VIT, "prior", LOCAL),
    "+ local, long": (CNN, "prior", LOCAL),
    "+ reconstruction, long": (CNN, "prior", PRIOR),
}
"""Network, method and settings of each start; those of PRIOR each add a part to the one before, but for both controls."""
LONG = {"+ local, long": 24, "+ reconstruction, long": 24}
"""Epochs in all of starts that have more than :data:`EPOCHS`: later stages come on top of a whole first one."""
LABELS = (0.01, 0.1, 1.0)
PROMPTS = {
    "cardiomegaly": ["The heart is enlarged.", "Cardiomegaly."],
    "consolidation": ["There is consolidation in the right lower lobe.", "Airspace consolidation."],
    "nodule": ["There is a rounded 1.5 cm nodule in the left lung.", "Right lung nodule."],
    "pneumothorax": ["There is a large right pneumothorax.", "Moderate left pneumothorax."],
    "effusion_left": ["Large left pleural effusion."],
    "effusion_right": ["Large right pleural effusion."],
}
RETRIEVAL = ("mrr", "image_to_text_recall_at_5", "text_to_image_recall_at_5", "image_to_text_precision_at_5",
             "chance_recall_at_5")  # fmt: skip


def small_resnet(pretrained: bool = False, **arguments: Any) -> ResNet:
    """A ResNet of four blocks whose map has an eighth of the image's sides; 0.1 million parameters."""
    kept = {key: value for key, value in arguments.items() if key in ("num_classes", "in_chans")}
    channels = (16, 32, 48, 64)
    made = ResNet(BasicBlock, (1, 1, 1, 1), stem_width=16, channels=channels, output_stride=8, **kept)
    made.pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.25,) * 3, "input_size": (3, SIDE, SIDE)}
    return made


def register_networks() -> None:
    """Makes :func:`small_resnet` known to timm, also for opening a run with it."""
    if not is_model(CNN):
        register_model(small_resnet)


def data_sets(work: Path, patients: int) -> tuple[Path, Path]:
    """The data set, and the same with the reports of training rows exchanged."""
    folder = work / f"chest{patients}"
    path, shuffled = folder / "manifest.csv", folder / "shuffled.csv"
    if not shuffled.is_file():
        write_chest_dataset(folder, patients, SIDE, seed=DATA_SEED, fractions=FRACTIONS, masks=False)
        table = pd.read_csv(path, dtype=str)
        train = table.index[table["split"] == "train"]
        order = np.random.default_rng(0).permutation(train)
        table.loc[train, "report"] = table.loc[order, "report"].to_numpy()
        table.to_csv(shuffled, index=False)
    return path, shuffled


def stage_settings(settings: dict[str, Any], epochs: int) -> dict[str, Any]:
    """The same number of epochs in all, divided among PRIOR's stages that there are."""
    names = ["align", "prototype", "reconstruct"]
    used = names[: names.index(settings.get("last_stage", "reconstruct")) + 1]
    each = {name: epochs // len(used) for name in used}
    return {
        f"{name}.{key}": value
        for name in used
        for key, value in (
            ("epochs", each[name]),
            ("lr", RATE),
            ("warmup_epochs", 1),
            ("validate_every", each[name]),
        )
    }


def pretrained(name: str, seed: int, work: Path, patients: int) -> tuple[Any, float]:
    """A start's run, and the CPU seconds that it took."""
    plain, shuffled = data_sets(work, patients)
    network, method, settings = STARTS[name]
    epochs = LONG.get(name, EPOCHS[network])
    own = {"epochs": epochs, "lr": RATE, "warmup_epochs": 1, "validate_every": epochs}
    length = stage_settings(settings, epochs) if method == "prior" else own
    began = time.process_time()
    run = modicum.fit(
        shuffled if name == "shuffled" else plain, method, name=f"{plain_name(name)}-{seed}", seed=seed,
        runs=work / "runs", overwrite=True, **{**PRETRAINING, "backbone": network, **settings, **length},
    )  # fmt: skip
    return run, time.process_time() - began


def plain_name(start: str) -> str:
    """Of a start's run folder."""
    return start.replace(" ", "").replace(",", "-")


def found_by(run: Any, data: Path) -> dict[str, Any]:
    """Retrieval on test images, and the AUROC of findings by prompts, with intervals by patient."""
    pairs = run.evaluate(data, split="test", name="pairs", write_report=False)["metrics"]
    shown = run.evaluate(data, split="test", name="prompts", prompts=PROMPTS, write_report=False)["metrics"]
    return {metric: pairs[metric] for metric in RETRIEVAL} | {"zero_shot_auroc": shown["auroc"]}


@torch.no_grad()
def few_labels(network: torch.nn.Module, data: Path, seed: int) -> dict[str, Any]:
    """Test AUROC, the mean over findings, of a logistic regression on each share of the labels."""
    import cv2

    table = load_manifest(data)
    pixels = np.stack([cv2.imread(str(ref.path), 0) for ref in table.refs()]) / 255.0
    images = torch.from_numpy(pixels).float()[:, None]
    features = torch.cat([network.eval()(part) for part in images.split(128)]).numpy()
    scores = {}
    for fraction in LABELS:
        rows = keep_label_fraction(table, fraction, seed).table
        train, test = (np.flatnonzero(rows["split"] == split) for split in ("train", "test"))
        scaled = (features - features[train].mean(0)) / (features[train].std(0) + 1e-6)
        found = []
        for name in table.findings:
            labels = rows[f"labels:{name}"].to_numpy().astype(int)
            fitted = LogisticRegression(C=0.1, max_iter=2000).fit(scaled[train], labels[train])
            found.append(roc_auc_score(labels[test], fitted.decision_function(scaled[test])))
        scores[f"{100 * fraction:g} %"] = {"value": float(np.mean(found)), "labelled": len(train)}
    return scores


class Pooled(torch.nn.Module):
    """The mean of a transformer's patches, whose class token no loss here reads; what other networks pool."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.backbone.feature_map(images)
        planes = self.backbone.spatial(features)
        assert planes is not None
        return planes.mean((2, 3))


def cell(name: str, seed: int, work: Path, patients: int) -> dict[str, Any]:
    """One start and seed."""
    register_networks()
    plain, _ = data_sets(work, patients)
    found: dict[str, Any] = {"name": name, "seed": seed}
    network, method, _ = STARTS[name]
    if method:
        run, seconds = pretrained(name, seed, work, patients)
        predictor = run.method().predictor()
        network_of = (
            predictor if method in ("mae", "mrm") else Pooled(predictor)
        )  # those pool patches themselves
        found |= {"cpu_seconds": seconds, "waited": run.metrics["time"]["data_wait_share"]}
        if method not in ("mae", "mrm"):
            found |= found_by(run, plain)
            found |= {"findings": run.metrics["findings"]} if "findings" in run.metrics else {}
            found |= {"grounding": grounding.measured(run, plain, DATA_SEED, SIDE)}
    else:
        torch.manual_seed(seed)
        backbone = Backbone(network, (SIDE, SIDE))
        backbone.set_normalisation(GREY["backbone.mean"], GREY["backbone.std"])
        network_of = Pooled(backbone)
    found["labels"] = few_labels(network_of, plain, seed)
    return found


# --- the table --------------------------------------------------------------------------------------------------------

COLUMNS = {
    "MRR": ("mrr",),
    "R@5, image to report": ("image_to_text_recall_at_5",),
    "R@5, report to image": ("text_to_image_recall_at_5",),
    "P@5, same findings": ("image_to_text_precision_at_5",),
    "zero-shot AUROC": ("zero_shot_auroc",),
    "grounding": ("grounding",),
    **{f"AUROC, {share} of labels": ("labels", share) for share in ("1 %", "10 %", "100 %")},
}


def value_of(one: dict[str, Any], path: tuple[str, ...]) -> float:
    """A score of a cell; NaN where it has none."""
    found: Any = one
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return float("nan") if found is None or found["value"] is None else float(found["value"])


def markdown(cells: list[dict[str, Any]]) -> str:
    """A row a start: mean and standard deviation over seeds."""
    rows = [f"| start | {' | '.join(COLUMNS)} |", "| --- |" + " ---: |" * len(COLUMNS)]
    for name in [name for name in STARTS if any(one["name"] == name for one in cells)]:
        own = [one for one in cells if one["name"] == name]
        shown = [spread([value_of(one, path) for one in own]) for path in COLUMNS.values()]
        rows.append(f"| {name} | {' | '.join(shown)} |")
    chances = [value_of(one, ("chance_recall_at_5",)) for one in cells]
    known = [chance for chance in chances if np.isfinite(chance)]
    if known:
        studies = round(5 / known[0])
        mean_rank = (
            sum(1 / rank for rank in range(1, studies + 1)) / studies
        )  # of one right answer at any place
        rows.append(
            f"| chance | {mean_rank:.3f} | {known[0]:.3f} | {known[0]:.3f} | | 0.5 | 0.5 | 0.5 | 0.5 | 0.5 |"
        )
    return "\n".join(rows) + "\n"


def spread(values: list[float]) -> str:
    """Mean and standard deviation of those that are known."""
    known = [value for value in values if np.isfinite(value)]
    if not known:
        return ""
    deviation = f" ± {np.std(known, ddof=1):.3f}" if len(known) > 1 else ""
    return f"{np.mean(known):.3f}{deviation}"


def cells_of(seed: int) -> list[dict[str, Any]]:
    """What is known of a seed."""
    path = RESULTS / f"seed{seed}.json"
    return json.loads(path.read_text(encoding="utf-8"))["cells"] if path.is_file() else []


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--only", nargs="+", default=list(STARTS), choices=list(STARTS))
    parser.add_argument("--patients", type=int, default=PATIENTS)
    parser.add_argument("--summary", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for seed in () if given.summary else given.seeds:
        cells = cells_of(seed)
        for name in given.only:
            if name in {one["name"] for one in cells}:
                continue
            cells.append(cell(name, seed, given.work, given.patients))
            content = {
                "patients": given.patients,
                "side": SIDE,
                "epochs": EPOCHS,
                "environment": environment(),
                "cells": cells,
            }
            write_text(RESULTS / f"seed{seed}.json", json.dumps(content, indent=1, default=str) + "\n")
            one = cells[-1]
            shown = {title: round(value_of(one, path), 3) for title, path in COLUMNS.items()}
            print(seed, name, round(one.get("cpu_seconds", 0)), shown, flush=True)
    write_text(HERE / "tables.md", markdown([one for seed in SEEDS for one in cells_of(seed)]))
    print((HERE / "tables.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
