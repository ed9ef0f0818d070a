"""An item of a checklist or card: what it asks, which facts of a run answer it, what its authors must write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Fact:
    """Something a run knows.

    Attributes:
        text: as a sentence or a few words.
        source: files of the run folder it comes from, comma-separated.
    """

    text: str
    source: str


@dataclass(frozen=True)
class Item:
    """One item.

    Attributes:
        number: as the checklist numbers it; empty for a card's.
        asks: what it asks for, in a few words of our own.
        facts: names of the facts that answer it, wholly or in part.
        write: what only the authors know; empty where the facts are all.
    """

    number: str
    asks: str
    facts: tuple[str, ...] = ()
    write: str = ""


@dataclass(frozen=True)
class Answer:
    """An item with what the run says to it.

    Attributes:
        item: what was asked.
        facts: that the run has.
        missing: what is still to be written; empty for nothing.
    """

    item: Item
    facts: tuple[Fact, ...]
    missing: str

    @property
    def state(self) -> str:
        """``filled`` by the run, ``partly``, or ``missing``."""
        if not self.facts:
            return "missing"
        return "partly" if self.missing else "filled"


def answered(items: Sequence[Item], facts: Mapping[str, Fact | None]) -> list[Answer]:
    """Items with their facts. One whose facts the run does not have is missing, with what they would have said.

    Raises:
        KeyError: an item names a fact that no run can have.
    """
    answers = []
    for item in items:
        has = tuple(fact for name in item.facts if (fact := facts[name]) is not None)
        missing = item.write
        if not has and not missing:
            missing = item.asks[:1].lower() + item.asks[1:]
        answers.append(Answer(item, has, missing))
    return answers
