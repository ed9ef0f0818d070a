"""Options of predict and evaluate steps, as far as they can be checked before any image is read."""

from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from modicum.engine.inference.prediction_sets import check_asked_sets
from modicum.errors import InputError
from modicum.run import Run

_WORDS: Mapping[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number, such as 0.1",
    Sequence[str]: "a list, such as [a, b]",
}


def check_values(kind: str, settings: Mapping[str, Any], task: str) -> None:
    """Checks the values of a step's options.

    Args:
        kind: ``predict`` or ``evaluate``.
        settings: of the step.
        task: of its run.

    Raises:
        InputError: a value is of another type than its option, or its run has no prediction sets of that kind.
    """
    hints = get_type_hints(Run.predict if kind == "predict" else Run.evaluate)
    for key, value in settings.items():
        # Words and paths are checked where they are read: YAML makes numbers of some that are words.
        asked = [one for one in get_args(hints.get(key)) or (hints.get(key),) if one is not NoneType]
        wanted: Any = hints.get(key) if hints.get(key) in _WORDS else asked[0] if len(asked) == 1 else None
        if value is None or wanted not in _WORDS:
            continue
        try:
            TypeAdapter(wanted).validate_python(value, strict=True)
        except ValidationError:
            raise InputError(f"{key} is {value!r}", f"it takes {_WORDS[wanted]}") from None
    alpha, by = settings.get("conformal"), settings.get("conformal_score")
    check_asked_sets(task, None if alpha is None else float(alpha), None if by is None else str(by))
