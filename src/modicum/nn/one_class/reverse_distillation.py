"""Reverse distillation: what a student that knows good images only cannot reproduce of its teacher's maps."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from modicum.errors import InputError
from modicum.nn.one_class.maps import Reduce, blurred, reduce_map, upsampled
from modicum.nn.one_class.scorer import Maps, OneClassScore, OneClassScorer
from modicum.nn.one_class.student import MirrorDecoder, OneClassEmbedding, StudentShape
from modicum.nn.one_class.taps import STRIDES, FeatureTaps


class ReverseDistillation(OneClassScorer):
    """Distance of the teacher's maps to those that a student makes of an embedding of all three.

    Deng and Li (CVPR 2022, arXiv 2201.10703). Rests wholly on the teacher: one with random weights says nothing.

    Args:
        shape: of the teacher.
        reduce: from the map to the score; ``max`` in the paper, whose anomalies are small.
        sigma: of the map's blur, in pixels of the image.
    """

    num_passes = 0

    def __init__(self, shape: StudentShape, reduce: Reduce = "max", sigma: float = 4.0) -> None:
        super().__init__()
        self.embedding = OneClassEmbedding(shape)
        self.decoder = MirrorDecoder(shape)
        self.reduce, self.sigma = reduce, sigma

    @classmethod
    def of(cls, taps: FeatureTaps, reduce: Reduce = "max", sigma: float = 4.0) -> "ReverseDistillation":
        """A student of a backbone's maps.

        Raises:
            InputError: the maps do not have strides 4, 8 and 16.
        """
        backbone = taps.network
        if taps.strides != STRIDES:
            raise InputError(
                f"backbone '{backbone.name}' has no maps of strides 4, 8 and 16, which reverse distillation mirrors",
                "choose for instance resnet18 or wide_resnet50_2",
            )
        return cls(StudentShape.of(backbone, taps.channels), reduce, sigma)

    def reproduced(self, maps: Maps) -> list[Tensor]:
        """The student's maps, of the shapes of the teacher's."""
        sizes = [(int(one.shape[2]), int(one.shape[3])) for one in maps]
        return self.decoder(self.embedding(maps), sizes)

    def losses(self, maps: Maps) -> Float[Tensor, ""]:
        """Sum over maps of the mean over images of 1 - cosine of the whole flattened maps, as in the released code.

        The paper writes a cosine at each place, averaged. From 0 to 6; 3 with maps that are nowhere negative.
        """
        pairs = zip(maps, self.reproduced(maps), strict=True)
        return torch.stack([distance_of_whole(a.detach(), b) for a, b in pairs]).sum()

    def forward(self, maps: Maps, size: tuple[int, int]) -> OneClassScore:
        found = distance_map(maps, self.reproduced(maps), size, self.sigma)
        return OneClassScore(reduce_map(found, self.reduce), found)


def distance_of_whole(first: Float[Tensor, "b c h w"], second: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
    """Mean over images of one minus the cosine of two maps, flattened over channels and places."""
    return (1 - functional.cosine_similarity(first.flatten(1), second.flatten(1), dim=1)).mean()


def distance_map(teacher: Maps, student: Maps, size: tuple[int, int], sigma: float) -> Float[Tensor, "b h w"]:
    """Sum over maps of one minus the cosine at each place, upsampled to the image and blurred."""
    total = sum(
        upsampled((1 - functional.cosine_similarity(a, b, dim=1)).clamp_min(0), size)
        for a, b in zip(teacher, student, strict=True)
    )
    assert isinstance(total, Tensor)
    return blurred(total, sigma)
