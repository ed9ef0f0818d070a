"""LesionPaste: anomalies from normal images and one annotated one.

"LesionPaste: One-Shot Anomaly Detection for Medical Images" (arXiv 2203.06354), published as "AugPaste" (LNCS 13576,
2022).
"""

from modicum.methods.lesionpaste.config import LesionPasteConfig
from modicum.methods.lesionpaste.method import LesionPasteMethod

__all__ = ["LesionPasteConfig", "LesionPasteMethod"]
