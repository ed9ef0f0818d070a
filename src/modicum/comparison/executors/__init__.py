"""Where the cells of a comparison run: in this process, in processes of their own, or on a Ray cluster."""

from modicum.comparison.executors.base import Executor
from modicum.comparison.executors.choice import choose_executor

__all__ = ["Executor", "choose_executor"]
