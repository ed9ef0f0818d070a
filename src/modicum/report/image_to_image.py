"""Report sections of image-to-image translation: scores by image and patient, example images, displacements."""

import numpy as np

from modicum.report.by_patient import patient_blocks, scored
from modicum.report.files import Evaluation, RunFiles, as_mapping, number
from modicum.report.image_to_image_words import about, cautions, headline, pairs_note
from modicum.report.panels import galleries as panel_galleries
from modicum.report.sections import Block, Gallery, TaskSections, score_block
from modicum.report.words import percent, plural
from modicum.tasks.image_to_image.metric_table import METRICS
from modicum.tasks.metric_tables import metric_named

_STOPS = 12


def blocks(run: RunFiles, evaluation: Evaluation, prefix: str) -> list[Block]:
    """The cards of one evaluation."""
    of_patients = patient_blocks(
        scored(evaluation, [metric.name for metric in METRICS if metric.per_image]), prefix
    )
    # Cautions and headline have said why, where no score has an interval.
    scores = score_block(evaluation, "half" if of_patients else "full", common_reason=False)
    return [*scores, *of_patients, *_judge_blocks(evaluation), *_displacement_block(run, evaluation)]


def galleries(run: RunFiles, evaluation: Evaluation, budget: int) -> list[Gallery]:
    """The worst and typical translations, with a legend for the colours of differences."""
    return panel_galleries(evaluation, budget, pairs_note(evaluation), _error_ramp())


def _error_ramp() -> dict[str, str]:
    """The colour scale of error maps, as a CSS gradient."""
    from modicum.tasks.image_to_image.pictures import ERROR_AT_WHITE, error_colours

    colours = error_colours(np.linspace(0, ERROR_AT_WHITE, _STOPS, dtype=np.float32)[None])[0]
    stops = ",".join(f"rgb({r},{g},{b})" for r, g, b in colours.tolist())
    return {
        "colours": f"linear-gradient(90deg,{stops})",
        "low": "difference 0",
        "high": f"{100 * ERROR_AT_WHITE:g} % of the scale and more",
    }


def _judge_blocks(evaluation: Evaluation) -> list[Block]:
    """What other runs make of images, outputs and targets, a card each."""
    blocks = []
    for name, verdict in as_mapping(evaluation.info.get("judges")).items():
        of_kinds = {kind: as_mapping(as_mapping(verdict).get(kind)) for kind in ("input", "output", "target")}
        of_kinds = {kind: found for kind, found in of_kinds.items() if found}
        measured = {kind: as_mapping(found.get("metrics")) for kind, found in of_kinds.items()}
        shares = {kind: as_mapping(found.get("shares")) for kind, found in of_kinds.items()}
        task = str(as_mapping(verdict).get("task"))
        rows = []
        for metric in dict.fromkeys(name for found in measured.values() for name in found if "/" not in name):
            values = {
                kind: number(as_mapping(found.get(metric)).get("value")) for kind, found in measured.items()
            }
            known = {kind: value for kind, value in values.items() if value is not None}
            title = metric_named(metric, task).title
            rows += [(title, _of_kinds(known), "") for _ in range(bool(known))]
        for label in sorted({label for found in shares.values() for label in found}):
            found = {kind: 100 * (number(one.get(label)) or 0.0) for kind, one in shares.items()}
            rows.append((f"taken for {label}", _of_kinds(found, " %"), ""))
        if rows:
            note = f"Run {name} judges the images as they were, the outputs, and the targets where they are known."
            blocks.append(Block("facts.html.j2", f"Judged by {name}", {"rows": rows, "note": note}))
    return blocks


def _of_kinds(values: dict[str, float], unit: str = "") -> str:
    return " · ".join(f"{kind} {value:.3g}{unit}" for kind, value in values.items())


def _displacement_block(run: RunFiles, evaluation: Evaluation) -> list[Block]:
    """Summary of the examples' estimated displacements."""
    fields = [as_mapping(entry.get("displacement")) for entry in evaluation.examples]
    measured = [field for field in fields if number(field.get("mean")) is not None]
    if not measured:
        return []
    means, longest, folded = (
        [value for field in measured if (value := number(field.get(key))) is not None]
        for key in ("mean", "max", "folded")
    )
    size = as_mapping(run.recipe.get("image")).get("size")
    at = f" of {size[1]} × {size[0]}" if isinstance(size, list | tuple) and len(size) == 2 else ""
    rows = [
        ("Mean", f"{np.mean(means):.2f} px", f"{min(means):.2f} to {max(means):.2f} from example to example")
    ]
    if longest:
        rows.append(("Longest", f"{max(longest):.1f} px", "in all examples"))
    if folded:
        rows.append(
            (
                "Folded",
                f"{percent(100 * float(np.mean(folded)))} %",
                "of pixels; 0 is a field that could be real",
            )
        )
    note = (
        "Displacement between target and translation, as estimated by registration in "
        f"{plural(len(measured), 'example')}, in pixels{at}. It is not part of the translation."
    )
    return [Block("facts.html.j2", "Estimated displacement", {"rows": rows, "note": note})]


SECTIONS = TaskSections(
    about=about,
    headline=headline,
    blocks=blocks,
    cautions=cautions,
    counts=lambda run: [],
    counted="Images with their targets",
    galleries=galleries,
    lost="there are no scores image by image here",
    backbone=False,
)
"""Sections of the task ``image-to-image``."""
