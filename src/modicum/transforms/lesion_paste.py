"""LesionPaste: abnormal images made of normal ones and the lesions of one annotated image.

"LesionPaste: One-Shot Anomaly Detection for Medical Images" (arXiv 2203.06354; AugPaste, LNCS 13576), and its code. The
release pastes image by image on the CPU, before training; here whole batches are pasted on their device, anew each time.

    bank = LesionBank.from_masks(images, {"MA": mask})
    pasted = LesionPaste(bank)(normal_images, seeds=torch.arange(len(normal_images)))
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from modicum.errors import InputError
from modicum.transforms.lesion_bank import LesionBank
from modicum.transforms.lesion_draws import (
    LesionAugmentation,
    LesionRule,
    Organ,
    PasteDraws,
    Pastes,
    usual_rules,
)
from modicum.transforms.photometric import adjust_hue

RIM = 180 / 255
"""Share of a lesion in a pixel below which it is not pasted: the release's threshold."""


@dataclass(frozen=True)
class Pasted:
    """Attributes:
    image: with lesions.
    mask: 0 where nothing was pasted, else 1 + the number of the lesion's type in the bank.
    pastes: what was drawn.
    """

    image: Float[Tensor, "b c h w"]
    mask: UInt8[Tensor, "b h w"]
    pastes: Pastes


