"""Accuracy of each class against its number of training images: where a long tail is lost."""

from collections.abc import Mapping

import numpy as np

from modicum.report.classified import Classified
from modicum.report.figures import inline_svg
from modicum.report.files import RunFiles, as_mapping, number
from modicum.report.sections import Block
from modicum.report.words import percent

STEEP = 10
"""Ratio of the largest to the smallest class from which the picture is shown without being asked for."""


def count_block(run: RunFiles, scored: Classified, prefix: str) -> list[Block]:
    """The picture, for several classes of which groups are stated or which differ much in number; else no block."""
    if scored.several or scored.severity is not None:
        return []
    groups = as_mapping(run.task.get("class_groups"))
    counts = training_counts(run, groups)
    names = [name for name in scored.classes if counts.get(name, 0) > 0]
    if len(names) < 2:
        return []
    numbers = [counts[name] for name in names]
    if not groups and max(numbers) < STEEP * min(numbers):
        return []
    from modicum.tasks.classification.plots import count_figure

    shares = []
    for name in names:
        of_class = scored.truth == scored.classes.index(name)
        shares.append(
            float((scored.predicted[of_class] == scored.truth[of_class]).mean()) if of_class.any() else np.nan
        )
    limits = [int(limit) for key in ("tail_below", "head_above") if (limit := number(groups.get(key)))]
    words = "; ".join(
        f"{name}, {count} training images: {percent(100 * share)} % found"
        for name, count, share in zip(names, numbers, shares, strict=True)
        if np.isfinite(share)
    )
    svg = inline_svg(count_figure(names, numbers, shares, limits), f"{prefix}-counts", words)
    note = "share found of each class, against its training images"
    return [
        Block(
            "figure.html.j2", "Rare and common classes", {"svg": svg, "legend": [], "metric": note}, "third"
        )
    ]


def training_counts(run: RunFiles, groups: Mapping[str, object]) -> dict[str, int]:
    """Training images by class: as the run kept them, else of its manifest."""
    kept = as_mapping(groups.get("counts"))
    if kept:
        return {str(name): int(number(count) or 0) for name, count in kept.items()}
    if run.manifest is None or not {"label", "split"} <= {*run.manifest.columns}:
        return {}
    labels = run.manifest["label"][run.manifest["split"] == "train"]
    return {str(name): int(count) for name, count in labels.value_counts().items()}
