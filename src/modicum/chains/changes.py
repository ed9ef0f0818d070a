"""Whether a step is asked for as it was done."""

import json
from collections.abc import Mapping
from typing import Any

from modicum.chains.chain_folder import StepRecord
from modicum.chains.digests import flat
from modicum.engine.run_state import FREE
from modicum.planning.plan_file import OF_STEP, Step

DATA = "data"
_FREE = FREE | {"batch_size"}
"""Of a prediction or an evaluation, images in a batch change nothing."""
_NOT_SET = "not set"


def settings_that_count(step: Step) -> dict[str, Any]:
    """A step's settings as ``chain.json`` keeps them, without those that change no result."""
    free = FREE if step.kind == "fit" else _FREE
    counting = {key: value for key, value in flat(step.settings).items() if key not in free}
    made: dict[str, Any] = json.loads(json.dumps(counting, default=str))
    return made


def changed_since(
    record: StepRecord, kind: str, settings: Mapping[str, Any], inputs: Mapping[str, str]
) -> str:
    """What is another thing than when a step was begun, in words; empty where nothing is.

    Args:
        record: of the step.
        kind: of the step now.
        settings: now, see :func:`settings_that_count`.
        inputs: digests now; those that are not known yet are left out.
    """
    if record.kind != kind:
        return f"it was a step of {record.kind}, now of {kind}"
    before = record.settings
    for key in sorted(set(before) | set(settings)):
        old, new = before.get(key, _NOT_SET), settings.get(key, _NOT_SET)
        if old != new:
            return f"{key} was {_shown(old)}, now it is {_shown(new)}"
    for key in sorted(set(record.inputs) & set(inputs)):
        if record.inputs[key] != inputs[key]:
            return _input_changed(key)
    return ""


def _shown(value: Any) -> str:
    return value if value == _NOT_SET else repr(value)


def _input_changed(key: str) -> str:
    if key == DATA:
        return "its data changed"
    if key.startswith(OF_STEP):
        return f"what step '{key.removeprefix(OF_STEP)}' learned changed"
    return f"what {key} names changed"
