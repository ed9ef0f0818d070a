"""Augmentation of batches of images on their device: named, parameterised, reproducible.

>>> import torch
>>> from modicum.transforms import Augmentation, Rotate
>>> batch = {"image": torch.rand(4, 3, 96, 96)}
>>> Augmentation("fundus", size=64)(batch, torch.Generator().manual_seed(0))["image"].shape
torch.Size([4, 3, 64, 64])
>>> Rotate(degrees=(-10, 10))(batch, torch.Generator().manual_seed(0))["image"].shape
torch.Size([4, 3, 96, 96])
"""

from modicum.transforms.geometry import resize
from modicum.transforms.lesion_bank import LesionBank
from modicum.transforms.lesion_draws import LesionAugmentation, LesionRule
from modicum.transforms.lesion_paste import LesionPaste
from modicum.transforms.misaligned_pairs import Misalign, MisalignElastic
from modicum.transforms.misalignment import AffineMisalignment, ElasticMisalignment
from modicum.transforms.mixup import blend, mixup
from modicum.transforms.operation import GeometricOperation, Operation, PhotometricOperation
from modicum.transforms.patch_ratio import patch_ratio, patch_saliency
from modicum.transforms.pipeline import OPERATIONS, Augmentation, describe_augmentation, parse_augmentation
from modicum.transforms.policy import POLICY_OPERATIONS, Policy
from modicum.transforms.presets import PRESETS
from modicum.transforms.rand_augment import RandAugment
from modicum.transforms.random_geometry import (
    HorizontalFlip,
    RandomResizedCrop,
    Resize,
    Rotate,
    Translate,
    VerticalFlip,
    Zoom,
)
from modicum.transforms.random_photometry import (
    Brightness,
    ColorJitter,
    Contrast,
    Gamma,
    GaussianBlur,
    GaussianNoise,
    Grayscale,
    Hue,
    RandomErasing,
    Saturation,
)
from modicum.transforms.saliency import fine_grained_saliency, spectral_residual_saliency
from modicum.transforms.scale_crop import RandomScaleCrop
from modicum.transforms.views import VIEWS, apply_view, apply_views, apply_views_to_batch, parse_views

__all__ = [
    "OPERATIONS",
    "POLICY_OPERATIONS",
    "PRESETS",
    "VIEWS",
    "AffineMisalignment",
    "Augmentation",
    "Brightness",
    "ColorJitter",
    "Contrast",
    "ElasticMisalignment",
    "Gamma",
    "GaussianBlur",
    "GaussianNoise",
    "GeometricOperation",
    "Grayscale",
    "HorizontalFlip",
    "Hue",
    "LesionAugmentation",
    "LesionBank",
    "LesionPaste",
    "LesionRule",
    "Misalign",
    "MisalignElastic",
    "Operation",
    "PhotometricOperation",
    "Policy",
    "RandAugment",
    "RandomErasing",
    "RandomResizedCrop",
    "RandomScaleCrop",
    "Resize",
    "Rotate",
    "Saturation",
    "Translate",
    "VerticalFlip",
    "Zoom",
    "apply_view",
    "apply_views",
    "apply_views_to_batch",
    "blend",
    "describe_augmentation",
    "fine_grained_saliency",
    "mixup",
    "parse_augmentation",
    "parse_views",
    "patch_ratio",
    "patch_saliency",
    "resize",
    "spectral_residual_saliency",
]
