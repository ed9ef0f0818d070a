"""Supervised segmentation: an encoder, a decoder, and the task's loss."""

from modicum.methods.segment.config import TRAINING, SegmentConfig
from modicum.methods.segment.method import Segment
from modicum.methods.segment.stage import SegmentStage

__all__ = ["TRAINING", "Segment", "SegmentConfig", "SegmentStage"]
