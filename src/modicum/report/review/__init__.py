"""Pages for reviewers: a model card and two checklists, filled from the run where the run knows."""

from modicum.report.review.page import write_review

__all__ = ["write_review"]
