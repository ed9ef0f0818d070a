"""Losses whose value for a batch is not the mean of its halves', and a batch whose halves differ."""

import torch
from torch.nn import functional as F

from modicum.distributed import gather_with_gradient
from modicum.losses import (
    GPaCoLoss,
    PaCoLoss,
    cross_entropy,
    cross_modal_cluster_loss,
    grade_regression_loss,
    image_text_contrast,
    masked_bce_with_logits,
    nt_xent,
    pixel_bce_with_logits,
    pixel_cross_entropy,
    prototype_distance,
    prototype_divergence,
    quadratic_kappa_loss,
    region_consistency,
    sentence_contrast,
    set_distance,
    word_region_contrast,
)

WEIGHTS = torch.tensor([1.0, 5.0, 0.5])


def batch() -> dict[str, torch.Tensor]:
    """Eight rows; the second half has other classes, more unknown findings and fewer pixels that count."""
    generator = torch.Generator().manual_seed(0)
    findings = torch.randint(0, 2, (8, 3), generator=generator).float()
    findings[4:, 1:] = float("nan")
    inside = torch.ones(8, 1, 4, 4)
    inside[4:, :, 1:] = 0
    return {
        "x": torch.randn(8, 3, generator=generator),
        "label": torch.tensor([0, 0, 0, 1, 2, 2, 1, 1]),
        "findings": findings,
        "masks": torch.randint(0, 2, (8, 3, 4, 4), generator=generator).float(),
        "inside": inside,
    }


def contrast(scores: torch.Tensor, rows: dict[str, torch.Tensor]) -> torch.Tensor:
    """Each row against all rows: its own class is near."""
    everyone, labels = gather_with_gradient(F.normalize(scores)), gather_with_gradient(rows["label"])
    same = (labels[:, None] == labels[None]).float()
    return (-(everyone @ everyone.T).log_softmax(1) * same).sum(1).mean()


def parametric_contrast(scores: torch.Tensor, rows: dict[str, torch.Tensor]) -> torch.Tensor:
    """GPaCo's of two views, with a queue that already holds vectors; the second step reads what the first enqueued."""
    loss = GPaCoLoss(3, torch.tensor([0.6, 0.3, 0.1]), queue=5)
    query, key = F.normalize(scores), F.normalize(scores + 0.3 * rows["x"])
    first = loss(query, key, rows["label"], scores, 2 * scores)
    return first + loss(query, key, rows["label"], scores, 2 * scores)


def followed_contrast(scores: torch.Tensor, rows: dict[str, torch.Tensor]) -> torch.Tensor:
    """PaCo's, in the same way."""
    loss = PaCoLoss(3, torch.tensor([0.6, 0.3, 0.1]), queue=5)
    query, key = F.normalize(scores), F.normalize(scores + 0.3 * rows["x"])
    return loss(query, key, rows["label"], scores) + loss(query, key, rows["label"], scores)


def pixels(scores: torch.Tensor, rows: dict[str, torch.Tensor]) -> torch.Tensor:
    """Scores as planes that are the same everywhere, but for a slope."""
    return (
        scores[:, :, None, None] + torch.linspace(-1, 1, 16).view(1, 1, 4, 4) * rows["x"][:, :1, None, None]
    )


def sentences(scores: torch.Tensor, rows: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Three "sentences" of each row, the images' and the reports'; the second half has fewer, one row none."""
    parts = (
        scores[:, None] * torch.tensor([1.0, 0.5, -0.7])[:, None] + rows["findings"].nan_to_num()[:, :, None]
    )
    present = torch.arange(3)[None] < 1 + rows["label"][:, None]
    return parts, parts.flip(2) + rows["x"][:, None], present & (rows["x"][:, :1] < 1.2)


LOSSES = {
    "image_text": lambda s, r: image_text_contrast(
        s, s.flip(1) + r["x"], 5.0, present=r["label"] != 1, weights=(0.75, 0.25)
    ),
    "clusters": lambda s, r: cross_modal_cluster_loss(
        s, s.flip(1) + r["x"], WEIGHTS[:, None] * torch.eye(3) + 0.2, r["label"] != 1
    ),
    "sets": lambda s, r: set_distance(*sentences(s, r)[:2], r["label"] != 1),
    "divergence": lambda s, r: prototype_divergence(
        *sentences(s, r)[:2], torch.eye(3) + 0.1, sentences(s, r)[2]
    ),
    "regions": lambda s, r: region_consistency(
        *(sentences(s, r)[number] for number in (0, 0, 1, 1)), counted=r["label"] != 1
    ),
    "sentences": lambda s, r: sentence_contrast(*sentences(s, r), 5.0),
    "prototypes": lambda s, r: prototype_distance(*sentences(s, r)),
    "words": lambda s, r: word_region_contrast(*sentences(s, r)),
    "nt_xent": lambda s, r: nt_xent(s, s + 0.3 * r["x"], 0.3),
    "cross_entropy": lambda s, r: cross_entropy(s, r["label"]),
    "weighted_cross_entropy": lambda s, r: cross_entropy(s, r["label"], WEIGHTS),
    "smoothed_cross_entropy": lambda s, r: cross_entropy(s, r["label"], WEIGHTS, 0.1),
    "weighted_grades": lambda s, r: grade_regression_loss(s[:, 0], r["label"], class_weights=WEIGHTS),
    "findings": lambda s, r: masked_bce_with_logits(s, r["findings"]),
    "kappa": lambda s, r: quadratic_kappa_loss(s, r["label"]),
    "weighted_kappa": lambda s, r: quadratic_kappa_loss(s, r["label"], class_weights=WEIGHTS),
    "pixels": lambda s, r: pixel_bce_with_logits(pixels(s, r), r["masks"], r["inside"]),
    "weighted_pixels": lambda s, r: pixel_cross_entropy(
        pixels(s, r), F.one_hot(r["masks"][:, 0].long(), 3).movedim(3, 1).float(), r["inside"], WEIGHTS
    ),
    "contrast": contrast,
    "parametric_contrast": parametric_contrast,
    "followed_contrast": followed_contrast,
}


def gradient(name: str, rows: dict[str, torch.Tensor]) -> torch.Tensor:
    """Of a loss with respect to the weights of one linear layer."""
    weight = torch.linspace(-1, 1, 9).view(3, 3).requires_grad_()
    LOSSES[name](rows["x"] @ weight, rows).backward()
    assert weight.grad is not None
    return weight.grad
