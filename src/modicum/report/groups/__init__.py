"""Metrics of groups of patients: which groups, their values, the metrics, and the table of them."""

from modicum.report.groups.block import group_blocks
from modicum.report.groups.results import LEAST, group_results
from modicum.report.groups.values import values_of

__all__ = ["LEAST", "group_blocks", "group_results", "values_of"]
