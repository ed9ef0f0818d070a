"""Reads public data sets, as downloaded or usually prepared, each to one manifest.

A layout is recognised by names of folders and files that an ordinary folder of images does not have; see
``docs/data.md`` for the list. Several segmentation sets in one folder become one manifest with a domain each.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from modicum.data.layouts.public import (
    aptos,
    chexpert,
    chexpert_5x200,
    disc_cup,
    eyepacs,
    image_masks,
    lesion_set_grades,
    lesions,
    messidor,
    nih,
    octa,
    pairs,
    radiographs,
    report_sets,
    rsna,
    siim,
    skin,
    vessels,
)
from modicum.data.layouts.public.contents import images_in, subfolders
from modicum.data.layouts.public.options import LayoutOptions
from modicum.data.layouts.public.rows import LayoutRows, prefixed
from modicum.data.manifest import Manifest
from modicum.errors import InputError, did_you_mean
from modicum.wording import listed

_MOST_SIDE_BY_SIDE = 30


@dataclass(frozen=True)
class PublicLayout:
    """One layout of a public data set on disk.

    Attributes:
        name: name, for messages and ``layout=``.
        family: sets of one family can be read together; empty if a set is only read alone.
        recognise: whether a folder has this layout, by names only.
        read: reads its rows.
    """

    name: str
    family: str
    recognise: Callable[[Path], bool]
    read: Callable[[Path, LayoutOptions], LayoutRows]


# The more specific first.
LAYOUTS = (
    PublicLayout("chestx-ray14", "", nih.is_nih, nih.read_nih),
    PublicLayout("mimic-cxr", "", chexpert.is_mimic, chexpert.read_mimic),
    PublicLayout("chexpert", "", chexpert.is_chexpert, chexpert.read_chexpert),
    PublicLayout("chexpert-5x200", "", chexpert_5x200.is_chexpert_5x200, chexpert_5x200.read_chexpert_5x200),
    PublicLayout("chexpert-plus", "", report_sets.is_chexpert_plus, report_sets.read_chexpert_plus),
    PublicLayout("padchest", "", report_sets.is_padchest, report_sets.read_padchest),
    PublicLayout("open-i", "", report_sets.is_open_i, report_sets.read_open_i),
    PublicLayout("captions", "", report_sets.is_captions, report_sets.read_captions),
    PublicLayout("rsna-pneumonia", "", rsna.is_rsna, rsna.read_rsna),
    PublicLayout("siim-pneumothorax", "", siim.is_siim, siim.read_siim),
    PublicLayout("covid-collection", "", radiographs.is_covid, radiographs.read_covid),
    PublicLayout("indiana", "", radiographs.is_indiana, radiographs.read_indiana),
    PublicLayout("eyepacs", "grades", eyepacs.is_eyepacs, eyepacs.read_eyepacs),
    PublicLayout("aptos-2019", "grades", aptos.is_aptos, aptos.read_aptos),
    PublicLayout("messidor-2", "grades", messidor.is_messidor, messidor.read_messidor),
    PublicLayout("ham10000", "skin", skin.is_ham10000, skin.read_ham10000),
    PublicLayout("isic-2018", "skin", skin.is_isic_2018, skin.read_isic_2018),
    PublicLayout("isic-2019", "skin", skin.is_isic_2019, skin.read_isic_2019),
    PublicLayout("pad-ufes-20", "skin", skin.is_pad_ufes_20, skin.read_pad_ufes_20),
    PublicLayout("idrid", "lesions", lesions.is_idrid, lesions.read_idrid),
    PublicLayout("ddr", "lesions", lesions.is_ddr, lesions.read_ddr),
    PublicLayout("e-ophtha", "lesions", lesions.is_e_ophtha, lesions.read_e_ophtha),
    PublicLayout(
        "idrid-grading", "grades", lesion_set_grades.is_idrid_grading, lesion_set_grades.read_idrid_grading
    ),
    PublicLayout(
        "ddr-grading", "grades", lesion_set_grades.is_ddr_grading, lesion_set_grades.read_ddr_grading
    ),
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
    """The layout of a folder, or None."""
    return next((layout for layout in LAYOUTS if layout.recognise(folder)), None)


def read_public(folder: Path, options: LayoutOptions, name: str | None = None) -> Manifest | None:
    """Reads a public data set, or several in one folder; None if the folder is neither.

    Args:
        folder: the data set's folder, one that contains only it, or one that contains several.
        options: options of layouts.
        name: the layout to read it as; detected by default.

    Raises:
        InputError: an unknown layout, sets of different families, or an error of the layout's reader.
    """
    if name is not None:
        layouts = {layout.name: layout for layout in LAYOUTS}
        if name not in layouts:
            raise InputError(f"unknown layout '{name}'", did_you_mean(name, layouts))
        return layouts[name].read(folder, options).manifest(folder)
    layout = layout_of(folder)
    if layout is not None:
        rows = layout.read(folder, options)
        rows.notes.insert(0, f"read as layout '{layout.name}'")
        return rows.manifest(folder)
    return _side_by_side(folder, options)


def _side_by_side(folder: Path, options: LayoutOptions) -> Manifest | None:
    inner = subfolders(folder)
    if not inner or len(inner) > _MOST_SIDE_BY_SIDE:
        return None
    layouts = {path: layout for path in inner if (layout := layout_of(path)) is not None}
    if len(layouts) == 1 and len(inner) == 1 and not images_in(folder):
        (path, layout), *_ = layouts.items()
        layout_rows = layout.read(path, options)
        layout_rows.notes.insert(0, f"read as layout '{layout.name}', from '{path.name}'")
        return layout_rows.manifest(folder)
    if len(layouts) < 2:
        return None
    families = {layout.family for layout in layouts.values()}
    if len(families) > 1 or "" in families:
        seen = ", ".join(f"{path.name} ({layout.name})" for path, layout in layouts.items())
        raise InputError(
            f"folder '{folder.name}' contains data sets of different kinds: {seen}",
            "pass the folder of one of them",
        )
    parts = [prefixed(layout.read(path, options), path.name) for path, layout in layouts.items()]
    notes = [f"domains: {', '.join(path.name for path in layouts)}"]
    if families == {"lesions"}:
        notes += _keep_common_kinds(folder, parts)
    notes += _without_split(parts)
    spare = [path.name for path in inner if path not in layouts]
    if spare:
        notes.append(f"left out: {', '.join(spare)}")
    rows = [row for part in parts for row in part.rows]
    return LayoutRows(rows, notes + [note for part in parts for note in part.notes]).manifest(folder)


def _without_split(parts: Sequence[LayoutRows]) -> list[str]:
    """A note of domains without a split beside others with one: a run needs one for all images."""
    domains = {str(row["domain"]) for part in parts for row in part.rows}
    divided = {str(row["domain"]) for part in parts for row in part.rows if row.get("split")}
    lacking = sorted(domains - divided)
    if not lacking or not divided:
        return []
    return [
        f"no published split of {listed(lacking)}: hold a domain out for the test (--set held_out={lacking[0]})"
    ]


def _keep_common_kinds(folder: Path, parts: Sequence[LayoutRows]) -> list[str]:
    """Removes kinds of lesions that not all sets annotate: a blank would mean that an image has none.

    Raises:
        InputError: there is no common kind.
    """
    kinds = [lesions.kinds_of(part) for part in parts]
    common, every = set.intersection(*kinds), set.union(*kinds)
    if not common:
        raise InputError(
            f"the data sets in '{folder.name}' have no kind of lesion in common",
            "pass the folder of one of them, or remove some",
        )
    for part in parts:
        lesions.only_kinds(part, common)
    left = sorted(name.partition(":")[2] for name in every - common)
    return [f"left out: masks of {', '.join(left)}, which not all of the sets have"] if left else []


__all__ = ["LAYOUTS", "LayoutOptions", "PublicLayout", "layout_of", "read_public"]
