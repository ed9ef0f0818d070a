"""LED: photographs are enhanced by a diffusion model that learned to undo a degradation, which was learned itself.

Cheng, Lin, Huang, He, Luo, Tang, "Learning Enhancement From Degradation: A Diffusion Model For Fundus Image
Enhancement", arXiv 2303.04603, and its code. Methods that it is compared with live beside it:
:mod:`~modicum.methods.led.rivals`.
"""

from modicum.methods.led.config import LedConfig
from modicum.methods.led.cut_stage import CutSettings, CutStage
from modicum.methods.led.enhance_stage import EnhanceStage
from modicum.methods.led.enhancer import Enhancer
from modicum.methods.led.method import Led
from modicum.methods.led.pair_source import PairSource
from modicum.methods.led.rivals import Cut, RestorationUnet

__all__ = [
    "Cut",
    "CutSettings",
    "CutStage",
    "EnhanceStage",
    "Enhancer",
    "Led",
    "LedConfig",
    "PairSource",
    "RestorationUnet",
]
