"""The report: one self-contained HTML page from the files of a run folder."""

from modicum.report.build import build, render

__all__ = ["build", "render"]
