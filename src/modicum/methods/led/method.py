"""LED as a method: learn to degrade, then learn to enhance."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import nn

from modicum.errors import InputError
from modicum.methods.base import Context, Method, MethodConfig, Stage
from modicum.methods.led.config import CAUTION, FLIPS, LedConfig
from modicum.methods.led.cut_stage import CUT_TRAINING, CutStage
from modicum.methods.led.enhance_stage import EnhanceStage
from modicum.methods.led.pair_source import PairSource

ENHANCE_TRAINING: Mapping[str, Any] = {
    "epochs": 150,
    "batch_size": 3,
    "optimizer": "adamw",
    "lr": 1e-5,
    "betas": (0.95, 0.999),
    "weight_decay": 1e-6,
    "schedule": "cosine",
    "warmup_epochs": 0.2,
    "clip_norm": 1.0,
    "ema_decay": 0.9999,
    "ema_power": 0.75,
    "validate_every": 5,
    "select": "last",
    "augment": FLIPS,
}
"""The release's; its 100 steps of warm-up are a fifth of an epoch of its data."""


class Led(Method):
    """Learns a degradation from poor photographs, and a diffusion model that undoes it."""

    name: ClassVar[str] = "led"
    summary: ClassVar[str] = (
        "enhance photographs by a diffusion model that learned to undo a learned degradation; also behind other enhancers"
    )
    source: ClassVar[str] = "Cheng et al., arXiv 2303.04603"
    tasks: ClassVar[tuple[str, ...]] = ("image-to-image",)
    caution: ClassVar[str] = CAUTION
    Config: ClassVar[type[MethodConfig]] = LedConfig
    stage_training: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "degrade": {**CUT_TRAINING, "augment": FLIPS},
        "enhance": ENHANCE_TRAINING,
    }
    image: ClassVar[Mapping[str, Any]] = {"size": (512, 512), "resize": "pad"}
    prediction_settings: ClassVar[tuple[str, ...]] = (
        "start", "start_behind", "steps", "placement", "sampler", "samples",
    )  # fmt: skip

    config: LedConfig

    def __init__(self, config: LedConfig, context: Context) -> None:
        super().__init__(config, context)
        channels, outputs = context.task.channels, context.task.num_outputs
        if channels != outputs:
            raise InputError(
                f"images of {channels} and targets of {outputs} channels: what is enhanced stays as it is otherwise",
                "read both alike: --set channels=3 --set target_channels=3",
            )
        self._degrade: CutStage | None = None
        if config.degrade in ("learned", "mixed"):
            epochs = context.stage_training.get("degrade", CUT_TRAINING)["epochs"]
            self._degrade = CutStage(
                config, "degrade", ("target", "image"), (channels, channels), epochs, scored=False
            )
        degrader = None if self._degrade is None else self._degrade.translator
        pairs = PairSource(config.degrade, config, degrader)
        self._enhance = EnhanceStage(config, channels, pairs, context.image_size)
        self._behind = self._enhance.enhancer.started_at(config.start_behind)

    @classmethod
    def task_options(cls, config: MethodConfig) -> Mapping[str, Any]:
        assert isinstance(config, LedConfig)
        found = "found" if config.field_of_view else "none"
        options: dict[str, Any] = {"field_of_view": found, "change": True}
        if config.degrade == "pairs":
            options["pairing"] = "rows"
        return options

    def stages(self) -> Sequence[Stage]:
        return [self._enhance] if self._degrade is None else [self._degrade, self._enhance]

    def predictor(self) -> nn.Module:
        return self._enhance.enhancer

    def predictor_behind(self) -> nn.Module:
        return self._behind
