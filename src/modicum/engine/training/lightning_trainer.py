"""Lightning's Trainer as the engine uses it: the loop, devices and precision only."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning
import torch

from modicum.engine.devices import uses_bf16
from modicum.engine.recipe.settings import TrainingSettings


def make_trainer(settings: TrainingSettings, device: torch.device, epochs: int) -> lightning.Trainer:
    """Builds a trainer; logging, checkpoints, validation and progress bars are the engine's own.

    Args:
        settings: the training loop's settings.
        device: where to compute.
        epochs: number of epochs.
    """
    distributed = settings.devices * settings.nodes > 1
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    # With several updates each backward pass leaves out the others' parameters, and a network may have some that its
    # losses never need (the norm before a head that is not used).
    strategy = "ddp_find_unused_parameters_true"
    devices: Any = settings.devices
    if device.type == "cuda" and not distributed:
        devices = [device.index or 0]
    with quiet_lightning():
        return lightning.Trainer(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=devices,
            num_nodes=settings.nodes,
            strategy=strategy if distributed else "auto",
            precision="bf16-mixed" if uses_bf16(settings.precision, device) else "32-true",
            max_epochs=epochs,
            reload_dataloaders_every_n_epochs=1,
            use_distributed_sampler=False,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            limit_val_batches=0,
            inference_mode=False,
        )


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silences Lightning's notices about its own options, which users cannot set here."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "lightning")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            warnings.filterwarnings(
                "ignore", message=".*(does not have many workers|train_dataloader|lr_scheduler).*"
            )
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
