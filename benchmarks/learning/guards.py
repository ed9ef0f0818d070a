"""Which images a run flags as unlike its training images: false alarms, and what it finds, on four kinds of real images.

    python benchmarks/learning/guards.py --data DIR --runs runs/guards --out benchmarks/results/guards.json

``DIR`` holds the folders ``fundus_dr_grading``, ``cxr_covid``, ``skin_ham10000`` and ``octa_vessels``. A small network
from random weights learns from each; then each run predicts its own test images, the same images changed in ways that
happen in practice, and the test images of the other three. What it can tell owes nothing to a good classifier.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

import modicum
import modicum.engine.fit as fitting
from modicum.data.manifest import Manifest
from modicum.engine.environment import environment

SMALL = {"backbone": "test_resnet", "weights": "random", "image_size": 96, "seed": 0, "leaks": "drop"}


def data_sets(folder: Path) -> dict[str, dict[str, Any]]:
    """What each data set is called, and how it is learned from."""
    covid = folder / "cxr_covid"
    return {
        "fundus": {"data": folder / "fundus_dr_grading", "method": "full", "label": "dr_grade", "epochs": 10},
        "radiographs": {
            "data": covid, "method": "full", "label": "covid", "epochs": 10,
            "split_lists": str(covid / "lists" / "covid1"),
        },
        "skin": {"data": folder / "skin_ham10000" / "labels.csv", "method": "full", "label": "dx", "epochs": 20},
        "angiograms": {
            "data": folder / "octa_vessels", "method": "segment", "epochs": 3, "architecture": "unet",
            "decoder_width": 32,
        },
    }  # fmt: skip


def levels(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """A change of values in [0, 1], for pictures of 8 bits."""
    return lambda picture: (255 * np.clip(change(picture / 255), 0, 1)).round().astype(np.uint8)


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "own test images": lambda picture: picture,
    "inverted": lambda picture: 255 - picture,
    "window too wide": levels(lambda x: 0.375 + 0.25 * x),
    "window too narrow": levels(lambda x: 4 * (x - 0.25)),
    "half as bright": levels(lambda x: 0.5 * x),
    "black": np.zeros_like,
    "one grey": lambda picture: np.full_like(picture, 128),
    "a third of the size": lambda picture: cv2.resize(
        picture, None, fx=1 / 3, fy=1 / 3, interpolation=cv2.INTER_AREA
    ),
    "turned by 90 degrees": lambda picture: np.ascontiguousarray(np.rot90(picture)),
    "upside down": lambda picture: np.ascontiguousarray(picture[::-1]),
    "without colour": lambda picture: np.repeat(
        cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)[..., None], 3, axis=2
    ),
    "blurred": lambda picture: cv2.GaussianBlur(picture, (0, 0), max(picture.shape) / 64),
}


def write_pictures(name: str, sources: list[Path], folder: Path) -> dict[str, Path]:
    """The test images of a set and their changed copies as PNG files, a folder each."""
    folders = {}
    for title, change in CHANGES.items():
        folders[title] = folder / name / title.replace(" ", "_")
        folders[title].mkdir(parents=True, exist_ok=True)
        for source in sources:
            picture = cv2.imread(str(source), cv2.IMREAD_COLOR)
            cv2.imwrite(str(folders[title] / f"{source.stem}.png"), change(picture))
    return folders


def flagged(run: Any, folder: Path, out: Path) -> dict[str, Any]:
    """How many images of a folder are flagged, and why."""
    dense = run.recipe.task == "segmentation"
    done = run.predict(folder, out / "pictures" if dense else out / "table.csv")
    table = pd.read_csv(out / "pictures" / "predictions.csv" if dense else out / "table.csv")
    reasons = table["unlike_training"].dropna().astype(str).str.split("; ").explode()
    return {"images": len(table), "flagged": done.unlike, "reasons": reasons.value_counts().to_dict()}


def covered(run: Any, root: Path, out: Path) -> dict[str, Any] | None:
    """How many test images' true classes prediction sets of level 0.9 hold, and how large they are."""
    saved = Manifest.read_saved(run.folder.manifest, Path()).table
    if run.recipe.task != "classification":
        return None
    tested = saved[saved["split"] == "test"].copy()
    tested["image"] = [str((root / image).resolve()) for image in tested["image"]]
    out.mkdir(parents=True, exist_ok=True)
    columns = [name for name in ("image", "label", "patient") if name in tested]
    named = {role: name for role, name in (run.recipe.data.columns or {}).items() if role in columns}
    tested[columns].rename(columns=named).to_csv(out / "test.csv", index=False)
    found = run.evaluate(out / "test.csv", allow_outside=True, conformal=0.1, out=out / "evaluation")
    return {
        name: found["metrics"][name] for name in found["metrics"] if name.startswith(("coverage", "set_size"))
    }


