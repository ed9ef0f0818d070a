"""Segmentation networks: an encoder from classification, and a decoder back to the image's size.

Decoders come from segmentation-models-pytorch. Encoders are timm networks; MobileNetV2 is built with the layout of
torchvision, whose last map has 1280 channels (AADG's network), and ``mit_b0`` to ``mit_b5`` are SegFormer's own.
"""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from modicum.errors import InputError, did_you_mean
from modicum.nn.backbones import Backbone
from modicum.nn.encoder_weights import (
    MOBILENET,
    OTHER_NAMES,
    architecture_of,
    backbone_from_encoder,
    load_encoder,
)
from modicum.nn.normalisation import Normalisation
from modicum.nn.vit_pyramid import VitPyramid, is_plain_vit

NARROWEST = 4
"""Channels that every level of a U-Net's decoder keeps. With one behind a ReLU, as halving leaves of 16, it hardly
learns: a toy of lines reaches a Dice of 0.19 on the mean of three seeds, with four 0.92, with eight 0.95."""
FPN_STEP = 64
"""Half of the FPN decoder's channels go through a group norm of 32 groups."""
ARCHITECTURES = ("unet", "deeplabv3plus", "segformer", "upernet", "fpn")
_LIBRARY_ENCODERS = (MOBILENET, *(f"mit_b{size}" for size in range(6)))


