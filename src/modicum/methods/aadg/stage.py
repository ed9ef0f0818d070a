"""The learning step of AADG: segmentation and search in lockstep.

Symbols of the paper: B images of each of K domains, M policies. A batch of the search has B x K x M images; image
``(b K + d) M + j`` is augmented by policy j.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import torch
import yaml
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from modicum.errors import InputError
from modicum.methods.aadg.config import AadgConfig
from modicum.methods.aadg.discriminator import (
    DomainDiscriminator,
    SlowCopy,
    soft_cross_entropy,
    soft_domain_labels,
)
from modicum.methods.aadg.search import PolicySearch
from modicum.methods.base import TrainStage, Update
from modicum.nn.tiles import tiled
from modicum.tasks.base import Batch
from modicum.transforms.policy import apply_sub_policies, draw_sub_policies, erasable, erase_cut_labels

OVERLAP = 0.25
"""Of tiles in validation, as a share of their side."""


class Segmenter(Protocol):
    """A segmentation network that also returns its encoder's features."""

    def features_and_logits(self, images: Float[Tensor, "b 3 h w"]) -> tuple[Tensor, Tensor]:
        """Features of the encoder, [b, channels] or a map [b, channels, h', w'], and logits [b, classes, h, w].

        Images are in [0, 1]; the network normalises them as it needs.
        """


