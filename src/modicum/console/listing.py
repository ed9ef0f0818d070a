"""Tables of methods, recipes, settings and backbones."""

import json
from collections import Counter
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rich.table import Table
from rich.text import Text

from modicum.console.stages import stage_kinds
from modicum.data.published_weights import PUBLISHED
from modicum.engine.recipe.settings import (
    BackboneSettings,
    DataSettings,
    ImageSettings,
    Recipe,
    TrainingSettings,
)
from modicum.errors import InputError
from modicum.methods import Method, method_class, method_entries
from modicum.recipes import shipped_recipe, shipped_recipes
from modicum.tasks import task_class


def methods_table() -> Table:
    """The methods with their summaries and tasks."""
    table = Table("method", "what it does", "tasks", box=None, pad_edge=False, header_style="bold")
    for name in sorted(method_entries()):
        method = method_class(name)
        source = f" [dim]({method.source})[/dim]" if method.source else ""
        table.add_row(f"[bold]{name}[/bold]", method.summary + source, ", ".join(method.tasks))
    return table


def weights_table() -> Table:
    """Published weights by their short names, a row each; what could not be checked is below."""
    columns = ("weights", "backbone", "pixels", "licence", "made with", "where")
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in PUBLISHED:
        licence = f"{row.licence} (gated)" if row.gated else row.licence
        where = f"{row.repository}: {row.file}"
        size = str(row.image_size)
        table.add_row(f"[bold]{row.name}[/bold]", row.architecture, size, licence, row.saw, where)
        if row.unverified:
            table.add_row("", "", "", "", f"[dim]not verified: {row.unverified}[/dim]", "")
    return table


def recipes_table() -> Table:
    """The recipes that come with modicum, one row each."""
    table = Table("recipe", "what it is", box=None, pad_edge=False, header_style="bold")
    for name, recipe in shipped_recipes().items():
        table.add_row(f"[bold]{name}[/bold]", f"{recipe.summary} [dim]({recipe.source})[/dim]")
    return table


def recipe_text(name: str) -> str:
    """The settings of a shipped recipe as YAML, with its source.

    Raises:
        InputError: an unknown recipe.
    """
    recipe = shipped_recipe(name)
    values = yaml.safe_dump(dict(recipe.values), sort_keys=False)
    return f"# {recipe.name}: {recipe.summary}\n# {recipe.source}\n{values}"


def settings_table(name: str) -> Table:
    """All settings of a method by the key for ``--set``, with the method's defaults.

    If two parts have a setting of the same name, the name alone means the method's own; the other is shown with its
    part, ``training.loss``.

    Raises:
        InputError: an unknown method.
    """
    method = method_class(name)
    method_defaults = {"training": method.training, "image": method.image, "backbone": method.backbone}
    count = Counter(key for _, _, settings in _parts(method) for key in settings.model_fields)
    table = Table("setting", "default", "what it is", box=None, pad_edge=False, header_style="bold")
    for part, prefix, settings in _parts(method):
        table.add_row(f"[dim]{part}[/dim]")
        for key, field in settings.model_fields.items():
            if field.is_required() or key in {"image", "backbone", "training", "config", "task"}:
                continue
            default = method_defaults.get(prefix, {}).get(key, field.get_default(call_default_factory=True))
            shown_key = f"{prefix}.{key}" if prefix not in ("config", "") and count[key] > 1 else key
            table.add_row(f"  {shown_key}", Text(_default_text(default)), Text(_meaning(field)))
        if prefix == "training":
            _add_stages(table, method)
    return table


def _add_stages(table: Table, method: type[Method]) -> None:
    """A row a stage with what it is, then the settings of the training loop that it has for itself."""
    for stage, kind in stage_kinds(method).items():
        table.add_row(f"[dim]stage {stage}[/dim]", "", Text(kind))
        for key, default in method.stage_training.get(stage, {}).items():
            field = TrainingSettings.model_fields[key]
            table.add_row(f"  {stage}.{key}", Text(_default_text(default)), Text(_meaning(field)))
    if len(method.stage_training) > 1:
        first = next(iter(method.stage_training))
        table.add_row(
            "", "", Text(f"any training setting for one stage alone: --set {first}.epochs=10; a stage of an "
                         f"earlier run: --set {first}=run:runs/NAME")
        )  # fmt: skip


def _parts(method: type[Method]) -> list[tuple[str, str, type[BaseModel]]]:
    """Title, prefix in the recipe and settings of each part; the method's own first, as ``--set`` resolves names."""
    return [
        (method.name, "config", method.Config),
        *(
            (f"task {task}", "options", task_class(task).Options)
            for task in method.tasks
            if task_class(task).Options.model_fields
        ),
        ("training", "training", TrainingSettings),
        ("image", "image", ImageSettings),
        ("backbone", "backbone", BackboneSettings),
        ("data", "data", DataSettings),
        ("run", "", Recipe),
    ]


def _default_text(default: Any) -> str:
    if isinstance(default, list | tuple | dict):
        return json.dumps(default)
    return "" if default is None else f"{default:g}" if isinstance(default, float) else str(default)


def _meaning(field: FieldInfo) -> str:
    """The description, preceded by the allowed values."""
    choices = [
        str(value)
        for part in (field.annotation, *get_args(field.annotation))
        if get_origin(part) is Literal
        for value in get_args(part)
    ]
    return " ".join(part for part in (", ".join(choices) + "." if choices else "", field.description) if part)


def backbone_names(pattern: str) -> list[str]:
    """Names of timm models that match a shell pattern, with weights tags if the pattern has one."""
    import timm

    names = timm.list_models(pattern) or timm.list_pretrained(pattern)
    if not names:
        raise InputError(f"no backbone matches '{pattern}'", "try for instance 'resnet*' or 'vit_base*'")
    return list(names)
