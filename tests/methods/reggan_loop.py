"""Tiny stages, random pairs and a plain training loop, for the tests of RegGAN beside this file."""

import torch

from modicum.methods import TrainStage
from modicum.methods.base import Update
from modicum.methods.reggan import TRAINING, RegGanConfig, RegGanStage

MODES = ["p", "nc", "nc+r", "c", "c+r"]
BASES = ["resnet", "nice_gan", "unit", "munit"]
TINY = {"width": 4, "blocks": 1, "discriminator_width": 4, "registration_width": 4}
SIDE = 32


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def pairs(batch: int = 2, channels: int = 1, seed: int = 0, side: int = SIDE) -> dict[str, torch.Tensor]:
    """Random sources and targets, as the engine gives them."""
    shape = (batch, channels, side, side)
    return {"image": noise(*shape, seed=seed), "target": noise(*shape, seed=seed + 1)}


def scaled(batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """x and y of the paper: sources and targets in [-1, 1]."""
    return 2 * batch["image"] - 1, 2 * batch["target"] - 1


def stage_of(mode: str = "nc+r", channels: int = 1, seed: int = 0, **config) -> RegGanStage:
    torch.manual_seed(seed)
    return RegGanStage(RegGanConfig(mode=mode, **TINY, **config), (SIDE, SIDE), (channels, channels))


def update_of(stage: TrainStage, name: str) -> Update:
    return next(update for update in stage.updates() if update.name == name)


def optimizers_of(stage: TrainStage, lr: float = 1e-3) -> list[torch.optim.Optimizer]:
    return [torch.optim.Adam(update.parameters, lr=lr, betas=TRAINING["betas"]) for update in stage.updates()]


def step(stage: TrainStage, batch: dict, optimizers: list[torch.optim.Optimizer]) -> dict[str, float]:
    """One training step as the engine makes it: each update in turn, and only its own parameters learn."""
    shown = {}
    for update, optimizer in zip(stage.updates(), optimizers, strict=True):
        stage.requires_grad_(False)
        for parameter in update.parameters:
            parameter.requires_grad_(True)
        losses = update.losses(batch)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        shown |= {name: value.item() for name, value in losses.items()}
    stage.requires_grad_(True)
    return shown
