"""The training step of SPMix: two views of foregrounds and backgrounds, mixed inside the network, and GPaCo's loss."""

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from modicum.batch import PARTNER, without_prefix
from modicum.losses import GPaCoLoss
from modicum.methods.base import TrainStage, Update
from modicum.methods.spmix.config import GPaCoConfig, SPMixConfig
from modicum.methods.spmix.pairs import Pair, keep_pairs, pairs_file
from modicum.nn import Classifier
from modicum.nn.token_mixing import mixed_features, mixed_pixels
from modicum.tasks.base import Batch
from modicum.transforms import Augmentation
from modicum.transforms.patch_ratio import patch_ratio

Grid = tuple[int, int]


class SPMixStage(TrainStage):
    """Learns from mixtures whose label is the foreground's.

    All images of a step go through the network's first layers in one batch: foregrounds of both views, then backgrounds
    of both views; what follows the mixing layer runs once a mixture. Without mixing it is GPaCo.

    Args:
        network: what predicts; it sees no saliency, no projector and no queue.
        config: the method's settings.
        mix: ``tokens``, ``features``, ``pixels`` or ``none``.
        loss: the task's loss, where there is no contrast.
        counts: training images of each class, for ``strict``; None where nothing will be learned.
        contrast: GPaCo's loss with its queue; None for the task's loss.
        classes: names of the classes, for pictures.
        image_size: of the views.
    """

    name = "tune"
    partner_sampling = "balanced"
    counts: Tensor | None

    def __init__(
        self,
        network: Classifier,
        config: GPaCoConfig,
        mix: str,
        loss: nn.Module,
        counts: Tensor | None,
        contrast: GPaCoLoss | None,
        classes: Sequence[str],
        image_size: tuple[int, int],
    ) -> None:
        super().__init__()
        self.mixing = config if isinstance(config, SPMixConfig) and mix != "none" else None
        self.reads = _reads(self.mixing)
        self.network = network
        self.loss = loss
        self.contrast = contrast
        self.mix = mix
        heads: tuple[nn.Module, nn.Module] = (
            (nn.Identity(), nn.Identity())
            if contrast is None
            else projection_heads(network.backbone.num_features, config.projection_width, config.projection)
        )
        self.projector, self.predictor = heads
        self.register_buffer("counts", counts, persistent=False)
        names = (config.query_augment, config.key_augment)[: 1 if contrast is None else 2]
        kinds = (
            {} if self.mixing is None else {_map_of(self.mixing): "saliency"}
        )  # also a mask is read as a map
        self.augments = [Augmentation(name, image_size, kinds=kinds) for name in names]
        self._classes = tuple(classes)
        self._pairs: list[Pair] | None = None

    def updates(self) -> Sequence[Update]:
        return [Update("network", list(self.parameters()), self.losses)]

    def persistent_modules(self) -> tuple[str, ...]:
        """The network; projector, predictor and queue serve learning alone."""
        return ("network",)

    def forward(self, batch: Batch) -> Tensor:
        return self.network(batch["image"])

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        labels = self._labelled(batch)["label"]
        views = self._views(batch)
        features = self._features(views, batch)
        logits = self.network.head(features)
        if self.contrast is None:
            return {"classification": self.loss(logits, self._labelled(batch))}
        of_query, of_key = self.projector(features).chunk(2)
        query = F.normalize(self.predictor(of_query).float(), dim=1)
        key = F.normalize(of_key.float(), dim=1)
        return {"contrast": self.contrast(query, key, labels, *logits.chunk(2))}

    # --- what is mixed with what --------------------------------------------------------------------------------

    def _labelled(self, batch: Batch) -> Batch:
        """The images whose labels are kept, as a batch of their own."""
        by_partner = self.mixing is not None and self.mixing.foreground == "balanced"
        return without_prefix(batch, PARTNER) if by_partner else batch

    def _others(self, batch: Batch) -> Batch:
        by_partner = self.mixing is not None and self.mixing.foreground == "balanced"
        return batch if by_partner else without_prefix(batch, PARTNER)

    def _views(self, batch: Batch) -> list[Batch]:
        """Each view of the images and all that lies on them; draws are from PyTorch's global generator."""
        inputs = {name: batch[name] for name in self.reads}
        seeds = torch.randint(2**62, (len(self.augments),)).tolist()
        return [
            augment(dict(inputs), torch.Generator().manual_seed(seed))
            for augment, seed in zip(self.augments, seeds, strict=True)
        ]

    def _features(self, views: Sequence[Batch], batch: Batch) -> Float[Tensor, "views_b d"]:
        """Features of the mixtures, view by view, in one pass."""
        encoder = self.network.backbone
        foreground = torch.cat([self._labelled(view)["image"] for view in views])
        if self.mixing is None:
            return encoder(foreground)
        background = torch.cat([self._others(view)["image"] for view in views])
        ratio = partial(self._ratio, views, self._unmixed(batch, len(views)), _shuffle(self.mixing, batch))
        self._keep(views, batch, ratio)
        if self.mix == "pixels":
            return encoder(mixed_pixels(foreground, background, ratio, self.mixing.patch))
        return mixed_features(encoder, self.mix, foreground, background, ratio)

    @torch.no_grad()
    def _ratio(
        self, views: Sequence[Batch], unmixed: Tensor | None, order: Tensor | None, grid: Grid
    ) -> Float[Tensor, "views_b patches"]:
        """The foreground's share of each patch of each mixture."""
        config = self.mixing
        assert config is not None
        if config.guide == "constant":
            images = views[0]["image"]
            share = images.new_full((len(views) * len(images), grid[0] * grid[1]), 0.5)
        else:
            parts = []
            for view in views:
                foreground = self._labelled(view)[_map_of(config)]
                background = None if config.guide == "foreground" else self._others(view)[_map_of(config)]
                if order is not None and background is not None:
                    foreground, background = foreground[order], background[order]
                parts.append(patch_ratio(foreground, background, grid, config.alpha, config.noise))
            share = torch.cat(parts)
        return share if unmixed is None else torch.where(unmixed[:, None], 1.0, share)

    def _unmixed(self, batch: Batch, views: int) -> Tensor | None:
        """Which mixtures are the foreground alone: under ``strict`` those whose background is of no larger class."""
        if self.mixing is None or not self.mixing.strict or self.counts is None:
            return None
        counts = self.counts
        count, other = (counts[part["label"]] for part in (self._labelled(batch), self._others(batch)))
        return (count >= other).repeat(views)

    # --- pictures -----------------------------------------------------------------------------------------------

    def on_epoch_start(self, epoch: int) -> None:
        self._pairs = None  # those of the last epoch are shown

    def _keep(self, views: Sequence[Batch], batch: Batch, ratio: partial[Tensor]) -> None:
        if self._pairs is not None or self.mixing is None:
            return
        parts = self._labelled(views[0]), self._others(views[0])
        labels = self._labelled(batch)["label"], self._others(batch)["label"]
        patch = self.mixing.patch if self.mix == "pixels" else None
        self._pairs = keep_pairs(parts, labels, _map_of(self.mixing), ratio, patch)

    def artefacts(self) -> dict[str, str]:
        return pairs_file(self._pairs, self._classes) if self._pairs else {}


def projection_heads(
    width: int, hidden: int = 4096, outputs: int = 256
) -> tuple[nn.Sequential, nn.Sequential]:
    """Projector, and predictor of the first view.

    20,987,904 and 2,105,344 parameters for 768 features.
    """
    projector = nn.Sequential(
        nn.Linear(width, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, outputs, bias=False),
        nn.BatchNorm1d(outputs, affine=False),
    )
    predictor = nn.Sequential(
        nn.Linear(outputs, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, outputs, bias=False),
    )
    return projector, predictor


def _map_of(config: SPMixConfig) -> str:
    """Name of the saliency in a batch."""
    return "mask" if config.saliency_by == "mask" else "saliency"


def _reads(config: SPMixConfig | None) -> tuple[str, ...]:
    if config is None:
        return ("image",)
    if config.guide == "constant":
        return ("image", PARTNER + "image")
    return ("image", PARTNER + "image", _map_of(config), PARTNER + _map_of(config))


def _shuffle(config: SPMixConfig, batch: Batch) -> Tensor | None:
    """Whose saliency each mixture gets instead of its own, as a control."""
    if config.guide != "shuffled":
        return None
    return torch.randperm(len(batch["image"])).to(batch["image"].device)
