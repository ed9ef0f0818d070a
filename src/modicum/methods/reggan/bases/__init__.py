"""The networks and losses that registration is added to, a file for each."""

from modicum.errors import InputError
from modicum.methods.reggan.bases.base import Adversary, Base
from modicum.methods.reggan.bases.munit import MunitBase
from modicum.methods.reggan.bases.nice_gan import NiceGanBase
from modicum.methods.reggan.bases.resnet import ResnetBase
from modicum.methods.reggan.bases.unit import UnitBase
from modicum.methods.reggan.config import RegGanConfig

__all__ = ["Adversary", "Base", "MunitBase", "NiceGanBase", "ResnetBase", "UnitBase", "make_base"]

_BASES = {"resnet": ResnetBase, "nice_gan": NiceGanBase, "unit": UnitBase, "munit": MunitBase}


def make_base(config: RegGanConfig, image_size: tuple[int, int], channels: tuple[int, int]) -> Base:
    """The base of a configuration.

    Args:
        config: the method's settings.
        image_size: height and width in pixels.
        channels: of sources and of targets.

    Raises:
        InputError: the base does not have the mode.
    """
    if config.pairwise and config.base != "resnet":
        raise InputError(
            f"base '{config.base}' does not learn pixel by pixel (mode 'p')",
            "use base 'resnet', or mode nc, nc+r, c or c+r",
        )
    return _BASES[config.base](config, image_size, channels)
