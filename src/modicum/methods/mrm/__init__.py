"""Masked record modelling (MRM) and masked autoencoding (MAE): pre-training from radiographs with and without reports.

H.-Y. Zhou, C. Lian, L. Wang, Y. Yu, "Advancing Radiograph Representation Learning with Masked Record Modeling", ICLR
2023, arXiv 2301.13155. K. He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022, arXiv 2111.06377.

Three quarters of an image's patches and half of its report's words are hidden. A transformer encodes the visible
patches; from its tokens a small decoder predicts the hidden patches of the image at twice the resolution, and a small
BERT, told of their mean, the hidden words. Only the transformer is kept. :mod:`~modicum.methods.mrm.config` has the
settings, :mod:`~modicum.methods.mrm.mae_stage` the learning step of images, :mod:`~modicum.methods.mrm.mrm_stage` that
of pairs.
"""

from modicum.methods.mrm.config import MAE_TRAINING, TRAINING, MaeConfig, MrmConfig
from modicum.methods.mrm.mae_stage import MaeStage
from modicum.methods.mrm.method import Mae, Mrm, PooledPatches
from modicum.methods.mrm.mrm_stage import MrmStage

__all__ = [
    "MAE_TRAINING",
    "TRAINING",
    "Mae",
    "MaeConfig",
    "MaeStage",
    "Mrm",
    "MrmConfig",
    "MrmStage",
    "PooledPatches",
]
