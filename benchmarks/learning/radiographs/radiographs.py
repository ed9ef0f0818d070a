"""The two sets of radiographs as tables, one to pre-train on and one of each task, and the vocabulary of reports."""

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from modicum import load
from modicum.atomic_files import write_text
from modicum.data.checks.duplicates import resolve_leaks
from modicum.data.reports import train_tokenizer
from modicum.data.splits import carve_validation
from modicum.data.stores.image_store import ImageStore, StoreSettings

SPLIT_SEED = 0
COVID_LISTS = "covid1"
VOCABULARY_SIZE = 4_000
LABELLED = ["image", "label", "patient", "split"]
PAIRED = ["image", "set", "patient", "split", "report"]


def radiographs(data: Path, out: Path) -> Path:
    """Writes images, tables and the vocabulary into a folder, which it returns; nothing where they are there already.

    ``pneumonia.csv`` and ``covid.csv`` have labels and all three splits; ``pretrain.csv`` has the training and validation
    images of both, with the clinical notes of ``covid`` as reports. What is nearly equal to an image of a later split, or
    shows a patient of it, is in none of them.

    Args:
        data: holds ``cxr_pneumoniamnist``, ``cxr_covid`` and ``cxr_reports``.
        out: is made.

    Raises:
        RuntimeError: something of a test split is among the images to pre-train on.
    """
    if (out / "counts.csv").is_file():
        return out
    (out / "images").mkdir(parents=True, exist_ok=True)
    everything = pd.concat([_pneumonia(data / "cxr_pneumoniamnist", out), _covid(data / "cxr_covid", out)])
    everything.to_csv(out / "all.csv", index=False)
    manifest = load(out / "all.csv")
    store = ImageStore.build_or_open(manifest.refs(), out / "stores", StoreSettings(128, 128))
    manifest, notes = resolve_leaks(manifest, store.facts, "drop")
    write_text(out / "left_out.txt", "".join(note + "\n" for note in notes))
    table = manifest.table
    for name, part in table.groupby("set"):
        part[LABELLED].to_csv(out / f"{name}.csv", index=False)
    seen, tested = table[table["split"] != "test"], table[table["split"] == "test"]
    check_apart(seen, tested, out)
    seen[PAIRED].to_csv(out / "pretrain.csv", index=False)
    notes_seen = seen.loc[seen["split"] == "train", "report"].dropna()
    train_tokenizer([*_indiana(data / "cxr_reports"), *notes_seen], VOCABULARY_SIZE).save(
        out / "vocabulary.json"
    )
    counts = table.groupby(["set", "split"]).agg(
        images=("image", "size"), positive=("label", lambda v: (v == "1").sum()), reports=("report", "count")
    )
    counts.to_csv(out / "counts.csv")
    return out


def check_apart(seen: pd.DataFrame, tested: pd.DataFrame, folder: Path) -> None:
    """That no test image is among those to learn from: by its name, its patient and its pixels.

    Raises:
        RuntimeError: one is.
    """
    for column in ("image", "patient"):
        shared = set(seen[column].dropna()) & set(tested[column].dropna())
        if shared:
            raise RuntimeError(f"{len(shared)} of column '{column}' are tested and learned from")
    digests = [{_pixels(folder / name) for name in part["image"]} for part in (seen, tested)]
    if digests[0] & digests[1]:
        raise RuntimeError("pixels of a test image are learned from")


def _pixels(path: Path) -> bytes:
    image = np.asarray(Image.open(path).convert("L"))
    return repr(image.shape).encode() + image.tobytes()


def _pneumonia(source: Path, out: Path) -> pd.DataFrame:
    """``train`` of the arrays, a seventh of it as validation; ``val`` of the arrays as the test split."""
    arrays = np.load(source / "pneumoniamnist_balanced.npz")
    rows: list[dict[str, Any]] = []
    for part, split in (("train", "train"), ("val", "test")):
        for number, image in enumerate(arrays[f"{part}_images"]):
            name = f"images/pneumonia_{part}{number:04d}.png"
            Image.fromarray(image).save(out / name)
            label = str(int(arrays[f"{part}_labels"][number, 0]))
            rows.append({"image": name, "set": "pneumonia", "label": label, "split": split})
    table = out / "pneumonia_all.csv"
    pd.DataFrame(rows).to_csv(table, index=False)
    return carve_validation(load(table), seed=SPLIT_SEED).table


def _covid(source: Path, out: Path) -> pd.DataFrame:
    """The images of the lists, with their splits, and the notes that some have."""
    known = pd.read_csv(source / "labels.csv", dtype=str).set_index("image")
    notes = pd.read_csv(source / "clinical_notes.csv", dtype=str).set_index("image")["clinical_notes"]
    rows: list[dict[str, Any]] = []
    for split in ("train", "val", "test"):
        listed = source / "lists" / COVID_LISTS / f"iscovid_{split}.txt"
        for line in listed.read_text(encoding="utf-8").splitlines():
            name, label = line.rsplit(maxsplit=1)
            shutil.copyfile(source / "images" / name, out / "images" / name)
            patient, report = known["patient"].get(name), notes.get(name)
            rows.append(
                {"image": f"images/{name}", "set": "covid", "label": label, "patient": patient, "split": split,
                 "report": report}
            )  # fmt: skip
    return pd.DataFrame(rows)


def _indiana(source: Path) -> list[str]:
    """Findings and impression of each report."""
    with (source / "indiana_reports.csv").open(encoding="utf-8", newline="") as file:
        return [f"{row['findings']} {row['impression']}".strip() for row in csv.DictReader(file)]
