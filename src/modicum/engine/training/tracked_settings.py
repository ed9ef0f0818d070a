"""The settings of a recipe that an experiment tracker may be told: none that names a file, folder, data set or person."""

import re
from collections.abc import Mapping
from typing import Any

from modicum.engine.recipe.settings import OF_RUN, Recipe

_OF_DATA = (
    "slices", "align_geometry", "fractions", "label_fraction", "split_seed", "leaks", "skip_broken", "layout",
    "ordered",
)  # fmt: skip
"""Of ``data``, everything else is about where the data lie, how its columns are called, or whose they are."""
_WHOLE_PARTS = ("options", "image", "features", "training", "stages", "config")
HIDDEN = "(not shown)"
_FILE_NAME = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,11}$")


def tracked_settings(recipe: Recipe) -> dict[str, Any]:
    """Settings by their path in the recipe (``training.lr``), ready for a table.

    Of the method's and the task's own settings a text that looks like a path or a file's name is ``(not shown)``; of the
    backbone's weights it is said what kind they are.
    """
    values = recipe.model_dump(mode="json")
    data = {key: values["data"][key] for key in _OF_DATA}
    told: dict[str, Any] = {key: values[key] for key in ("method", "task", "seed", "device", "resamples")}
    told |= _flat({"data": data, **{part: values[part] for part in _WHOLE_PARTS}})
    told = {name: _shown(value) for name, value in told.items()}
    backbone = values["backbone"]
    named = {**backbone, "name": _backbone_name(str(backbone["name"])), "weights": _kind(backbone["weights"])}
    return {**told, **_flat({"backbone": named})}


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{before}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


def _shown(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_shown(one) for one in value]
    if isinstance(value, Mapping):
        return {str(key): _shown(one) for key, one in value.items()}
    return HIDDEN if isinstance(value, str) and _looks_like_a_file(value) else value


def _looks_like_a_file(text: str) -> bool:
    return text.startswith(OF_RUN) or any(mark in text for mark in "/\\") or bool(_FILE_NAME.search(text))


def _backbone_name(name: str) -> str:
    """A name of timm, which may have a dot, or of the hub, which has a slash; a folder's is not shown."""
    on_hub = name.startswith("hf-hub:") and name.count("/") == 1
    return name if on_hub or not any(mark in name for mark in "/\\") else HIDDEN


def _kind(weights: str) -> str:
    if weights in {"hub", "random"} or weights.startswith("hf:"):
        return weights
    return "run" if weights.startswith(OF_RUN) else "file"
