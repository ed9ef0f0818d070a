"""Prompts for classification without training: a table of texts, each with the class that it stands for."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from modicum.data.table_cells import read_cells
from modicum.errors import InputError

_CLASS, _PROMPT = ("class", "label"), ("prompt", "text")


def read_prompts(path: Path | str) -> dict[str, list[str]]:
    """The prompts of each class, in the order of the table; the same prompt counts once.

    Args:
        path: CSV or TSV with the columns ``class`` and ``prompt``, a prompt a row; several of one class are an ensemble.

    Raises:
        InputError: the file does not exist, lacks a column, a row has no class or no prompt, or one prompt stands for two
            classes.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"prompts '{path}' do not exist",
            "give a table with the columns class and prompt, for instance prompts.csv",
        )
    read = read_cells(path)
    names = [name.lower() for name in read.header]
    columns = [next((names.index(n) for n in known if n in names), None) for known in (_CLASS, _PROMPT)]
    if columns[0] is None or columns[1] is None:
        raise InputError(
            f"{path.name}: no columns 'class' and 'prompt' (columns: {', '.join(read.header)})",
            "name them class and prompt, a prompt a row",
        )
    prompts: dict[str, list[str]] = {}
    stands_for: dict[str, str] = {}
    for cells, number in zip(read.rows, read.numbers, strict=True):
        name, prompt = cells[columns[0]].strip(), " ".join(cells[columns[1]].split())
        if not name:
            raise InputError(f"{path.name} row {number}: a prompt without a class", "fill the cell 'class'")
        if not any(character.isalnum() for character in prompt):
            raise InputError(f"{path.name} row {number}: a class without a prompt", "fill the cell 'prompt'")
        if stands_for.setdefault(prompt, name) != name:
            raise InputError(
                f"{path.name} row {number}: the same prompt for '{name}' and '{stands_for[prompt]}'",
                "say them differently",
            )
        if prompt not in prompts.setdefault(name, []):
            prompts[name].append(prompt)
    if len(prompts) < 2:
        raise InputError(
            f"{path.name}: prompts of {len(prompts)} class{'es' if not prompts else ''}, and there is nothing to choose",
            "give prompts of two classes or more, such as 'No effusion.' for the other",
        )
    return prompts


def prompts_of(given: Mapping[str, str | Sequence[str]]) -> dict[str, list[str]]:
    """Prompts given as values: a text, or several, for each class. Raises :class:`InputError` for an empty one."""
    prompts = {str(name): [t] if isinstance(t, str) else list(t) for name, t in given.items()}
    for name, texts in prompts.items():
        if not texts or not all(any(c.isalnum() for c in text) for text in texts):
            raise InputError(f"class '{name}' has no prompt", "give it a sentence")
    return prompts
