"""A backbone for the benchmarks of FPT and FPT+, pre-trained without labels on the images at hand.

    python benchmarks/learning/fpt/pretrain.py --data DIR
    python benchmarks/learning/fpt/pretrain.py --data DIR --probe

``DIR`` holds the folders of :data:`SOURCES`. The network sees training images alone: none of a ``val`` or ``test``
split of any set, nor a training image that nearly equals one of those. The first command trains, on one thread, a
masked autoencoder (He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022) and writes its encoder
as a timm state dict; the second compares linear probes on it and on random weights.
"""

import argparse
import json
import time
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

import modicum
from modicum.atomic_files import atomic_file, write_text
from modicum.data.checks.duplicates import resolve_leaks
from modicum.data.layouts import load_manifest
from modicum.data.splits import ensure_splits
from modicum.data.stores.image_store import ImageStore, StoreSettings
from modicum.engine.environment import environment
from modicum.engine.training.schedule import lr_factor
from modicum.nn import Backbone
from modicum.nn.plain_vit import plain_vit, vit_shape
from modicum.transforms import Augmentation

BACKBONE = "vit_tiny_patch16_224"
IMAGE_SIZE, STORED_SIZE = 256, 320
AUGMENT = [{"name": "random_resized_crop", "area": [0.3, 1.0]}, {"name": "horizontal_flip"}]
# Of a patch, in [0, 1]: two and a half grey levels of 255. Contrast below it is noise of camera and JPEG, in the
# black corners of fundus photographs above all, which normalisation would blow up to a target of full contrast.
NOISE_VARIANCE = 1e-4


@dataclass(frozen=True)
class Source:
    """A data set to learn from.

    Args:
        name: for the table of counts.
        path: below the data folder.
        read: arguments of :func:`modicum.data.layouts.load_manifest`; ``split_lists`` is below ``path``.
        crop: see :class:`modicum.data.prepared.StoreSettings`.
        every: takes one image of so many: neighbouring slices of a volume show nearly the same.
        evaluated: a benchmark reads its ``val`` and ``test`` images, so it must have such a split.
    """

    name: str
    path: str
    read: dict[str, Any] = field(default_factory=dict)
    crop: str = "none"
    every: int = 1
    evaluated: bool = False


SOURCES = [
    Source(
        "fundus_dr_grading", "fundus_dr_grading", {"columns": {"label": "dr_grade"}}, "fundus", evaluated=True
    ),
    Source("fundus_hrf", "fundus_hrf", {"columns": {"label": "class"}}, "fundus", evaluated=True),
    Source(
        "cxr_covid",
        "cxr_covid",
        {"columns": {"label": "covid"}, "split_lists": "lists/covid1"},
        evaluated=True,
    ),
    Source("vessels", "vessels", {"columns": {"patient": "group"}}, "fundus"),
    Source("octa_vessels", "octa_vessels", {"columns": {"image": "file", "patient": "subject"}}),
    Source("skin_ham10000", "skin_ham10000", {"columns": {"label": "dx", "patient": "lesion_id"}}),
    *(
        Source("mr_brain", f"mr_brain/{patient}/{contrast}", every=6)
        for patient in ("patient07", "patient19")
        for contrast in ("T1", "T2", "FLAIR")
    ),
    Source("ct_mr_slices", "ct_mr_slices"),
]


def training_images(source: Source, data: Path, stores: Path) -> UInt8[np.ndarray, "n height width 3"]:
    """Decodes the images of a set that may be learned from.

    The split is the one that ``modicum fit --leaks drop`` makes of the same data with seed 0.
    """
    read = dict(source.read)
    if "split_lists" in read:
        read["split_lists"] = data / source.path / read["split_lists"]
    manifest = load_manifest(data / source.path, **read)
    settings = StoreSettings(STORED_SIZE, STORED_SIZE, crop=source.crop)
    store = ImageStore.build_or_open(manifest.refs(), stores, settings)
    manifest, notes = resolve_leaks(manifest, store.facts, "drop")
    if source.evaluated:
        manifest = ensure_splits(manifest, seed=0)
    if "split" in manifest.table:
        manifest = manifest.part("train")
    for note in notes:
        print(f"{source.name}: {note}")
    return store.get(store.indices_of(manifest.refs()[:: source.every]))


