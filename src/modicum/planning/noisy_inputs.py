"""Batches as the loader gives them to the stages of a method, with noise in place of images."""

import torch
from torch import Tensor

from modicum.batch import PICTURES, Kind, names_of
from modicum.methods import FitStage, TrainStage
from modicum.planning.example_inputs import ExampleInputs
from modicum.tasks.base import Batch


class NoisyInputs(ExampleInputs):
    """Example inputs whose pictures and records are noise: zeros may be quicker, and have no statistics."""

    def images(self, count: int) -> Batch:
        return self._noisy(super().images(count))

    def of(self, stage: TrainStage | FitStage, count: int, *, longest: bool = False) -> Batch:
        return self._noisy(super().of(stage, count, longest=longest))

    def _noisy(self, batch: Batch) -> Batch:
        generator = torch.Generator().manual_seed(0)
        made = dict(batch)
        for name in names_of(batch, *PICTURES, Kind.FEATURES, kinds=self.kinds):
            tensor: Tensor = made[name]
            if tensor.dtype == torch.uint8:
                noise = torch.randint(256, tensor.shape, generator=generator, dtype=torch.uint8)
            elif tensor.is_floating_point():
                noise = torch.rand(tensor.shape, generator=generator).to(tensor.dtype)
            else:
                continue
            made[name] = noise.to(tensor.device)
        return made
