"""Splits by patient: stratified, seeded, and independent of the order of rows.

Patients are ordered by a hash of seed and id, not by a shuffle of rows: adding a patient does not move others
within that order, and the first tenth of a class's patients contains the first hundredth. Stratification is
iterative (Sechidis et al., "On the Stratification of Multi-Label Data", ECML PKDD 2011) with patients instead of
samples: the rarest class or finding is assigned first, each of its patients to the part that lacks
it most.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from modicum.data.kept_together import joined_note, number_joined, split_units
from modicum.data.manifest import LABELS_PREFIX, OTHER_SPLIT, REFERENCE, SPLITS, Manifest, class_order
from modicum.errors import InputError
from modicum.wording import count_of, listed

NO_PATIENTS = "patients are not known, so one may be in several splits: pass their column with --patient"


@dataclass(frozen=True)
class Patients:
    """The patients of a manifest in their seeded order.

    Args:
        ids: from :func:`~modicum.data.kept_together.split_units`: patients with a picture in common count as one.
        rows: rows of each patient's images.
        labels: class and finding names, the rarest among patients first.
        counts: number of images of each patient with each label; unknown labels do not count.
    """

    ids: list[str]
    rows: list[list[int]]
    labels: list[str]
    counts: Float[np.ndarray, "patients labels"]


def patients_in_order(manifest: Manifest, seed: int, by_domain: bool = False) -> Patients:
    """Groups the rows by patient; the order depends only on the seed and the ids.

    With ``by_domain`` domains are among the labels.
    """
    rows: dict[str, list[int]] = {}
    for row, patient in enumerate(split_units(manifest)):
        rows.setdefault(patient, []).append(row)
    ids = sorted(rows, key=lambda patient: (_ticket(patient, seed), patient))
    names, has = _label_table(manifest)
    if by_domain:
        domains = class_order(manifest.table["domain"].dropna())
        names = [*names, *(f"domain:{domain}" for domain in domains)]
        has = np.column_stack([has, *(manifest.table["domain"] == domain for domain in domains)])
    counts = np.array([has[rows[patient]].sum(0) for patient in ids]).reshape(len(ids), len(names))
    rarity = sorted(range(len(names)), key=lambda column: (int((counts[:, column] > 0).sum()), names[column]))
    return Patients(ids, [rows[p] for p in ids], [names[column] for column in rarity], counts[:, rarity])


def split_by_patient(
    manifest: Manifest, fractions: Sequence[float] = (0.7, 0.15, 0.15), seed: int = 0
) -> Manifest:
    """Splits the patients into train, val and test, replacing any existing split.

    Every class (finding) with at least as many patients as there are splits is in each of them, unless
    patients with several labels make that impossible.

    Args:
        manifest: the images; a blank patient counts as a separate one.
        fractions: fractions of the images for train, val and test; 0 for no such split.
        seed: random seed.

    Raises:
        InputError: invalid fractions, or too few patients.
    """
    fractions = _checked(fractions)
    part_of_row = _deal(manifest, fractions, seed)
    names = np.array(SPLITS, dtype=object)[part_of_row]
    counts = ", ".join(f"{split} {int((names == split).sum())}" for split in SPLITS if (names == split).any())
    has_patients = "patient" in manifest.table and manifest.table["patient"].notna().any()
    unit, warning = ("patient", "") if has_patients else ("image file", "; " + NO_PATIENTS)
    return manifest.with_columns(
        [f"split by {unit} (seed {seed}): {counts} images{joined_note(manifest)}{warning}"], split=names
    )


def carve_validation(
    manifest: Manifest, fraction: float = 0.15, seed: int = 0, by_domain: bool = False
) -> Manifest:
    """Moves a fraction of the training patients to ``val`` if a split has no validation images.

    Args:
        manifest: with a column ``split``.
        fraction: fraction of the training images.
        seed: random seed.
        by_domain: take the fraction from each domain with two patients or more.

    Raises:
        InputError: no split, no training images, or too few patients.
    """
    if "split" not in manifest.table:
        raise InputError(
            f"{manifest.source}: there is no split to take validation images from",
            "call split_by_patient first",
        )
    if len(manifest.part("val")):
        return manifest
    fractions = _checked((1 - fraction, fraction))
    is_train = (manifest.table["split"] == "train").to_numpy(dtype=bool)
    _require_images(manifest, ["train"])
    splits = manifest.table["split"].to_numpy(dtype=object, copy=True)
    splits[is_train] = np.array(SPLITS[:2], dtype=object)[
        _deal(manifest.subset(is_train), fractions, seed, by_domain)
    ]
    moved = int((splits == "val").sum())
    return manifest.with_columns(
        [f"set apart for validation: {count_of(moved, 'training image')} (seed {seed})"], split=splits
    )


def ensure_splits(
    manifest: Manifest,
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
    seed: int = 0,
    val_fraction: float = 0.15,
    one_class: bool = False,
) -> Manifest:
    """Ensures a split for training: completes and checks an existing one, or makes a new one by patient.

    With a ``val_fraction`` of 0, there is no validation split. With ``one_class`` all training images may have one label.

    Raises:
        InputError: an image is in no split; see :func:`split_by_patient`, :func:`carve_validation`, :func:`check_splits`.
    """
    manifest = without_other_splits(manifest)
    given = set(manifest.table["split"].dropna()) if "split" in manifest.table else set()
    if given == {REFERENCE}:
        manifest = _split_all_but_reference(manifest, fractions, seed)
    elif "split" in manifest.table:
        for row in np.flatnonzero(manifest.table["split"].isna())[:1]:
            raise InputError(f"{manifest.describe_row(int(row))}: split is blank", "write train, val or test")
        if val_fraction > 0:
            manifest = carve_validation(manifest, val_fraction, seed)
    else:
        manifest = split_by_patient(manifest, fractions, seed)
    check_splits(manifest, ("train", "val") if val_fraction > 0 else ("train",), one_class)
    return manifest


def without_other_splits(manifest: Manifest) -> Manifest:
    """Leaves out rows whose split is none of those that are known, with a note."""
    table = manifest.table
    if "split" not in table or OTHER_SPLIT not in table:
        return manifest
    other = (table["split"].isna() & table[OTHER_SPLIT].notna()).to_numpy(dtype=bool)
    if not other.any() or other.all():
        return manifest
    made = manifest.subset(~other)
    words = listed(f"'{word}'" for word in sorted(table.loc[other, OTHER_SPLIT].unique()))
    made.notes.append(f"left out: {count_of(int(other.sum()), 'image')} of split {words}")
    return made


def _split_all_but_reference(manifest: Manifest, fractions: Sequence[float], seed: int) -> Manifest:
    """Makes the split of all rows but the reference rows; a reference row's patient counts as a training patient."""
    is_reference = (manifest.table["split"] == REFERENCE).to_numpy(dtype=bool)
    made = split_by_patient(manifest.subset(~is_reference), fractions, seed)
    splits = manifest.table["split"].to_numpy(dtype=object, copy=True)
    splits[~is_reference] = made.table["split"].to_numpy(dtype=object)
    patients = np.array(split_units(manifest), dtype=object)
    splits[~is_reference & np.isin(patients, patients[is_reference])] = "train"
    return manifest.with_columns(made.notes[len(manifest.notes) :], split=splits)


