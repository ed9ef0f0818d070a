"""Supervised contrast with learnable centres of the classes, and a queue of earlier vectors (PaCo, GPaCo).

Cui et al., "Generalized Parametric Contrastive Learning" (TPAMI 2023, arXiv 2209.12400) and its code; PaCo is their
"Parametric Contrastive Learning" (ICCV 2021, arXiv 2107.12028). The centres are the rows of an ordinary linear
classifier: its logits, corrected by the prior of the classes, compete with similarities to other images. In GPaCo one
encoder sees both views, in PaCo a slowly following copy sees the second.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from modicum.distributed import gather_with_gradient, gather_without_gradient

EMPTY = -1
"""The label of a place in a queue that holds no vector yet."""
_LEAST_PRIOR = 1e-9


def gpaco_loss(
    vectors: Float[Tensor, "n d"],
    labels: Int[Tensor, "n"],
    centre_logits: Float[Tensor, "n classes"],
    *,
    queue: Float[Tensor, "k d"] | None = None,
    queue_labels: Int[Tensor, "k"] | None = None,
    prior: Float[Tensor, "classes"] | None = None,
    temperature: float = 0.2,
    alpha: float = 0.05,
    beta: float = 1.0,
    gamma: float = 1.0,
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """The mean over anchors ``i`` of

    ``-(beta (c_y - D_i) + alpha sum_{j in P(i)} (s_ij - D_i)) / (beta + alpha |P(i)|)``

    with ``c`` the anchor's centre logits plus ``log(prior + 1e-9)``, ``s_ij = z_i . z_j / temperature``, ``P(i)`` the
    other vectors of its class in batch and queue, and ``D_i = log(sum_c exp(c_c) + gamma sum_{j != i} exp(s_ij))``.

    ``alpha = gamma = 0`` is cross-entropy with balanced softmax. Under several processes vectors of all of them are
    contrasted, with gradients. Computed in single precision or better. Memory: two matrices ``n (n + k)``.

    Args:
        vectors: of length 1: both views of a batch, one after the other.
        labels: of each vector, from 0.
        centre_logits: of the classifier, each from the features of the same view as its vector.
        queue: earlier vectors, see :class:`VectorQueue`; None without.
        queue_labels: their classes; :data:`EMPTY` where there is none yet: it is left out.
        prior: share of each class among the labels that training feeds; None or all alike: no correction.
        temperature: of the similarities, not of the centres.
        alpha: weight of each vector of the same class.
        beta: weight of the class's centre.
        gamma: weight of other vectors in the denominator.
        label_smoothing: share of ``beta`` that is spread over all centres.

    >>> zero = torch.zeros(8, 4)
    >>> round(gpaco_loss(zero, torch.arange(8) // 8, torch.zeros(8, 3), alpha=0.0).item(), 6)  # log(3 + 7)
    2.302585
    """
    with torch.autocast(vectors.device.type, enabled=False):
        precise = torch.promote_types(vectors.dtype, torch.float32)
        vectors = gather_with_gradient(vectors.to(precise))
        centres = gather_with_gradient(centre_logits.to(precise))
        labels = gather_with_gradient(labels.long())
        others, other_labels = vectors, labels
        if queue is not None and queue_labels is not None:
            others = torch.cat(
                [vectors, queue.to(precise)]
            )  # a copy: the queue may move on before the backward pass
            other_labels = torch.cat([labels, queue_labels.long()])
        if prior is not None:
            centres = centres + (prior.to(precise) + _LEAST_PRIOR).log()
        similar = (vectors / temperature) @ others.T
        itself = torch.arange(len(vectors), device=vectors.device)[:, None] == torch.arange(
            len(others), device=vectors.device
        )
        hidden = itself | (other_labels == EMPTY)
        weighted = (similar + (math.log(gamma) if gamma else -math.inf)).masked_fill(hidden, -torch.inf)
        denominator = torch.cat([centres, weighted], 1).logsumexp(1)
        alike = (labels[:, None] == other_labels[None]) & ~hidden
        of_class = centres.gather(1, labels[:, None]).squeeze(1)
        of_class = (1 - label_smoothing) * of_class + label_smoothing * centres.mean(1)
        number = alike.sum(1).to(precise)
        of_others = similar.masked_fill(~alike, 0.0).sum(1) - number * denominator
        total = beta * (of_class - denominator) + alpha * of_others
        return -(total / (beta + alpha * number)).mean()


class VectorQueue(nn.Module):
    """The last vectors that a training has seen, with their classes: a ring in buffers, which checkpoints keep.

    Args:
        length: number of vectors; any, also none, and also more than there are images.
        dim: of a vector.
    """

    vectors: Tensor
    labels: Tensor
    place: Tensor

    def __init__(self, length: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(length, dim))
        self.register_buffer("labels", torch.full((length,), EMPTY))
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))

    def __len__(self) -> int:
        return len(self.labels)

    @torch.no_grad()
    def enqueue(self, vectors: Float[Tensor, "n d"], labels: Int[Tensor, "n"]) -> None:
        """Adds vectors, those of all processes, in the place of the oldest; of more than it holds, the last ones."""
        if not len(self):
            return
        vectors, labels = gather_without_gradient(vectors), gather_without_gradient(labels)
        vectors, labels = vectors[-len(self) :], labels[-len(self) :]
        places = (self.place + torch.arange(len(labels), device=self.place.device)) % len(self)
        self.vectors[places] = vectors.to(self.vectors.dtype)
        self.labels[places] = labels.to(self.labels.dtype)
        self.place.copy_((self.place + len(labels)) % len(self))


class GPaCoLoss(nn.Module):
    """:func:`gpaco_loss` of two views with its settings and its queue.

    Args:
        dim: of a vector.
        prior: see :func:`gpaco_loss`.
        queue: length of the queue of vectors of the second view; 0 for none.
        temperature: and further: see :func:`gpaco_loss`.

    >>> loss = GPaCoLoss(4, queue=6)
    >>> view = torch.nn.functional.normalize(torch.ones(2, 4))
    >>> _ = loss(view, view, torch.tensor([0, 1]), torch.zeros(2, 3), torch.zeros(2, 3))
    >>> loss.queue.labels.tolist()
    [0, 1, -1, -1, -1, -1]
    """

    prior: Tensor | None

    def __init__(
        self,
        dim: int,
        prior: Float[Tensor, "classes"] | None = None,
        *,
        queue: int = 8192,
        temperature: float = 0.2,
        alpha: float = 0.05,
        beta: float = 1.0,
        gamma: float = 1.0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.queue = VectorQueue(queue, dim)
        # Not persistent: it belongs to the training labels, not to what was learned.
        self.register_buffer("prior", prior, persistent=False)
        self._settings = {
            "temperature": temperature,
            "alpha": alpha,
            "beta": beta,
            "gamma": gamma,
            "label_smoothing": label_smoothing,
        }

    def forward(
        self,
        query: Float[Tensor, "b d"],
        key: Float[Tensor, "b d"],
        labels: Int[Tensor, "b"],
        query_logits: Float[Tensor, "b classes"],
        key_logits: Float[Tensor, "b classes"],
    ) -> Float[Tensor, ""]:
        """The loss; in training mode the keys enter the queue afterwards.

        Args:
            query: vectors of the first view, of length 1.
            key: of the second.
            labels: of the images.
            query_logits: of the classifier for the first view.
            key_logits: for the second view; the release takes those of the first again.
        """
        loss = gpaco_loss(
            torch.cat([query, key]),
            torch.cat([labels, labels]),
            torch.cat([query_logits, key_logits]),
            queue=self.queue.vectors,
            queue_labels=self.queue.labels,
            prior=self.prior,
            **self._settings,
        )
        if self.training:
            self.queue.enqueue(key, labels)
        return loss


class PaCoLoss(nn.Module):
    """The loss of PaCo: as :func:`gpaco_loss`, but only vectors of the first view are anchors; those of the second, by
    another encoder, are what they are compared with, like the queue.

    Args:
        dim: of a vector.
        prior: see :func:`gpaco_loss`.
        queue: length of the queue of vectors of the second view; 0 for none.
        settings: `temperature` and the others of :func:`gpaco_loss`.

    >>> zero = torch.zeros(4, 5)
    >>> round(PaCoLoss(5, alpha=0.0)(zero, zero, torch.zeros(4).long(), torch.zeros(4, 3)).item(), 6)  # log(3 + 3 + 4)
    2.302585
    """

    prior: Tensor | None

    def __init__(
        self, dim: int, prior: Float[Tensor, "classes"] | None = None, *, queue: int = 8192, **settings: float
    ) -> None:
        super().__init__()
        self.queue = VectorQueue(queue, dim)
        self.register_buffer("prior", prior, persistent=False)  # of the training labels
        self._settings = settings

    def forward(
        self,
        query: Float[Tensor, "b d"],
        key: Float[Tensor, "b d"],
        labels: Int[Tensor, "b"],
        logits: Float[Tensor, "b classes"],
    ) -> Float[Tensor, ""]:
        """The loss; in training mode the keys enter the queue afterwards.

        Args:
            query: vectors of the first view, of length 1.
            key: of the second, by the other encoder; they get no gradient.
            labels: of the images.
            logits: of the classifier for the first view.
        """
        keys, of_keys = gather_with_gradient(key.detach()), gather_with_gradient(labels)
        loss = gpaco_loss(
            query,
            labels,
            logits,
            queue=torch.cat([keys.to(self.queue.vectors.dtype), self.queue.vectors]),
            queue_labels=torch.cat([of_keys, self.queue.labels]),
            prior=self.prior,
            **self._settings,
        )
        if self.training:
            self.queue.enqueue(key, labels)
        return loss
