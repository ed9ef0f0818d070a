"""Columns of a table as a manifest has them: roles, findings, eyes, splits, and labels tidied."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from modicum.data.layouts.label_cells import (
    label_cautions,
    list_in,
    mark_of,
    several_labels,
    spelling_cautions,
    words_of,
)
from modicum.data.manifest import (
    COLUMNS,
    LABELS_PREFIX,
    OTHER_SPLIT,
    REFERENCE,
    Manifest,
    class_order,
    name_classes,
    text_column,
)
from modicum.data.roles import ROLES
from modicum.errors import InputError, did_you_mean
from modicum.wording import count_of, listed

# What people and programs write where nothing is known. 'None' is not among them: it can be a class.
_MISSING = {"nan", "NaN", "NA", "N/A", "<NA>"}
_SPLIT_NAMES = {
    "train": ("train", "training", "tr"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
    REFERENCE: (REFERENCE,),
}
_EYES = {
    "L": ("l", "left", "os", "left eye", "oculus sinister"),
    "R": ("r", "right", "od", "right eye", "oculus dexter"),
}
_FINDING_VALUES = {"1": 1.0, "0": 0.0, "-1": np.nan, "": np.nan}
_WHOLE = r"-?\d+(\.0+)?"
_NOTHING_FOUND = {"none", "no finding", "no findings"}


def split_of(name: str) -> str | None:
    """``train``, ``val`` or ``test`` for any of their usual names; None for another word."""
    return next((split for split, names in _SPLIT_NAMES.items() if name.strip().lower() in names), None)


def arrange(
    table: pd.DataFrame, columns: Mapping[str, str | Sequence[str]] | None, source: str
) -> pd.DataFrame:
    """Gives each column the name of its role.

    A column that a role is taken from moves there; one that stood there before stays as ``file_<name>``. A
    role named ``""`` is left out. Roles that are not named are found by their own name, in any case.

    Raises:
        InputError: an unknown role, a column that is not there, or no ``image`` column.
    """
    wanted = dict(columns or {})
    for role in wanted:
        if role not in ROLES:
            raise InputError(f"'{role}' is not a role of a column", did_you_mean(role, ROLES))
    for role in ROLES:
        same = [str(name) for name in table if str(name).lower() == role]
        if role not in wanted and role not in table and len(same) == 1:
            wanted[role] = same[0]
    arranged: dict[str, pd.Series] = {}
    used: set[str] = set()
    for role, given in wanted.items():
        names = [given] if isinstance(given, str) else list(given)
        if len(names) > 1 and not ROLES[role].several:
            raise InputError(f"role '{role}' is given {len(names)} columns ({listed(names)})", "name one")
        for name in filter(None, names):
            if name not in table:
                raise InputError(f"{source}: no column '{name}'", did_you_mean(name, map(str, table)))
            arranged[f"{LABELS_PREFIX}{name}" if _is_finding(role, given, table) else role] = table[name]
            used.add(name)
    # A label column asked for by name means one class an image, whatever findings the table has as well.
    replaced = set(wanted) | ({"labels"} if "label" in (columns or {}) and "labels" not in wanted else set())
    for name in map(str, table.columns):
        if name not in used:
            is_replaced = name in replaced or ("labels" in replaced and name.startswith(LABELS_PREFIX))
            arranged[f"file_{name}" if is_replaced else name] = table[name]
    if "image" not in arranged:
        raise InputError(f"{source}: no column 'image'", _image_hint(table))
    return pd.DataFrame(arranged)


def _is_finding(role: str, given: str | Sequence[str], table: pd.DataFrame) -> bool:
    """One column a finding, not one text column for all of them."""
    if role != "labels":
        return False
    names = [given] if isinstance(given, str) else list(given)
    return len(names) > 1 or all(_is_number(cell) for cell in table[names[0]].dropna())


def _image_hint(table: pd.DataFrame) -> str:
    from modicum.data.readers import IMAGE_SUFFIXES

    names = list(map(str, table))
    for name in names:
        first = table[name].dropna().head(5)
        if len(first) and all(str(value).lower().endswith(tuple(IMAGE_SUFFIXES)) for value in first):
            return f"did you mean '{name}'? name it with --image {name} (columns: {', '.join(names)})"
    return f"name it with --image COLUMN (columns: {', '.join(names)})"


def tidy(manifest: Manifest, classes: Sequence[str] | None = None) -> Manifest:
    """Labels, findings, eyes and splits in their one way of writing.

    Raises:
        InputError: a split or a finding's value that is not known, with its row.
    """
    table = manifest.table.copy()
    notes = list(manifest.notes)
    for name in COLUMNS:
        if name in table and name not in ("image", "report"):  # a report may say 'NA'
            table[name] = table[name].where(~table[name].isin(_MISSING))
    if "label" in table and "labels" not in table and manifest.places:
        how = several_labels(table["label"], classes or (), manifest.source)
        if how is not None:
            table, more = _as_labels(table, how)
            notes += more
    if "label" in table:
        table["label"] = _whole_numbers(table["label"])
        notes += label_cautions(table["label"].dropna().tolist())
    if "eye" in table:
        table["eye"], more = _eyes(manifest, table["eye"])
        notes += more
    if "split" in table:
        table, more = _splits(manifest, table)
        notes += more
    if "labels" in table and "label" not in table and _are_numbers(table["labels"]):
        table = table.rename(columns={"labels": "label"})
        table["label"] = _whole_numbers(table["label"])
        notes.append("column 'labels' holds one number a row and was read as 'label'")
    if "labels" in table:
        found, more = _findings_of_text(manifest, table.pop("labels"), classes)
        table = table.assign(**found)
        notes += more
    return replace(manifest, table=table, notes=notes)


def _as_labels(table: pd.DataFrame, how: str) -> tuple[pd.DataFrame, list[str]]:
    """The column ``label`` as ``labels``, or without the brackets where each list has one label."""
    words = [None if isinstance(cell, float) else words_of(cell, how[-2]) for cell in table["label"]]
    if all(row is None or len(row) == 1 for row in words):
        table["label"] = text_column(row[0] if row else None for row in words)
        return table, [f"column 'label' holds its labels {how} of one"]
    most = max(len(row or ()) for row in words)
    note = f"column 'label' holds up to {most} labels a row, {how}: read as findings"
    return table.rename(columns={"label": "labels"}), [note]


def _are_numbers(cells: pd.Series) -> bool:
    known = cells[~cells.isin(_MISSING)].dropna()
    return len(known) > 0 and all(map(_is_number, known))


def _is_number(cell: str) -> bool:
    return cell in _MISSING or re.fullmatch(_WHOLE, cell) is not None


def _whole_numbers(labels: pd.Series) -> pd.Series:
    """``1.0`` becomes ``1`` where all labels are whole numbers: pandas writes them so if a cell is blank."""
    known = labels.dropna()
    if len(known) and known.str.fullmatch(_WHOLE).all():
        return labels.str.replace(r"\.0+$", "", regex=True)
    return labels


def _eyes(manifest: Manifest, eyes: pd.Series) -> tuple[pd.Series, list[str]]:
    """Eyes as L and R. Little depends on them, so that another word is noted and counts as unknown."""
    names = {word: eye for eye, words in _EYES.items() for word in words}
    known = eyes.map(lambda value: names.get(value.strip().lower(), np.nan), na_action="ignore")
    strange = np.flatnonzero(eyes.notna() & known.isna())
    if not len(strange):
        return known, []
    first = f"{manifest.place(int(strange[0]))}: eye '{eyes.iloc[strange[0]]}' is neither L nor R"
    return known, [f"{first} and counts as unknown ({count_of(len(strange), 'row')} in all)"]


def _splits(manifest: Manifest, table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Splits as train, val and test; other words move to a column of their own, where they can be asked for."""
    splits = table["split"]
    known = splits.map(lambda value: split_of(value) or np.nan, na_action="ignore")
    is_other = splits.notna() & known.isna()
    if not is_other.any():
        return table.assign(split=known), []
    words = sorted(splits[is_other].unique())
    first = manifest.place(int(np.flatnonzero(is_other)[0]))
    quoted = listed(f"'{word}'" for word in words)
    seen = f"{first}: split {quoted} is not train, val or test"
    table = table.assign(**{OTHER_SPLIT: splits.where(is_other)})
    if known.isna().all():
        table = table.drop(columns="split")
        return table, [f"{seen}, and no row is in one of these: the column is not used as the split"]
    note = (
        f"{seen}: {count_of(int(is_other.sum()), 'row')} in no split (evaluate --split {words[0]} takes them)"
    )
    return table.assign(split=known), [note]


