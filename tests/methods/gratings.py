"""Made textures that tell adaptation from probing: pre-training names gratings, the task afterwards combines them.

An image holds some of six gratings. A small vision transformer first learns which, each for itself; the three findings
of the task are exclusive-ors and a conjunction of pairs of them, so that features which are linear in the gratings are
not enough. Each finding is there in half of the images: were one rarer, a head could learn its rarity along whatever
all images have in common, and rank images by that.
"""

from collections.abc import Callable
from typing import Any

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from modicum.methods import Context, ExtractStage, Method, method_class
from modicum.nn import Backbone, vision_transformer
from modicum.tasks import Classification

SIDE, GRATINGS, FINDINGS = 32, 6, 3
SHARES = (0.5, 0.5, 0.5**0.5, 0.5**0.5, 0.5, 0.5)
"""Of the images with each grating."""
BATCH, LABELLED, PERMUTATIONS = 64, 600, 8
MODES: dict[str, tuple[str, dict[str, Any], float]] = {
    "head": ("linear", {}, 3e-3),
    "lora": ("lora", {"rank": 4}, 3e-3),
    "full": ("full", {}, 1e-3),
    "scratch": ("full", {}, 1e-3),
}
"""By name the method, its settings and learning rate: head and norm alone, low-rank updates, everything, and everything
from random weights."""

Labelled = tuple[Tensor, Tensor]


def images(count: int, seed: int) -> Labelled:
    """Images ``[count, 1, 32, 32]`` in [0, 1], and which gratings each one holds, ``[count, 6]``.

    A grating is a plane wave of its own direction and of 3 to 6 periods an image; its phase is random.
    """
    generator = torch.Generator().manual_seed(seed)
    held = torch.rand(count, GRATINGS, generator=generator) < torch.tensor(SHARES)
    phase = 2 * torch.pi * torch.rand(count, GRATINGS, 1, 1, generator=generator)
    number = torch.arange(GRATINGS).view(-1, 1, 1)
    angle, frequency = torch.pi * number / GRATINGS, 2 * torch.pi * (3 + number % 3 * 1.5) / SIDE
    row, column = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    waves = (frequency * (angle.cos() * column + angle.sin() * row) + phase).cos()
    noise = torch.randn(count, SIDE, SIDE, generator=generator)
    picture = 0.5 + 0.08 * (waves * held.view(count, GRATINGS, 1, 1)).sum(1) + 0.08 * noise
    return picture.unsqueeze(1).clamp(0, 1), held.float()


def findings(held: Tensor) -> Tensor:
    """The task's labels, ``[count, 3]``: first xor second, third and fourth, fifth xor sixth."""
    first, second, third, fourth, fifth, sixth = held.bool().unbind(1)
    return torch.stack([first ^ second, third & fourth, fifth ^ sixth], 1).float()


def permuted_findings(held: Tensor, seed: int) -> Tensor:
    """Eight copies of each finding, ``[count, 24]``, each one permuted by itself.

    What a linear head finds by chance in one permutation can rank a conjunction well or badly; only the mean over
    permutations tells.
    """
    generator = torch.Generator().manual_seed(seed)
    columns = findings(held).repeat(1, PERMUTATIONS).T
    return torch.stack([own[torch.randperm(len(own), generator=generator)] for own in columns], 1)


def method(name: str, outputs: int, weights: dict[str, Tensor] | None, seed: int, **config: Any) -> Method:
    """A method with mean pooling on a transformer of width 64, depth 4 and 8-pixel patches."""

    def backbone() -> Backbone:
        made = Backbone("test_vit", (SIDE, SIDE))
        made.body = vision_transformer(SIDE, patch_size=8, width=64, depth=4, heads=4)
        if weights is not None:
            made.body.load_state_dict(weights)
        made.set_normalisation([0.5] * 3, [0.25] * 3)
        return made

    torch.manual_seed(seed)
    task = Classification("multi-label", [str(number) for number in range(outputs)])
    found = method_class(name)
    return found(found.Config(pool="mean", **config), Context(task, backbone, {}, {}))


def train(made: Method, draw: Callable[[int], Labelled], steps: int, lr: float) -> None:
    """Trains a method's last stage with AdamW and a cosine schedule, on what a stage before it extracts."""
    *before, stage = made.stages()
    (update,) = stage.updates()
    optimizer = torch.optim.AdamW(update.parameters, lr=lr, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    stage.train()
    for step in range(steps):
        pictures, labels = draw(step)
        batch = {"image": pictures, "labels": labels}
        for extraction in before:
            assert isinstance(extraction, ExtractStage)
            batch["features"] = extraction.eval()(batch)
        optimizer.zero_grad()
        sum(update.losses(batch).values()).backward()
        optimizer.step()
        schedule.step()
    made.predictor().eval()


def pretrained(steps: int, seed: int) -> dict[str, Tensor]:
    """Weights of a transformer that has learned to name the gratings of ever new images."""
    made = method("full", GRATINGS, None, seed)
    train(made, lambda step: images(BATCH, 1_000_000 * (seed + 1) + step), steps, 2e-3)
    state = made.predictor().backbone.body.state_dict()
    return {name.replace("fc_norm.", "norm."): tensor for name, tensor in state.items()}


def adapted(
    mode: str, weights: dict[str, Tensor], steps: int, seed: int, *, permuted: bool = False
) -> nn.Module:
    """A network in evaluation mode that was adapted to 600 images with right or permuted findings."""
    pictures, held = images(LABELLED, 100 + seed)
    labels = permuted_findings(held, seed) if permuted else findings(held)
    generator = torch.Generator().manual_seed(seed)

    def draw(_: int) -> Labelled:
        rows = torch.randint(LABELLED, (BATCH,), generator=generator)
        return pictures[rows], labels[rows]

    name, config, lr = MODES[mode]
    made = method(name, labels.shape[1], None if mode == "scratch" else weights, seed, **config)
    train(made, draw, steps, lr)
    return made.predictor()


@torch.no_grad()
def mean_auroc(network: nn.Module, count: int = 2_000) -> float:
    """scikit-learn's area under the curve on new images with their right findings, the mean over the outputs."""
    pictures, held = images(count, 7)
    scores = torch.cat([network(part) for part in pictures.split(500)])
    truth = findings(held).repeat(1, scores.shape[1] // FINDINGS)
    return float(roc_auc_score(truth.numpy(), scores.numpy(), average="macro"))
