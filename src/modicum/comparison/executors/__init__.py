"""Executors for the cells of a comparison: this process, local processes, or a Ray cluster."""

from modicum.comparison.executors.base import Executor
from modicum.comparison.executors.choice import choose_executor

__all__ = ["Executor", "choose_executor"]