def finding_columns(table: pd.DataFrame, places: Sequence[str], source: str) -> pd.DataFrame:
    """Turns the text of ``labels:<name>`` columns into 1, 0 and NaN (-1 and blank are unknown).

    Raises:
        InputError: another value, with its row.
    """
    table = table.copy()
    for name in [str(column) for column in table if str(column).startswith(LABELS_PREFIX)]:
        finding = name.removeprefix(LABELS_PREFIX)
        cells = ["" if isinstance(cell, float) and np.isnan(cell) else str(cell) for cell in table[name]]
        table[name] = [
            _finding_value(c, finding, f"{source} {place}") for c, place in zip(cells, places, strict=True)
        ]
    return table


def uncertain_notes(table: pd.DataFrame) -> list[str]:
    """A note of the ``labels:<name>`` columns of text that hold -1, which counts as unknown, and how often."""
    findings = [str(name) for name in table if str(name).startswith(LABELS_PREFIX)]
    return _uncertain_note(
        name.removeprefix(LABELS_PREFIX)
        for name in findings
        for cell in table[name].dropna()
        if _plain(str(cell)) == "-1"
    )


def _uncertain_note(findings: Iterable[str]) -> list[str]:
    counts = Counter(findings)
    if not counts:
        return []
    each = ", ".join(f"{name} in {count_of(number, 'row')}" for name, number in counts.items())
    return [f"-1 (uncertain) counts as unknown: {each}"]


