"""Arguments and options that several commands share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from modicum.errors import InputError

Data = Annotated[str, typer.Argument(help="A table (CSV, TSV, Parquet), folder, MONAI datalist or NPZ file.")]
RunPath = Annotated[Path, typer.Argument(help="A run folder, for instance runs/NAME.")]
Label = Annotated[str | None, typer.Option(help="Column with the class of each image.")]
Labels = Annotated[
    str | None, typer.Option(help="Columns with findings (1, 0, -1/blank: unknown), by commas.")
]
Patient = Annotated[str | None, typer.Option(help="Column with the patient of each image.")]
ImageColumn = Annotated[str | None, typer.Option("--image", help="Column with the image paths.")]
Images = Annotated[Path | None, typer.Option(help="Folder that image paths are relative to.")]
SplitLists = Annotated[Path | None, typer.Option(help="Folder of train/val/test lists that set the split.")]
AllowOutside = Annotated[
    bool, typer.Option("--allow-outside", help="Allow image paths outside the data folder.")
]
Workers = Annotated[int | None, typer.Option(help="Processes that decode images; one a core by default.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Backbone = Annotated[
    str | None, typer.Option("--backbone", "-b", help="A timm model name; resnet50 by default.")
]
Weights = Annotated[
    str | None, typer.Option(help="hub, random, a weights file, or run:FOLDER; hub by default.")
]
ImageSize = Annotated[str | None, typer.Option(help="Pixels: 512 or HEIGHTxWIDTH; 224 by default.")]
Epochs = Annotated[
    int | None, typer.Option(help="Passes over the training images; the method's own number by default.")
]
BatchSize = Annotated[
    str | None,
    typer.Option(help="Images in a batch, or auto: the most that fit; the method's own number by default."),
]
Memory = Annotated[
    str | None, typer.Option(help="What training may take at most, for instance 8GB; with --batch-size auto.")
]
Classes = Annotated[str | None, typer.Option(help="Class names in their order, by commas.")]
Crop = Annotated[str | None, typer.Option(help="fundus: crop to the fundus disc first.")]
Leaks = Annotated[
    str | None, typer.Option(help="error, drop or allow images that leak between splits; error by default.")
]
SkipBroken = Annotated[bool, typer.Option("--skip-broken", help="Set broken images aside.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Any other setting: KEY=VALUE (repeatable); `modicum methods NAME` lists them."
    ),
]
Runs = Annotated[Path, typer.Option(help="Folder of all runs.")]

_SETTINGS = (
    "backbone",
    "weights",
    "image_size",
    "epochs",
    "memory",
    "images",
    "split_lists",
    "crop",
    "leaks",
    "skip_broken",
    "allow_outside",
    "seed",
    "device",
)


def columns_given(
    label: str | None, labels: str | None, patient: str | None, image: str | None
) -> dict[str, Any]:
    """The columns that a user named, by their role."""
    several = [name.strip() for name in labels.split(",")] if labels else None
    given = {"label": label, "labels": several, "patient": patient, "image": image}
    return {role: column for role, column in given.items() if column is not None}


def settings_given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a recipe among a command's options; those that were not given are left out.

    Args:
        options: values by parameter name.

    Raises:
        InputError: ``--batch-size`` is neither a number nor ``auto``.
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
    return settings | columns_given(*(options.get(role) for role in ("label", "labels", "patient", "image")))


def assignments_given(assignments: list[str] | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """What ``--set`` sets.

    Args:
        assignments: ``KEY=VALUE`` each.
        options: of the command, by parameter name.

    Raises:
        InputError: an assignment is none, or its key is an option of the command that is no setting of a recipe.
    """
    from modicum.engine.recipe import parse_assignments

    settings = parse_assignments(assignments or [])
    known = {*_SETTINGS, "batch_size", "classes", "label", "labels", "patient", "image"}
    for key in settings:
        if key in options and key not in known:
            raise InputError(f"--set {key} is an option of its own", f"pass --{key.replace('_', '-')}")
    return settings


def _batch_size(text: str) -> int | str:
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError as error:
        raise InputError(f"--batch-size is '{text}'", "give a number of images, or auto") from error
