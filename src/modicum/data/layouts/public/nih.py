"""NIH ChestX-ray14: ``Data_Entry_2017.csv``, images in twelve folders, and its lists."""

from pathlib import Path

from modicum.data.layouts.public.chest_tables import files_below, is_wanted, read_lines, table_named
from modicum.data.layouts.public.contents import inside
from modicum.data.layouts.public.options import LayoutOptions
from modicum.data.layouts.public.rows import LayoutRows, Row
from modicum.data.manifest import LABELS_PREFIX
from modicum.data.table_cells import read_text
from modicum.errors import InputError
from modicum.wording import count_of, listed

NIH_ORDER = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
"""The findings in the order of the published lists with 14 labels per line."""
_NOTHING = "No Finding"
_COLUMNS = ("Image Index", "Finding Labels", "Patient ID")
# Lists next to the table: 70 : 10 : 20 by patient, or the official two, of which one is divided later.
_LISTS = (
    {"train_list.txt": "train", "val_list.txt": "val", "test_list.txt": "test"},
    {"train_val_list.txt": "train", "test_list.txt": "test"},
)


def is_nih(folder: Path) -> bool:
    """``Data_Entry_2017.csv`` with its columns."""
    return _table(folder) is not None


def read_nih(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads NIH ChestX-ray14: findings are present or absent; images are searched below the folder by name.

    Raises:
        InputError: a missing column, an unknown finding, or a list names an image that the table does not.
    """
    table = _table(folder)
    lines = read_lines(table, _COLUMNS, _COLUMNS[0]) if table else []
    files = files_below(folder)
    result = LayoutRows([], source=table.name if table else "")
    num_other_views = 0
    for line in lines:
        view = line.get("View Position")
        if not is_wanted(view, options):
            num_other_views += 1
            continue
        name = line["Image Index"]
        row: Row = {
            "image": files.get(name, folder / "images" / name),
            "patient": line["Patient ID"],
            "view": view or None,
        }
        result.rows.append(row | _findings(line["Finding Labels"], line.origin))
        result.origins.append(line.origin.removeprefix(f"{result.source} "))
    if num_other_views:
        result.notes.append(
            f"left out: {count_of(num_other_views, 'image')} of other views than {options.views}"
        )
    _add_splits(result, folder, {line["Image Index"] for line in lines})
    return result


def _table(folder: Path) -> Path | None:
    return table_named(folder, r"data_entry_2017.*\.csv", _COLUMNS[:2])


def _findings(text: str, origin: str) -> Row:
    names = {name.strip() for name in text.split("|")} - {_NOTHING, ""}
    for name in sorted(names - set(NIH_ORDER)):
        raise InputError(f"{origin}: unknown finding '{name}'", f"use {', '.join(NIH_ORDER)} or {_NOTHING}")
    return {LABELS_PREFIX + name: float(name in names) for name in NIH_ORDER}


def _add_splits(result: LayoutRows, folder: Path, table_names: set[str]) -> None:
    for lists in _LISTS:
        paths = {split: inside(folder, name) for name, split in lists.items()}
        if all(paths.values()):
            break
    else:
        return
    splits: dict[str, str] = {}
    for split, path in paths.items():
        names = [line.split()[0] for line in read_text(path)[0].splitlines() if line.strip()] if path else []
        strange = [name for name in names if name not in table_names]
        if strange and path:
            raise InputError(
                f"{path.name} names {count_of(len(strange), 'image')} that {result.source} does not ({listed(strange)})",
                "use the table and the lists of the same release",
            )
        splits |= dict.fromkeys(names, split)
    for row in result.rows:
        row["split"] = splits.get(Path(str(row["image"])).name)
    result.notes.append(
        f"splits are those listed in {', '.join(path.name for path in paths.values() if path)}"
    )
