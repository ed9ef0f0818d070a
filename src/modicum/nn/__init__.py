"""Networks and layers. Nothing here trains, and nothing here knows a file."""

from modicum.nn.backbones import Backbone, load_backbone_weights
from modicum.nn.classifier import Classifier, linear_head
from modicum.nn.frozen import Frozen, count_parameters, each_once, learnable_parameters, learned_tensors

__all__ = [
    "Backbone",
    "Classifier",
    "Frozen",
    "count_parameters",
    "each_once",
    "learnable_parameters",
    "learned_tensors",
    "linear_head",
    "load_backbone_weights",
]
