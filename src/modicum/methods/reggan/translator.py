"""What RegGAN asks of a generator. Registration helps any of them, so this is a slot and not a network."""

from collections.abc import Iterator
from typing import Protocol

from jaxtyping import Float
from torch import Tensor, nn


class Translator(Protocol):
    """A module that translates in two halves, so that what it finds in an image can also be used by others.

    :class:`~modicum.nn.ResnetGenerator` is one.
    """

    def encode(self, images: Float[Tensor, "b c h w"]) -> Tensor:
        """What the translator finds in images in [-1, 1]."""

    def generate(self, code: Tensor) -> Float[Tensor, "b channels h w"]:
        """Images of the other kind in [-1, 1] of what :meth:`encode` found."""

    def __call__(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b channels h w"]:
        """Both halves."""

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """As of any module."""
