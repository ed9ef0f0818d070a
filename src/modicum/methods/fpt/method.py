"""FPT and FPT+ as methods."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import nn

from modicum.methods.base import Context, Method, MethodConfig, Stage
from modicum.methods.fpt.config import AUGMENT, FptConfig, FptPlusConfig, side_pixels, tapped_layers
from modicum.methods.fpt.stages import FinePredictor, FineTuning, KeysValues, SideImages
from modicum.nn.backbones import Backbone
from modicum.nn.feature_codec import FeatureCodec
from modicum.nn.fine_grained import FineGrainedSideNetwork
from modicum.nn.key_value_taps import KeyValueTaps
from modicum.nn.normalisation import Normalisation
from modicum.nn.plain_vit import plain_vit, vit_shape
from modicum.transforms import parse_views

_TRAINING = {
    "epochs": 20,
    "batch_size": 16,
    "lr": 1e-4,
    "weight_decay": 0.1,
    "warmup_epochs": 0,
    "clip_norm": 1.0,
    "augment": AUGMENT,
}


class Fpt(Method):
    """Tunes a side network on keys and values of all layers."""

    name: ClassVar[str] = "fpt"
    summary: ClassVar[str] = (
        "a side network reads a frozen transformer's view of the large image; a few percent of the memory"
    )
    source: ClassVar[str] = "Huang et al., MICCAI 2024"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    Config: ClassVar[type[MethodConfig]] = FptConfig
    training: ClassVar[Mapping[str, Any]] = _TRAINING
    image: ClassVar[Mapping[str, Any]] = {"size": (512, 512)}

    def __init__(self, config: FptConfig, context: Context) -> None:
        super().__init__(config, context)
        backbone = context.backbone()
        frozen = vit_shape(plain_vit(backbone, self.name))
        layers = tapped_layers(config.layers, frozen.depth)
        keep = config.prefix_tokens == "keep"
        taps = KeyValueTaps(backbone, layers, config.rho, config.score, keep, self.name)
        codec = FeatureCodec(config.store_dtype, taps.tokens, frozen.head_dim)
        normalise = _normalisation(config, context, backbone)
        side_size = side_pixels(config.side_size, frozen.patch_size)
        network = FineGrainedSideNetwork(
            frozen,
            len(layers),
            context.task.num_outputs,
            side_size,
            prompt_reduction=config.prompt_reduction or config.side_reduction,
            **config.model_dump(
                include={
                    "side_reduction",
                    "num_prompts",
                    "prompt_norm",
                    "prompt_projection",
                    "prompt_std",
                    "fusion_dropout",
                    "recompute",
                }
            ),
        )
        views = parse_views(config.views, backbone.image_size)
        if config.aligned_views:  # the small image is turned, too
            parse_views(views, side_size)
        self._features = KeysValues(taps, normalise, codec, views)
        self._side_images = SideImages(side_size)
        self._tune = FineTuning(network, normalise, codec, context.loss(), config.aligned_views)
        self._predictor = FinePredictor(self._features, self._side_images, self._tune)

    def stages(self) -> Sequence[Stage]:
        return [self._features, self._side_images, self._tune]

    def predictor(self) -> nn.Module:
        return self._predictor


class FptPlus(Fpt):
    """Tunes a shallower side network on keys and values of the last half of the layers."""

    name: ClassVar[str] = "fpt_plus"
    summary: ClassVar[str] = (
        "FPT with half the layers, a smaller side image and wider prompts; the least memory of all"
    )
    source: ClassVar[str] = "Huang et al., IEEE TNNLS 2025"
    Config: ClassVar[type[MethodConfig]] = FptPlusConfig


def _normalisation(config: FptConfig, context: Context, backbone: Backbone) -> Normalisation:
    if config.normalisation == "backbone":
        return Normalisation(backbone.mean.flatten().tolist(), backbone.std.flatten().tolist())
    return Normalisation(*context.statistics())
