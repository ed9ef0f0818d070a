"""Settings checked, with errors of one line."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from modicum.errors import InputError, did_you_mean


def validated(model: type[BaseModel], values: Mapping[str, Any], where: str) -> Any:
    """Validates settings, turning pydantic's report into one line with the key, the value and the remedy."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        path = [str(part) for part in first["loc"]]
        key = ".".join(path)
        if first["type"] == "extra_forbidden":
            names = _fields_at(model, path[:-1])
            raise InputError(f"{where}: unknown setting '{key}'", did_you_mean(path[-1], names)) from error
        if first["type"] == "missing":
            raise InputError(f"{where}: setting '{key}' is missing", "give it a value") from error
        message = first["msg"].removeprefix("Value error, ")
        raise InputError(
            f"{where}: setting '{key}' is {first['input']!r}: {message}", "change the value"
        ) from error


def _fields_at(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)
