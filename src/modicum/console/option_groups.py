"""Groups of options that several commands share: how data are read, and of what and on which images is learned."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from functools import wraps
from typing import Annotated, Any, get_type_hints

import typer

from modicum.console.options import (
    COLUMN_OPTIONS,
    AlignGeometry,
    AllowOutside,
    Augment,
    Backbone,
    BatchSize,
    BoxChoices,
    Classes,
    Crop,
    Device,
    Images,
    ImageSize,
    Leaks,
    Memory,
    Pairs,
    Positive,
    SkipBroken,
    Slices,
    SplitLists,
    Weights,
    box_options_given,
    column_options,
    pair_option,
)
from modicum.data.roles import ROLES


@dataclass(frozen=True)
class Reading:
    """The options for reading a data set. Commands get them by :func:`reads_data`.

    Attributes:
        columns: by parameter name (see :data:`COLUMN_OPTIONS`).
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


@dataclass(frozen=True)
class Learning:
    """The options of the network and its images, for commands that train. They get them by :func:`reads_data`."""

    backbone: Backbone = None
    weights: Weights = None
    image_size: ImageSize = None
    batch_size: BatchSize = None
    memory: Memory = None
    classes: Classes = None
    positive: Positive = None
    crop: Crop = None
    leaks: Leaks = None
    skip_broken: SkipBroken = False
    augment: Augment = None
    device: Device = None

    @property
    def options(self) -> dict[str, Any]:
        """The values by the names of the options."""
        return vars(self)


def reads_data(command: Callable[..., None]) -> Callable[..., None]:
    """Replaces a command's parameters ``reading`` and ``learning`` by the options of these classes."""
    hints = get_type_hints(command, include_extras=True)
    given = inspect.signature(command).parameters
    learned = [one.name for one in fields(Learning)] if "learning" in given else []

    @wraps(command)
    def called(**arguments: Any) -> None:
        columns = {name: arguments.pop(name) for name in COLUMN_OPTIONS.values()}
        reading = Reading(columns, **{one.name: arguments.pop(one.name) for one in _others()})
        if learned:
            arguments["learning"] = Learning(**{name: arguments.pop(name) for name in learned})
        command(**arguments, reading=reading)

    parameters: list[inspect.Parameter] = []
    for parameter in given.values():
        if parameter.name == "reading":
            parameters += _reading_options()
        elif parameter.name == "learning":
            parameters += _parameters(_options_of(Learning, learned))
        else:
            kind = parameter.KEYWORD_ONLY
            parameters.append(parameter.replace(annotation=hints[parameter.name], kind=kind))
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return called


def _reading_options() -> list[inspect.Parameter]:
    """The parameters of :class:`Reading`: a column for each role, then the rest."""
    options: dict[str, tuple[Any, Any]] = {}
    for role, name in COLUMN_OPTIONS.items():
        option = typer.Option(
            f"--{name.replace('_', '-')}", help=ROLES[role].help, rich_help_panel="Columns of the data"
        )
        options[name] = Annotated[str | None, option], None
    return _parameters(options | _options_of(Reading, [one.name for one in _others()]))


def _options_of(group: type, names: Sequence[str]) -> dict[str, tuple[Any, Any]]:
    """Type and default of some fields of a class, by name."""
    hints = get_type_hints(group, include_extras=True)
    return {one.name: (hints[one.name], one.default) for one in fields(group) if one.name in names}


def _parameters(options: Mapping[str, tuple[Any, Any]]) -> list[inspect.Parameter]:
    return [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in options.items()
    ]
