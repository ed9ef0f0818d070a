"""The one stage of LesionPaste: normal images against the same images with lesions."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from modicum.methods.base import TrainStage, Update
from modicum.methods.lesionpaste.config import LesionPasteConfig
from modicum.methods.lesionpaste.network import PasteNetwork
from modicum.methods.stages import Targets
from modicum.nn.picture_sheet import as_data_url, picture_sheet
from modicum.tasks.anomaly.task import learns_from_normal
from modicum.tasks.base import Batch
from modicum.transforms.lesion_paste import LesionPaste

SHOWN = 4
"""Pasted examples in the report."""
FIXED = 1
"""The stream of random numbers of validation images, which get the same lesions in every epoch."""


class PasteStage(TrainStage):
    """Cross-entropy of normal images, and of as many with lesions, made of the same images anew in every epoch.

    Args:
        network: the classifier.
        paste: makes abnormal images; None where there are no data, and images stay as they are.
        config: the method's settings.
    """

    name = "paste"
    scored = False
    learns_from_none = "it learns from normal images: name their class with --set normal=NAME"

    def __init__(self, network: PasteNetwork, paste: LesionPaste | None, config: LesionPasteConfig) -> None:
        super().__init__()
        self.reads = ("image", "fov") if config.organ == "fov" else ("image",)
        self.network = network
        self.paste = paste
        self.config = config
        self._examples: list[tuple[Tensor, Tensor, Tensor]] = []

    def learns_from(self, targets: Targets) -> Bool[np.ndarray, "rows"] | None:
        return learns_from_normal(targets)

    def updates(self) -> Sequence[Update]:
        return [Update("paste", list(self.network.parameters()), self.losses)]

    def persistent_modules(self) -> tuple[str, ...]:
        return ("network",)

    def chance_losses(self, batch_size: int) -> dict[str, float]:
        """As many images with a paste as without."""
        return {"classification": math.log(2)}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        images, masks = self.synthesised(batch)
        features = self.network.features(images)
        logits = self.network.classify(features)
        label = torch.arange(2, device=logits.device).repeat_interleave(len(logits) // 2)
        found = {"classification": F.cross_entropy(logits, label)}
        if self.config.segmentation_weight:
            where = self.network.find(features)
            truth = F.adaptive_max_pool2d(masks[:, None].float(), where.shape[-2:])[:, 0]
            of_pixels = F.binary_cross_entropy_with_logits(where.float(), truth)
            found["segmentation"] = self.config.segmentation_weight * of_pixels
        return found

    @torch.no_grad()
    def synthesised(self, batch: Batch) -> tuple[Float[Tensor, "b2 c h w"], Bool[Tensor, "b2 h w"]]:
        """The normal images, then the same with lesions; and where the lesions are."""
        normal = self.network.enhanced(batch["image"])
        if self.paste is None:
            pasted, mask = normal, torch.zeros_like(normal[:, 0])
        else:
            made = self.paste(normal, self._seeds(batch), self._organ(batch))
            pasted, mask = made.image, made.mask
            if not self._examples or not self.training:
                self._examples = [(normal[:SHOWN].cpu(), pasted[:SHOWN].cpu(), mask[:SHOWN].cpu())]
        mask = mask > 0
        return torch.cat([normal, pasted]), torch.cat([torch.zeros_like(mask), mask])

    def _seeds(self, batch: Batch) -> Int64[Tensor, "b"]:
        """New ones in training; in validation those of the rows, so that epochs are compared on the same images."""
        if self.training:
            return torch.randint(2**40, (len(batch["image"]),))
        return batch["row"].cpu() + (FIXED << 41)

    def _organ(self, batch: Batch) -> Bool[Tensor, "b h w"] | None:
        images = batch["image"]
        if self.config.organ == "disc":
            return None
        if self.config.organ == "fov":
            return batch["fov"][:, 0] > 0
        if self.config.organ == "image":
            return torch.ones_like(images[:, 0], dtype=torch.bool)
        return _largest_bright(images, self.config.organ_threshold)

    def findings(self) -> dict[str, Any]:
        """What the bank holds: lesions by type, and how many of each an image gets."""
        if self.paste is None:
            return {}
        bank, draws = self.paste.bank, self.paste.draws
        types = {
            name: {
                "lesions": len(bank.of(kind)),
                "annotated_images": bank.shots[kind],
                "above_severity": draws.rules[kind].above,
                "least": draws.counts(kind)[0],
                "most": draws.counts(kind)[1],
            }
            for kind, name in enumerate(bank.types)
        }
        return {"lesion_bank": {"bytes": bank.nbytes, "types": types, "pictures": self._pictures()}}

    def _pictures(self) -> Mapping[str, str]:
        """Lesions of the bank, and normal images before and after, as pictures for the report."""
        assert self.paste is not None
        lesions = [self.paste.bank.patch(n)[0].cpu() for n in range(min(40, len(self.paste.bank)))]
        found = {"bank": as_data_url(picture_sheet(lesions, columns=10, side=32))}
        for normal, pasted, mask in self._examples:
            marked = torch.where(mask[:, None] > 0, pasted, 0.35 * pasted)
            rows = [one for three in zip(normal, pasted, marked, strict=True) for one in three]
            found["pasted"] = as_data_url(picture_sheet(rows, columns=3, side=160))
        return found


def _largest_bright(images: Float[Tensor, "b c h w"], threshold: float) -> Bool[Tensor, "b h w"]:
    """The largest connected part above a grey value, without holes; all of an image that has none."""
    found = []
    for image in (images.amax(1) > threshold).cpu().numpy():
        labels, count = ndimage.label(image)
        if not count:
            found.append(np.ones_like(image))
            continue
        sizes = np.bincount(labels.ravel())[1:]
        found.append(ndimage.binary_fill_holes(labels == 1 + sizes.argmax()))
    return torch.from_numpy(np.stack(found)).to(images.device)
