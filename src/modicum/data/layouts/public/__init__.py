"""Public data sets as they are downloaded or usually prepared, each to one manifest.

A layout is recognised by names of folders and files that an ordinary folder of images does not have; see
``docs/data.md`` for the list. Folders of several segmentation sets side by side become one manifest with a domain each.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from modicum.data.layouts.public import (
    chexpert,
    disc_cup,
    image_masks,
    lesions,
    nih,
    octa,
    pairs,
    radiographs,
    rsna,
    siim,
    vessels,
)
from modicum.data.layouts.public.contents import images_in, subfolders
from modicum.data.layouts.public.options import LayoutOptions
from modicum.data.layouts.public.rows import Found, prefixed
from modicum.data.manifest import Manifest
from modicum.errors import InputError, did_you_mean

_MOST_SIDE_BY_SIDE = 30


@dataclass(frozen=True)
class PublicLayout:
    """One way in which a public data set lies on disk.

    Attributes:
        name: for messages, and to ask for it.
        family: sets of one family can be read together; empty where a set is only read on its own.
        recognise: whether a folder is one, by names alone.
        read: its rows.
    """

    name: str
    family: str
    recognise: Callable[[Path], bool]
    read: Callable[[Path, LayoutOptions], Found]


# The more particular first.
LAYOUTS = (
    PublicLayout("chestx-ray14", "", nih.is_nih, nih.read_nih),
    PublicLayout("mimic-cxr", "", chexpert.is_mimic, chexpert.read_mimic),
    PublicLayout("chexpert", "", chexpert.is_chexpert, chexpert.read_chexpert),
    PublicLayout("rsna-pneumonia", "", rsna.is_rsna, rsna.read_rsna),
    PublicLayout("siim-pneumothorax", "", siim.is_siim, siim.read_siim),
    PublicLayout("covid-collection", "", radiographs.is_covid, radiographs.read_covid),
    PublicLayout("indiana", "", radiographs.is_indiana, radiographs.read_indiana),
    PublicLayout("idrid", "lesions", lesions.is_idrid, lesions.read_idrid),
    PublicLayout("ddr", "lesions", lesions.is_ddr, lesions.read_ddr),
    PublicLayout("e-ophtha", "lesions", lesions.is_e_ophtha, lesions.read_e_ophtha),
    PublicLayout("drive", "vessels", vessels.is_drive, vessels.read_drive),
    PublicLayout("chase_db1", "vessels", vessels.is_chase, vessels.read_chase),
    PublicLayout("stare", "vessels", vessels.is_stare, vessels.read_stare),
    PublicLayout("hrf", "vessels", vessels.is_hrf, vessels.read_hrf),
    PublicLayout("octa-500", "octa", octa.is_octa_500, octa.read_octa_500),
    PublicLayout("rose", "octa", octa.is_rose, octa.read_rose),
    PublicLayout("refuge", "disc and cup", disc_cup.is_refuge, disc_cup.read_refuge),
    PublicLayout("drishti-gs", "disc and cup maps", disc_cup.is_drishti, disc_cup.read_drishti),
    PublicLayout("disc-cup", "disc and cup", disc_cup.is_four_domains, disc_cup.read_four_domains),
    PublicLayout("pools", "", pairs.is_pools, pairs.read_pools),
    PublicLayout("image-mask", "vessels", vessels.is_prepared, vessels.read_prepared),
    PublicLayout("images-tr", "", image_masks.is_images_tr, image_masks.read_images_tr),
    PublicLayout("images-masks", "", image_masks.is_image_masks, image_masks.read_image_masks),
)


def layout_of(folder: Path) -> PublicLayout | None:
    """The layout that a folder itself has."""
    return next((layout for layout in LAYOUTS if layout.recognise(folder)), None)


def read_public(folder: Path, options: LayoutOptions, name: str | None = None) -> Manifest | None:
    """The manifest of a public data set, or of several side by side; None where a folder is neither.

    Args:
        folder: the data set's folder, one that holds nothing else, or one that holds several.
        options: where layouts leave a choice.
        name: the layout to read it as; by default it is recognised.

    Raises:
        InputError: no such layout, sets that do not go together, or what the layout's reader refuses.
    """
    if name is not None:
        known = {layout.name: layout for layout in LAYOUTS}
        if name not in known:
            raise InputError(f"layout '{name}' is not known", did_you_mean(name, known))
        return known[name].read(folder, options).manifest(folder)
    layout = layout_of(folder)
    if layout is not None:
        found = layout.read(folder, options)
        found.notes.insert(0, f"read as layout '{layout.name}'")
        return found.manifest(folder)
    return _side_by_side(folder, options)


def _side_by_side(folder: Path, options: LayoutOptions) -> Manifest | None:
    inner = subfolders(folder)
    if not inner or len(inner) > _MOST_SIDE_BY_SIDE:
        return None
    layouts = {path: layout for path in inner if (layout := layout_of(path)) is not None}
    if len(layouts) == 1 and len(inner) == 1 and not images_in(folder):
        (path, layout), *_ = layouts.items()
        found = layout.read(path, options)
        found.notes.insert(0, f"read as layout '{layout.name}', from '{path.name}'")
        return found.manifest(folder)
    if len(layouts) < 2:
        return None
    families = {layout.family for layout in layouts.values()}
    if len(families) > 1 or "" in families:
        seen = ", ".join(f"{path.name} ({layout.name})" for path, layout in layouts.items())
        raise InputError(
            f"folder '{folder.name}' holds data sets that do not go together: {seen}", "give one of them"
        )
    parts = [prefixed(layout.read(path, options), path.name) for path, layout in layouts.items()]
    notes = [f"domains: {', '.join(path.name for path in layouts)}"]
    if families == {"lesions"}:
        notes += _keep_common_kinds(folder, parts)
    spare = [path.name for path in inner if path not in layouts]
    if spare:
        notes.append(f"left out: {', '.join(spare)}")
    rows = [row for part in parts for row in part.rows]
    return Found(rows, notes + [note for part in parts for note in part.notes]).manifest(folder)


def _keep_common_kinds(folder: Path, parts: Sequence[Found]) -> list[str]:
    """Takes out kinds of lesions that not all sets mark: a blank would say that an image has none.

    Raises:
        InputError: there is no common one.
    """
    kinds = [lesions.kinds_of(part) for part in parts]
    common, every = set.intersection(*kinds), set.union(*kinds)
    if not common:
        raise InputError(
            f"the data sets in '{folder.name}' mark no lesion that all of them mark",
            "give one of them, or fewer",
        )
    for part in parts:
        lesions.only_kinds(part, common)
    left = sorted(name.partition(":")[2] for name in every - common)
    return [f"left out: masks of {', '.join(left)}, which not all of the sets mark"] if left else []


__all__ = ["LAYOUTS", "LayoutOptions", "PublicLayout", "layout_of", "read_public"]
