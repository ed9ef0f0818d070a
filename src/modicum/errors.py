"""Errors for the user: each names the thing, the value and the remedy, in one line."""

import difflib
from collections.abc import Iterable


class ModicumError(Exception):
    """A problem the user can act on. Shown as one line, without a traceback.

    Args:
        problem: the thing and the value, for instance ``labels.csv row 17: grade '5' is not in 0..4``.
        remedy: what to do about it, for instance ``fix the row or pass --classes 6``.
    """

    exit_code = 2

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem}; {remedy}" if remedy else problem)


class InputError(ModicumError):
    """An input of the user (an argument, a setting, a file) cannot be used as it is."""


class BrokenImageError(ModicumError):
    """One image file cannot be read.

    Args:
        image: the image's reference in the manifest.
        reason: why, in plain words and without anything from the patient's header.
    """

    def __init__(self, image: str, reason: str) -> None:
        self.image = image
        self.reason = reason
        super().__init__(f"{image}: {reason}")

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        # The default would call __init__ with the joined message, and fail in another process.
        return type(self), (self.image, self.reason)


class ResourceError(ModicumError):
    """The machine ran out of something: memory, disk."""


class InterruptedRunError(ModicumError):
    """The user stopped a run; it can be resumed."""

    exit_code = 130


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """A hint for a mistyped word: ``did you mean 'linear'? (known: full, linear)``."""
    options = sorted(set(options))
    close = difflib.get_close_matches(word, options, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}(known: {', '.join(options)})"
