"""AADG: augmentation policies, searched while a network learns to segment images of unseen domains.

Lyu et al., "AADG: Automatic Augmentation for Domain Generalization on Retinal Image Segmentation", IEEE Transactions on
Medical Imaging 2022, 41, 3699, arXiv 2207.13249.
"""

from modicum.methods.aadg.config import TRAINING, AadgConfig
from modicum.methods.aadg.controller import Controller, SampledPolicies
from modicum.methods.aadg.discriminator import (
    DomainDiscriminator,
    SlowCopy,
    soft_cross_entropy,
    soft_domain_labels,
)
from modicum.methods.aadg.method import Aadg
from modicum.methods.aadg.policy_gradient import normalised, ppo_loss, reinforce_loss
from modicum.methods.aadg.search import PolicySearch
from modicum.methods.aadg.stage import AadgStage, Segmenter

__all__ = [
    "TRAINING",
    "Aadg",
    "AadgConfig",
    "AadgStage",
    "Controller",
    "DomainDiscriminator",
    "PolicySearch",
    "SampledPolicies",
    "Segmenter",
    "SlowCopy",
    "normalised",
    "ppo_loss",
    "reinforce_loss",
    "soft_cross_entropy",
    "soft_domain_labels",
]
