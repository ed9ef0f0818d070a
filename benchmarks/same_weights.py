"""That a change of the code changes no weights: small trainings of every method, and digests of what they learned.

    OMP_NUM_THREADS=1 python benchmarks/same_weights.py --out before.json
    OMP_NUM_THREADS=1 python benchmarks/same_weights.py --out after.json --against before.json

Five minutes on one core. Every method trains two epochs (aadg three) on made images, from random weights
and seed 0, through ``modicum.fit`` alone, so that the same script runs on the code before and after. Each run gets three
digests: ``weights`` (names, types, shapes and bytes), ``values`` (without the names: parameters that were merely renamed
keep it) and ``predictions`` (the numbers in the table of the test images). The bits are the same only on the same machine
with the same versions, which the file names too. ``results/same_weights.json`` is from before the contract of methods,
``results/same_weights_grading.json`` from after it and the work on files and grading: of the 53 trainings in both, two
differ, on purpose (``lora-recipe`` resizes bicubically as published; in ``full-focal`` class weights reach the loss).
The 20 methods that came later have the settings of ``tests/contract/small_trainings.py``;
``results/same_weights_newest.json`` has them alone, trained twice with the same bits.
"""

import argparse
import datetime
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import traceback
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any, NamedTuple

sys.path.append(str(Path(__file__).parents[1] / "tests" / "contract"))
os.environ["OMP_NUM_THREADS"] = "1"  # sums in another order are other sums

import modicum

# isort: split
import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file
from small_trainings import NEWEST, settings_of

from modicum.methods import method_class
from modicum.methods.checks import write_made_data

KINDS = {"eyes": "fundus", "chests": "chest", "heads": "mr"}
MADE = "made-"
"""Of the names of data sets that hold what a task's methods need; see ``modicum.methods.checks``."""
PATIENTS, SIDE = 16, 64
# The last weights, as the best may be those of the first epoch, which nothing later changes.
SMALL = {
    "weights": "random", "image_size": 32, "epochs": 2, "batch_size": 4, "lr": 1e-3, "warmup_epochs": 0, "seed": 0,
    "select": "last", "resamples": 20, "leaks": "allow", "device": "cpu", "workers": 0,
}  # fmt: skip


class Training(NamedTuple):
    """What is trained on which images; ``after``: the training that comes before it and leaves it run and stores."""

    method: str
    data: str
    settings: dict[str, Any]
    after: str | None = None


