"""What goes wrong in a dry run, as an error for the user."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException

from modicum.errors import InputError, ModicumError
from modicum.planning.dry_run import DryRun

_TORCH, _HERE = Path(torch.__file__).parent, Path(__file__).parent
_LONGEST = 160


@contextmanager
def failing_as_input_error(run: DryRun, part: str) -> Iterator[None]:
    """Makes one readable error of whatever fails within.

    Args:
        run: what is done.
        part: of the method that it is done with, for instance ``stage 'tune'``.

    Raises:
        InputError: names the method, the part, the operation or the line of code, and what to do instead.
    """
    try:
        yield
    except ModicumError:
        raise
    except Exception as error:
        raise _as_input_error(error, run, part) from error


def depends_on_values(error: InputError) -> bool:
    """Whether a step failed because sizes depend on values, which a dry run has not."""
    cause = error.__cause__
    return isinstance(cause, (DataDependentOutputException, DynamicOutputShapeException)) or (
        isinstance(cause, (RuntimeError, NotImplementedError)) and "meta" in str(cause)
    )


def _as_input_error(error: Exception, run: DryRun, part: str) -> InputError:
    if "more than 1 value per channel" in str(error):
        return InputError(
            "batch normalisation has nothing to normalise with one image in a batch",
            "raise --batch-size, or choose a backbone without batch normalisation",
        )
    operation = run.values.operation_of(error)
    where = (
        f"operation {operation}{_line_of(error)}" if operation else f"{type(error).__name__}{_line_of(error)}"
    )
    recipe = run.recipe
    return InputError(
        f"the memory of method '{recipe.method}' with backbone '{recipe.backbone.name}' cannot be predicted: {part}, "
        f"{where}: {_reason(error)}",
        "give --batch-size a number and leave --memory out",
    )


def _reason(error: Exception) -> str:
    if isinstance(error, DynamicOutputShapeException):
        return "how large its result is depends on the values of images or weights"
    if isinstance(error, DataDependentOutputException):
        return "it looks at the values of images or weights"
    first = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
    return first if len(first) <= _LONGEST else f"{first[:_LONGEST]} ..."


def _line_of(error: Exception) -> str:
    """The line of code that it happened in: the last one that is neither PyTorch's nor the dry run's."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if _TORCH not in path.parents and path.parent != _HERE and path.is_file():
            return f" ({path.name} line {frame.lineno})"
    return ""
