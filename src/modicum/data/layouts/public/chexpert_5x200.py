"""CheXpert 5x200: 200 images of CheXpert's training part for each of five findings (GLoRIA, PRIOR)."""

import json
from pathlib import Path

from modicum.data.layouts.public.chest_tables import CHEXPERT_ORDER
from modicum.data.layouts.public.contents import names_in
from modicum.data.layouts.public.options import LayoutOptions
from modicum.data.layouts.public.rows import LayoutRows, Row
from modicum.errors import InputError


def _list_in(folder: Path) -> Path | None:
    names = [name for name in names_in(folder) if "5x200" in name.lower() and name.lower().endswith(".json")]
    return folder / names[0] if names else None


def is_chexpert_5x200(folder: Path) -> bool:
    """A list ``*5x200*.json``. Beside CheXpert's own tables it is read by name: ``--set layout=chexpert-5x200``."""
    return _list_in(folder) is not None


def read_chexpert_5x200(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads the list as PRIOR's authors give it.

    By row number, ``image_path`` below CheXpert's root and a one-hot ``label``: one finding an image. All rows are
    of split ``test``.

    Raises:
        InputError: there is no list, or it is of another kind.
    """
    path = _list_in(folder)
    if path is None:
        raise InputError(
            f"'{folder.name}' has no list *5x200*.json", "put it beside CheXpert's folder 'train'"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        entries = [(str(key), value["image_path"], list(value["label"])) for key, value in content.items()]
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise InputError(f"'{path.name}' is not a list of images with labels", "copy it again") from error
    result = LayoutRows([], source=path.name)
    for key, image, label in entries:
        if len(label) != len(CHEXPERT_ORDER) or sorted(label) != [0] * (len(CHEXPERT_ORDER) - 1) + [1]:
            raise InputError(
                f"{path.name} entry {key}: 'label' is not one of {len(CHEXPERT_ORDER)} findings",
                f"write a 1 and {len(CHEXPERT_ORDER) - 1} 0s, in the order {', '.join(CHEXPERT_ORDER)}",
            )
        patient = next((part for part in Path(image).parts if part.startswith("patient")), None)
        finding = CHEXPERT_ORDER[label.index(1)]
        row: Row = {"image": folder / image, "label": finding, "patient": patient, "split": "test"}
        result.rows.append(row)
        result.origins.append(f"entry {key}")
    return result
