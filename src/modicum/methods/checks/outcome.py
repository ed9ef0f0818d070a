"""What comes of a check: passed, not applicable, or broken."""

from dataclasses import dataclass

from modicum.errors import ModicumError


class MethodCheckError(ModicumError):
    """A method does not keep a promise of the contract.

    Args:
        method: its name.
        check: name of the check.
        promise: what must hold.
        seen: what was found instead.
        change: what to do about it.
    """

    def __init__(self, method: str, check: str, promise: str, seen: str, change: str) -> None:
        self.method, self.check, self.promise, self.seen = method, check, promise, seen
        super().__init__(f"method '{method}', check {check} ({promise.rstrip('.')}): {seen}", change)


@dataclass(frozen=True)
class CheckResult:
    """A check that found nothing wrong.

    Attributes:
        check: its name.
        promise: what was held against the method, in a sentence.
        not_applicable: why it says nothing of this method; None where it passed.
    """

    check: str
    promise: str
    not_applicable: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the promise is kept, as far as was seen."""
        return self.not_applicable is None

    def __str__(self) -> str:
        return f"{self.check}: {'passed' if self.passed else f'not applicable ({self.not_applicable})'}"


class Broken(Exception):
    """Raised by a check: what was seen, and what to change."""

    def __init__(self, seen: str, change: str) -> None:
        self.seen, self.change = seen, change
        super().__init__(seen)


class NotApplicable(Exception):
    """Raised by a check: why it says nothing of this method."""