class SegmentationNetwork(nn.Module):
    """Maps images in ``[0, 1]`` to logits of the same height and width.

    Images are normalised inside, and padded at the right and below, by repeating the edge, to the next size that the
    encoder halves evenly; logits are cropped back. Weights are random: nothing is ever downloaded.

    With ``deeplabv3plus`` on ``mobilenetv2_100`` it is the network of AADG: 4,378,513 parameters with one output.

    Args:
        architecture: one of :data:`ARCHITECTURES`.
        encoder: a timm name, or ``mit_b0`` to ``mit_b5``. Vision transformers with one grid of patches work with
            ``upernet``, through a :class:`~modicum.nn.vit_pyramid.VitPyramid`.
        num_outputs: channels of the logits.
        image_size: height and width, for encoders with position embeddings; those with windows (Swin) take no other.
        decoder_width: channels of the decoder, at least :data:`NARROWEST`; of the first of five levels for ``unet``,
            which halves them as far as that; a multiple of :data:`FPN_STEP` for ``fpn``.
        mean: of each channel in ``[0, 1]``, or one number.
        std: of each channel, or one number. With 0.5 for both, images enter the network in ``[-1, 1]``.

    Attributes:
        num_features: channels of the encoder's last map.
        needs_batches: one image alone cannot be trained on, because there is a batch norm after a global pooling.

    Raises:
        InputError: unknown architecture or encoder, a width that the decoder cannot have, or they do not fit.
    """

    def __init__(
        self,
        architecture: str,
        encoder: str,
        num_outputs: int,
        *,
        image_size: tuple[int, int] = (256, 256),
        decoder_width: int = 256,
        mean: Sequence[float] = (0.5,),
        std: Sequence[float] = (0.5,),
    ) -> None:
        super().__init__()
        if architecture not in ARCHITECTURES:
            raise InputError(
                f"unknown architecture '{architecture}'", did_you_mean(architecture, ARCHITECTURES)
            )
        self.architecture = architecture
        self.encoder_name = encoder
        self.normalise = Normalisation(mean, std)
        parts = _build(architecture, encoder, num_outputs, image_size, decoder_width)
        self.encoder, self.decoder, self.head = parts
        self.num_features = int(cast(Any, self.encoder).out_channels[-1])
        self.needs_batches = architecture in {"deeplabv3plus", "upernet"}

    @classmethod
    def on_backbone(
        cls, architecture: str, backbone: Backbone, num_outputs: int, decoder_width: int = 256
    ) -> "SegmentationNetwork":
        """Builds a network whose encoder has the name, image size, normalisation and weights of a backbone."""
        network = cls(
            architecture,
            backbone.name,
            num_outputs,
            image_size=backbone.image_size,
            decoder_width=decoder_width,
            mean=backbone.mean.flatten().tolist(),
            std=backbone.std.flatten().tolist(),
        )
        load_encoder_weights(network, backbone.body.state_dict(), backbone.name)
        return network

    def backbone(self, image_size: tuple[int, int]) -> Backbone:
        """The encoder as a classification network, with copies of its weights: the inverse of :meth:`on_backbone`.

        Args:
            image_size: height and width that position embeddings are for.

        Raises:
            InputError: the encoder leaves out layers of that network which would be random.
        """
        backbone = backbone_from_encoder(self.plain_encoder, self.encoder_name, image_size)
        backbone.set_normalisation(
            self.normalise.mean.flatten().tolist(), self.normalise.std.flatten().tolist()
        )
        return backbone

    @property
    def plain_encoder(self) -> nn.Module:
        """The encoder without the pyramid that makes maps of several sizes from a vision transformer's one grid."""
        return self.encoder.body if isinstance(self.encoder, VitPyramid) else self.encoder

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b outputs h w"]:
        return self.features_and_logits(images)[1]

    def features_and_logits(
        self, images: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b outputs h w"]]:
        """The encoder's last feature map, averaged over its pixels, and the logits.

        Raises:
            InputError: one image alone in training, where :attr:`needs_batches`.
        """
        if self.training and self.needs_batches and len(images) == 1:
            raise InputError(
                f"{self.architecture} cannot be trained on one image at a time (batch norm of one value)",
                "raise the batch size, leave out the last incomplete batch, or use unet",
            )
        height, width = images.shape[-2:]
        padded = _padded(self.normalise(images), int(cast(Any, self.encoder).output_stride))
        maps = self.encoder(padded)
        pooled = maps[-1].mean((2, 3))
        logits = self.head(self.decoder(maps))
        if logits.shape[-2:] != padded.shape[-2:]:  # patches that are not 16 pixels wide
            logits = functional.interpolate(logits, size=padded.shape[-2:], mode="bilinear")
        return pooled, logits[..., :height, :width]


def load_encoder_weights(network: SegmentationNetwork, weights: Mapping[str, Tensor], source: str) -> None:
    """Loads weights of a classification network into the encoder.

    Args:
        network: its encoder is changed; a pyramid on a vision transformer keeps its own weights.
        weights: tensors under the names of timm, or for MobileNetV2 of torchvision; a classifier in it is ignored.
        source: what to call the weights in an error.

    Raises:
        InputError: tensors are missing or of another shape. Nothing is ever left at random silently.
    """
    load_encoder(network.plain_encoder, weights, network.encoder_name, source)


def _padded(images: Float[Tensor, "b c h w"], stride: int) -> Tensor:
    below, right = (-side % stride for side in images.shape[-2:])
    return functional.pad(images, (0, right, 0, below), mode="replicate") if below or right else images


class _Parts(NamedTuple):
    encoder: nn.Module
    decoder: nn.Module
    head: nn.Module


def _build(
    architecture: str, encoder: str, num_outputs: int, image_size: tuple[int, int], decoder_width: int
) -> _Parts:
    name = OTHER_NAMES.get(architecture_of(encoder), encoder)
    if name not in _LIBRARY_ENCODERS:
        _check_name(encoder)
        if is_plain_vit(encoder):
            return _on_vit(architecture, encoder, num_outputs, image_size, decoder_width)
        name = f"tu-{encoder}"
    arguments = {"encoder_weights": None, "classes": num_outputs, **_widths(architecture, decoder_width)}
    try:
        model = _with_library(architecture, name, image_size, arguments)
    except (TypeError, ValueError, RuntimeError, AttributeError, NotImplementedError) as error:
        raise InputError(
            f"encoder '{encoder}' does not work with {architecture} ({error})",
            "choose for instance resnet34, mobilenetv2_100 or convnext_tiny",
        ) from error
    return _Parts(model.encoder, model.decoder, model.segmentation_head)


def _with_library(
    architecture: str, name: str, image_size: tuple[int, int], arguments: Mapping[str, Any]
) -> Any:
    import segmentation_models_pytorch as smp

    models = {
        "unet": smp.Unet,
        "deeplabv3plus": smp.DeepLabV3Plus,
        "segformer": smp.Segformer,
        "upernet": smp.UPerNet,
        "fpn": smp.FPN,
    }
    model: Any = models[architecture]
    if name in _LIBRARY_ENCODERS:
        return model(name, **arguments)
    padded = tuple(side + -side % 32 for side in image_size)
    try:
        return model(name, img_size=padded, **arguments)
    except TypeError:  # networks without position embeddings and windows take any size and have no img_size
        return model(name, **arguments)


def _widths(architecture: str, width: int) -> dict[str, Any]:
    """Keyword arguments of segmentation-models-pytorch for a decoder's width.

    Raises:
        InputError: a width that the decoder cannot have.
    """
    if architecture == "fpn" and width % FPN_STEP:
        above = width + -width % FPN_STEP
        near = [str(allowed) for allowed in (above - FPN_STEP, above) if allowed]
        raise InputError(
            f"decoder_width {width} is not a multiple of {FPN_STEP}, which fpn needs (group norm)",
            f"set decoder_width={' or '.join(near)}",
        )
    if width < NARROWEST:
        raise InputError(f"decoder_width {width} is too narrow", f"set decoder_width={NARROWEST} or more")
    if architecture == "unet":
        return {"decoder_channels": tuple(max(NARROWEST, width >> level) for level in range(5))}
    if architecture == "segformer":
        return {"decoder_segmentation_channels": width}
    if architecture == "fpn":
        return {"decoder_pyramid_channels": width, "decoder_segmentation_channels": width // 2}
    return {"decoder_channels": width}


def _on_vit(
    architecture: str, encoder: str, num_outputs: int, image_size: tuple[int, int], width: int
) -> _Parts:
    """UPerNet's decoder and head on a pyramid, with the library's own initialisation."""
    if architecture != "upernet":
        raise InputError(
            f"encoder '{encoder}' is a vision transformer with one grid, and {architecture} needs several",
            "use upernet, or an encoder such as resnet34",
        )
    from segmentation_models_pytorch.base import SegmentationHead, initialization
    from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder

    pyramid = VitPyramid(encoder, image_size)
    decoder = UPerNetDecoder(encoder_channels=pyramid.out_channels, decoder_channels=width)
    head = SegmentationHead(width, num_outputs, kernel_size=1, upsampling=4)
    initialization.initialize_decoder(decoder)
    initialization.initialize_head(head)
    return _Parts(pyramid, decoder, head)


def _check_name(encoder: str) -> None:
    import timm

    if not timm.is_model(architecture_of(encoder)):
        names = [*_LIBRARY_ENCODERS, *timm.list_models()]
        close = difflib.get_close_matches(encoder, names, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(repr(name) for name in close)}? " if close else ""
        raise InputError(
            f"encoder '{encoder}' is not a timm model",
            f"{hint}pass a name of timm.list_models(), for instance resnet34, or mit_b0 to mit_b5",
        )
