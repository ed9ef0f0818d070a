"""Blocks for readers who want to know whether to use a model: beside a task's own, and for any task where they apply."""

from dataclasses import dataclass

from modicum.report.classified import classified
from modicum.report.evidence import evidence_blocks
from modicum.report.files import Evaluation, RunFiles
from modicum.report.groups import group_blocks
from modicum.report.sections import Block
from modicum.tasks.classification.predictive_values import check_prevalence


@dataclass(frozen=True)
class ReportOptions:
    """What a reader asks of a report.

    Attributes:
        prevalence: share of positives in the reader's own patients, for predictive values and net benefit.
    """

    prevalence: float | None = None

    def __post_init__(self) -> None:
        if self.prevalence is not None:
            check_prevalence(self.prevalence)


def reader_blocks(run: RunFiles, evaluation: Evaluation, options: ReportOptions) -> list[Block]:
    """The blocks of one evaluation."""
    blocks = group_blocks(evaluation)
    if run.task_name == "classification" and (scored := classified(run, evaluation)) is not None:
        blocks += evidence_blocks(run, scored, evaluation, options.prevalence)
    return blocks
