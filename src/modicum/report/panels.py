"""Examples of tasks whose predictions are pictures: a row of named pictures each, the worst and typical ones."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modicum.report.files import Evaluation, as_mapping, number
from modicum.report.pictures import data_addresses, opened
from modicum.report.sections import Gallery
from modicum.report.words import percent

_KINDS = {
    "worst": "The worst",
    "typical": "Typical ones",
    "mistake": "The worst",
    "correct": "The best",
}
_CAPTIONS = {"error": "difference", "field": "displacement"}
_ALTS = {
    "source": "The image",
    "image": "The image",
    "output": "What the model made of it",
    "prediction": "What the model marked",
    "target": "What it should be",
    "truth": "What should be marked",
    "error": "Where output and target differ",
    "differences": "Where what the model marked and what should be marked differ",
    "overlay": "The image with what the model marked",
    "field": "A grid as the estimated displacement moves it, over the target",
}


@dataclass(frozen=True)
class Panel:
    """One picture of an example: its name below it, a description for who does not see it, and a data address."""

    caption: str
    alt: str
    picture: str


@dataclass(frozen=True)
class PanelCard:
    """One example: its image's name, what is to be said of it, and its pictures."""

    image: str
    facts: Sequence[str]
    panels: Sequence[Panel]


def galleries(
    evaluation: Evaluation,
    budget: int,
    note: str = "",
    ramp: Mapping[str, str] | None = None,
    legends: Sequence[tuple[str, Sequence[tuple[str, str]]]] = (),
    facts: Callable[[Mapping[str, Any]], Sequence[str]] | None = None,
) -> list[Gallery]:
    """The examples of an evaluation, a gallery a kind.

    Args:
        evaluation: with its examples and their folder.
        budget: bytes that all pictures together may take.
        note: how to read the pictures.
        ramp: see :class:`~modicum.report.sections.Gallery`.
        legends: the same.
        facts: what is to be said of an example; what it says of itself by default.
    """
    folder = evaluation.folder / "examples"
    entries = [panels_of(entry) for entry in evaluation.examples]
    pictures = [[opened(folder, panel.get("picture")) for panel in panels] for panels in entries]
    cards: dict[str, list[PanelCard]] = {}
    rows = zip(evaluation.examples, entries, data_addresses(pictures, budget), strict=True)
    for entry, panels, addresses in rows:
        if not panels:
            continue
        names = [str(panel.get("name", "")) for panel in panels]
        shown = [
            Panel(_CAPTIONS.get(name, name), _ALTS.get(name, name), address)
            for name, address in zip(names, addresses, strict=True)
        ]
        card = PanelCard(str(entry.get("image", "")), (facts or _facts)(entry), shown)
        cards.setdefault(str(entry.get("kind", "")), []).append(card)
    found = [
        Gallery(_KINDS.get(kind, kind.capitalize()), note, of_kind, ramp, legends)
        for kind, of_kind in cards.items()
    ]
    # How to read them is said once, above the first.
    return [found[0], *(Gallery(one.title, "", one.cards) for one in found[1:])] if found else []


def panels_of(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The pictures that an example names; none where that is no list of them."""
    panels = entry.get("panels")
    return [panel for panel in panels if isinstance(panel, dict)] if isinstance(panels, list) else []


def _facts(entry: Mapping[str, Any]) -> list[str]:
    found = [str(entry[key]) for key in ("prediction", "truth") if entry.get(key)]
    field = as_mapping(entry.get("displacement"))
    mean, longest, folded = (number(field.get(key)) for key in ("mean", "max", "folded"))
    if mean is not None and longest is not None:
        found.append(f"moved by {mean:.1f} px, at most {longest:.1f} px")
    if folded:
        found.append(f"folded in {percent(100 * folded)} %")
    return found
