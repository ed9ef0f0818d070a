"""AADG on a toy: discs in four kinds of light, of which the last is not among the training images."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from modicum.methods.aadg import AadgConfig, AadgStage

SIDE, PER_DOMAIN, STEPS, EPOCHS, WARM_UP = 32, 3, 10, 24, 4
# Colours of the ground and of the disc. In the unseen domain the ground is as light as discs are elsewhere.
TRAINING = [
    ((0.25, 0.10, 0.05), (0.80, 0.55, 0.35)),
    ((0.40, 0.25, 0.15), (0.90, 0.75, 0.60)),
    ((0.15, 0.20, 0.25), (0.55, 0.60, 0.70)),
]
UNSEEN = ((0.60, 0.62, 0.70), (0.92, 0.93, 0.96))


def discs(count: int, colours: tuple, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Images [count, 3, side, side] of a disc, with uneven light and noise, and its mask."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    centre = 9 + 14 * torch.rand(count, 2, 1, 1, generator=generator)
    radius = 4 + 4 * torch.rand(count, 1, 1, generator=generator)
    inside = (((x - centre[:, 0]) ** 2 + (y - centre[:, 1]) ** 2) < radius**2).float().unsqueeze(1)
    ground, disc = (torch.tensor(colour).view(1, 3, 1, 1) for colour in colours)
    light = 1 + 0.15 * (torch.rand(count, 1, 1, 1, generator=generator) - 0.5) * (x + y) / SIDE
    image = (ground * (1 - inside) + disc * inside) * light
    image = image + 0.03 * torch.randn(image.shape, generator=generator)
    return image.clamp(0, 1), inside


class TinyUNet(nn.Module):
    def __init__(self, width: int = 8) -> None:
        super().__init__()

        def block(inputs: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())

        self.down = nn.ModuleList([block(3, width), block(width, 2 * width), block(2 * width, 4 * width)])
        self.bottom = block(4 * width, 4 * width)
        self.up = nn.ModuleList([block(6 * width, 2 * width), block(3 * width, width)])
        self.head = nn.Conv2d(width, 1, 1)

    def features_and_logits(self, images):
        first = self.down[0](2 * images - 1)
        second = self.down[1](functional.max_pool2d(first, 2))
        features = self.bottom(self.down[2](functional.max_pool2d(second, 2)))
        seen = features
        for block, skip in zip(self.up, (second, first), strict=True):
            seen = block(torch.cat((functional.interpolate(seen, scale_factor=2.0), skip), 1))
        return features, self.head(seen)


class BinaryCrossEntropy(nn.Module):
    def forward(self, outputs, batch):
        return functional.binary_cross_entropy_with_logits(outputs, batch["mask"])


def unseen_dice(config: AadgConfig, seed: int) -> float:
    """Trains on three domains and gives the mean Dice on the fourth."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    stage = AadgStage(config, TinyUNet(), BinaryCrossEntropy(), 3, channels=32)
    optimizers = [torch.optim.Adam(update.parameters, lr=1e-2) for update in stage.updates()]
    for epoch in range(EPOCHS):
        if epoch == 2 * EPOCHS // 3:  # as the paper does, though later: a toy has little time
            optimizers[0].param_groups[0]["lr"] /= 10
        stage.on_epoch_start(epoch)
        for _ in range(STEPS):
            images, masks = zip(*(discs(PER_DOMAIN, colours, generator) for colours in TRAINING), strict=True)
            batch = {
                "image": torch.cat(images),
                "mask": torch.cat(masks),
                "domain": torch.arange(3).repeat_interleave(PER_DOMAIN),
            }
            for update, optimizer in zip(stage.updates(), optimizers, strict=True):
                optimizer.zero_grad()
                sum(update.losses(batch).values()).backward()
                optimizer.step()
        stage.on_epoch_end(epoch)
    stage.eval()
    image, mask = discs(40, UNSEEN, torch.Generator().manual_seed(99))
    with torch.no_grad():
        found = stage({"image": image}) > 0
    shared = (found * mask).sum((1, 2, 3))
    return (2 * shared / (found.sum((1, 2, 3)) + mask.sum((1, 2, 3)))).mean().item()


@pytest.mark.slow
def test_aadg_finds_discs_in_a_light_that_it_never_saw():
    search = {"search_after": WARM_UP, "policies": 3}
    settings = {
        "plain": AadgConfig(search_after=EPOCHS),
        "random policies": AadgConfig(**search, controller_lr=1e-12),
        "aadg": AadgConfig(**search),
    }
    dice = {
        name: sum(unseen_dice(config, seed) for seed in range(3)) / 3 for name, config in settings.items()
    }
    assert dice["aadg"] >= dice["plain"] + 0.05, dice
    assert dice["aadg"] >= dice["random policies"] - 0.02, dice
