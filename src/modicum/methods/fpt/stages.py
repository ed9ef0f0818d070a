"""The stages of FPT and FPT+: extract keys and values, make small images, train the side network."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from modicum.methods.base import ExtractStage, RecordPart
from modicum.methods.supervised import SupervisedStage
from modicum.nn.feature_codec import FeatureCodec
from modicum.nn.fine_grained import FineGrainedSideNetwork
from modicum.nn.frozen import Frozen
from modicum.nn.key_value_taps import KeyValueTaps
from modicum.nn.normalisation import Normalisation
from modicum.tasks.base import Batch
from modicum.transforms import resize

# Side images are kept a little larger than they are used, so that a random crop does not enlarge them.
SIDE_MARGIN = 1.25


class KeysValues(ExtractStage):
    """Extracts keys and values of the frozen network's important tokens, in their stored form."""

    name = "extract"

    def __init__(
        self, taps: KeyValueTaps, normalise: Normalisation, codec: FeatureCodec, views: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.taps = Frozen(taps)
        self.normalise = normalise
        self.codec = codec
        self.views = views

    @torch.no_grad()
    def forward(self, batch: Batch) -> Tensor:
        keys_values = self.taps(self.normalise(batch["image"]))
        with torch.autocast(
            keys_values.device.type, enabled=False
        ):  # records are exact to the codec's precision
            return self.codec.encode(keys_values)

    def settings(self) -> dict[str, Any]:
        taps: KeyValueTaps = self.taps.module  # type: ignore[assignment]
        return {
            "version": 1,  # raise it when a code change gives other records for the same settings
            "features": "keys and values inside the attention, after query/key normalisation and rotation",
            "layers": list(taps.layers),
            "tokens": taps.tokens,
            "score": taps.score,
            "first_candidate": taps.first_candidate,
            "dtype": self.codec.kind,
            **self.normalise.as_dict(),
        }

    def difference(self, first: Tensor, second: Tensor) -> float:
        """Largest difference of what the same queries read in both; tokens of equal importance may be in any order."""
        decoded_first, decoded_second = self.codec.decode(first), self.codec.decode(second)
        queries = decoded_first.dense()[0].mean(3, keepdim=True)
        return float((decoded_first.attend(queries) - decoded_second.attend(queries)).abs().max())

    def part_of(self, stored: Mapping[str, Any]) -> RecordPart | None:
        """Fewer layers and tokens are a part of records with more: tokens are in descending order of importance."""
        settings = self.settings()
        free = {"layers": None, "tokens": None}
        if {**settings, **free} != {**stored, **free} or settings["tokens"] > stored["tokens"]:
            return None
        if not set(settings["layers"]) <= set(stored["layers"]):
            return None
        layers = [stored["layers"].index(layer) for layer in settings["layers"]]
        contiguous = layers == list(range(layers[0], layers[-1] + 1))
        layer_index = slice(layers[0], layers[-1] + 1) if contiguous else layers
        return (layer_index, slice(None), slice(None), *self.codec.token_part(settings["tokens"]))


class SideImages(ExtractStage):
    """Makes small copies of the images, in 256 levels."""

    name = "side_images"
    output = "image"
    uses_backbone = False

    def __init__(self, side_size: tuple[int, int]) -> None:
        super().__init__()
        self.size = (math.ceil(side_size[0] * SIDE_MARGIN), math.ceil(side_size[1] * SIDE_MARGIN))

    def forward(self, batch: Batch) -> UInt8[Tensor, "b height width c"]:
        return (self.small(batch["image"]) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    def small(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c height width"]:
        """The images at this size, never enlarged."""
        return resize(images, (min(self.size[0], images.shape[2]), min(self.size[1], images.shape[3])))

    def settings(self) -> dict[str, Any]:
        return {"version": 1, "features": "small images", "size": list(self.size)}


class FineTuning(SupervisedStage):
    """Minimises the task's loss over prompts, fusion and side network."""

    reads = ("features", "image")

    def __init__(
        self,
        network: FineGrainedSideNetwork,
        normalise: Normalisation,
        codec: FeatureCodec,
        loss: nn.Module,
        aligned_views: bool,
    ) -> None:
        super().__init__(loss)
        self.network = network
        self.normalise = normalise
        self.codec = codec
        self.image_size = network.side.image_size
        self.aligned_views = aligned_views

    def parameter_groups(self) -> Sequence[Any]:
        return list(self.network.parameters())

    def forward(self, batch: Batch) -> Tensor:
        return self.outputs(batch["image"], batch["features"])

    def outputs(self, images: Float[Tensor, "b c h w"], records: Tensor) -> Float[Tensor, "b outputs"]:
        """Logits of small images in ``[0, 1]`` and the records of the same images."""
        small = resize(images, self.network.side.image_size)
        return self.network(self.normalise(small), self.codec.decode(records))


class FinePredictor(nn.Module):
    """Maps large images to logits: both extractions and the side network, as in training."""

    def __init__(self, features: KeysValues, side_images: SideImages, tuned: FineTuning) -> None:
        super().__init__()
        self.features = features
        self.side_images = side_images
        self.tuned = tuned

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b outputs"]:
        # Through the stored form of both, so that a deployed network sees what it was trained on.
        return self.tuned.outputs(self._small(images), self.features({"image": images}))

    def explain(
        self, images: Float[Tensor, "1 c h w"], output: int
    ) -> tuple[Float[Tensor, "1 1 rows columns"], str]:
        """Relevance of each patch of the large image for an output.

        Attention of the prompts times the gradient of the output with respect to it, positive parts summed over
        layers, heads and prompts, each at its token's patch.
        """
        taps: KeyValueTaps = self.features.taps.module  # type: ignore[assignment]
        keys_values, token_indices = taps.select(self.features.normalise(images))
        codec, network = self.features.codec, self.tuned.network
        keys, values = codec.decode(codec.encode(keys_values)).dense()
        queries = network.fusion.queries().detach()
        logits = queries @ keys.transpose(-2, -1) * queries.shape[-1] ** -0.5
        attention = logits.softmax(-1).requires_grad_(True)
        small = self.features.normalise(resize(self._small(images), network.side.image_size))
        outputs = network.side(small, network.fusion.fuse(attention @ values))
        (gradient,) = torch.autograd.grad(outputs[0, output], attention)
        relevance = (attention * gradient).detach().clamp_min(0).sum(3)
        relevance_per_token = torch.zeros(taps.shape.tokens, device=images.device)
        relevance_per_token.index_add_(0, token_indices.flatten(), relevance.flatten())
        return relevance_per_token[taps.shape.prefix_tokens :].reshape(
            1, 1, *taps.shape.grid
        ), "tokens read by the prompts"

    def _small(self, images: Tensor) -> Tensor:
        return self.side_images({"image": images.detach()}).permute(0, 3, 1, 2).float() / 255
