"""Arguments and options shared by several commands."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from modicum.data.roles import ROLES
from modicum.errors import InputError

Data = Annotated[str, typer.Argument(help="A table (CSV, TSV, Parquet), folder, MONAI datalist or NPZ file.")]
RunPath = Annotated[Path, typer.Argument(help="A run folder, for instance runs/NAME.")]
BoxChoices = Annotated[
    str | None,
    typer.Option(
        "--box-options",
        help="How boxes are read, KEY=VALUE by commas: units, format, exif, outside, unmatched, min_side.",
    ),
]
Pairs = Annotated[
    str | None,
    typer.Option(
        help="SOURCE,TARGET: words in file or folder names that tell images from targets, for instance T1,T2."
    ),
]
Images = Annotated[Path | None, typer.Option(help="Folder that image paths are relative to.")]
SplitLists = Annotated[
    Path | None, typer.Option(help="Folder with lists of train/val/test images that set the split.")
]
Slices = Annotated[
    str | None,
    typer.Option(
        help="Slices of volumes that become images: middle, all, labelled (where a mask is not 0) or every:N; of "
        "segmentation labelled by default, of other tasks middle."
    ),
]
AlignGeometry = Annotated[
    str | None,
    typer.Option(
        help="NIfTI and DICOM files beside images (masks, targets) that lie elsewhere or have other pixels: refuse "
        "(default), or resample them to the images' grids."
    ),
]
AllowOutside = Annotated[
    bool, typer.Option("--allow-outside", help="Allow image paths outside the data folder.")
]
Workers = Annotated[int | None, typer.Option(help="Processes that decode images; one a core by default.")]
Augment = Annotated[
    str | None,
    typer.Option(
        help="Augmentation: name of a preset, or a YAML file of operations such as policy.yaml of an aadg run."
    ),
]
Device = Annotated[str | None, typer.Option(help="Device: auto, cpu, cuda or cuda:N; auto by default.")]
Backbone = Annotated[
    str | None, typer.Option("--backbone", "-b", help="A timm model name; resnet50 by default.")
]
Weights = Annotated[
    str | None,
    typer.Option(
        help="Initial weights: hub, random, a weights file, run:FOLDER, hf:OWNER/NAME, or a short name "
        "(`modicum methods --weights` lists them); hub by default."
    ),
]
ImageSize = Annotated[
    str | None, typer.Option(help="Image size in pixels: 512 or HEIGHTxWIDTH; 224 by default.")
]
Epochs = Annotated[int | None, typer.Option(help="Epochs; the method's own number by default.")]
BatchSize = Annotated[
    str | None,
    typer.Option(
        help="Images in a batch, or auto: the most that fit into memory; the method's own number by default."
    ),
]
Memory = Annotated[
    str | None, typer.Option(help="Memory that training may use, for instance 8GB; with --batch-size auto.")
]
Classes = Annotated[str | None, typer.Option(help="Class names in order, separated by commas.")]
Positive = Annotated[
    str | None,
    typer.Option(
        help="Which of two classes is the positive one; by default the one that does not deny (no, normal, 0)."
    ),
]
Crop = Annotated[str | None, typer.Option(help="fundus: crop to the fundus disc first.")]
Leaks = Annotated[
    str | None, typer.Option(help="Images that leak between splits: error, drop or allow; error by default.")
]
SkipBroken = Annotated[bool, typer.Option("--skip-broken", help="Skip broken images instead of stopping.")]
Quality = Annotated[
    str | None,
    typer.Option(help="run:FOLDER of a run that grades image quality: all images are graded by it first."),
]
Drop = Annotated[
    list[str] | None,
    typer.Option(help="With --quality: a class whose images are set aside, such as ungradable (repeatable)."),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Any other setting: KEY=VALUE (repeatable); `modicum methods NAME` lists them."
    ),
]
By = Annotated[
    list[str] | None,
    typer.Option(
        help="A column to compare groups by (repeatable): sex, site, or age:40,60 with cut points; numbers without are "
        "cut at their quartiles."
    ),
]
GroupTable = Annotated[
    Path | None,
    typer.Option(
        "--table",
        help="Table with the columns of --by and one of images (or patients); by default the data themselves.",
    ),
]
Runs = Annotated[Path, typer.Option(help="Folder of all runs.")]

Recipe = Annotated[
    str | None,
    typer.Option(
        "--recipe", help="Settings to start from: a name (`modicum recipes` lists them) or a YAML file."
    ),
]
Parallel = Annotated[
    int | None,
    typer.Option(help="Number of runs in parallel, each in its own process; one per GPU by default."),
]
Executor = Annotated[str, typer.Option(help="local, or ray for the cluster at RAY_ADDRESS.")]

_SETTINGS = (
    "backbone",
    "weights",
    "image_size",
    "epochs",
    "memory",
    "images",
    "split_lists",
    "slices",
    "align_geometry",
    "crop",
    "leaks",
    "skip_broken",
    "quality",
    "drop",
    "allow_outside",
    "seed",
    "device",
    "augment",
    "positive",
)
COLUMN_OPTIONS = {role: "split_column" if role == "split" else role for role in ROLES}
"""Parameters that name the column of each role; ``--split`` is a split to evaluate."""


def column_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The columns named by the user, by their role.

    Args:
        options: values by parameter name.
    """
    given = {role: options.get(name) for role, name in COLUMN_OPTIONS.items()}
    return {
        role: [name.strip() for name in column.split(",")] if ROLES[role].several and column else column
        for role, column in given.items()
        if column is not None
    }


