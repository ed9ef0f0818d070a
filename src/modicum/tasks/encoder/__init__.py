"""Encoders: what a method learns of images by itself."""

from modicum.tasks.encoder.task import Encoder

__all__ = ["Encoder"]
