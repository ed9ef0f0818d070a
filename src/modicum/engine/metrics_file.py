"""``metrics.json``, read with what others go by checked: a damaged file is one line."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from modicum.engine.run_folder import RunFolder, read_table
from modicum.errors import InputError


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class _Estimate(_Part):
    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


class _Evaluation(_Part):
    images: int
    patients: int | None = None
    metrics: dict[str, _Estimate]
    domains: dict[str, "_Evaluation"] = {}


class _Selection(_Part):
    metric: str | None = None
    mode: str | None = None
    value: float | None = None


class _Parameters(_Part):
    learnable: int
    total: int


class _Memory(_Part):
    kind: str | None = None
    peak_bytes: float = 0


class _Time(_Part):
    images_per_second: float | None = None
    fit_seconds: float | None = None


class _Metrics(_Part):
    task: str
    method: str
    backbone: str | None = None
    evaluations: dict[str, _Evaluation]
    selection: _Selection
    parameters: _Parameters
    memory: _Memory
    time: _Time
    stages: dict[str, dict[str, Any]] = {}


def read_metrics(folder: RunFolder) -> dict[str, Any]:
    """The content of a finished run's ``metrics.json``.

    Raises:
        InputError: it cannot be read, lacks something or has a value of the wrong kind.
    """
    content = read_table(folder.metrics)
    try:
        _Metrics.model_validate(content)
    except (ValidationError, RecursionError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": "too deep"}
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"'{folder.metrics}' is damaged ({where}: {first['msg']})", "restore the file, or fit again"
        ) from error
    return content