def pair_option(text: str | None) -> tuple[str, str] | None:
    """Parses ``T1,T2`` to two words. Raises :class:`~modicum.errors.InputError` for anything else."""
    if text is None:
        return None
    words = [word.strip() for word in text.split(",")]
    if len(words) != 2 or not all(words) or words[0] == words[1]:
        raise InputError(
            f"--pairs '{text}' is not two different words", "pass SOURCE,TARGET, for instance --pairs T1,T2"
        )
    return words[0], words[1]


def box_options_given(text: str) -> dict[str, Any]:
    """``outside=drop,min_side=2`` as a mapping. Raises :class:`~modicum.errors.InputError` for anything else."""
    from modicum.data.boxes.options import BoxOptions

    return BoxOptions.parse(text)


def settings_from_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a recipe among a command's options; options that were not passed are left out.

    Args:
        options: values by parameter name.

    Raises:
        InputError: ``--batch-size`` is neither a number nor ``auto``, or ``--pairs`` are not two words.
    """
    named = {key: options.get(key) for key in _SETTINGS}
    settings = {key: value for key, value in named.items() if value is not None and value is not False}
    for key in ("images", "split_lists"):
        if key in settings:
            settings[key] = str(settings[key])
    if options.get("classes"):
        settings["classes"] = [part.strip() for part in options["classes"].split(",")]
    if options.get("batch_size") is not None:
        settings["batch_size"] = _batch_size(options["batch_size"])
    if options.get("box_options") is not None:
        settings["box_options"] = box_options_given(options["box_options"])
    if options.get("pairs") is not None:
        settings["pairs"] = pair_option(options["pairs"])
    return settings | column_options(options)


def settings_from_assignments(assignments: list[str] | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of ``--set``.

    Args:
        assignments: ``KEY=VALUE`` each.
        options: of the command, by parameter name.

    Raises:
        InputError: an assignment is not KEY=VALUE, or its key is an option of the command and not of the recipe.
    """
    from modicum.engine.recipe.assignments import parse_assignments

    settings = parse_assignments(assignments or [])
    recipe_keys = {*_SETTINGS, *ROLES, "batch_size", "classes", "pairs", "box_options"}
    for key in settings:
        if key in options and key not in recipe_keys:
            raise InputError(
                f"--set {key}: '{key}' is a separate option", f"pass --{key.replace('_', '-')} instead"
            )
    return settings


def _batch_size(text: str) -> int | str:
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError as error:
        raise InputError(
            f"--batch-size '{text}' is neither a number of images nor auto",
            "pass for instance --batch-size 16",
        ) from error