class MaskedAutoencoder(nn.Module):
    """Predicts the hidden patches of an image from the others.

    The encoder sees the visible patches alone; a small decoder sees their features and one learned token in every
    hidden place. Targets are patches normalised by their own mean and deviation (section 4, "reconstruction
    target").

    Args:
        backbone: a plain vision transformer with a class token; becomes the encoder. Its position embeddings are
            set to fixed sines and cosines.
        width, depth, heads: of the decoder.
        hidden: share of the patches.
    """

    positions: Tensor

    def __init__(
        self, backbone: Backbone, width: int = 96, depth: int = 2, heads: int = 3, hidden: float = 0.75
    ) -> None:
        from timm.models.vision_transformer import Block

        super().__init__()
        self.backbone = backbone
        self.body = plain_vit(backbone, "masked autoencoding")
        shape = vit_shape(self.body)
        self.patch, self.num_patches = shape.patch_size[0], shape.grid[0] * shape.grid[1]
        self.num_visible = round((1 - hidden) * self.num_patches)
        self.body.pos_embed.data[:, 1:] = sines_and_cosines(shape.grid, shape.width)
        self.body.pos_embed.data[:, :1] = 0
        self.body.pos_embed.requires_grad_(False)
        self.narrow = nn.Linear(shape.width, width)
        self.hidden_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.register_buffer("positions", sines_and_cosines(shape.grid, width))
        self.decoder = nn.Sequential(
            *(Block(width, heads, qkv_bias=True) for _ in range(depth)), nn.LayerNorm(width)
        )
        self.pixels = nn.Linear(width, 3 * self.patch**2)

    def forward(self, images: Float[Tensor, "b 3 h w"], generator: torch.Generator) -> Float[Tensor, ""]:
        """The mean squared error over the hidden patches of images in ``[0, 1]``."""
        scores = torch.rand(len(images), self.num_patches, generator=generator)
        visible, hidden = scores.argsort(1).split(
            [self.num_visible, self.num_patches - self.num_visible], dim=1
        )
        target = normalised_patches(images, self.patch, hidden)
        predicted = self.decode(self.encode(images, visible), visible, hidden)
        return nn.functional.mse_loss(predicted.float(), target)

    def encode(
        self, images: Float[Tensor, "b 3 h w"], visible: Int[Tensor, "b v"]
    ) -> Float[Tensor, "b tokens d"]:
        """Features of the class token and of the visible patches."""
        patches = self.body.patch_embed(self.backbone.normalise(images)) + self.body.pos_embed[:, 1:]
        first = (self.body.cls_token + self.body.pos_embed[:, :1]).expand(len(images), -1, -1)
        tokens = torch.cat([first, patches.gather(1, _places(visible, patches.shape[2]))], 1)
        return self.body.norm(self.body.blocks(tokens))

    def decode(
        self, features: Float[Tensor, "b tokens d"], visible: Int[Tensor, "b v"], hidden: Int[Tensor, "b m"]
    ) -> Float[Tensor, "b m pixels"]:
        """The hidden patches, from the features of the class token and of the visible ones."""
        features = self.narrow(features)
        width = features.shape[2]
        tokens = self.hidden_token.to(features.dtype).repeat(len(features), self.num_patches, 1)
        tokens = tokens.scatter(1, _places(visible, width), features[:, 1:]) + self.positions
        decoded = self.decoder(torch.cat([features[:, :1], tokens], 1))
        return self.pixels(decoded[:, 1:].gather(1, _places(hidden, width)))


def _places(patches: Int[Tensor, "b k"], width: int) -> Int[Tensor, "b k {width}"]:
    return patches.unsqueeze(2).expand(-1, -1, width)


def normalised_patches(
    images: Float[Tensor, "b c h w"], patch: int, wanted: Int[Tensor, "b k"]
) -> Float[Tensor, "b k pixels"]:
    """Some patches of each image, counted row by row, with mean 0 and, unless they are flat, deviation 1."""
    grid = images.unflatten(2, (-1, patch)).unflatten(4, (-1, patch)).permute(0, 2, 4, 3, 5, 1)
    rows, columns = wanted // grid.shape[2], wanted % grid.shape[2]
    patches = grid[torch.arange(len(images)).unsqueeze(1), rows, columns].flatten(2)
    variance, mean = torch.var_mean(patches, dim=2, keepdim=True)
    return (patches - mean) / (variance + NOISE_VARIANCE).sqrt()


