"""RegGAN's training step written down from its description: what ``reggan_cost.py`` compares with.

The published networks out of PyTorch's own layers, and the published order: the generator's and the registration
network's losses with one backward pass, a step of either's Adam; the translation made again without gradients; the
discriminator's losses on it and on the target, each with a pass of its own, and a step of its Adam. Nothing of the
library is used, and nothing is left undone on purpose: no layer or loop here is slower than the obvious one.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def norm_relu(width: int) -> list[nn.Module]:
    return [nn.InstanceNorm2d(width), nn.ReLU(inplace=True)]


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), *norm_relu(width),
            nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width),
        )  # fmt: skip

    def forward(self, features: Tensor) -> Tensor:
        return features + self.body(features)


def generator() -> nn.Sequential:
    return nn.Sequential(
        nn.ReflectionPad2d(3), nn.Conv2d(1, 64, 7), *norm_relu(64),
        nn.Conv2d(64, 128, 3, stride=2, padding=1), *norm_relu(128),
        nn.Conv2d(128, 256, 3, stride=2, padding=1), *norm_relu(256),
        *[Residual(256) for _ in range(9)],
        nn.ConvTranspose2d(256, 128, 3, stride=2, padding=1, output_padding=1), *norm_relu(128),
        nn.ConvTranspose2d(128, 64, 3, stride=2, padding=1, output_padding=1), *norm_relu(64),
        nn.ReflectionPad2d(3), nn.Conv2d(64, 1, 7), nn.Tanh(),
    )  # fmt: skip


class Discriminator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(1, 64, 4, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
        for before, after, stride in ((64, 128, 2), (128, 256, 2), (256, 512, 1)):
            layers += [nn.Conv2d(before, after, 4, stride=stride, padding=1), nn.InstanceNorm2d(after)]
            layers += [nn.LeakyReLU(0.2, inplace=True)]
        self.body = nn.Sequential(*layers, nn.Conv2d(512, 1, 4, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        patches = self.body(images)
        return functional.avg_pool2d(patches, patches.shape[2:]).flatten(1)


def conv(before: int, after: int, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, padding=kernel // 2), nn.LeakyReLU(0.2, inplace=True)
    )


class Registration(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        widths = [32] + [64] * 6
        self.down = nn.ModuleList(
            nn.Sequential(*conv(before, after), Residual(after))
            for before, after in zip([2, *widths[:-1]], widths, strict=True)
        )
        self.bottom = nn.Sequential(*conv(64, 128, 1), *[Residual(128) for _ in range(3)], *conv(128, 64, 1))
        self.up = nn.ModuleList(
            conv(under + skip, skip) for under, skip in zip([64] * 7, widths, strict=True)
        )
        self.refine = nn.Sequential(Residual(32), *conv(32, 32, 1))
        self.output = nn.Conv2d(32, 2, 3, padding=1)

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        features, skips = torch.cat([moving, fixed], 1), []
        for down in self.down:
            features = down(features)
            skips.append(features)
            features = functional.max_pool2d(features, 2)
        features = self.bottom(features)
        for up, skip in zip(reversed(self.up), reversed(skips), strict=True):
            features = functional.interpolate(features, skip.shape[2:], mode="bilinear", align_corners=False)
            features = up(torch.cat([features, skip], 1))
        return self.output(self.refine(features))


def warp(image: Tensor, field: Tensor) -> Tensor:
    height, width = image.shape[2:]
    rows, columns = torch.meshgrid(
        torch.arange(height, device=image.device), torch.arange(width, device=image.device), indexing="ij"
    )
    down = 2 * (rows + field[:, 0]) / (height - 1) - 1
    right = 2 * (columns + field[:, 1]) / (width - 1) - 1
    grid = torch.stack([right, down], -1)
    return functional.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=True)


def smoothness(field: Tensor) -> Tensor:
    by_row = field[:, :, 1:] - field[:, :, :-1]
    by_column = field[:, :, :, 1:] - field[:, :, :, :-1]
    return (by_row * by_row).mean() + (by_column * by_column).mean()


class PlainLoop(nn.Module):
    """The networks, their optimisers and a step."""

    def __init__(self) -> None:
        super().__init__()
        self.generator, self.discriminator, self.registration = generator(), Discriminator(), Registration()
        nn.init.normal_(self.registration.output.weight, std=1e-5)
        self.optimizers: list[torch.optim.Optimizer] = []

    def take_weights(self, stage: Any) -> None:
        """Those of a stage of the library, whose layers come in the same order."""
        pairs = (
            (self.generator, stage.base.generator),
            (self.discriminator, stage.base.discriminator),
            (self.registration, stage.registration),
        )
        with torch.no_grad():
            for plain, ours in pairs:
                for own, given in zip(plain.parameters(), ours.parameters(), strict=True):
                    own.copy_(given)

    def step(self, x: Tensor, y: Tensor) -> dict[str, float]:
        """One training step, sources and targets in [-1, 1]."""
        if not self.optimizers:
            networks = (self.generator, self.registration, self.discriminator)
            self.optimizers = [
                torch.optim.Adam(network.parameters(), lr=1e-4, betas=(0.5, 0.999)) for network in networks
            ]
        for_generator, for_registration, for_discriminator = self.optimizers
        for_registration.zero_grad()
        for_generator.zero_grad()
        fake = self.generator(x)
        field = self.registration(fake, y)
        correction = 20 * functional.l1_loss(warp(fake, field), y)
        smooth = 10 * smoothness(field)
        scores = self.discriminator(fake)
        adversarial = functional.mse_loss(scores, torch.ones_like(scores))
        (smooth + adversarial + correction).backward()
        for_registration.step()
        for_generator.step()

        for_discriminator.zero_grad()
        with torch.no_grad():
            fake = self.generator(x)
        fake_scores, real_scores = self.discriminator(fake), self.discriminator(y)
        fake_loss = functional.mse_loss(fake_scores, torch.zeros_like(fake_scores))
        real_loss = functional.mse_loss(real_scores, torch.ones_like(real_scores))
        (fake_loss + real_loss).backward()
        for_discriminator.step()
        losses = {
            "adversarial": adversarial, "correction": correction, "smoothness": smooth,
            "real": real_loss, "fake": fake_loss,
        }  # fmt: skip
        return {name: value.item() for name, value in losses.items()}
