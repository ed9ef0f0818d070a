"""Folds of a cross-validation: every patient is in one of them, whichever fold is asked for.

Patients (and groups of them with a picture in common) are dealt to the folds as :mod:`modicum.data.splits` deals them to
splits: by a seeded hash, the rarest class first. A test split that is given is one of every fold, and each fold's images
validate in turn; without one each fold's images are tested in turn, and validation images are a part of the other folds'
patients.
"""

from dataclasses import replace

import numpy as np

from modicum.data.kept_together import joined_note, number_joined, split_units
from modicum.data.manifest import LABELS_PREFIX, REFERENCE, Manifest
from modicum.data.splits import (
    NO_PATIENTS,
    Patients,
    carve_validation,
    check_splits,
    patients_in_order,
    stratify,
    without_other_splits,
)
from modicum.errors import InputError
from modicum.wording import count_of


def pooled_for_folds(manifest: Manifest) -> Manifest:
    """The manifest with its own training and validation images as one pool, from which folds are dealt.

    A split ``test`` and reference rows stay what they are. Without a test split the column holds reference rows only.

    Raises:
        InputError: an image is in no split where others are.
    """
    manifest = without_other_splits(manifest)
    if "split" not in manifest.table:
        return manifest
    splits = manifest.table["split"].to_numpy(dtype=object, copy=True)
    kept = np.isin(splits, ["test", REFERENCE])
    given = set(manifest.table["split"].dropna()) - {REFERENCE}
    if given:
        for row in np.flatnonzero(manifest.table["split"].isna())[:1]:
            raise InputError(f"{manifest.describe_row(int(row))}: split is blank", "write train, val or test")
    has_test = "test" in given
    notes = []
    if "val" in given:
        kept_test = "; its test split is kept" if has_test else ""
        notes = [f"the data's own train and val are one pool for the folds{kept_test}"]
    if not kept.any():
        return replace(manifest, table=manifest.table.drop(columns="split"), notes=[*manifest.notes, *notes])
    splits[~kept] = "train" if has_test else None
    return manifest.with_columns(notes, split=splits)


def split_of_fold(
    manifest: Manifest,
    folds: int,
    fold: int | None,
    seed: int = 0,
    val_fraction: float = 0.15,
    one_class: bool = False,
) -> Manifest:
    """The split of one fold, or of all together.

    Args:
        manifest: the images, as :func:`pooled_for_folds` returns them.
        folds: number of folds, from 2.
        fold: from 1; None for all of them: every image but those of a given test split is a training image.
        seed: random seed of the folds, and of the validation images.
        val_fraction: share of the training images that validate where no test split is given; 0 for none.
        one_class: whether all training images may have one label.

    Raises:
        InputError: fewer patients than folds, or no such fold; see also :func:`~modicum.data.splits.check_splits`.
    """
    if folds < 2 or (fold is not None and not 1 <= fold <= folds):
        raise InputError(f"fold {fold} of {folds}", "take two folds or more, and number them from 1")
    has_test = "split" in manifest.table and bool((manifest.table["split"] == "test").any())
    number = _fold_of_row(manifest, folds, seed)
    splits = np.full(len(manifest), "train", dtype=object)
    if "split" in manifest.table:
        given = manifest.table["split"].to_numpy(dtype=object)
        fixed = np.isin(given, ["test", REFERENCE])
        splits[fixed] = given[fixed]
    if fold is None:
        notes = [f"all {folds} folds are learned from: only images of a given test split were not seen"]
        return manifest.with_columns([*notes, *_cautions(manifest, number, folds, has_test)], split=splits)
    inside = number == fold
    splits[inside] = "val" if has_test else "test"
    notes = [
        _note(manifest, number, folds, fold, seed, has_test),
        *_cautions(manifest, number, folds, has_test),
    ]
    made = manifest.with_columns(notes, split=splits)
    if not has_test and val_fraction > 0:
        made = _with_validation(made, np.flatnonzero((number > 0) & ~inside), val_fraction, seed)
    check_splits(made, ("train", "val") if has_test or val_fraction > 0 else ("train",), one_class)
    return made


def _fold_of_row(manifest: Manifest, folds: int, seed: int) -> np.ndarray:
    """The fold of each row, from 1; 0 for rows that are in none: of a given test split, and reference rows with all
    images of their patients."""
    number = np.zeros(len(manifest), dtype=np.int64)
    pool = np.ones(len(manifest), dtype=bool)
    if "split" in manifest.table:
        given = manifest.table["split"].to_numpy(dtype=object)
        units = np.array(split_units(manifest), dtype=object)
        pool = ~np.isin(given, ["test", REFERENCE]) & ~np.isin(units, units[given == REFERENCE])
    rows = np.flatnonzero(pool)
    patients = patients_in_order(manifest.subset(rows), seed)
    _check_enough(manifest, patients, folds)
    for of_patient, part in zip(patients.rows, stratify(patients, [1 / folds] * folds), strict=True):
        number[rows[of_patient]] = part + 1
    return number


def _with_validation(manifest: Manifest, rows: np.ndarray, fraction: float, seed: int) -> Manifest:
    """Moves a fraction of some training rows to ``val``, by patient; patients of reference rows are not among them."""
    carved = carve_validation(manifest.subset(rows), fraction, seed)
    splits = manifest.table["split"].to_numpy(dtype=object, copy=True)
    splits[rows] = carved.table["split"].to_numpy(dtype=object)
    return manifest.with_columns(carved.notes[len(manifest.notes) :], split=splits)


def _check_enough(manifest: Manifest, patients: Patients, folds: int) -> None:
    """Raises InputError where there are fewer patients than folds, or too few to learn from and validate with."""
    count = len(patients.ids)
    if count >= max(folds, 3):
        return
    copies = " (those with a picture in common count as one)" if number_joined(manifest) else ""
    remedy = f"pass --folds {count} or fewer" if count >= 3 else "add patients: three are the fewest"
    raise InputError(f"{manifest.source}: {count_of(count, 'patient')}{copies} for {folds} folds", remedy)


def _note(manifest: Manifest, number: np.ndarray, folds: int, fold: int, seed: int, has_test: bool) -> str:
    """What is held out."""
    known = "patient" in manifest.table and manifest.table["patient"].notna().any()
    unit, warning = ("patient", "") if known else ("image file", "; " + NO_PATIENTS)
    return (
        f"fold {fold} of {folds} by {unit} (seed {seed}): {count_of(int((number == fold).sum()), 'image')} for "
        f"{'validation' if has_test else 'test'}{joined_note(manifest)}{warning}"
    )


def _cautions(manifest: Manifest, number: np.ndarray, folds: int, has_test: bool) -> list[str]:
    """What so few patients, or one domain, cannot tell."""
    cautions, use = [], "validation" if has_test else "test"
    patients = patients_in_order(manifest.subset(np.flatnonzero(number > 0)), 0)
    holders = (patients.counts > 0).sum(0)
    for name, many in zip(patients.labels, holders.tolist(), strict=True):
        if 0 < many < folds:
            cautions.append(
                f"caution: '{name.removeprefix(LABELS_PREFIX)}' is of {count_of(many, 'patient')}, and there are "
                f"{folds} folds: {count_of(folds - many, 'fold')} without a {use} image of it"
            )
    if "domain" in manifest.table and len(set(manifest.table["domain"].dropna())) == 1:
        cautions.append(
            f"caution: all images are of domain '{manifest.table['domain'].dropna().iloc[0]}': folds say nothing of "
            "other cameras or centres"
        )
    return cautions
