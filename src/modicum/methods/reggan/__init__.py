"""RegGAN: translation between modalities, learned from roughly aligned pairs.

L. Kong, C. Lian, D. Huang, Z. Li, Y. Hu, Q. Zhou, "Breaking the Dilemma of Medical Image-to-image Translation",
NeurIPS 2021, arXiv 2110.06465.

Misalignment is treated as noise in the labels: with the generator G a registration network R learns the target's
displacement, and the translation is compared with the target only after R has moved it. R is not needed to
translate. :mod:`~modicum.methods.reggan.config` has the settings, :mod:`~modicum.methods.reggan.stages` the learning
step, :mod:`~modicum.methods.reggan.bases` what registration is added to.
"""

from modicum.methods.exported import exported_network
from modicum.methods.reggan.bases import Base
from modicum.methods.reggan.config import TRAINING, RegGanConfig
from modicum.methods.reggan.image_pool import ImagePool
from modicum.methods.reggan.method import RegGan
from modicum.methods.reggan.stages import RegGanStage

__all__ = ["TRAINING", "Base", "ImagePool", "RegGan", "RegGanConfig", "RegGanStage", "exported_network"]
