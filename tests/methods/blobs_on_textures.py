"""Made images that tie a texture to each class, for learning from a long tail (acceptance 9 of SPMix).

A class is the shape of a dark blob. In training each class has a background of its own, a grating, which is easier to
learn; in a test any class is on any of them.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from modicum.data.sampling import epoch_order
from modicum.methods.base import Context, Method
from modicum.methods.full import Full
from modicum.methods.mixed import Mixed
from modicum.methods.spmix import SPMix
from modicum.nn import Backbone
from modicum.tasks import task_from_dict
from modicum.transforms import fine_grained_saliency

SIDE, COUNTS = 32, (400, 200, 80, 30, 8)
HEAD, TAIL = [0, 1], [3, 4]
EPOCHS, BATCH, LR = 40, 32, 2e-3
FLIPS = [{"name": "horizontal_flip"}]
SPMIX = {
    "queue": 512, "projection": 32, "projection_width": 64, "query_augment": FLIPS, "key_augment": FLIPS,
}  # fmt: skip
METHODS: dict[str, tuple[type[Method], dict[str, Any]]] = {
    "cross-entropy": (Full, {}),
    "mixup": (Mixed, {"mixer": "mixup"}),
    "SPMix": (SPMix, SPMIX),
    "constant share": (SPMix, {**SPMIX, "guide": "constant"}),
    "shuffled saliency": (SPMix, {**SPMIX, "guide": "shuffled"}),
    "roles of the release": (SPMix, {**SPMIX, "foreground": "natural"}),
}
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE] / SIDE


def background(kind, generator):
    """A bright grating whose direction is the kind."""
    wave = np.cos(kind * np.pi / 5) * ROWS + np.sin(kind * np.pi / 5) * COLUMNS
    phase = generator.uniform(0, 2 * np.pi)
    return 0.65 + 0.1 * np.sin(10 * np.pi * wave + phase) + generator.normal(0, 0.04, (SIDE, SIDE))


def blob(kind, generator):
    """A disc, a ring, a cross, two bars or four dots."""
    scale = generator.uniform(0.85, 1.15) / 0.3
    y, x = (abs(along - 0.5 - generator.uniform(-0.12, 0.12)) * scale for along in (ROWS, COLUMNS))
    far = np.hypot(y, x)
    return (
        far < 0.8,
        (far < 1) & (far > 0.55),
        ((x < 0.25) | (y < 0.25)) & (far < 1),
        (abs(y - 0.55) < 0.25) & (x < 0.9),
        np.hypot(y - 0.55, x - 0.55) < 0.38,
    )[kind]


def made(counts, tied, seed) -> tuple[Float[Tensor, "n 1 h w"], Int[Tensor, "n"]]:
    """Images by class; with ``tied`` each class has its own background, else any."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    images = []
    for label in labels:
        image = background(label if tied else generator.integers(len(counts)), generator)
        images.append(np.where(blob(label, generator), image - generator.uniform(0.25, 0.4), image))
    return torch.from_numpy(np.stack(images)).float().clamp(0, 1)[:, None], torch.from_numpy(labels)


def small_transformer():
    """Patches of 8 pixels: a grid of 4 x 4."""
    shape = {"patch_size": 8, "embed_dim": 48, "depth": 4, "num_heads": 4}
    return Backbone("vit_tiny_patch16_224", (SIDE, SIDE), arguments=shape)


def trained(kind, images, labels, seed, **settings):
    """The stage after its training on images as they come, partners by the balanced sampler; the same steps for all."""
    torch.manual_seed(seed)
    task = task_from_dict({"name": "classification", "kind": "multi-class", "classes": list("abcde"), "ordered": False,
                           "specificity": 0.95})  # fmt: skip
    context = Context(task, small_transformer, {"label": labels.numpy()}, {}, image_size=(SIDE, SIDE))
    stage = kind(kind.Config(**settings), context).stages()[-1].train()
    saliency = fine_grained_saliency(images)
    per_epoch = len(images) // BATCH
    optimizer = torch.optim.AdamW(stage.parameters(), LR, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, EPOCHS * per_epoch, pct_start=0.05)
    for epoch in range(EPOCHS):
        orders = [
            torch.from_numpy(epoch_order(labels.numpy(), mode, seed=seed + shift, epoch=epoch))
            for mode, shift in (("natural", 0), ("balanced", 1000))
        ]
        for own, other in zip(*(order[: per_epoch * BATCH].split(BATCH) for order in orders), strict=True):
            batch = {"image": images[own], "label": labels[own], "saliency": saliency[own]}
            of_partner = {"image": images[other], "label": labels[other], "saliency": saliency[other]}
            batch |= {f"partner_{name}": value for name, value in of_partner.items()}
            optimizer.zero_grad()
            sum(stage.updates()[0].losses(batch).values()).backward()
            optimizer.step()
            schedule.step()
    return stage.eval()


@torch.no_grad()
def accuracies(stage, images, labels) -> Float[np.ndarray, "classes"]:
    right = torch.cat([stage({"image": part}) for part in images.split(250)]).argmax(1) == labels
    return np.array([right[labels == label].float().mean().item() for label in range(len(COUNTS))])


def found_by(name: str, seed: int) -> dict[str, Any]:
    """Accuracy of each class on test images after training, and the means of the two largest and smallest classes."""
    kind, own = METHODS[name]
    stage = trained(kind, *made(COUNTS, tied=True, seed=seed), seed, **own)
    classes = accuracies(stage, *made([100] * len(COUNTS), tied=False, seed=99))
    return {"classes": classes.tolist(), "head": classes[HEAD].mean(), "tail": classes[TAIL].mean()}