def _plain(cell: str) -> str:
    plain = re.sub(r"[.,]0+$", "", cell.strip())
    return "" if plain in _MISSING else plain


def _finding_value(cell: str, finding: str, place: str) -> float:
    plain = _plain(cell)
    if plain not in _FINDING_VALUES:
        raise InputError(f"{place}: finding '{finding}' is '{cell}'", "write 1, 0, -1 or nothing")
    return _FINDING_VALUES[plain]


def _findings_of_text(
    manifest: Manifest, cells: pd.Series, classes: Sequence[str] | None
) -> tuple[dict[str, list[float]], list[str]]:
    """``a|b`` (those named are found, all others not) and ``a=1|b=0|c=-1`` (those not named are unknown)."""
    mark = mark_of(cells)
    rows: list[dict[str, float] | None] = []
    explicit: list[bool] = []
    nothing = 0
    uncertain: list[str] = []
    for row, cell in enumerate(cells):
        words = [] if isinstance(cell, float) or cell in _MISSING else words_of(cell, mark)
        if len(words) == 1 and words[0].lower() in _NOTHING_FOUND and words[0] not in (classes or ()):
            nothing, words, known = nothing + 1, [], True
        else:
            # An empty list says that nothing was found, a blank says nothing.
            known = bool(words) or (isinstance(cell, str) and list_in(cell) == [])
        pairs = [word.rpartition("=") for word in words]
        values = {
            (name.strip() if eq else value): _finding_value(value, name, manifest.place(row)) if eq else 1.0
            for name, eq, value in pairs
        }
        uncertain += [name.strip() for name, eq, value in pairs if eq and _plain(value) == "-1"]
        rows.append(values if known else None)
        explicit.append(any(eq for _, eq, _ in pairs))
    names = list(classes) if classes else class_order({name for values in rows for name in values or ()})
    for row, found in enumerate(rows):
        for name in set(found or ()) - set(names):
            raise InputError(
                f"{manifest.place(row)}: finding '{name}' is not in {name_classes(names)}",
                "fix the row, or name all findings with --classes",
            )
    cautions = spelling_cautions(names)
    table = {
        LABELS_PREFIX + name: [
            np.nan if values is None else values.get(name, np.nan if exact else 0.0)
            for values, exact in zip(rows, explicit, strict=True)
        ]
        for name in names
    }
    notes = [f"{count_of(nothing, 'row')} without findings: 0 for each of them"] if nothing else []
    return table, notes + _uncertain_note(uncertain) + cautions
