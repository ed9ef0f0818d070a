"""Arguments and options shared by several commands."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

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
_COLUMN_OPTIONS = {role: "split_column" if role == "split" else role for role in ROLES}
"""Parameters that name the column of each role; ``--split`` is a split to evaluate."""


@dataclass(frozen=True)
class Reading:
    """The options for reading a data set. Commands get them by :func:`reads_data`.

    Attributes:
        columns: by parameter name (see :data:`_COLUMN_OPTIONS`).
    """

    columns: Mapping[str, str | None] = field(default_factory=dict)
    box_options: BoxChoices = None
    pairs: Pairs = None
    images: Images = None
    split_lists: SplitLists = None
    slices: Slices = None
    align_geometry: AlignGeometry = None
    allow_outside: AllowOutside = False

    @property
    def options(self) -> dict[str, Any]:
        """The values by the names of the options."""
        return {**self.columns, **{one.name: getattr(self, one.name) for one in _others()}}

    @property
    def settings(self) -> dict[str, Any]:
        """The options that were passed, as :meth:`modicum.Run.evaluate` takes it."""
        values = {
            "columns": column_options(self.options) or None,
            "pairs": pair_option(self.pairs),
            "box_options": None if self.box_options is None else box_options_given(self.box_options),
            "images": None if self.images is None else str(self.images),
            "split_lists": None if self.split_lists is None else str(self.split_lists),
            "slices": self.slices,
            "align_geometry": self.align_geometry,
            "allow_outside": self.allow_outside or None,
        }
        return {key: value for key, value in values.items() if value is not None}


def _others() -> list[Field[Any]]:
    return [one for one in fields(Reading) if one.name != "columns"]


def reads_data(command: Callable[..., None]) -> Callable[..., None]:
    """Replaces a command's parameter ``reading`` by the options of :class:`Reading`."""

    @wraps(command)
    def called(**arguments: Any) -> None:
        columns = {name: arguments.pop(name) for name in _COLUMN_OPTIONS.values()}
        reading = Reading(columns, **{one.name: arguments.pop(one.name) for one in _others()})
        command(**arguments, reading=reading)

    hints = get_type_hints(command, include_extras=True)
    del hints["reading"]
    options = _reading_options()
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        if parameter.name == "reading":
            parameters += options
        else:
            kind = parameter.KEYWORD_ONLY
            parameters.append(parameter.replace(annotation=hints[parameter.name], kind=kind))
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return called


def _reading_options() -> list[inspect.Parameter]:
    """The parameters of :class:`Reading`: a column for each role, then the rest."""
    hints = get_type_hints(Reading, include_extras=True)
    options: dict[str, tuple[Any, Any]] = {}
    for role, name in _COLUMN_OPTIONS.items():
        option = typer.Option(
            f"--{name.replace('_', '-')}", help=ROLES[role].help, rich_help_panel="Columns of the data"
        )
        options[name] = Annotated[str | None, option], None
    options |= {one.name: (hints[one.name], one.default) for one in _others()}
    return [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in options.items()
    ]


def column_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The columns named by the user, by their role.

    Args:
        options: values by parameter name.
    """
    given = {role: options.get(name) for role, name in _COLUMN_OPTIONS.items()}
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