class AadgStage(TrainStage):
    """Trains a segmentation network on images of several domains, and meanwhile searches the augmentation policies that
    make the domains differ most.

    The segmentation network learns from the segmentation loss alone, the discriminator from detached features, and the
    controller from rewards, once an epoch: no gradient goes from one to another.

    Batches have ``image`` [b, 3, h, w] in [0, 1], ``mask`` and what else the loss needs, and ``domain`` [b], from 0, with
    the same number of images of each domain.

    Args:
        config: the method's settings.
        network: the segmentation network, a module with ``features_and_logits``.
        loss: maps logits and a batch to a scalar.
        domains: number of domains of the training images (K), at least 2.
        channels: channels of the network's features.
        move: maps a batch and a generator to a batch: the augmentation of the copies after their policy; the paper
            scales and crops them at random. In warm-up it is applied to the images themselves.
        codes: the numbers that the domains have in a batch, ascending; 0 to K - 1 by default.
        tile: height and width of overlapping tiles in which larger images are validated; None for whole images.

    Raises:
        InputError: fewer than two domains, or ``chunk`` with a network whose result it would change.
    """

    name = "search"

    def __init__(
        self,
        config: AadgConfig,
        network: nn.Module,
        loss: nn.Module,
        domains: int,
        channels: int = 1280,
        move: Callable[[Batch, torch.Generator], Batch] | None = None,
        codes: Sequence[int] | None = None,
        tile: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        if domains < 2:
            raise InputError(
                f"AADG compares domains, and the training images come from {domains}",
                "add a column 'domain' with at least two domains to the table, or use --method segment",
            )
        if config.chunk and any(isinstance(module, _BatchNorm) for module in network.modules()):
            raise InputError(
                f"chunk {config.chunk} would change the network: its batch normalisation averages over a whole batch",
                "leave chunk at 0, or choose a network without batch normalisation",
            )
        self.config = config
        self.network = network
        self.loss = loss
        self.domains = domains
        self.move = move
        self.tile = tile
        self.search_after = config.search_after or 0
        self.register_buffer("codes", torch.tensor(codes or list(range(domains))), persistent=False)
        self.codes: Tensor
        self.discriminator = DomainDiscriminator(channels, domains, config.discriminator_width)
        self.slow = SlowCopy(self.discriminator)
        self.search = PolicySearch(config)
        self.register_buffer("epoch", torch.full((), -1))
        self.epoch: Tensor
        # The same as a Python number, so that reading it does not wait for the device. None: not set yet.
        self._epoch: int | None = None
        self.register_load_state_dict_post_hook(lambda stage, _: stage._remember_epoch())
        self._features: tuple[Tensor, Tensor] | None = None

    def updates(self) -> Sequence[Update]:
        """Segmentation, then the discriminator."""
        rate = {"lr": self.config.discriminator_lr, "weight_decay": 0.0}
        return [
            Update(
                "segmentation",
                list(self.network.parameters()),
                self.segmentation_losses,
                lr_factor=self._lr_factor,
            ),
            Update("discriminator", list(self.discriminator.parameters()), self.discriminator_losses, rate),
        ]

    def _lr_factor(self, epoch: int) -> float:
        return self.config.search_lr_factor if epoch >= self.search_after else 1.0

    def forward(self, batch: Batch) -> Float[Tensor, "b classes h w"]:
        """Logits; outside training in tiles, where the images are larger than those."""
        images = batch["image"]
        if self.training or self.tile is None or tuple(images.shape[2:]) == self.tile:
            return self._network(images)[1]
        overlap = int(OVERLAP * self.tile[0]), int(OVERLAP * self.tile[1])
        return torch.stack([tiled(self.network, image, self.tile, overlap) for image in images])

    def validate(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        outputs = self(batch)
        return outputs, {"segmentation": self.loss(outputs, batch)}

    def persistent_modules(self) -> tuple[str, ...]:
        """The network and the controller. The policies of each epoch are among the findings."""
        return "network", "search.controller"

    def findings(self) -> dict[str, Any]:
        """See :meth:`~modicum.methods.aadg.search.PolicySearch.findings`."""
        return self.search.findings()

    def artefacts(self) -> dict[str, str]:
        """``policy.yaml``: the policies of the last epoch of the search, an augmentation for any method."""
        policy = self.search.findings()["policy"]
        return {} if policy is None else {"policy.yaml": yaml.safe_dump(policy, sort_keys=False)}

    # --- epochs -----------------------------------------------------------------------------------------------------

    def on_epoch_start(self, epoch: int) -> None:
        """After warm-up: samples the epoch's policies; at the first such epoch, also initialises the slow copy."""
        self.epoch.fill_(epoch)
        self._remember_epoch()
        if epoch == self.search_after:
            self.slow.follow(self.discriminator, 0.0)
        if epoch >= self.search_after:
            self.search.begin()

    def on_epoch_end(self, epoch: int) -> None:
        """Updates the slow copy, and trains the controller on the rewards of its policies."""
        if epoch < self.search_after:
            return
        shared = self._shares_copy(epoch)
        self.slow.follow(self.discriminator, 0.0 if shared else self.config.momentum)
        self.search.end(epoch)

    def _remember_epoch(self) -> None:
        self._epoch = int(self.epoch) if self.epoch >= 0 else None

    def _shares_copy(self, epoch: int) -> bool:
        return self.config.first_copy == "shared" and epoch == self.search_after

    # --- the step ---------------------------------------------------------------------------------------------------

    def segmentation_losses(self, batch: Batch) -> dict[str, Tensor]:
        """The task's loss on all copies. Also keeps the features and adds to the policies' rewards."""
        batch = self._numbered(batch)
        copies = self._copies(batch)
        features, logits = self._network(copies["image"])
        with torch.autocast(features.device.type, enabled=False):
            pooled = _pooled(features.detach().float())
            self._features = pooled, copies["domain"]
            if self._epoch is not None and self._epoch >= self.search_after:
                source = self.discriminator if self._shares_copy(self._epoch) else self.slow
                self._reward(source.features(pooled).detach(), batch["domain"])
        return {"segmentation": self.loss(logits, copies)}

    def discriminator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy with soft labels, on the features of the segmentation update."""
        assert self._features is not None, "the segmentation update comes first"
        pooled, domain = self._features
        self._features = None
        labels = soft_domain_labels(domain, self.domains, whole=self.config.soft_labels == "whole")
        return {"discriminator": soft_cross_entropy(self.discriminator(pooled), labels)}

    def _numbered(self, batch: Batch) -> Batch:
        """The batch with domains from 0 to K - 1.

        Raises:
            InputError: the batch has no domains, or not the same number of images of each.
        """
        if "domain" not in batch:
            raise InputError("a batch has no 'domain'", "give the table a column with each image's domain")
        domain = torch.searchsorted(self.codes, batch["domain"])
        counts = torch.bincount(domain, minlength=self.domains).tolist()
        if len(set(counts)) > 1 or len(counts) > self.domains:
            raise InputError(
                f"a batch has {', '.join(map(str, counts))} images of the domains",
                f"sample as many images of each of the {self.domains} domains",
            )
        return {**batch, "domain": domain}

    @torch.no_grad()
    def _copies(self, batch: Batch) -> Batch:
        """In the search, M copies of each row of the batch, each augmented by its own policy.

        Before the first epoch starts (when the memory of a step is measured), as many copies, not augmented.
        """
        searching = self._epoch is None or self._epoch >= self.search_after
        if searching:
            many = self.config.policies
            rows = len(batch["image"])
            batch = {
                name: value.repeat_interleave(many, 0) if _belongs_to_rows(value, rows) else value
                for name, value in batch.items()
            }
            if self._epoch is not None:
                batch = self._augmented(batch)
        return batch if self.move is None else self.move(batch, torch.default_generator)

    def _augmented(self, batch: Batch) -> Batch:
        policy = torch.arange(len(batch["image"])) % self.config.policies
        drawn = draw_sub_policies(self.search.table(), policy, torch.default_generator)
        image = apply_sub_policies(batch["image"], drawn, self.config.magnitudes)
        batch = {**batch, "image": image}
        if self.config.cutout_labels == "erase":
            for name in erasable(batch):
                batch[name] = erase_cut_labels(batch[name], drawn, self.config.magnitudes)
        return batch

    def _reward(self, features: Float[Tensor, "copies width"], domain: Int64[Tensor, "b"]) -> None:
        by_policy = features.view(len(domain), self.config.policies, -1).transpose(0, 1)
        by_domain = by_policy[:, domain.argsort(stable=True)]
        self.search.reward(by_domain.unflatten(1, (self.domains, -1)))

    def _network(self, images: Tensor) -> tuple[Tensor, Tensor]:
        run = cast(Segmenter, self.network).features_and_logits
        if not (self.config.chunk and torch.is_grad_enabled() and len(images) > self.config.chunk):
            return run(images)
        parts = [checkpoint(run, part, use_reentrant=False) for part in images.split(self.config.chunk)]
        features, logits = zip(*parts, strict=True)
        return torch.cat(features), torch.cat(logits)


def _pooled(features: Tensor) -> Float[Tensor, "b channels"]:
    return features.flatten(2).mean(2) if features.ndim > 2 else features


def _belongs_to_rows(value: object, rows: int) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0 and len(value) == rows
