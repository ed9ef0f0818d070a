"""Networks and layers. Nothing here trains, and nothing here reads or writes files."""

from modicum.nn.attention_pool import AttentionPool
from modicum.nn.backbones import Backbone, load_backbone_weights
from modicum.nn.bert import Bert, BertSize, SetDecoder
from modicum.nn.classifier import Classifier, linear_head
from modicum.nn.feature_codec import FeatureCodec
from modicum.nn.fine_grained import FineGrainedSideNetwork, PromptFusion
from modicum.nn.flip_averaging import FlipAveraged
from modicum.nn.frozen import Frozen, count_parameters, deduplicated, learnable_parameters, learned_tensors
from modicum.nn.frozen_tokens import FrozenTokens
from modicum.nn.image_decoder import ImageDecoder
from modicum.nn.instance_norm import InstanceNorm
from modicum.nn.key_value_taps import KeyValueTaps, kept_tokens, token_scores
from modicum.nn.mae_weights import load_mae_weights
from modicum.nn.masked_encoder import (
    MaskedEncoder,
    PatchMask,
    mask_patches,
    vision_transformer,
    xavier_initialise,
)
from modicum.nn.masked_record_model import MaskedAutoencoder, MaskedRecordModel
from modicum.nn.mixstyle import MixStyle, insert_mixstyle
from modicum.nn.munit import MunitDecoder, MunitStyleEncoder
from modicum.nn.nice_gan import NiceDiscriminator, NiceEncoder, NiceGenerator
from modicum.nn.normalisation import Normalisation
from modicum.nn.patch_decoder import PatchDecoder
from modicum.nn.patch_discriminator import PatchDiscriminator
from modicum.nn.patches import patchify, unpatchify
from modicum.nn.prior_network import CrossModalReconstruction, PriorNetwork
from modicum.nn.region_encoder import LocalAttention, RegionEncoder, SentenceEncoder, mean_by_sentence
from modicum.nn.registration_network import RegistrationNetwork, registration_depth
from modicum.nn.report_encoder import ReportEncoder
from modicum.nn.resnet_generator import ResidualBlock, ResnetGenerator
from modicum.nn.segmentation import SegmentationNetwork, load_encoder_weights
from modicum.nn.sentence_prototypes import SentencePrototypes
from modicum.nn.side_transformer import SideTransformer
from modicum.nn.sincos_pos_embed import sincos_pos_embed
from modicum.nn.spatial_transformer import folded_share, integrate, warp
from modicum.nn.unit import MultiScaleDiscriminator, UnitDecoder, UnitEncoder
from modicum.nn.vit_pyramid import VitPyramid

__all__ = [
    "AttentionPool",
    "Backbone",
    "Bert",
    "BertSize",
    "Classifier",
    "CrossModalReconstruction",
    "FeatureCodec",
    "FineGrainedSideNetwork",
    "FlipAveraged",
    "Frozen",
    "FrozenTokens",
    "ImageDecoder",
    "InstanceNorm",
    "KeyValueTaps",
    "LocalAttention",
    "MaskedAutoencoder",
    "MaskedEncoder",
    "MaskedRecordModel",
    "MixStyle",
    "MultiScaleDiscriminator",
    "MunitDecoder",
    "MunitStyleEncoder",
    "NiceDiscriminator",
    "NiceEncoder",
    "NiceGenerator",
    "Normalisation",
    "PatchDecoder",
    "PatchDiscriminator",
    "PatchMask",
    "PriorNetwork",
    "PromptFusion",
    "RegionEncoder",
    "RegistrationNetwork",
    "ReportEncoder",
    "ResidualBlock",
    "ResnetGenerator",
    "SegmentationNetwork",
    "SentenceEncoder",
    "SentencePrototypes",
    "SetDecoder",
    "SideTransformer",
    "UnitDecoder",
    "UnitEncoder",
    "VitPyramid",
    "count_parameters",
    "deduplicated",
    "folded_share",
    "insert_mixstyle",
    "integrate",
    "kept_tokens",
    "learnable_parameters",
    "learned_tensors",
    "linear_head",
    "load_backbone_weights",
    "load_encoder_weights",
    "load_mae_weights",
    "mask_patches",
    "mean_by_sentence",
    "patchify",
    "registration_depth",
    "sincos_pos_embed",
    "token_scores",
    "unpatchify",
    "vision_transformer",
    "warp",
    "xavier_initialise",
]
