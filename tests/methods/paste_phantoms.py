"""Drawn discs with lesions, and a small network that learns what lesions look like: for checks of LesionPaste.

After the specification's reference run: dark elliptic lesions, test lesions 20 % larger and darker than the annotated
ones, four convolutions with global max pooling. Adam, as SGD at 0.01 leaves the plateau at log 2 too late for a test.
"""

from collections.abc import Callable

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional as F

from modicum.transforms import LesionAugmentation, LesionBank, LesionPaste
from modicum.transforms.lesion_paste import disc

SIDE, EPOCHS = 64, 14
LONG = (3.0, 5.0)
"""Longer half axes in pixels of the annotated image's lesions."""


def discs(count: int, generator: torch.Generator) -> torch.Tensor:
    """Grey discs with dark lines like vessels, each at another brightness."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    level = 0.55 + 0.1 * torch.rand(count, 1, 1, generator=generator)
    images = level.expand(count, SIDE, SIDE).clone()
    for _ in range(3):
        angle, offset = (torch.rand(count, 1, 1, generator=generator) for _ in range(2))
        away = x * torch.cos(3.14 * angle) + y * torch.sin(3.14 * angle) - SIDE * (offset - 0.2)
        images -= 0.1 * torch.exp(-0.5 * (away / 0.8) ** 2)
    images += 0.02 * torch.randn(images.shape, generator=generator)
    return (images * disc((SIDE, SIDE)))[:, None].expand(-1, 3, -1, -1).clamp(0, 1).contiguous()


def with_lesions(
    images: torch.Tensor,
    number: int,
    factor: float,
    generator: np.random.Generator,
    turns: tuple[float, float] = (0.0, 3.14),
) -> torch.Tensor:
    """Real lesions: dark ellipses, larger and darker by a factor than those of the annotated image.

    Args:
        images: discs.
        number: of lesions in each.
        factor: on size and darkness.
        generator: of places, sizes and directions.
        turns: limits of the direction of the long axis.
    """
    images = images.clone()
    y, x = np.mgrid[:SIDE, :SIDE]
    for image in images:
        for place in np.linspace(0, 6.28, number, endpoint=False) + generator.uniform(0, 6.28):
            radius = generator.uniform(8, 22)
            cx, cy = SIDE / 2 + radius * np.cos(place), SIDE / 2 + radius * np.sin(place)
            turn, long = generator.uniform(*turns), generator.uniform(*LONG) * factor
            u = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)
            v = (y - cy) * np.cos(turn) - (x - cx) * np.sin(turn)
            inside = torch.from_numpy((u / long) ** 2 + (v / (0.5 * long)) ** 2 <= 1)
            image[:, inside] *= 1 - 0.4 * factor
    return images


def network() -> nn.Sequential:
    """Four convolutions and the largest value over all places, which a single lesion can raise."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after, stride in ((3, 16, 2), (16, 32, 1), (32, 32, 2), (32, 32, 1)):
        layers += [nn.Conv2d(before, after, 3, stride, 1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(32, 2))


def learned(
    normal: torch.Tensor, make: Callable[[torch.Tensor], torch.Tensor], epochs: int = EPOCHS
) -> nn.Module:
    """A network that tells images from what ``make`` makes of them."""
    made = network()
    optimizer = torch.optim.Adam(made.parameters(), 3e-3)
    torch.manual_seed(1)
    for _ in range(epochs):
        for rows in torch.randperm(len(normal)).split(16):
            images = torch.cat([normal[rows], make(normal[rows])])
            loss = F.cross_entropy(made(images), torch.arange(2).repeat_interleave(len(rows)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return made.eval()


def pasting(bank: LesionBank, augmentation: LesionAugmentation) -> Callable[[torch.Tensor], torch.Tensor]:
    paste = LesionPaste(bank, blend=0.8, augmentation=augmentation)
    return lambda images: paste(images, torch.randint(2**30, (len(images),))).image


@torch.no_grad()
def area(net: nn.Module, normal: torch.Tensor, ill: torch.Tensor) -> float:
    """AUROC of images with lesions against those without."""
    scores = [net(images).diff(dim=1)[:, 0].numpy() for images in (normal, ill)]
    return float(roc_auc_score([0] * len(normal) + [1] * len(ill), np.concatenate(scores)))


def annotated_bank(seed: int) -> LesionBank:
    """The lesions of one annotated disc, all along about the same direction."""
    clean = discs(1, torch.Generator().manual_seed(1000 + seed))
    ill = with_lesions(clean, 6, 1.0, np.random.default_rng(seed), (0.0, 0.3))
    return LesionBank.from_masks(ill, {"lesion": (ill != clean)[:, 0].numpy()})


def ill_discs(count: int, number: int, seed: int) -> torch.Tensor:
    """Discs with so many lesions each, larger and darker than the annotated ones, in any direction."""
    clean = discs(count, torch.Generator().manual_seed(2000 + 10 * seed + number))
    return with_lesions(clean, number, 1.2, np.random.default_rng([seed, number]))


def small_turned_discs(count: int, seed: int) -> torch.Tensor:
    """Discs with one lesion that is smaller than the annotated ones and lies across them."""
    clean = discs(count, torch.Generator().manual_seed(3000 + seed))
    return with_lesions(clean, 1, 0.6, np.random.default_rng([seed, 99]), (1.2, 1.9))