def check_splits(
    manifest: Manifest, required: Collection[str] = ("train", "val"), one_class: bool = False
) -> None:
    """Checks a split for training.

    Raises:
        InputError: a required split is empty, a patient is in two splits, or training has a single class (which
            ``one_class`` allows).
    """
    _require_images(manifest, required)
    shared = shared_patients(manifest)
    if shared:
        examples = listed(f"'{patient}' in {' and '.join(splits)}" for patient, splits in shared.items())
        raise InputError(
            f"{manifest.source}: {count_of(len(shared), 'patient')} in several splits ({examples})",
            "correct the split, or leave it out to split by patient",
        )
    if not one_class and "train" in required and "label" in manifest.table and not manifest.findings:
        classes = manifest.part("train").classes()
        if len(classes) == 1:
            raise InputError(
                f"{manifest.source}: all training images have the label '{classes[0]}'",
                "add training images of another class",
            )


def shared_patients(manifest: Manifest) -> dict[str, list[str]]:
    """Patients (ids as in the table, or the file of slices) that are in several splits, with the splits."""
    if "split" not in manifest.table:
        return {}
    splits_of_patient: dict[str, set[str]] = {}
    for patient, split in zip(manifest.patients(), manifest.table["split"], strict=True):
        if isinstance(split, str):  # a method learns from its annotated examples
            splits_of_patient.setdefault(patient, set()).add("train" if split == REFERENCE else split)
    return {
        patient.partition(":")[2]: sorted(splits, key=SPLITS.index)
        for patient, splits in sorted(splits_of_patient.items())
        if len(splits) > 1
    }


