"""The fenced blocks of a Markdown page: which are run, and what is in them."""

import re
from dataclasses import dataclass

RUNNABLE = {"console", "bash", "python"}
_SKIP = re.compile(r"^<!-- not run: (?P<reason>.+?) -->$")
_FENCE = re.compile(r"^(?P<ticks>`{3,})(?P<language>\w*)\s*$")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Args:
        language: what follows the fence.
        text: the lines between the fences.
        line: number of its first line on the page.
        not_run: the reason in ``<!-- not run: reason -->`` directly before it, or None.
    """

    language: str
    text: str
    line: int
    not_run: str | None

    @property
    def runnable(self) -> bool:
        """Whether it is of a language that is run, and not marked."""
        return self.language in RUNNABLE and self.not_run is None

    def commands(self) -> list[str]:
        """The commands of a ``console`` block (lines after ``$ ``) or a ``bash`` block (all but comments).

        A backslash at the end of a line continues it; other lines of a ``console`` block are what a command prints.
        """
        lines = iter(self.text.splitlines())
        found = []
        for line in lines:
            if self.language == "console":
                if not line.startswith("$ "):
                    continue
                line = line[2:]
            command = line.strip()
            while command.endswith("\\"):
                command = command[:-1] + next(lines).removeprefix("> ").strip()
            if command and not command.startswith("#"):
                found.append(command)
        return found


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page in their order. Raises ValueError for a fence without its end."""
    found: list[Block] = []
    lines = page.splitlines()
    reason, number = None, 0
    while number < len(lines):
        fence, mark = _FENCE.match(lines[number]), _SKIP.match(lines[number].strip())
        if fence:
            end = next((n for n in range(number + 1, len(lines)) if lines[n].strip() == fence["ticks"]), None)
            if end is None:
                raise ValueError(f"the block in line {number + 1} has no end")
            text = "\n".join(lines[number + 1 : end])
            found.append(Block(fence["language"], text, number + 2, reason))
            number = end
        if mark:
            reason = mark["reason"]
        elif lines[number].strip() or fence:
            reason = None
        number += 1
    return found
