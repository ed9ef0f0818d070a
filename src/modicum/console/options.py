"""Arguments and options that several commands share."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

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
Target = Annotated[str | None, typer.Option(help="Column with the picture that is wanted of each image.")]
Mask = Annotated[str | None, typer.Option(help="Column with the mask of each image.")]
FieldOfView = Annotated[str | None, typer.Option("--fov", help="Column with the mask of where pixels count.")]
Boxes = Annotated[
    str | None,
    typer.Option(
        help="Column with the boxes of each image, or a file of them: CSV, COCO or plain JSON, YOLO's folder of labels."
    ),
]
BoxChoices = Annotated[
    str | None,
    typer.Option(
        "--box-options",
        help="How boxes are read, KEY=VALUE by commas: units, format, exif, outside, unmatched, min_side.",
    ),
]
Domain = Annotated[str | None, typer.Option(help="Column with the domain (hospital, scanner) of each image.")]
ReportColumn = Annotated[
    str | None, typer.Option("--report", help="Column with the reports: their texts, or names of text files.")
]
Pairs = Annotated[
    str | None,
    typer.Option(
        help="SOURCE,TARGET: of a folder, the words in names or subfolders that tell images from targets: T1,T2."
    ),
]
Images = Annotated[Path | None, typer.Option(help="Folder that image paths are relative to.")]
SplitLists = Annotated[Path | None, typer.Option(help="Folder of train/val/test lists that set the split.")]
AllowOutside = Annotated[
    bool, typer.Option("--allow-outside", help="Allow image paths outside the data folder.")
]
Workers = Annotated[int | None, typer.Option(help="Processes that decode images; one a core by default.")]
Augment = Annotated[
    str | None,
    typer.Option(
        help="A preset's name, or a YAML file of operations such as the policy.yaml of an aadg run."
    ),
]
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
    "augment",
)
_ROLES = ("label", "labels", "patient", "image", "target", "mask", "fov", "boxes", "domain", "report")


@dataclass(frozen=True)
class Reading:
    """How a data set is to be read, in a user's words. Commands get these options by :func:`reads_data`."""

    label: Label = None
    labels: Labels = None
    patient: Patient = None
    image: ImageColumn = None
    target: Target = None
    mask: Mask = None
    fov: FieldOfView = None
    boxes: Boxes = None
    box_options: BoxChoices = None
    domain: Domain = None
    report: ReportColumn = None
    pairs: Pairs = None
    images: Images = None
    split_lists: SplitLists = None
    allow_outside: AllowOutside = False

    @property
    def options(self) -> dict[str, Any]:
        """The values by the names of the options."""
        return asdict(self)

    @property
    def settings(self) -> dict[str, Any]:
        """What was given, as :meth:`modicum.Run.evaluate` takes it."""
        given = {
            "columns": columns_given(self.options) or None,
            "pairs": pair_given(self.pairs),
            "box_options": None if self.box_options is None else box_options_given(self.box_options),
            "images": None if self.images is None else str(self.images),
            "split_lists": None if self.split_lists is None else str(self.split_lists),
            "allow_outside": self.allow_outside or None,
        }
        return {key: value for key, value in given.items() if value is not None}


def reads_data(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options of :class:`Reading` in the place of its parameter ``reading``."""

    @wraps(command)
    def called(**given: Any) -> None:
        reading = Reading(**{one.name: given.pop(one.name) for one in fields(Reading)})
        command(**given, reading=reading)

    hints = get_type_hints(command, include_extras=True) | get_type_hints(Reading, include_extras=True)
    del hints["reading"]
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        if parameter.name != "reading":
            parameters.append(
                parameter.replace(annotation=hints[parameter.name], kind=parameter.KEYWORD_ONLY)
            )
            continue
        parameters += [
            inspect.Parameter(
                one.name, parameter.KEYWORD_ONLY, default=one.default, annotation=hints[one.name]
            )
            for one in fields(Reading)
        ]
    called.__annotations__ = hints
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return called


def columns_given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that a user named, by their role.

    Args:
        options: values by parameter name.
    """
    given = {role: options.get(role) for role in _ROLES}
    if given["labels"]:
        given["labels"] = [name.strip() for name in given["labels"].split(",")]
    return {role: column for role, column in given.items() if column is not None}


def pair_given(text: str | None) -> tuple[str, str] | None:
    """``T1,T2`` as two words. Raises :class:`~modicum.errors.InputError` for anything else."""
    if text is None:
        return None
    words = [word.strip() for word in text.split(",")]
    if len(words) != 2 or not all(words) or words[0] == words[1]:
        raise InputError(
            f"--pairs is '{text}'", "give two different words, SOURCE,TARGET: for instance T1,T2"
        )
    return words[0], words[1]


def box_options_given(text: str) -> dict[str, Any]:
    """``outside=drop,min_side=2`` as a mapping. Raises :class:`~modicum.errors.InputError` for anything else."""
    from modicum.data.boxes.options import BoxOptions

    return BoxOptions.parse(text)


def settings_given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a recipe among a command's options; those that were not given are left out.

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
        settings["pairs"] = pair_given(options["pairs"])
    return settings | columns_given(options)


def assignments_given(assignments: list[str] | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """What ``--set`` sets.

    Args:
        assignments: ``KEY=VALUE`` each.
        options: of the command, by parameter name.

    Raises:
        InputError: an assignment is none, or its key is an option of the command that is no setting of a recipe.
    """
    from modicum.engine.recipe.settings import parse_assignments

    settings = parse_assignments(assignments or [])
    known = {*_SETTINGS, *_ROLES, "batch_size", "classes", "pairs", "box_options"}
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
