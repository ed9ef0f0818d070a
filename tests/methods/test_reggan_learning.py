"""What registration is for: learning from pairs that do not lie on each other, on made heads.

Sources and targets are moved independently in training, and the test pairs are aligned. Short runs of tiny networks;
the orders and ratios are those that an independent implementation measured in runs of this length.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch
from reggan_loop import optimizers_of, step

from modicum.data.phantoms.mr_pairs import mr_pair
from modicum.methods.reggan import RegGanConfig, RegGanStage
from modicum.nn import warp
from modicum.tasks.image_to_image.metrics import mean_over_slices, nmae, psnr_foreground
from modicum.transforms.misalignment import AffineMisalignment

TINY = {"width": 16, "blocks": 3, "discriminator_width": 16, "registration_width": 16}
BATCH = 4


@dataclass(frozen=True)
class Learned:
    """What a training has come to.

    Attributes:
        nmae, psnr: over the foreground of aligned test pairs.
        displacement: mean absolute displacement that registration finds in misaligned test pairs, in pixels.
        unmoved, moved: NMAE of translations of misaligned test pairs, as they are and warped by registration.
    """

    nmae: float
    psnr: float
    displacement: float = 0.0
    unmoved: float = 0.0
    moved: float = 0.0


@cache
def heads(first: int, count: int, side: int) -> dict[str, torch.Tensor]:
    """Aligned pairs of heads, in [0, 1]."""
    made = [mr_pair(seed, side, displacement=0) for seed in range(first, first + count)]
    return {
        "image": torch.from_numpy(np.stack([pair.source for pair in made])[:, None] + 1) / 2,
        "target": torch.from_numpy(np.stack([pair.target for pair in made])[:, None] + 1) / 2,
    }


def mean_of(metric, made: torch.Tensor, real: torch.Tensor) -> float:
    """Of images in [0, 1] by a metric of images in [-1, 1]."""
    return mean_over_slices(map(metric, 2 * made.numpy() - 1, 2 * real.numpy() - 1))


@cache
def learned(mode: str, level: int, seed: int, side: int = 64, steps: int = 300, lr: float = 5e-4) -> Learned:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    train, test = heads(1000 * (seed + 1), 200, side), heads(0, 24, side)
    stage = RegGanStage(RegGanConfig(mode=mode, **TINY), (side, side))
    optimizers, misalign = optimizers_of(stage, lr), AffineMisalignment(level=level, background=0.0)
    for _ in range(steps):
        rows = torch.randint(len(train["image"]), (BATCH,), generator=generator)
        step(stage, misalign({name: images[rows] for name, images in train.items()}, generator), optimizers)
    with torch.no_grad():
        made, real = stage(test), test["target"]
        result = Learned(mean_of(nmae, made, real), mean_of(psnr_foreground, made, real))
        if stage.registration is None:
            return result
        moved_test = misalign(test, torch.Generator().manual_seed(99))
        made, real, field = stage(moved_test), moved_test["target"], stage.displacement(moved_test)
        return Learned(
            result.nmae,
            result.psnr,
            field.abs().mean().item(),
            mean_of(nmae, made, real),
            mean_of(nmae, warp(made, field), real),
        )


QUICK = {"side": 32, "steps": 100, "lr": 2e-3}


def test_registration_beats_pix2pix_on_misaligned_pairs_and_aligns_them():
    reggan, pix2pix = learned("nc+r", 5, 0, **QUICK), learned("p", 5, 0, **QUICK)
    assert reggan.nmae < 0.9 * pix2pix.nmae
    assert reggan.psnr > pix2pix.psnr + 0.5
    assert reggan.moved < 0.8 * reggan.unmoved


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_at_level_5_registration_has_a_fifth_less_error_than_pix2pix_and_less_than_no_registration(seed):
    reggan, pix2pix, adversarial = (learned(mode, 5, seed) for mode in ("nc+r", "p", "nc"))
    assert reggan.nmae <= 0.8 * pix2pix.nmae
    assert reggan.nmae < adversarial.nmae
    assert reggan.psnr > max(pix2pix.psnr, adversarial.psnr)
    assert reggan.moved <= 0.8 * reggan.unmoved


@pytest.mark.slow
def test_at_level_0_registration_beats_none_and_moves_less_than_at_level_5():
    aligned, misaligned, adversarial = learned("nc+r", 0, 0), learned("nc+r", 5, 0), learned("nc", 0, 0)
    assert aligned.nmae < adversarial.nmae
    assert aligned.psnr > adversarial.psnr
    assert aligned.displacement < misaligned.displacement
