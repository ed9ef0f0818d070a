"""Dense predictors whose answers are known without training, and files to predict."""

import nibabel as nib
import numpy as np
import torch
from torch import nn

from modicum.data.prepared import StoreSettings
from modicum.engine.inference.dense_prediction import DensePredictor
from modicum.tasks.image_to_image.task import ImageToImage, ImageToImageOptions
from modicum.tasks.value_range import ValueRange

SIDE = 16


class Negative(nn.Module):
    """1 - x, of the middle of several slices."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        middle = images.shape[1] // 2
        return 1 - images[:, middle : middle + 1]


class Shifted(Negative):
    """As that, and says that targets lie everywhere as much further down and right (in the network's pixels)."""

    def __init__(self, down: float, right: float) -> None:
        super().__init__()
        self.by = down, right

    def displacement(self, image: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        field = torch.tensor(self.by).view(1, 2, 1, 1)
        return field.expand(len(image), 2, *image.shape[2:]).clone()


def predictor_of(
    network: nn.Module | None = None,
    values: ValueRange | None = None,
    *,
    size: tuple[int, int] = (SIDE, SIDE),
    resize: str = "stretch",
    intensity: str = "file",
    adjacent_slices: int = 0,
    **more,
) -> DensePredictor:
    task = ImageToImage(
        (1, 1), ImageToImageOptions(intensity=intensity, adjacent_slices=adjacent_slices), values
    )
    settings = StoreSettings(*size, resize=resize, levels=65536, intensity=intensity)
    return DensePredictor(network or Negative(), task, settings, "32", torch.device("cpu"), 4, **more)


def write_volume(path, voxels, zooms=(0.9, 1.1, 2.5), flip=True):
    """A NIfTI volume whose first axis runs to the patient's left (LAS), as many scanners have it."""
    affine = np.diag([*zooms, 1.0])
    if flip:
        affine[0, 0] *= -1
    affine[:3, 3] = (5, -7, 11)
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path
