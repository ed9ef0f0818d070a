"""Several runs on the same images in one page: scores, paired differences, curves over each other."""

from modicum.report.side_by_side.page import write_comparison

__all__ = ["write_comparison"]
