"""A plain training loop for stages with several updates, for the tests beside this file."""

import torch

from modicum.methods import TrainStage
from modicum.methods.reggan import TRAINING


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
