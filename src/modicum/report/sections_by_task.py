"""Which task contributes what to the page."""

from modicum.report import anomaly, classification, detection, image_to_image, segmentation
from modicum.report.panels import galleries
from modicum.report.sections import Headline, TaskSections, score_block

_SECTIONS = {
    "anomaly": anomaly.SECTIONS,
    "classification": classification.SECTIONS,
    "detection": detection.SECTIONS,
    "image-to-image": image_to_image.SECTIONS,
    "segmentation": segmentation.SECTIONS,
}
_SCORES_ALONE = TaskSections(
    about=lambda run: run.task_name,
    headline=lambda run, evaluation: Headline(""),
    blocks=lambda run, evaluation, prefix: score_block(evaluation),
    cautions=lambda run, evaluation: [],
    counts=lambda run: [],
    counted="Images",
    galleries=lambda run, evaluation, budget: galleries(evaluation, budget),
    lost="there are only scores here",
)


def sections_of(task: str) -> TaskSections:
    """The sections of a task; for one that has none of its own, its scores alone."""
    return _SECTIONS.get(task, _SCORES_ALONE)
