"""What a small network learns from pasted lesions, on discs with texture: section 10, check 8, of the specification."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional as F

from modicum.transforms import LesionBank, LesionPaste
from modicum.transforms.cut_paste import cut_paste
from modicum.transforms.lesion_paste import disc

SIDE, NORMAL = 64, 300


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
    images: torch.Tensor, number: int, scale: float, generator: np.random.Generator
) -> torch.Tensor:
    """Real lesions: dark ellipses, larger and darker by a factor than those of the annotated image."""
    images = images.clone()
    y, x = np.mgrid[:SIDE, :SIDE]
    for image in images:
        for _ in range(number):
            radius, angle = generator.uniform(5, 22), generator.uniform(0, 6.3)
            cx, cy = SIDE / 2 + radius * np.cos(angle), SIDE / 2 + radius * np.sin(angle)
            turn, long = generator.uniform(0, 3.14), generator.uniform(2, 4) * scale
            u = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)
            v = (y - cy) * np.cos(turn) - (x - cx) * np.sin(turn)
            inside = torch.from_numpy((u / long) ** 2 + (v / (0.65 * long)) ** 2 <= 1)
            image[:, inside] *= 1 - 0.45 * scale
    return images


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in ((3, 16), (16, 32), (32, 32), (32, 32)):
        layers += [nn.Conv2d(before, after, 3, 2 if before == 3 else 1, 1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(32, 2))


def learned(normal: torch.Tensor, make, epochs: int = 5) -> nn.Module:
    """A network that tells images from what ``make`` makes of them."""
    made = network()
    optimizer = torch.optim.SGD(made.parameters(), 0.01, momentum=0.9)
    torch.manual_seed(1)
    for _ in range(epochs):
        for rows in torch.randperm(len(normal)).split(32):
            images = torch.cat([normal[rows], make(normal[rows])])
            loss = F.cross_entropy(made(images), torch.arange(2).repeat_interleave(len(rows)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return made.eval()


@pytest.fixture(scope="module")
def made():
    """Normal images, test images with 0, 1, 3 and 6 lesions, and the bank of one annotated image."""
    generator, numbers = torch.Generator().manual_seed(0), np.random.default_rng(0)
    normal = discs(NORMAL, generator)
    tests = {n: with_lesions(discs(60, generator), n, 1.2, numbers) for n in (0, 1, 3, 6)}
    clean = discs(1, generator)
    annotated = with_lesions(clean, 12, 1.0, numbers)
    mask = ((annotated - clean).abs() > 0.05)[:, 0].numpy()
    return normal, tests, LesionBank.from_masks(annotated, {"lesion": mask}, least_area=6)


@torch.no_grad()
def areas(net: nn.Module, tests: dict[int, torch.Tensor]) -> list[float]:
    """AUROC of images with 1, 3 and 6 lesions against those without."""
    scores = {n: net(images).diff(dim=1)[:, 0].numpy() for n, images in tests.items()}
    return [roc_auc_score([0] * 60 + [1] * 60, np.concatenate([scores[0], scores[n]])) for n in tests if n]


def test_pasted_lesions_teach_what_lesions_look_like_and_rectangles_do_not(made):
    normal, tests, bank = made
    paste = LesionPaste(bank, blend=0.8)
    pasted = areas(learned(normal, lambda i: paste(i, torch.randint(2**30, (len(i),))).image), tests)
    drawn = torch.Generator().manual_seed(3)
    cut = areas(learned(normal, lambda i: cut_paste(i, drawn)), tests)
    assert min(pasted) >= 0.9
    assert np.mean(pasted) >= np.mean(cut) + 0.1
    assert pasted == sorted(pasted), "more lesions are no harder to find"
