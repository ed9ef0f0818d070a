"""Normalises the columns of a table: roles, findings, eyes, splits and labels."""

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

# How missing values are written. 'None' is not among them: it can be a class.
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
_SENTENCE = 6  # words
_WHOLE = r"-?\d+(\.0+)?"
_NO_FINDING = {"none", "no finding", "no findings"}


def split_of(name: str) -> str | None:
    """``train``, ``val`` or ``test`` for any of their usual names; None for other words."""
    return next((split for split, names in _SPLIT_NAMES.items() if name.strip().lower() in names), None)


def arrange(
    table: pd.DataFrame, columns: Mapping[str, str | Sequence[str]] | None, source: str
) -> pd.DataFrame:
    """Renames each column to its role.

    A column used for a role is renamed to it; an existing column of that name becomes ``file_<name>``. A
    role named ``""`` is left out. Roles that are not named are taken from columns of that name, in any case.

    Raises:
        InputError: an unknown role, a missing column, or no ``image`` column.
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
    for role, column in wanted.items():
        names = [column] if isinstance(column, str) else list(column)
        if len(names) > 1 and not ROLES[role].several:
            raise InputError(f"role '{role}' is given {len(names)} columns ({listed(names)})", "name one")
        for name in filter(None, names):
            if name not in table:
                raise InputError(f"{source}: no column '{name}'", did_you_mean(name, map(str, table)))
            arranged[f"{LABELS_PREFIX}{name}" if _is_finding(role, column, table) else role] = table[name]
            used.add(name)
    # A label column set by name means one class per image, even if the table also has findings.
    replaced = set(wanted) | ({"labels"} if "label" in (columns or {}) and "labels" not in wanted else set())
    for name in map(str, table.columns):
        if name not in used:
            is_replaced = name in replaced or ("labels" in replaced and name.startswith(LABELS_PREFIX))
            arranged[f"file_{name}" if is_replaced else name] = table[name]
    if "image" not in arranged:
        raise InputError(f"{source}: no column 'image'", _image_hint(table))
    return pd.DataFrame(arranged)


def _is_finding(role: str, column: str | Sequence[str], table: pd.DataFrame) -> bool:
    """Whether each column is one finding, rather than one text column for all."""
    if role != "labels":
        return False
    names = [column] if isinstance(column, str) else list(column)
    return len(names) > 1 or all(_is_number(cell) for cell in table[names[0]].dropna())


def _image_hint(table: pd.DataFrame) -> str:
    from modicum.data.readers import IMAGE_SUFFIXES

    names = list(map(str, table))
    for name in names:
        first = table[name].dropna().head(5)
        if len(first) and all(str(value).lower().endswith(tuple(IMAGE_SUFFIXES)) for value in first):
            return f"did you mean '{name}'? pass --image {name} (columns: {', '.join(names)})"
    return f"pass --image COLUMN (columns: {', '.join(names)})"


def tidy(manifest: Manifest, classes: Sequence[str] | None = None) -> Manifest:
    """Normalises labels, findings, eyes and splits.

    Raises:
        InputError: an unknown split or value of a finding, with its row.
    """
    table = manifest.table.copy()
    notes = list(manifest.notes)
    for name in COLUMNS:
        if name in table and name not in ("image", "report"):  # a report may say 'NA'
            table[name] = table[name].where(~table[name].isin(_MISSING))
    if "label" in table and "labels" not in table and manifest.origins:
        how = several_labels(table["label"], classes or (), manifest.source)
        if how is not None:
            table, more = _as_labels(table, how)
            notes += more
    if "label" in table:
        table["label"] = _whole_numbers(table["label"])
        notes += label_cautions(table["label"].dropna().tolist(), classes)
    if "eye" in table:
        table["eye"], more = _eyes(manifest, table["eye"])
        notes += more
    if "split" in table:
        table, more = _splits(manifest, table)
        notes += more
    if "labels" in table and "label" not in table and _are_numbers(table["labels"]):
        table = table.rename(columns={"labels": "label"})
        table["label"] = _whole_numbers(table["label"])
        notes.append("column 'labels' has one number per row and was read as 'label'")
    if "labels" in table:
        findings, more = _findings_of_text(manifest, table.pop("labels"), classes)
        table = table.assign(**findings)
        notes += more
    return replace(manifest, table=table, notes=notes)


def _as_labels(table: pd.DataFrame, how: str) -> tuple[pd.DataFrame, list[str]]:
    """The column ``label`` as ``labels``, or without the brackets where each list has one label."""
    words = [None if isinstance(cell, float) else words_of(cell, how[-2]) for cell in table["label"]]
    if all(row is None or len(row) == 1 for row in words):
        table["label"] = text_column(row[0] if row else None for row in words)
        return table, [f"column 'label' holds its labels {how} of one"]
    most = max(len(row or ()) for row in words)
    if (
        all(mark not in how for mark in "|;,") and how != "as lists"
    ):  # the sign says nothing to what reads findings
        table["label"] = text_column(None if row is None else row for row in words)
    how_written = how.replace("\t", "\\t").replace("\n", "\\n")
    notes = [f"column 'label' holds up to {most} labels a row, {how_written}: read as findings"]
    longest = max((word for row in words for word in row or ()), key=lambda word: len(word.split()))
    if len(longest.split()) >= _SENTENCE:
        notes.append(
            f"caution: some of them read like sentences ('{longest}'); name a column of reports with --report, or whole "
            "classes with --classes"
        )
    return table.rename(columns={"label": "labels"}), notes


def _are_numbers(cells: pd.Series) -> bool:
    values = cells[~cells.isin(_MISSING)].dropna()
    return len(values) > 0 and all(map(_is_number, values))


def _is_number(cell: str) -> bool:
    return cell in _MISSING or re.fullmatch(_WHOLE, cell) is not None


def _whole_numbers(labels: pd.Series) -> pd.Series:
    """``1.0`` becomes ``1`` if all labels are whole numbers: pandas writes them so if a cell is blank."""
    values = labels.dropna()
    if len(values) and values.str.fullmatch(_WHOLE).all():
        return labels.str.replace(r"\.0+$", "", regex=True)
    return labels


def _eyes(manifest: Manifest, eyes: pd.Series) -> tuple[pd.Series, list[str]]:
    """Normalises eyes to L and R. Other words count as unknown, with a note."""
    names = {word: eye for eye, words in _EYES.items() for word in words}
    sides = eyes.map(lambda value: names.get(value.strip().lower(), np.nan), na_action="ignore")
    strange = np.flatnonzero(eyes.notna() & sides.isna())
    if not len(strange):
        return sides, []
    first = f"{manifest.describe_row(int(strange[0]))}: eye '{eyes.iloc[strange[0]]}' is neither L nor R"
    return sides, [f"{first} and counts as unknown ({count_of(len(strange), 'row')} in all)"]


def _splits(manifest: Manifest, table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Splits as train, val and test; other words move to a column of their own, where they can be asked for."""
    splits = table["split"]
    splits_read = splits.map(lambda value: split_of(value) or np.nan, na_action="ignore")
    is_other = splits.notna() & splits_read.isna()
    if not is_other.any():
        return table.assign(split=splits_read), []
    words = sorted(splits[is_other].unique())
    first = manifest.describe_row(int(np.flatnonzero(is_other)[0]))
    quoted = listed(f"'{word}'" for word in words)
    seen = f"{first}: split {quoted} is not train, val, test or reference"
    table = table.assign(**{OTHER_SPLIT: splits.where(is_other)})
    if splits_read.isna().all():
        table = table.drop(columns="split")
        return table, [f"{seen}, and no row is in one of these: the column is not used as the split"]
    note = (
        f"{seen}: {count_of(int(is_other.sum()), 'row')} in no split (evaluate --split {words[0]} takes them)"
    )
    return table.assign(split=splits_read), [note]


