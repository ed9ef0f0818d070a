"""SPMix: rare classes on the backgrounds of common ones, mixed patch by patch where saliency says so.

"Saliency-guided and Patch-based Mixup for Long-tailed Skin Cancer Image Classification" (arXiv 2406.10801, 2024); as
TailBoost in Sensors 2026, 26(11), 3343. :class:`GPaCo` is its loss without the mixing.
"""

from modicum.methods.spmix.config import GPaCoConfig, SPMixConfig
from modicum.methods.spmix.method import GPaCo, SPMix
from modicum.methods.spmix.saliency_stage import SaliencyStage
from modicum.methods.spmix.stage import SPMixStage

__all__ = ["GPaCo", "GPaCoConfig", "SPMix", "SPMixConfig", "SPMixStage", "SaliencyStage"]
