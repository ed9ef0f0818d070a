"""What predicts: images are sampled from themselves, with noise, under their own condition."""

from copy import copy
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from modicum.methods.led.familiarity import Familiarity
from modicum.nn import NoiseSchedule
from modicum.nn.diffusion_sampling import Predict, SamplingPlan, sample
from modicum.nn.tiles import tiled


class Enhancer(nn.Module):
    """Enhances images in [0, 1] of any size.

    Args:
        network: from noisy image, condition and times to its prediction.
        schedule: the network's.
        plan: how images are sampled.
        samples: of each image; their mean is the answer.
        familiarity: of the training images; None where nothing is known of them.
    """

    draws = True

    def __init__(
        self,
        network: nn.Module,
        schedule: NoiseSchedule,
        plan: SamplingPlan,
        samples: int = 1,
        familiarity: Familiarity | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.schedule = schedule
        self.plan = plan
        self.samples = samples
        self.familiarity = familiarity
        self.tile: tuple[int, int] | None = None
        self.overlap = (0, 0)

    @property
    def map_names(self) -> tuple[str, ...]:
        """``spread`` where several samples are drawn."""
        return ("spread",) if self.samples > 1 else ()

    def forward(
        self, images: Float[Tensor, "b c h w"], seeds: Int64[Tensor, "b"]
    ) -> Float[Tensor, "b c h w"]:
        """Enhanced images in [0, 1]; the same for the same image and seed."""
        return self.with_maps(images, seeds)[0]

    def unlike(self, images: Float[Tensor, "b c h w"]) -> Bool[Tensor, "b"]:
        """Which images are unlike those that it learned from."""
        if self.familiarity is None:
            return torch.zeros(len(images), dtype=torch.bool)
        return self.familiarity.unlike(images)

    def with_maps(
        self, images: Float[Tensor, "b c h w"], seeds: Int64[Tensor, "b"]
    ) -> tuple[Float[Tensor, "b c h w"], dict[str, Float[Tensor, "b h w"]]]:
        """Enhanced images, and where several samples are drawn how far they are apart.

        Returns:
            The mean of the samples; and ``spread``, their standard deviation, the mean over channels.
        """
        condition = 2 * images.float() - 1
        generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds.tolist()]
        total, squares = torch.zeros_like(condition), torch.zeros_like(condition)
        for _ in range(self.samples):
            noise = torch.stack([torch.randn(condition.shape[1:], generator=one) for one in generators])
            made = sample(self._predict(), condition, noise.to(condition), self.schedule, self.plan)
            made = (made + 1) / 2
            total, squares = total + made, squares + made.square()
        mean = total / self.samples
        if self.samples == 1:
            return mean, {}
        variance = (squares / self.samples - mean.square()).clamp_min(0)
        return mean, {"spread": variance.sqrt().mean(1)}

    def for_graph(self) -> "EnhancerGraph":
        """The same without generators: the noise comes with the images."""
        return EnhancerGraph(self)

    def with_tiles(self, tile: tuple[int, int], overlap: tuple[int, int]) -> "Enhancer":
        """The same for images larger than a tile: its network sees tiles, and its predictions of each step are blended.

        The noise of the start is that of the whole image, so that tiles agree. One tile at a time is in memory.

        Args:
            tile: height and width in pixels.
            overlap: of neighbouring tiles, down and across, in pixels.
        """
        other = copy(self)
        other.tile, other.overlap = tile, overlap
        return other

    def started_at(self, start: int) -> "Enhancer":
        """The same from another start."""
        other = copy(self)
        other.plan = replace(self.plan, start=start)
        return other

    def _predict(self) -> Predict:
        def whole(x: Tensor, condition: Tensor, times: Tensor) -> Tensor:
            output: Tensor = self.network(x, condition, times)
            return output.float()

        def in_tiles(x: Tensor, condition: Tensor, times: Tensor) -> Tensor:
            assert self.tile is not None
            tile = self.tile
            if x.shape[2] <= tile[0] and x.shape[3] <= tile[1]:
                return whole(x, condition, times)
            channels = x.shape[1]

            def of_tiles(part: Tensor) -> Tensor:
                return whole(part[:, :channels], part[:, channels:], times[: len(part)])

            both = torch.cat([x, condition], 1)
            size = (min(tile[0], x.shape[2]), min(tile[1], x.shape[3]))
            return torch.stack([tiled(of_tiles, one, size, self._overlap_of(size)) for one in both])

        return whole if self.tile is None else in_tiles

    def _overlap_of(self, size: tuple[int, int]) -> tuple[int, int]:
        """Below the tile's size, where that is cut to the image's."""
        return min(self.overlap[0], size[0] - 1), min(self.overlap[1], size[1] - 1)


class EnhancerGraph(nn.Module):
    """All steps of the sampling as one network, which a graph can be made of.

    Args:
        enhancer: its network, schedule and plan.

    Attributes:
        noise_samples: how many times an image is sampled.
    """

    def __init__(self, enhancer: Enhancer) -> None:
        super().__init__()
        self.network, self.schedule = enhancer.network, enhancer.schedule
        self.plan, self.noise_samples = enhancer.plan, enhancer.samples

    def forward(
        self, images: Float[Tensor, "b c h w"], noise: Float[Tensor, "b samples c h w"]
    ) -> Float[Tensor, "b c h w"]:
        """Enhanced images in [0, 1]; the mean of the samples.

        Args:
            images: in [0, 1].
            noise: standard normal.
        """
        condition = 2 * images.float() - 1

        def predict(x: Tensor, condition: Tensor, times: Tensor) -> Tensor:
            output: Tensor = self.network(x, condition, times)
            return output.float()

        total = torch.zeros_like(condition)
        for number in range(self.noise_samples):
            made = sample(predict, condition, noise[:, number], self.schedule, self.plan)
            total = total + (made + 1) / 2
        return total / self.noise_samples
