"""Learning curves of methods with several losses: a small figure for each, as their sum is not informative."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from modicum.report.figures import inline_svg
from modicum.report.files import as_mapping, number
from modicum.report.sections import Block

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Lines = Mapping[str, tuple[Sequence[float], Sequence[float]]]
"""Coordinates of each line, by name."""

_TOGETHER = {"real": "discriminator", "fake": "discriminator"}
"""Losses that are plotted together, by the last part of their names."""
_MEANINGS = {
    "adversarial": "do translations pass for real?",
    "discriminator": "can real and made be told apart?",
    "correction": "translation and target, once registered",
    "smoothness": "changes of the displacement field",
    "cycle": "there and back again",
    "pixel": "translation and target, pixel by pixel",
    "reconstruction": "pictures out of their own codes",
    "identity": "pictures out of their own codes",
    "penalty": "gradient of the discriminator",
    "segmentation": "marks and truth",
}
_OF_DOMAINS = "can images of different domains be told apart?"
"""The meaning of a discriminator that sees no generated images."""
_MOST_STEPS = 200


def loss_names(epochs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Named training losses of a stage's epochs, in the order of the log, without their sum."""
    return list(
        dict.fromkeys(str(key) for r in epochs for key in as_mapping(r.get("train")) if key != "loss")
    )


def losses_block(
    epochs: Sequence[Mapping[str, Any]],
    steps: Sequence[Mapping[str, Any]],
    at: Sequence[float],
    suffix: str,
    prefix: str,
) -> Block:
    """A block with every loss over epochs.

    Args:
        epochs: records of the history, in order.
        steps: the same of single steps.
        at: x coordinates of the epochs' ends, beginning with the start.
        suffix: appended to the title.
        prefix: prefix of ids, different for each stage.
    """
    ends = [0.0, *(float(record["step"]) for record in epochs)]
    groups: dict[str, list[str]] = {}
    for name in loss_names(epochs):
        head, _, last = name.rpartition("_")
        shared = _TOGETHER.get(last)
        groups.setdefault("_".join(part for part in (head, shared) if part) if shared else name, []).append(
            name
        )
    figures = []
    for group, names in groups.items():
        lines = {
            _line_name(name, names): _curve(
                [(x, as_mapping(r.get("train")).get(name)) for x, r in zip(at[1:], epochs, strict=True)]
            )
            for name in names
        }
        beyond = {
            f"{_line_name(name, names)}, validation": _curve(
                [(x, as_mapping(r.get("val")).get(name)) for x, r in zip(at[1:], epochs, strict=True)]
            )
            for name in names
        }
        faint = {_line_name(name, names): _step_curve(steps, name, ends, at) for name in names}
        lines |= {name: curve for name, curve in beyond.items() if curve[0]}
        title = group.replace("_", " ").capitalize()
        svg = inline_svg(small_figure(lines, faint), f"{prefix}-{group}", f"{title} over epochs")
        legend = [
            {"name": name, "swatch": f"s{i}", "dash": "", "text": "", "interval": ""}
            for i, name in enumerate(lines)
        ]
        meaning = _MEANINGS.get(group.removeprefix("back_"), "")
        if names == ["discriminator"]:
            meaning = _OF_DOMAINS
        figures.append(
            {"title": title, "note": meaning, "svg": svg, "legend": legend if len(lines) > 1 else []}
        )
    adversaries = any("discriminator" in group and group not in names for group, names in groups.items())
    note = "As weighted in training, each on its own scale; faint: single steps."
    note += " Adversaries balance each other, so their losses need not fall." if adversaries else ""
    values = {"figures": figures, "note": note}
    return Block("losses.html.j2", f"Losses{suffix}", values)


def _line_name(name: str, names: Sequence[str]) -> str:
    return name.rpartition("_")[2] if len(names) > 1 else "training"


def _curve(points: Sequence[tuple[float, Any]]) -> tuple[list[float], list[float]]:
    defined = [(x, value) for x, y in points if (value := number(y)) is not None]
    return [x for x, _ in defined], [y for _, y in defined]


def _step_curve(
    steps: Sequence[Mapping[str, Any]], name: str, ends: Sequence[float], at: Sequence[float]
) -> tuple[list[float], list[float]]:
    """A loss of single steps over fractions of epochs; with many steps, means of neighbours."""
    points = [
        (float(np.interp(record["step"], ends, at)), value)
        for record in steps
        if record["step"] <= ends[-1]
        and (value := number(as_mapping(record.get("losses")).get(name))) is not None
    ]
    group = -(-len(points) // _MOST_STEPS) or 1
    means = [np.mean(points[i : i + group], axis=0) for i in range(0, len(points), group)]
    return [float(x) for x, _ in means], [float(y) for _, y in means]


def small_figure(lines: Lines, faint: Lines) -> "Figure":
    """Plots lines over epochs in a small figure, with single steps faintly behind."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from modicum.tasks.classification.plots import COLOURS, plot_style

    with plot_style():
        figure = Figure(figsize=(3.2, 2.1), layout="constrained")
        axes = figure.subplots()
        for index, (name, (x, y)) in enumerate(lines.items()):
            colour = COLOURS[index]
            if name in faint and faint[name][0]:
                axes.plot(*faint[name], color=colour, linewidth=0.8, alpha=0.28)
            axes.plot(x, y, color=colour, linewidth=2.0, marker="o" if len(x) <= 20 else None, markersize=3.2)
        axes.set_xlim(left=0)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
        return figure
