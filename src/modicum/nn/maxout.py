"""A head of linear layers that each keep the larger of two neighbouring outputs (maxout)."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from modicum.errors import InputError


class PairwiseMax(nn.Module):
    """The larger of each two neighbouring features: output ``k`` is ``max(x[2k], x[2k + 1])``.

    >>> import torch
    >>> PairwiseMax()(torch.tensor([[1.0, 5.0, -2.0, -3.0]])).tolist()
    [[5.0, -2.0]]
    """

    def forward(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, "batch half"]:
        return functional.max_pool1d(features, kernel_size=2, stride=2)


def fusion_head(width: int, outputs: int = 1) -> nn.Sequential:
    """The head over the features of two eyes, the target eye's first: ``[b, 2 width]`` to ``[b, outputs]``.

    Huang et al. (Diagnostics 2023, 13, 1664): ``2 width -> width``, pairwise maximum, ReLU, ``width / 2 -> width / 4``,
    pairwise maximum, ReLU, ``width / 8 -> outputs`` without bias; of ResNet-50 8,915,712 parameters with one output. The
    order matters: the two eyes have weights of their own.

    Args:
        width: features of one eye, a multiple of 8.
        outputs: of the task.

    Raises:
        InputError: a width that cannot be halved three times.
    """
    if width % 8:
        raise InputError(
            f"a backbone with {width} features, which cannot be halved three times",
            "choose one with a multiple of 8, such as resnet50",
        )
    return nn.Sequential(
        nn.Linear(2 * width, width),
        PairwiseMax(),
        nn.ReLU(),
        nn.Linear(width // 2, width // 4),
        PairwiseMax(),
        nn.ReLU(),
        nn.Linear(width // 8, outputs, bias=False),
    )
