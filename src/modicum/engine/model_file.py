"""``model.json``, read with everything in it checked: a damaged file is one line and never a wrong network."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from modicum.engine.run_folder import RunFolder, read_table
from modicum.errors import InputError, ModicumError
from modicum.tasks import Task, task_from_dict

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Channel = Annotated[list[float], Field(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class _Task(_Part):
    name: str


class _Normalisation(_Part):
    mean: Channel
    std: Channel


class _Origin(_Part):
    path: str | None = None
    from_run: str | None = None
    bytes: int | None = None
    sha256: Digest | None = None
    weights_sha256: Digest | None = None


class _Model(_Part):
    task: _Task
    weights_sha256: Digest | None
    frozen_backbone_sha256: Digest | None
    frozen_backbone: _Origin | None = None
    normalisation: _Normalisation | None = None
    field_of_view: dict[str, Any] | None = None


def read_model(folder: RunFolder) -> dict[str, Any]:
    """The content of ``model.json``.

    Raises:
        InputError: it cannot be read, lacks something or has a value of the wrong kind.
    """
    content = read_table(folder.model)
    try:
        _Model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _damaged(folder, f"{where}: {first['msg']}") from error
    return content


def task_of_run(folder: RunFolder) -> Task:
    """The task in a run's ``model.json``. Raises :class:`InputError` where it is damaged."""
    values = read_model(folder)["task"]
    try:
        return task_from_dict(values)
    except ModicumError as error:
        raise _damaged(folder, f"task: {error.problem}") from error
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, MemoryError) as error:
        # What a task keeps is its own: whatever it stumbles over was not written by it.
        raise _damaged(folder, f"task: {type(error).__name__}") from error


def _damaged(folder: RunFolder, why: str) -> InputError:
    return InputError(f"'{folder.model}' is damaged ({why})", "restore the file, or fit again")
