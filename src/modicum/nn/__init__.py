"""Networks and layers. Nothing here trains, and nothing here knows a file."""

from modicum.nn.backbones import Backbone, load_backbone_weights
from modicum.nn.classifier import Classifier, linear_head
from modicum.nn.feature_codec import FeatureCodec
from modicum.nn.fine_grained import FineGrainedSideNetwork, PromptFusion
from modicum.nn.frozen import Frozen, count_parameters, each_once, learnable_parameters, learned_tensors
from modicum.nn.frozen_tokens import FrozenTokens
from modicum.nn.key_value_taps import KeyValueTaps, kept_tokens, token_scores
from modicum.nn.normalisation import Normalisation
from modicum.nn.patch_discriminator import PatchDiscriminator
from modicum.nn.registration_network import RegistrationNetwork, registration_depth
from modicum.nn.resnet_generator import ResidualBlock, ResnetGenerator
from modicum.nn.side_transformer import SideTransformer
from modicum.nn.spatial_transformer import warp

__all__ = [
    "Backbone",
    "Classifier",
    "FeatureCodec",
    "FineGrainedSideNetwork",
    "Frozen",
    "FrozenTokens",
    "KeyValueTaps",
    "Normalisation",
    "PatchDiscriminator",
    "PromptFusion",
    "RegistrationNetwork",
    "ResidualBlock",
    "ResnetGenerator",
    "SideTransformer",
    "count_parameters",
    "each_once",
    "kept_tokens",
    "learnable_parameters",
    "learned_tensors",
    "linear_head",
    "load_backbone_weights",
    "registration_depth",
    "token_scores",
    "warp",
]
