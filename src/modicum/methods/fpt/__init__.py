"""FPT and FPT+: a side network learns from a frozen transformer's keys and values of the large image.

* FPT: Y. Huang, P. Cheng, R. Tam, X. Tang, "Fine-grained Prompt Tuning: A Parameter and Memory Efficient Transfer
  Learning Method for High-resolution Medical Image Classification", MICCAI 2024, arXiv 2403.07576.
* FPT+: the same authors, "Boosting Memory Efficiency in Transfer Learning for High-Resolution Medical Image
  Classification", IEEE TNNLS 36(9), 2025, arXiv 2408.02426.

Both are one construction with different settings: :mod:`~modicum.methods.fpt.config` has them,
:mod:`~modicum.methods.fpt.stages` the two extractions and the tuning.
"""

from modicum.methods.fpt.config import FptConfig, FptPlusConfig
from modicum.methods.fpt.method import Fpt, FptPlus

__all__ = ["Fpt", "FptConfig", "FptPlus", "FptPlusConfig"]
