"""Examples of tasks that predict images: a row of named images each, for the worst and typical ones."""

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
    """One image of an example: caption, alternative text and data URL."""

    caption: str
    alt: str
    picture: str


@dataclass(frozen=True)
class PanelCard:
    """One example: its image's name, facts, and images."""

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
    """The examples of an evaluation, one gallery per kind.

    Args:
        evaluation: with its examples and their folder.
        budget: maximum number of bytes of all images together.
        note: how to read the images.
        ramp: see :class:`~modicum.report.sections.Gallery`.
        legends: see :class:`~modicum.report.sections.Gallery`.
        facts: makes an example's facts; by default they are read from the example.
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
        card_panels = [
            Panel(_CAPTIONS.get(name, name), _ALTS.get(name, name), address)
            for name, address in zip(names, addresses, strict=True)
        ]
        card = PanelCard(str(entry.get("image", "")), (facts or _facts)(entry), card_panels)
        cards.setdefault(str(entry.get("kind", "")), []).append(card)
    by_kind = [
        Gallery(_KINDS.get(kind, kind.capitalize()), note, of_kind, ramp, legends)
        for kind, of_kind in cards.items()
    ]
    # The note is shown only once, above the first gallery.
    return [by_kind[0], *(Gallery(one.title, "", one.cards) for one in by_kind[1:])] if by_kind else []


def panels_of(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The images listed in an example; none if the list is damaged."""
    panels = entry.get("panels")
    return [panel for panel in panels if isinstance(panel, dict)] if isinstance(panels, list) else []


def _facts(entry: Mapping[str, Any]) -> list[str]:
    facts = [str(entry[key]) for key in ("prediction", "truth") if entry.get(key)]
    field = as_mapping(entry.get("displacement"))
    mean, longest, folded = (number(field.get(key)) for key in ("mean", "max", "folded"))
    if mean is not None and longest is not None:
        facts.append(f"moved by {mean:.1f} px, at most {longest:.1f} px")
    if folded:
        facts.append(f"folded in {percent(100 * folded)} %")
    return facts
