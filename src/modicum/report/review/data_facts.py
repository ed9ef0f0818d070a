"""What a run knows of its data."""

from collections.abc import Callable, Mapping

from modicum.report.classification_words import counts
from modicum.report.files import RunFiles, as_mapping, number
from modicum.report.flow import flow_of
from modicum.report.words import count, percent, plural, sentence_list

Words = tuple[str, str]
_TITLES = {"train": "training", "val": "validation", "test": "test"}


def _data(run: RunFiles) -> Words:
    name = run.fingerprint.get("name") or run.manifest_info.get("name")
    images, patients = number(run.fingerprint.get("images")), number(run.fingerprint.get("patients"))
    if images is None and run.manifest is not None:
        images = len(run.manifest)
    if images is None:
        return "", ""
    of = f" of {plural(int(patients), 'patient')}" if patients else ""
    return f"{f'data set “{name}”: ' if name else ''}{plural(int(images), 'image')}{of}", "fingerprint.json"


def _files(run: RunFiles) -> Words:
    formats = as_mapping(run.fingerprint.get("formats"))
    heights, widths = as_mapping(run.fingerprint.get("height")), as_mapping(run.fingerprint.get("width"))
    parts = [f"{name.upper()} {count(n)}" for name, n in formats.items() if number(n) is not None]
    if number(heights.get("median")) is not None and number(widths.get("median")) is not None:
        parts.append(f"median size {count(widths.get('median'))} × {count(heights.get('median'))} pixels")
    return ", ".join(parts), "fingerprint.json"


def _notes(run: RunFiles) -> Words:
    notes = run.fingerprint.get("notes")
    kept = [str(note).rstrip(".") for note in notes] if isinstance(notes, list) else []
    return "; ".join(kept[:6]), "fingerprint.json"


def _preparation(run: RunFiles) -> Words:
    image = as_mapping(run.recipe.get("image"))
    size = image.get("size")
    parts = [f"resized to {size[1]} × {size[0]} pixels"] if isinstance(size, list) and len(size) == 2 else []
    names = {"resize": "how", "filter": "filter", "crop": "crop", "window": "window"}
    parts += [
        f"{title}: {image[key]}" for key, title in names.items() if image.get(key) not in (None, "none")
    ]
    return "; ".join(parts), "recipe.yaml"


def _unused(run: RunFiles) -> Words:
    flow = flow_of(run)
    if flow is None:
        return "", ""
    unused = sum(part.images for part in flow.parts if part.name.startswith("Left out"))
    slices = run.recipe_data.get("slices")
    words = f"{plural(unused, 'image')} in none of the splits" if unused else "all images are in a split"
    return f"{words}; slices of volumes: {slices}" if slices else words, "manifest.csv, recipe.yaml"


def _broken(run: RunFiles) -> Words:
    if run.manifest is None:
        return "", ""
    flow = flow_of(run)
    reasons = "; ".join(f"{count(n)} {reason}" for reason, n in flow.details[:5]) if flow else ""
    if not run.broken:
        return "every image could be read", "manifest.csv"
    return f"{plural(run.broken, 'file')} could not be read and were set aside ({reasons})", "broken.csv"


def _quality(run: RunFiles) -> Words:
    graded = run.recipe_data.get("quality")
    return ("images were graded by another run first" if graded else ""), "quality.csv, recipe.yaml"


def _unlabelled(run: RunFiles) -> Words:
    flow = flow_of(run)
    if flow is None:
        return "", ""
    without = [
        f"{count(p.not_evaluated)} of the {p.name.lower()} images" for p in flow.parts if p.not_evaluated > 0
    ]
    return (f"without a truth: {sentence_list(without)}" if without else ""), "manifest.csv, predictions.csv"


def _splits(run: RunFiles) -> Words:
    flow = flow_of(run)
    if flow is None:
        return "", ""
    sizes = sentence_list(
        [
            f"{part.name.lower()} {percent(100 * part.images / flow.kept)} % ({count(part.images)})"
            for part in flow.parts
        ]
    )
    seed = run.recipe_data.get("split_seed")
    seed = run.recipe.get("seed", 0) if seed is None else seed
    notes = run.fingerprint.get("notes")
    drawn = (
        [note for note in notes if "split" in str(note) and "seed" in str(note)]
        if isinstance(notes, list)
        else []
    )
    how = "drawn by modicum" if drawn else "as the data give it, or drawn where they give none"
    return f"{sizes}; {how} (seed {seed})", "manifest.csv, recipe.yaml"


def _disjoint(run: RunFiles) -> Words:
    table = run.manifest
    if table is None or "split" not in table or "patient" not in table or not (table["patient"] != "").any():
        return "", ""
    known = table[(table["patient"] != "") & (table["split"] != "")]
    shared = int((known.groupby("patient")["split"].nunique() > 1).sum())
    people = int(known["patient"].nunique())
    if shared:
        return (
            f"not disjoint: {count(shared)} of {plural(people, 'patient')} are in more than one split",
            "manifest.csv",
        )
    return f"by patient: none of the {plural(people, 'patient')} is in more than one split", "manifest.csv"


def _copies(run: RunFiles) -> Words:
    handling = run.recipe_data.get("leaks")
    if not isinstance(handling, str):
        return "", ""
    words = {
        "error": "a copy of an image in another split would have stopped the training",
        "drop": "copies of images in other splits were dropped from training",
        "allow": "copies of images in other splits were allowed",
    }
    return words.get(handling, ""), "recipe.yaml"


def _balance(run: RunFiles) -> Words:
    if run.task_name != "classification":
        return "", ""
    rows = counts(run)
    parts = []
    for name, of_split in rows[:12]:
        numbers = "/".join(count(of_split.get(split, 0)) for split in ("train", "val", "test"))
        parts.append(f"“{name}” {numbers}")
    return (f"training/validation/test: {'; '.join(parts)}" if parts else ""), "manifest.csv"


def _sizes(run: RunFiles) -> Words:
    main = run.main
    if main is None:
        return "", ""
    images, patients = number(main.info.get("images")), number(main.info.get("patients"))
    of = f" of {plural(int(patients), 'patient')}" if patients else ""
    return f"{main.title}: {plural(int(images or 0), 'image')}{of}", "evaluations, metrics.json"


def _participants(run: RunFiles) -> Words:
    flow = flow_of(run)
    if flow is None:
        return "", ""
    parts = []
    for part in flow.parts:
        people = "" if part.patients is None else f" of {plural(part.patients, 'patient')}"
        parts.append(f"{part.name.lower()}: {plural(part.images, 'image')}{people}")
    balance = _balance(run)[0]
    return "; ".join([*parts, *([f"by class, {balance}"] if balance else [])]), "manifest.csv"


DATA_FACTS: Mapping[str, Callable[[RunFiles], Words]] = {
    "data": _data,
    "files": _files,
    "notes": _notes,
    "preparation": _preparation,
    "unused": _unused,
    "broken": _broken,
    "quality": _quality,
    "unlabelled": _unlabelled,
    "splits": _splits,
    "disjoint": _disjoint,
    "copies": _copies,
    "balance": _balance,
    "sizes": _sizes,
    "participants": _participants,
}
"""By name, from a run to a text (empty for what is not known) and the files it comes from."""