def sines_and_cosines(grid: tuple[int, int], width: int) -> Float[Tensor, "1 n {width}"]:
    """Position embeddings of a grid: half of the width for the row, half for the column."""
    frequency = 10_000 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    axes = torch.meshgrid(*(torch.arange(side, dtype=torch.float64) for side in grid), indexing="ij")
    angles = [axis.flatten().outer(frequency) for axis in axes]
    return torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], 1).float()[None]


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; biases, norms and tokens do not."""
    decayed: list[Tensor] = []
    others: list[Tensor] = []
    for name, value in model.named_parameters():
        if value.requires_grad:
            (others if value.ndim == 1 or name.endswith("token") else decayed).append(value)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def pretrain(images: UInt8[np.ndarray, "n height width 3"], options: argparse.Namespace) -> list[float]:
    """Trains, saving the encoder every few epochs; returns the mean loss of each epoch."""
    from timm.layers import set_fused_attn

    set_fused_attn(False)  # the fused attention's backward pass takes a third of a step on a CPU in bf16
    torch.manual_seed(0)
    model = MaskedAutoencoder(Backbone(BACKBONE, (IMAGE_SIZE, IMAGE_SIZE)))
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.05), lr=options.lr, betas=(0.9, 0.95), fused=True)
    steps_an_epoch = len(images) // options.batch_size
    total = options.epochs * steps_an_epoch
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: lr_factor(step, total, total // 20))
    augment, generator = Augmentation(AUGMENT, IMAGE_SIZE), torch.Generator().manual_seed(0)
    losses: list[float] = []
    for epoch in range(1, options.epochs + 1):
        started, found = time.perf_counter(), []
        order = torch.randperm(len(images), generator=generator).numpy()
        for step in range(steps_an_epoch):
            rows = order[step * options.batch_size : (step + 1) * options.batch_size]
            pixels = torch.from_numpy(images[rows]).permute(0, 3, 1, 2).float() / 255
            batch = augment({"image": pixels}, generator)["image"]
            with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bf16"):
                loss = model(batch, generator)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            found.append(loss.item())
        losses.append(sum(found) / len(found))
        seconds = time.perf_counter() - started
        print(f"epoch {epoch}/{options.epochs} loss {losses[-1]:.4f} {seconds:.1f} s", flush=True)
        if epoch % 5 == 0 or epoch == options.epochs:
            save_encoder(model.body, options.out, epoch)
    return losses


def save_encoder(body: nn.Module, path: Path, epoch: int) -> None:
    """Writes the state dict under timm's names."""
    from safetensors.torch import save

    tensors = {name: value.contiguous() for name, value in body.state_dict().items()}
    with atomic_file(path) as file:
        file.write(save(tensors, {"backbone": BACKBONE, "image_size": str(IMAGE_SIZE), "epoch": str(epoch)}))


def probe(options: argparse.Namespace) -> None:
    """Prints validation scores of linear probes on random and on pre-trained weights, three seeds each."""
    covid_lists = options.data / "cxr_covid" / "lists" / "covid1"
    tasks: dict[str, dict[str, Any]] = {
        "fundus_dr_grading": {"label": "dr_grade", "crop": "fundus"},
        "cxr_covid": {"label": "covid", "split_lists": str(covid_lists)},
    }
    kinds = {"random": "random", "mae": str(options.out)}
    for (data, settings), (kind, weights), seed in product(tasks.items(), kinds.items(), range(3)):
        run = modicum.fit(
            options.data / data, "linear", name=f"probe-{data}-{kind}-{seed}", runs=options.runs, overwrite=True,
            backbone=BACKBONE, weights=weights, image_size=IMAGE_SIZE, seed=seed, leaks="drop", **settings,
        )  # fmt: skip
        scores = run.metrics["evaluations"]["val"]["metrics"]
        shown = [name for name in ("auroc", "quadratic_kappa", "balanced_accuracy") if name in scores]
        print(data, kind, seed, *(f"{name} {scores[name]['value']:.3f}" for name in shown))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/pretrained/vit_tiny_mae.safetensors"))
    parser.add_argument("--runs", type=Path, default=Path("runs/pretrained"), help="image store and probes")
    parser.add_argument("--epochs", type=int, default=110)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--precision", choices=("bf16", "32"), default="bf16")
    parser.add_argument("--probe", action="store_true", help="compare linear probes instead of training")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.probe:
        probe(options)
        return
    started = time.perf_counter()
    counts: dict[str, int] = {}
    parts = []
    for source in SOURCES:
        parts.append(training_images(source, options.data, options.runs / ".stores"))
        counts[source.name] = counts.get(source.name, 0) + len(parts[-1])
    print(f"{sum(counts.values())} images: {counts}", flush=True)
    losses = pretrain(np.concatenate(parts), options)
    facts = {
        "date": time.strftime("%Y-%m-%d"),
        "settings": {
            name: str(value) for name, value in vars(options).items() if name not in {"data", "runs", "out"}
        },
        "environment": environment(),
        "minutes": round((time.perf_counter() - started) / 60, 1),
        "processor_minutes": round(time.process_time() / 60, 1),
        "images": counts,
        "losses": [round(loss, 4) for loss in losses],
    }
    write_text(options.out.with_suffix(".json"), json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
