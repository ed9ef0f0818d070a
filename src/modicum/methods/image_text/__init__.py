"""What methods that learn from images with their reports have in common."""

from modicum.methods.image_text.method import ImageTextMethod, TextConfig, make_bert
from modicum.methods.image_text.model import EncodedImages, EncodedTexts, ImageTextModel
from modicum.methods.image_text.pairs import PairStage, same_reports, shuffled_sentences

__all__ = [
    "EncodedImages",
    "EncodedTexts",
    "ImageTextMethod",
    "ImageTextModel",
    "PairStage",
    "TextConfig",
    "make_bert",
    "same_reports",
    "shuffled_sentences",
]