class LesionPaste(nn.Module):
    """Pastes lesions of a bank into images.

    With image I, a lesion L, where it is M and its share b: ``(1 - M) I + M (b L + (1 - b) I)``, lesion after lesion.
    Pixels outside M keep their value bit for bit.

    Args:
        bank: the lesions.
        rules: when a type is pasted; see :func:`~modicum.transforms.lesion_draws.usual_rules`.
        blend: share of the lesion, or limits between which it is drawn for each. The paper blends ("MixUp") without
            saying how much, its code does not (1).
        augmentation: how lesions vary.
        rim: share of a lesion in a pixel from which on it is pasted; 0.5 keeps areas on average, the release has 0.706.
        feather: width in pixels over which the border of a lesion fades; 0 (as published): a sharp one.
        keep_inside: whether nothing is pasted outside the organ.

    Raises:
        InputError: shares outside 0 to 1.
    """

    def __init__(
        self,
        bank: LesionBank,
        *,
        rules: Mapping[str, LesionRule] | None = None,
        blend: float | tuple[float, float] = 0.7,
        augmentation: LesionAugmentation = LesionAugmentation(),  # noqa: B008 - a value
        rim: float = RIM,
        feather: int = 0,
        keep_inside: bool = True,
        stream: int = 0,
    ) -> None:
        super().__init__()
        low, high = (blend, blend) if isinstance(blend, int | float) else blend
        limits = (float(low), float(high))
        if not 0 <= limits[0] <= limits[1] <= 1:
            raise InputError(f"blend is {blend}", "give a share from 0 to 1, or two rising ones, such as 0.7")
        self.bank = bank
        self.draws = PasteDraws(bank, usual_rules(bank, rules), augmentation, limits, stream)
        self.rim, self.feather, self.keep_inside = rim, feather, keep_inside

    @torch.no_grad()
    def forward(
        self,
        images: Float[Tensor, "b c h w"],
        seeds: Int64[Tensor, "b"],
        organ: Bool[Tensor, "organs height width"] | None = None,
    ) -> Pasted:
        """Pastes into every image.

        Args:
            images: normal ones, in ``[0, 1]``.
            seeds: one an image: the same image and seed give the same result in any batch.
            organ: where lesions may lie; None for the largest disc in each image.

        Raises:
            InputError: other channels than the bank's, or an organ of another size.
        """
        if images.shape[1] != self.bank.channels:
            raise InputError(
                f"images have {images.shape[1]} channels, the annotated ones {self.bank.channels}",
                "read both with as many",
            )
        size = (images.shape[2], images.shape[3])
        if organ is not None and organ.shape != (len(images), *size):
            raise InputError(
                f"organ is {list(organ.shape)}, the images {list(images.shape)}", "give each image its mask"
            )
        organs = [Organ(size)] * len(images) if organ is None else _organs(organ, size)
        pastes = self.draws.draw(seeds.tolist(), size, organs)
        inside = organ
        if inside is None and self.keep_inside:
            inside = disc(size, images.device)[None]
        return self.paste(images, pastes, inside if self.keep_inside else None)

    @torch.no_grad()
    def paste(
        self,
        images: Float[Tensor, "b c h w"],
        pastes: Pastes,
        inside: Bool[Tensor, "#b h w"] | None = None,
    ) -> Pasted:
        """Pastes what was drawn: the first lesion of every image, then the second, and so on."""
        mask = torch.zeros(images.shape[0], *images.shape[2:], dtype=torch.uint8, device=images.device)
        if not len(pastes):
            return Pasted(images.clone(), mask, pastes)
        reach = int(np.ceil(pastes.extent.max())) + 2 + self.feather
        images = F.pad(images, (reach,) * 4)
        mask = F.pad(mask, (reach,) * 4)
        allowed = None if inside is None else F.pad(inside.to(images.dtype), (reach,) * 4)
        order = np.argsort(pastes.rank, kind="stable")
        ranks = np.split(order, np.flatnonzero(np.diff(pastes.rank[order])) + 1)
        for chosen in ranks:
            # Large lesions apart from small ones: a window has the size of the largest lesion in its group.
            extents = pastes.extent[chosen].max(1)
            for group in _by_size(chosen, extents):
                self._paste_one_each(images, mask, allowed, pastes, group, reach)
        inner = (slice(None), slice(reach, -reach), slice(reach, -reach))
        return Pasted(images[:, :, reach:-reach, reach:-reach].contiguous(), mask[inner].contiguous(), pastes)

    def _paste_one_each(
        self,
        images: Tensor,
        mask: Tensor,
        allowed: Tensor | None,
        pastes: Pastes,
        chosen: np.ndarray,
        reach: int,
    ) -> None:
        """Pastes at most one lesion into each of some images, in place."""
        device = images.device
        half = int(np.ceil(pastes.extent[chosen].max())) + 1 + self.feather
        steps = torch.arange(-half, half + 1, device=device)
        lesion = torch.from_numpy(pastes.lesion[chosen]).to(device)
        inverse = torch.from_numpy(pastes.inverse[chosen]).to(device, torch.float32)
        patch, share = self._sampled(lesion, inverse, steps)
        colour = torch.from_numpy(pastes.colour[chosen]).to(device, torch.float32)
        patch = recoloured(patch, colour)
        alpha = (share > self.rim).to(images.dtype)
        if self.feather:
            width = 2 * self.feather + 1
            alpha = alpha * F.avg_pool2d(alpha[:, None], width, 1, self.feather)[:, 0]
        centre = torch.from_numpy(pastes.centre[chosen]).to(device) + reach
        rows = (centre[:, 1, None] + steps)[:, :, None]
        columns = (centre[:, 0, None] + steps)[:, None, :]
        index = torch.from_numpy(pastes.image[chosen]).to(device)[:, None, None]
        if allowed is not None:
            alpha = alpha * allowed[index if len(allowed) > 1 else torch.zeros_like(index), rows, columns]
        weight = alpha * torch.from_numpy(pastes.blend[chosen]).to(device, images.dtype)[:, None, None]
        number = torch.from_numpy(self.bank.of_type[pastes.lesion[chosen]] + 1).to(device, torch.uint8)
        before = images.permute(0, 2, 3, 1)[index, rows, columns]
        after = before + weight[..., None] * (patch.permute(0, 2, 3, 1) - before)
        images.permute(0, 2, 3, 1)[index, rows, columns] = after
        covered = torch.where(alpha > 0, number[:, None, None], mask[index, rows, columns])
        mask[index, rows, columns] = covered

    def _sampled(
        self, lesion: Tensor, inverse: Tensor, steps: Tensor
    ) -> tuple[Float[Tensor, "n c s s"], Float[Tensor, "n s s"]]:
        """Lesions in their augmented shape around a middle: their colour, and their share in each pixel.

        Colours are means over the lesion's own pixels alone, so that its border does not darken; where there is none they
        are 0.
        """
        bank = self.bank
        height, width = bank.heights[lesion], bank.widths[lesion]
        y, x = torch.meshgrid(steps, steps, indexing="ij")
        x, y = x.to(inverse.dtype)[None], y.to(inverse.dtype)[None]
        # Written out: a matrix product may round otherwise in another batch.
        turn = inverse[:, :, :, None, None]
        source = torch.stack([turn[:, i, 0] * x + turn[:, i, 1] * y for i in (0, 1)], -1)
        middle = torch.stack([width - 1, height - 1], 1)[:, None, None].to(inverse.dtype) / 2
        at = source + middle
        low = at.floor()
        part = at - low
        low = low.long()
        flat, own = bank.pixels, bank.support
        share = torch.zeros(at.shape[:3], device=at.device)
        colour = torch.zeros(len(flat), *at.shape[:3], device=at.device)
        for right, below in ((0, 0), (1, 0), (0, 1), (1, 1)):
            column, row = low[..., 0] + right, low[..., 1] + below
            weight = (part[..., 0] if right else 1 - part[..., 0]) * (
                part[..., 1] if below else 1 - part[..., 1]
            )
            there = (column >= 0) & (row >= 0)
            there &= (column < width[:, None, None]) & (row < height[:, None, None])
            place = bank.starts[lesion][:, None, None] + row * width[:, None, None] + column
            place = torch.where(there, place, 0)
            weight = torch.where(there & own[place], weight, 0.0)
            share += weight
            colour += flat[:, place] * weight
        return (colour / share.clamp_min(1e-6)).transpose(0, 1), share


