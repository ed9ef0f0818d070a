"""What a small network learns from pasted lesions, on discs with texture: section 10, checks 8 and 9, of the specification."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional as F

from modicum.transforms import LesionAugmentation, LesionBank, LesionPaste
from modicum.transforms.cut_paste import cut_paste
from modicum.transforms.lesion_draws import NO_AUGMENTATION
from modicum.transforms.lesion_paste import disc

SIDE, NORMAL, TESTED, EPOCHS = 64, 300, 80, 8
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
        images -= 0.18 * torch.exp(-0.5 * (away / 0.8) ** 2)
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
    for before, after in ((3, 16), (16, 32), (32, 32), (32, 32)):
        layers += [nn.Conv2d(before, after, 3, 2 if before == 3 else 1, 1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(32, 2))


def learned(normal: torch.Tensor, make: Callable[[torch.Tensor], torch.Tensor]) -> nn.Module:
    """A network that tells images from what ``make`` makes of them."""
    made = network()
    optimizer = torch.optim.SGD(made.parameters(), 0.01, momentum=0.9)
    torch.manual_seed(1)
    for _ in range(EPOCHS):
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


@pytest.fixture(scope="module")
def made():
    """Normal images, one annotated image's bank (lesions all along one direction), and clean images to test."""
    generator, numbers = torch.Generator().manual_seed(0), np.random.default_rng(0)
    normal, clean = discs(NORMAL, generator), discs(1, generator)
    annotated = with_lesions(clean, 6, 1.0, numbers, (0.0, 0.3))
    mask = (annotated != clean)[:, 0].numpy()
    bank = LesionBank.from_masks(annotated, {"lesion": mask})
    return normal, bank, discs(TESTED, generator)


@pytest.fixture(scope="module")
def taught(made):
    """The network that learned from augmented lesions."""
    normal, bank, _ = made
    return learned(normal, pasting(bank, LesionAugmentation()))


def test_pasted_lesions_teach_what_lesions_look_like_and_rectangles_do_not(made, taught):
    normal, _, clean = made
    ill = {
        n: with_lesions(discs(TESTED, torch.Generator().manual_seed(n)), n, 1.2, np.random.default_rng(n))
        for n in (1, 3, 6)
    }
    pasted = [area(taught, clean, images) for images in ill.values()]
    drawn = torch.Generator().manual_seed(3)
    rectangles = learned(normal, lambda images: cut_paste(images, drawn))
    cut = [area(rectangles, clean, images) for images in ill.values()]
    print(pasted, cut)
    assert min(pasted) >= 0.9
    assert np.mean(pasted) >= np.mean(cut) + 0.1
    assert pasted[1] >= pasted[0] - 0.005
    assert pasted[2] >= pasted[1] - 0.005, "more lesions are no harder to find"


def test_without_varying_the_lesions_turned_and_smaller_ones_are_found_less(made, taught):
    normal, bank, clean = made
    plain = learned(normal, pasting(bank, NO_AUGMENTATION))
    images = discs(TESTED, torch.Generator().manual_seed(9))
    ill = with_lesions(images, 1, 0.6, np.random.default_rng(9), (1.2, 1.9))
    print(area(taught, clean, ill), area(plain, clean, ill))
    assert area(taught, clean, ill) > area(plain, clean, ill)