VIT, RESNET = {"backbone": "test_vit"}, {"backbone": "test_resnet"}
ADAPTED = (
    "adapter", "adaptformer", "attention", "bitfit", "dora", "dtl", "linear", "lora", "lst", "partial", "side", "ssf",
    "vpt",
)  # fmt: skip
ALL_OF_IT = {
    "pool": "mean", "drop_path": 0.1, "layer_decay": 0.65, "decay_vectors": False, "dropout": 0.2, "ema_decay": 0.9,
    "accumulate": 2, "sampling": "balanced", "label_smoothing": 0.1, "warmup_epochs": 1, "augment": "radiograph_strong",
}  # fmt: skip
FPT = {**VIT, "image_size": 64, "side_size": 32, "rho": 0.5}
MASKS = {**RESNET, "image_size": 48, "patch": 32, "decoder_width": 64, "passes": 1}
MIXED = {"mixup": 0.4, "mixstyle": 0.5, "augment": "randaugment", "flips": True, "loss": "dice+bce+cldice"}
SEARCH = {**MASKS, "architecture": "unet", "epochs": 3, "search_after": 1, "policies": 2}
DECODER = {**VIT, "report": "", "decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2}
REPORTS = {
    **DECODER,
    "report": "report",
    "report_width": 16,
    "report_depth": 1,
    "report_heads": 2,
    "report_length": 24,
}
PUBLISHED = {"report_positions": "all", "tied_output": True, "antialias": False, "pooler": True}
HEADS = {"width": 4, "blocks": 1, "discriminator_width": 4, "registration_width": 4, "batch_size": 2}
FIELD = {"field": "velocity", "anchor_weight": 0.4, "correction": "foreground", "penalty": "r1"}
TRAININGS = {
    **{name: Training(name, "eyes", VIT) for name in ADAPTED},
    "linear-live": Training("linear", "eyes", {**VIT, "features.mode": "live"}),
    "lora-all": Training("lora", "eyes", {**VIT, "targets": ["qv", "proj", "mlp"], "precision": "bf16"}),
    "lora-recipe": Training("lora", "eyes", {**VIT, "recipe": "cxr/lora_nih_100pct_mae", "rank": 4}),
    "vpt-shallow": Training("vpt", "eyes", {**VIT, "deep": False}),
    "full": Training("full", "eyes", VIT),
    "full-all": Training("full", "eyes", {**VIT, **ALL_OF_IT}),
    "full-best": Training("full", "eyes", {**RESNET, "augment": "fundus", "crop": "fundus", "select": "best"}),
    "full-findings": Training("full", "chests", {**RESNET, "augment": "chest", "optimizer": "sgd", "report": ""}),
    "full-focal": Training("full", "eyes", {**RESNET, "loss": "focal", "class_weights": "balanced"}),
    "full-held-out": Training("full", "eyes", {**RESNET, "held_out": "east", "label_fraction": 0.5}),
    "fpt": Training("fpt", "eyes", FPT),
    "fpt-views": Training("fpt", "eyes", {**FPT, "views": ["identity", "hflip", "rot90"], "store_dtype": "int8"}),
    "fpt-class": Training("fpt", "eyes", {**FPT, "score": "class_token", "prefix_tokens": "drop", "aligned_views": True}),
    "fpt_plus": Training("fpt_plus", "eyes", FPT),
    "fpt_plus-larger": Training("fpt_plus", "eyes", FPT, after="fpt"),  # reads a part of the records of fpt
    "segment": Training("segment", "eyes", {**MASKS, "select": "best"}),
    "segment-mixed": Training("segment", "eyes", {**MASKS, **MIXED}),
    "segment-classes": Training("segment", "eyes", {**MASKS, "mask": "disc", "architecture": "deeplabv3plus"}),
    "segment-segformer": Training("segment", "eyes", {**MASKS, "architecture": "segformer"}),
    "segment-fpn": Training("segment", "eyes", {**MASKS, "architecture": "fpn"}),
    "segment-vit": Training("segment", "eyes", {**MASKS, **VIT, "architecture": "upernet"}),
    "aadg": Training("aadg", "eyes", SEARCH),
    "aadg-reinforce": Training("aadg", "eyes", {**SEARCH, "learner": "reinforce", "drop_operations": 2}),
    "dr_grading": Training("dr_grading", "eyes", {**RESNET, "loss": "kappa", "both_eyes.epochs": 1}),
    "lesion_contrast": Training("lesion_contrast", "boxed", RESNET),
    "detect": Training("detect", "boxed", {**RESNET, "channels": 16, "head_width": 32}),
    "mae": Training("mae", "chests", DECODER),
    "mrm": Training("mrm", "chests", REPORTS),
    "mrm-published": Training("mrm", "chests", {**REPORTS, **PUBLISHED}),
    "full-mrm": Training("full", "chests", {**VIT, "report": "", "weights": "run:{runs}/mrm"}, after="mrm"),
    "reggan": Training("reggan", "heads", {**HEADS, "mode": "nc+r"}),
    **{f"reggan-{mode}": Training("reggan", "heads", {**HEADS, "mode": mode}) for mode in ("p", "nc", "c", "c+r")},
    **{
        f"{base}-{mode}": Training("reggan", "heads", {**HEADS, "base": base, "mode": mode})
        for base in ("nice_gan", "unit", "munit")
        for mode in ("nc+r", "c+r")
    },
    "reggan-field": Training("reggan", "heads", {**HEADS, **FIELD, "augment": [{"name": "misalign", "level": 3}]}),
    "reggan-slices": Training("reggan", "heads", {**HEADS, "neighbours": 1, "pairing": "shuffled"}),
    **{
        name: Training(name, MADE + method_class(name).tasks[0], settings_of(name))
        for name in (*NEWEST, "prior", "convirt", "gloria")
    },
}  # fmt: skip


def make_data(folder: Path) -> dict[str, str]:
    """Writes the made images and returns their digests: where these differ, all else does too."""
    digests = {}
    for name, kind in KINDS.items():
        options = ["--kind", kind, "--patients", str(PATIENTS), "--size", str(SIDE)]
        command = [sys.executable, "-m", "modicum", "phantoms", str(folder / name), *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        manifest = folder / name / "manifest.csv"
        table = pd.read_csv(manifest, dtype=str)
        if "domain" in table:  # aadg learns from two
            table["domain"] = [("east", "west")[int(patient[1:]) % 2] for patient in table["patient"]]
            table.to_csv(manifest, index=False)
        digests[name] = digest_of(folder / name)
    write_boxed(folder)
    for name in sorted({one.data for one in TRAININGS.values() if one.data.startswith(MADE)}):
        (folder / name).mkdir(parents=True)
        write_made_data(name.removeprefix(MADE), folder / name)
        digests[name] = digest_of(folder / name)
    return digests


def digest_of(folder: Path) -> str:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return digest(*(part for path in files for part in (path.name, path.read_bytes())))


def write_boxed(folder: Path) -> None:
    """The eyes again, with two boxes drawn by a fixed seed in each."""
    table, draw = pd.read_csv(folder / "eyes" / "manifest.csv", dtype=str), np.random.default_rng(0)
    corners = draw.integers(0, SIDE // 2, (len(table), 2, 2))
    sides = draw.integers(8, SIDE // 2, (len(table), 2, 2))
    table["image"] = [f"eyes/{image}" for image in table["image"]]
    table["boxes"] = [
        json.dumps({"boxes": np.hstack([corner, corner + side]).tolist(), "classes": ["dark", "bright"]})
        for corner, side in zip(corners, sides, strict=True)
    ]
    table[["image", "label", "patient", "split", "boxes"]].to_csv(folder / "boxed.csv", index=False)


def train(name: str, folder: Path) -> Path:
    """The run folder of one training."""
    one, runs = TRAININGS[name], folder / "runs"
    settings = {**SMALL, **one.settings}
    settings["weights"] = settings["weights"].format(runs=runs)
    made = folder / one.data / "made.csv"  # of some tasks; others use the table that the phantoms come with
    table = made if made.is_file() else folder / one.data / "manifest.csv"
    data = folder / "boxed.csv" if one.data == "boxed" else table
    # Stores of its own, so that a training alone gives what it gives among the others: see fpt_plus-larger.
    stores = folder / "stores" / (one.after or name)
    return modicum.fit(data, one.method, name=name, runs=runs, stores=stores, overwrite=True, **settings).path


def digests_of(run: Path) -> dict[str, str]:
    """The digests of what a run has learned."""
    tensors = load_file(run / "weights.safetensors")
    values = {
        name: digest(f"{tensor.dtype} {tuple(tensor.shape)}", tensor.numpy().tobytes())
        for name, tensor in tensors.items()
    }
    table = run / "evaluations" / "test" / "predictions.csv"
    # An encoder predicts nothing.
    numbers = pd.read_csv(table).select_dtypes("number").to_numpy() if table.exists() else np.empty((0, 0))
    return {
        "weights": digest(*(f"{name} {values[name]}" for name in sorted(values))),
        "values": digest(*sorted(values.values())),
        "predictions": digest(str(numbers.shape), numbers.astype(np.float64).tobytes()),
    }


def digest(*parts: str | bytes) -> str:
    made = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        made.update(len(content).to_bytes(8) + content)  # where one ends and the next begins counts too
    return made.hexdigest()


def facts() -> dict[str, Any]:
    """What the bits depend on, and the commit of the code that ran, which need not be this file's."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    git = ["git", "-C", str(Path(modicum.__file__).parent)]
    commit, changed = (
        subprocess.run([*git, *words], capture_output=True, text=True).stdout.strip()
        for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "."])
    )
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit + (" with changes" if changed else ""),
        "python": platform.python_version(),
        **{package: version(package) for package in ("torch", "torchvision", "timm", "numpy")},
        "cpu": next(line.split(":")[1].strip() for line in lines if "model name" in line),
        "vectors": torch.backends.cpu.get_cpu_capability(),
    }


def compare(found: dict[str, Any], before: dict[str, Any]) -> list[str]:
    """A line for all that is not as it was, among what was trained now."""
    for key in sorted(found.keys() - {"date", "commit", "seconds", "data", "runs"}):
        if found[key] != before.get(key):
            print(f"note: {key} was {before.get(key)} and is {found[key]}, which alone may change the bits")
    both = [name for name in found["data"] if name in before["data"]]
    lines = [f"images '{name}' differ" for name in both if found["data"][name] != before["data"][name]]
    for name, now in found["runs"].items():
        was = before["runs"].get(name, {})
        changed = [kind for kind in now if now[kind] != was.get(kind)]
        if not was:
            lines.append(f"{name}: not trained before")
        elif changed == ["weights"]:
            lines.append(f"{name}: weights differ in their names alone")
        elif changed:
            lines.append(f"{name}: {', '.join(changed)} differ")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="JSON file for the digests")
    parser.add_argument("--against", type=Path, help="such a file of before; exit code 1 if anything differs")
    parser.add_argument("--only", nargs="+", choices=TRAININGS, metavar="NAME", help="some of the trainings")
    parser.add_argument("--keep", type=Path, help="new folder for images and runs, or they are deleted")
    options = parser.parse_args()
    methods = {entry.name for entry in entry_points(group="modicum.methods")}
    if missing := methods - {one.method for one in TRAININGS.values()}:
        print(f"note: no training of {', '.join(sorted(missing))} yet")
    asked = options.only or list(TRAININGS)
    wanted = dict.fromkeys(name for last in asked for name in (TRAININGS[last].after, last) if name)
    torch.set_num_threads(1)
    began, failed = time.perf_counter(), []
    found: dict[str, Any] = {**facts(), "runs": {}}
    print(f"{Path(modicum.__file__).parent} at {found['commit']}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.keep or Path(temporary)).resolve()
        found["data"] = make_data(folder)
        for name in wanted:
            at = time.perf_counter()
            try:
                found["runs"][name] = digests_of(train(name, folder))
                result = found["runs"][name]["weights"][:16]
            except Exception as error:  # the others are worth knowing
                traceback.print_exc()
                result = f"failed: {error}"
                failed.append(f"{name}: {result}")
            print(f"{name:18s} {time.perf_counter() - at:4.1f} s  {result}", flush=True)
    found["seconds"] = round(time.perf_counter() - began)
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")
    lines = failed
    if options.against:
        lines = failed + compare(found, json.loads(options.against.read_text()))
        print("\n".join(lines) or f"{len(wanted)} trainings gave the same weights and predictions as before")
    if lines:
        sys.exit(1)


if __name__ == "__main__":
    main()
