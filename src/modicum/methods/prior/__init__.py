"""PRIOR: aligns radiographs with their reports, in whole and in parts, through prototypes of sentences."""

from modicum.methods.prior.config import PriorConfig
from modicum.methods.prior.method import Prior
from modicum.methods.prior.stages import AlignStage, PrototypeStage, ReconstructStage

__all__ = ["AlignStage", "Prior", "PriorConfig", "PrototypeStage", "ReconstructStage"]