def _deal(manifest: Manifest, fractions: tuple[float, ...], seed: int, by_domain: bool = False) -> np.ndarray:
    """The index of the part for each row."""
    patients = patients_in_order(manifest, seed, by_domain)
    wanted = [part for part, fraction in enumerate(fractions) if fraction > 0]
    if len(patients.ids) < len(wanted):
        fewer = "--set fractions=[1,0,0] trains without validation"
        if len(patients.ids) == 2:
            fewer = f"--set fractions=[0.5,0.5,0] has no test images; {fewer}"
        copies = " (those with a picture in common count as one)" if number_joined(manifest) else ""
        raise InputError(
            f"{manifest.source}: {count_of(len(patients.ids), 'patient')}{copies} cannot fill {len(wanted)} splits",
            f"add images of other patients, or use fewer splits ({fewer})",
        )
    part_of_patient = stratify(patients, [fractions[part] for part in wanted])
    part_of_row = np.empty(len(manifest), dtype=np.int64)
    for rows, part in zip(patients.rows, part_of_patient, strict=True):
        part_of_row[rows] = wanted[part]
    return part_of_row


def stratify(patients: Patients, fractions: Sequence[float]) -> list[int]:
    """The index of the part for each patient: rarest label first, to the part that lacks that label most."""
    sizes = [float(len(rows)) for rows in patients.rows]
    # Patients without any label come last, balanced only by the number of images.
    columns = [*patients.counts.T.tolist(), sizes]
    assigned = [-1] * len(sizes)
    has = [[0.0] * len(fractions) for _ in columns]
    carried = [np.flatnonzero(row).tolist() for row in patients.counts]
    for column, weights in enumerate(columns):
        goal = [fraction * sum(weights) for fraction in fractions]
        for patient, weight in enumerate(weights):
            if not weight or assigned[patient] >= 0:
                continue
            mine, placed, total = has[column], has[-1], sum(has[-1])
            # The third term lets later labels compensate parts that earlier ones left too small.
            scores = [
                (
                    not mine[part],
                    goal[part] - mine[part] + (0 if mine is placed else share * total - placed[part]),
                    share,
                )
                for part, share in enumerate(fractions)
            ]
            best = scores.index(max(scores))
            assigned[patient] = best
            for label in carried[patient]:
                has[label][best] += columns[label][patient]
            has[-1][best] += sizes[patient]
    return assigned


def _label_table(manifest: Manifest) -> tuple[list[str], Float[np.ndarray, "n labels"]]:
    """Names of classes or findings, and 1 where a row has them."""
    if manifest.findings:
        names = [LABELS_PREFIX + name for name in manifest.findings]
        return names, (manifest.table[names].to_numpy() == 1).astype(np.float64)
    names = manifest.classes()
    if not names:
        return [], np.zeros((len(manifest), 0))
    number = {name: index for index, name in enumerate(names)}
    has = np.zeros((len(manifest), len(names)))
    for row, label in enumerate(manifest.table["label"]):
        if label in number:
            has[row, number[label]] = 1
    return names, has


def _ticket(patient: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}\0{patient}".encode(), digest_size=16).digest()


def _checked(fractions: Sequence[float]) -> tuple[float, ...]:
    values = ", ".join(f"{fraction:g}" for fraction in fractions)
    bad = len(fractions) > len(SPLITS) or not fractions or fractions[0] <= 0 or min(fractions) < 0
    if bad or abs(sum(fractions) - 1) > 1e-6:
        raise InputError(
            f"fractions ({values}) are not train, val and test fractions that add up to 1",
            "use for instance 0.7,0.15,0.15",
        )
    return tuple(float(fraction) for fraction in fractions)


def _require_images(manifest: Manifest, required: Collection[str]) -> None:
    present = set(manifest.table["split"].dropna()) if "split" in manifest.table else set()
    for split in required:
        if split not in present:
            has = ", ".join(name for name in SPLITS if name in present) or "none"
            raise InputError(
                f"{manifest.source}: split '{split}' is empty (there are: {has})",
                f"write {split} in column 'split' of some rows",
            )
