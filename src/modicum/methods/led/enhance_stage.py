"""Stage B: a conditional diffusion model learns to undo a degradation (arXiv 2303.04603).

Symbols: x the good image, y its poor twin, in [-1, 1]; t a time, e the noise. The condition y has no noise.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from modicum.methods.base import TrainStage, Update
from modicum.methods.led.config import LedConfig
from modicum.methods.led.enhancer import Enhancer
from modicum.methods.led.familiarity import Familiarity
from modicum.methods.led.pair_source import PairSource
from modicum.nn import ConditionalUnet, NoiseSchedule
from modicum.nn.diffusion_sampling import SamplingPlan
from modicum.nn.noise_schedule import TIMES
from modicum.tasks.base import Batch


class EnhanceStage(TrainStage):
    """Learns what noise was added to ``target``, seen with its poor twin.

    Args:
        config: the method's settings.
        channels: of images, and of targets.
        pairs: gives targets their twins.
        image_size: height and width of the training images.
    """

    name = "enhance"

    def __init__(
        self, config: LedConfig, channels: int, pairs: PairSource, image_size: tuple[int, int] = (512, 512)
    ) -> None:
        super().__init__()
        self.config = config
        self.pairs = pairs
        self.network = ConditionalUnet(
            channels,
            channels,
            config.unet_channels,
            config.attention_levels,
            config.blocks_per_level,
            config.head_size,
            config.zero_init,
            config.checkpointing,
        )
        self.schedule = NoiseSchedule(config.prediction, config.zero_terminal_snr)
        plan = SamplingPlan(config.start, config.steps, config.placement, config.sampler)
        self.familiarity = Familiarity(channels, image_size)
        self.enhancer = Enhancer(self.network, self.schedule, plan, config.samples, self.familiarity)

    def updates(self) -> Sequence[Update]:
        return [Update("network", list(self.network.parameters()), self.losses)]

    def persistent_modules(self) -> tuple[str, ...]:
        """The network and what it knows of its images; the degrader is the first stage's."""
        return ("network", "familiarity")

    def forward(self, batch: Batch) -> Float[Tensor, "b c h w"]:
        """Enhanced images in [0, 1], each by the noise of its row."""
        return self.enhancer(batch["image"], batch["row"])

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The mean squared error of what is predicted, one time for each image."""
        x, y = (2 * images - 1 for images in self.pairs(batch))
        if self.training:
            self.familiarity.observe((y + 1) / 2)
        times = torch.randint(TIMES, (len(x),), device=x.device)
        noise = torch.randn_like(x)
        output = self.network(self.schedule.add_noise(x, noise, times), y, times)
        errors = (output.float() - self.schedule.target(x, noise, times)).square().mean((1, 2, 3))
        weights = self.schedule.loss_weights(times, self.config.weighting, self.config.snr_clip)
        return {self.config.prediction: (weights * errors).mean()}

    def validate(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return self(batch), self.losses(batch)