def finding_columns(table: pd.DataFrame, origins: Sequence[str], source: str) -> pd.DataFrame:
    """Parses the text of ``labels:<name>`` columns to 1, 0 and NaN (-1 and blank are unknown).

    Raises:
        InputError: another value, with its row.
    """
    table = table.copy()
    for name in [str(column) for column in table if str(column).startswith(LABELS_PREFIX)]:
        finding = name.removeprefix(LABELS_PREFIX)
        cells = ["" if isinstance(cell, float) and np.isnan(cell) else str(cell) for cell in table[name]]
        table[name] = [
            _finding_value(c, finding, f"{source} {origin}") for c, origin in zip(cells, origins, strict=True)
        ]
    return table


def uncertain_notes(table: pd.DataFrame) -> list[str]:
    """A note on how often ``labels:<name>`` columns contain -1, which counts as unknown."""
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


def _finding_value(cell: str, finding: str, origin: str) -> float:
    plain = _plain(cell)
    if plain not in _FINDING_VALUES:
        raise InputError(
            f"{origin}: finding '{finding}' is '{cell}'", "write 1, 0, -1 or leave the cell blank"
        )
    return _FINDING_VALUES[plain]


def _findings_of_text(
    manifest: Manifest, cells: pd.Series, classes: Sequence[str] | None
) -> tuple[dict[str, list[float]], list[str]]:
    """Parses ``a|b`` (named findings are present, others absent) and ``a=1|b=0|c=-1`` (others unknown)."""
    mark = mark_of(cells)
    rows: list[dict[str, float] | None] = []
    explicit: list[bool] = []
    nothing = 0
    uncertain: list[str] = []
    for row, cell in enumerate(cells):
        words = [] if isinstance(cell, float) or cell in _MISSING else words_of(cell, mark)
        if len(words) == 1 and words[0].lower() in _NO_FINDING and words[0] not in (classes or ()):
            nothing, words, has_label = nothing + 1, [], True
        else:
            # An empty list says that nothing was found, a blank says nothing.
            has_label = bool(words) or (isinstance(cell, str) and list_in(cell) == [])
        pairs = [word.rpartition("=") for word in words]
        values = {
            (name.strip() if eq else value): _finding_value(value, name, manifest.describe_row(row))
            if eq
            else 1.0
            for name, eq, value in pairs
        }
        uncertain += [name.strip() for name, eq, value in pairs if eq and _plain(value) == "-1"]
        rows.append(values if has_label else None)
        explicit.append(any(eq for _, eq, _ in pairs))
    names = list(classes) if classes else class_order({name for values in rows for name in values or ()})
    for row, values_of_row in enumerate(rows):
        for name in set(values_of_row or ()) - set(names):
            raise InputError(
                f"{manifest.describe_row(row)}: finding '{name}' is not in {name_classes(names)}",
                f"fix the row, or pass all findings with --classes {','.join([*names, name])}",
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
