"""What there is to say of the reports of a data set, in numbers alone; and which rows have the same labels or study."""

import hashlib
from collections import Counter

import numpy as np
from jaxtyping import Int64

from modicum.data.manifest import LABELS_PREFIX, Manifest
from modicum.data.reports import NumberedReports, Reports
from modicum.wording import count_of


def report_counts(reports: Reports, numbered: NumberedReports) -> list[str]:
    """Notes on images without a report, on reports of one sentence, that were cut or are the same, without their text."""
    notes = []
    missing = sum(text is None for text in reports.texts)
    if missing:
        notes.append(f"{count_of(missing, 'image')} without a usable report: nothing is learned from them")
    single = int((numbered.sentence_index.max(1, initial=-1) == 1).sum())
    if single:
        notes.append(
            f"{count_of(single, 'report')} of one sentence: nothing to tell it from, so no loss of sentences"
        )
    if numbered.cut:
        length = numbered.tokens.shape[1]
        notes.append(
            f"{count_of(numbered.cut, 'report')} longer than {length} tokens (report_length), or of more sentences than "
            "the method takes (max_sentences): cut"
        )
    repeated = sum(count for count in Counter(reports.present()).values() if count > 1)
    if repeated:
        notes.append(
            f"{count_of(repeated, 'image')} whose report another image has too: no negatives of each other"
        )
    return notes


def finding_sets(manifest: Manifest) -> Int64[np.ndarray, "rows"]:
    """The number of each row's labels taken together, for precision of retrieval; -1 for a row without a known label."""
    table = manifest.table
    names = [name for name in table if str(name).startswith(LABELS_PREFIX)] or [
        name for name in ("label",) if name in table
    ]
    if not names:
        return np.full(len(table), -1, dtype=np.int64)
    labels = table[names]
    unknown = (labels.isna() | (labels.astype(str) == "")).all(axis=1).to_numpy()
    sets = labels.astype(str).groupby(names, sort=True).ngroup().to_numpy()
    return np.where(unknown, -1, sets).astype(np.int64)


def study_numbers(manifest: Manifest, reports: Reports) -> Int64[np.ndarray, "rows"]:
    """The number of each row's study: of its patient's column ``study``, where there is one, or else of its report.

    Images of a patient with the same report are of one study; a row without a study or report is one by itself.
    """
    table = manifest.table
    patients = table["patient"].astype(str).tolist() if "patient" in table else [""] * len(table)
    named = "study" in table
    studies = table["study"].tolist() if named else reports.texts
    numbers: dict[tuple[str, str], int] = {}
    found = np.empty(len(table), dtype=np.int64)
    for row, (patient, study) in enumerate(zip(patients, studies, strict=True)):
        is_known = study is not None and study == study and str(study) != ""  # NaN is not itself
        key = (patient, str(study)) if is_known else ("", f"row {row}")
        found[row] = numbers.setdefault(key, len(numbers))
    return found


def report_digest(reports: Reports) -> str:
    """SHA-256 of the texts of all rows."""
    digest = hashlib.sha256()
    for text in reports.texts:
        digest.update(f"{text is None}\n{text}\0".encode())
    return digest.hexdigest()