def with_masks(folder: Path, out: Path) -> Path:
    """A table of the angiograms and their masks: of ten images one to test and two to validate."""
    files = pd.read_csv(folder / "manifest.csv", dtype=str)["file"]
    splits = ["test", "val", "val", *["train"] * 7]
    rows = [
        {"image": folder / "images" / file, "mask": folder / "masks" / file, "split": splits[number % 10]}
        for number, file in enumerate(files)
    ]
    out.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(out / "angiograms.csv", index=False)
    return out / "angiograms.csv"


def trained(name: str, settings: dict[str, Any], runs: Path) -> tuple[Any, float]:
    """A run, and the seconds that keeping its training images took; NaN of one that is there already."""
    if (runs / name / "metrics.json").is_file():
        return modicum.Run.open(runs / name), float("nan")
    seconds, keep = [0.0], fitting.keep_training_images

    def timed(*arguments: Any) -> Any:
        began = time.perf_counter()
        kept = keep(*arguments)
        seconds[0] += time.perf_counter() - began

        def counted(rows: np.ndarray) -> Any:
            began = time.perf_counter()
            counts = kept(rows)
            seconds[0] += time.perf_counter() - began
            return counts

        return counted

    fitting.keep_training_images = timed
    try:
        return modicum.fit(name=name, runs=runs, overwrite=True, **SMALL, **settings), seconds[0]
    finally:
        fitting.keep_training_images = keep


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--most", type=int, default=30, help="Test images of each set.")
    parser.add_argument(
        "--sets", default="fundus,radiographs,skin,angiograms", help="Those that are learned from."
    )
    arguments = parser.parse_args()
    learned, most = arguments.sets.split(","), arguments.most
    began = time.perf_counter()
    opened, pictures, content, roots = {}, {}, {}, {}
    for name, settings in data_sets(arguments.data).items():
        images = settings["data"].parent if settings["data"].is_file() else settings["data"]
        if name not in learned:  # others are shown its images
            files = sorted((images / "images").glob("*.*"))
            pictures[name] = write_pictures(
                name, files[:: max(1, len(files) // most)][:most], arguments.runs / "pictures"
            )
            continue
        if name == "angiograms":
            settings |= {"data": with_masks(images, arguments.runs), "allow_outside": True}
        run, seconds = trained(name, settings, arguments.runs)
        metrics = run.metrics
        own = {split: one["unlike_training"] for split, one in metrics["evaluations"].items()}
        content[name] = {
            "train_seconds": metrics["time"]["train_seconds"],
            "fit_seconds": metrics["time"]["fit_seconds"],
            "guard_seconds": None if np.isnan(seconds) else seconds,
            "training_images": json.loads((run.path / "training_images.json").read_text())["images"],
            "evaluations": own,
        }
        saved = Manifest.read_saved(run.folder.manifest, Path()).table
        tested = saved[saved["split"] == "test"]["image"].tolist()
        chosen = tested[:: max(1, len(tested) // most)][:most]
        sources = [next(iter((images / "images").rglob(Path(image).name))) for image in chosen]
        roots[name] = images
        opened[name], pictures[name] = run, write_pictures(name, sources, arguments.runs / "pictures")
    for name, run in opened.items():
        folders = dict(pictures[name])
        folders |= {f"{other}": pictures[other]["own test images"] for other in pictures if other != name}
        place = arguments.runs / "predictions" / name
        place.mkdir(parents=True, exist_ok=True)
        content[name]["conformal"] = covered(run, roots[name], place)
        content[name]["flagged"] = {title: flagged(run, folder, place) for title, folder in folders.items()}
    arguments.out.write_text(
        json.dumps(
            {
                "schema": 1,
                "command": "python benchmarks/learning/guards.py --data DIR --runs DIR --out FILE",
                "environment": environment(),
                "settings": SMALL,
                "seconds": time.perf_counter() - began,
                "runs": content,
            },
            indent=1,
        )
        + "\n"
    )
    print(table_of(content))


def table_of(content: dict[str, Any]) -> str:
    """Shares that were flagged, as Markdown: a row a change, a column a run."""
    names = list(content)
    titles = list(dict.fromkeys(title for one in content.values() for title in one["flagged"]))
    lines = ["| images | " + " | ".join(names) + " |", "| --- |" + " ---: |" * len(names)]
    for title in titles:
        cells = []
        for name in names:
            one = content[name]["flagged"].get(title)
            cells.append("" if one is None else f"{one['flagged']} of {one['images']}")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