def recoloured(patch: Float[Tensor, "n c h w"], colour: Float[Tensor, "n 7"]) -> Float[Tensor, "n c h w"]:
    """Gamma of each channel, then brightness, saturation and hue; see :class:`LesionAugmentation`.

    Args:
        patch: in ``[0, 1]``; of other than three channels, hue and saturation stay.
        colour: gamma of three channels (the first for grey), factor and shift of brightness, shifts of hue and of
            saturation.
    """
    channels = patch.shape[1]
    gamma = colour[:, :3] if channels == 3 else colour[:, :1].expand(-1, channels)
    patch = patch.clamp_min(0).pow(gamma[:, :, None, None])
    factor, shift, hue, saturation = (colour[:, i, None, None, None] for i in range(3, 7))
    if channels != 3:
        return (patch * factor + shift).clamp(0, 1)
    value = patch.amax(1, keepdim=True)
    chroma = value - patch.amin(1, keepdim=True)
    brighter = (value * factor + shift).clamp(0, 1)
    stronger = (chroma / value.clamp_min(1e-6) + saturation).clamp(0, 1) * brighter
    shape = (value - patch) / chroma.clamp_min(1e-6)  # 0 for the largest channel, 1 for the smallest
    changed = torch.where(chroma > 1e-6, brighter - shape * stronger, brighter.expand_as(patch))
    return changed if not bool((hue != 0).any()) else adjust_hue(changed, hue[:, 0, 0, 0])


def disc(size: tuple[int, int], device: torch.device | None = None) -> Bool[Tensor, "h w"]:
    """The largest disc around the centre of an image."""
    y, x = (torch.arange(side, device=device) - side / 2 for side in size)
    return torch.hypot(y[:, None], x[None]) <= min(size) / 2


def _organs(organ: Bool[Tensor, "b h w"], size: tuple[int, int]) -> list[Organ]:
    return [Organ(size, mask) for mask in organ.cpu().numpy()]


def _by_size(chosen: np.ndarray, extents: np.ndarray) -> list[np.ndarray]:
    """Pastes in groups whose largest is at most twice its smallest, or so."""
    level = np.floor(np.log2(np.maximum(extents, 8)))
    return [chosen[level == one] for one in np.unique(level)]
