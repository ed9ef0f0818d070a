"""GPaCo's loss: closed forms of its code, a naive double loop, the queue; and long-tail losses against their papers."""

import math

import pytest
import torch
from torch.nn import functional as F

from modicum.errors import InputError
from modicum.losses import (
    GPaCoLoss,
    VectorQueue,
    class_prior,
    effective_weights,
    gpaco_loss,
    ldam_loss,
    ldam_margins,
    logit_adjusted_cross_entropy,
)
from modicum.losses.parametric_contrastive import EMPTY


def made(pairs=4, queue=8, dim=6, classes=3, seed=0):
    torch.manual_seed(seed)
    vectors = F.normalize(torch.randn(2 * pairs, dim, dtype=torch.float64), dim=1)
    labels = torch.randint(classes, (pairs,)).repeat(2)
    centres = torch.randn(2 * pairs, classes, dtype=torch.float64)
    old = F.normalize(torch.randn(queue, dim, dtype=torch.float64), dim=1)
    return vectors, labels, centres, old, torch.randint(classes, (queue,))


def naive(
    vectors, labels, centres, old, old_labels, prior, t=0.2, alpha=0.05, beta=1.0, gamma=1.0, smooth=0.0
):
    """The definition, entry by entry."""
    every, every_labels = torch.cat([vectors, old]), torch.cat([labels, old_labels])
    losses = []
    for i in range(len(vectors)):
        c = [centres[i, k].item() + math.log(prior[k].item() + 1e-9) for k in range(centres.shape[1])]
        s = {
            j: (vectors[i] @ every[j]).item() / t
            for j in range(len(every))
            if j != i and every_labels[j] != EMPTY
        }
        d = math.log(sum(map(math.exp, c)) + gamma * sum(math.exp(value) for value in s.values()))
        y = labels[i].item()
        weights = [smooth / len(c) + (1 - smooth) * (k == y) for k in range(len(c))]
        positives = [j for j in s if every_labels[j] == y]
        total = beta * sum(w * (value - d) for w, value in zip(weights, c, strict=True))
        total += alpha * sum(s[j] - d for j in positives)
        losses.append(-total / (beta + alpha * len(positives)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("settings", [{}, {"gamma": 0.3, "alpha": 0.2, "beta": 2.0}, {"smooth": 0.1}])
def test_it_is_the_definition_entry_by_entry(settings):
    vectors, labels, centres, old, old_labels = made()
    old_labels[2] = EMPTY
    prior = torch.tensor([0.7, 0.25, 0.05], dtype=torch.float64)
    names = {"smooth": "label_smoothing"}
    given = {names.get(key, key): value for key, value in settings.items()}
    loss = gpaco_loss(
        vectors, labels, centres, queue=old, queue_labels=old_labels, prior=prior, **given
    ).item()
    assert loss == pytest.approx(
        naive(vectors, labels, centres, old, old_labels, prior, **settings), abs=1e-8
    )


def test_closed_form_of_the_code():
    """B = 4 pairs and a queue of 8, all zero: the denominator is 1 + 7 + 8, the prior sums to 1."""
    labels = torch.tensor([0, 1, 2, 0])
    loss = gpaco_loss(
        torch.zeros(8, 5),
        labels.repeat(2),
        torch.zeros(8, 3),
        queue=torch.zeros(8, 5),
        queue_labels=torch.tensor([0, 0, 0, 1, 1, 2, 2, 2]),
        prior=torch.tensor([100.0, 30.0, 10.0]) / 140,
    )
    assert loss.item() == pytest.approx(3.786685, abs=1e-5)


def test_without_other_images_it_is_balanced_softmax():
    vectors, labels, centres, _, _ = made()
    prior = torch.tensor([0.7, 0.25, 0.05], dtype=torch.float64)
    loss = gpaco_loss(vectors, labels, centres, prior=prior, alpha=0.0, gamma=0.0)
    assert loss.item() == pytest.approx(
        logit_adjusted_cross_entropy(centres, labels, prior).item(), abs=1e-10
    )
    alike = torch.full((3,), 1 / 3, dtype=torch.float64)
    plain = F.cross_entropy(centres, labels)
    assert gpaco_loss(vectors, labels, centres, prior=alike, alpha=0.0, gamma=0.0).item() == pytest.approx(
        plain.item(), abs=1e-7
    )


def test_key_anchors_contrast_against_the_logits_of_their_own_view():
    """Defect 2 of the release: there the second view's logits are those of the first."""
    loss = GPaCoLoss(6, queue=0)
    view, labels, logits = (
        F.normalize(torch.randn(4, 6), dim=1),
        torch.tensor([0, 1, 2, 0]),
        torch.randn(4, 3),
    )
    other = logits.clone().requires_grad_()
    loss(view, view, labels, logits, other).backward()
    assert other.grad.abs().min() > 0


def test_a_queue_wraps_leaves_empty_places_out_and_takes_any_batch():
    """Defects 3 and 9 of the release: random labels and short vectors at first, and a length that batches must divide."""
    queue = VectorQueue(5, 2)
    vectors, labels, centres, _, _ = made(dim=2)
    empty = gpaco_loss(vectors, labels, centres, queue=queue.vectors, queue_labels=queue.labels)
    assert empty.item() == pytest.approx(gpaco_loss(vectors, labels, centres).item(), abs=1e-10)
    for first in (0, 3, 6):
        rows = torch.arange(first, first + 3)
        queue.enqueue(torch.stack([rows, rows], 1).float(), rows)
    assert queue.labels.tolist() == [5, 6, 7, 8, 4]
    assert queue.vectors[:, 0].tolist() == [5, 6, 7, 8, 4]
    queue.enqueue(torch.arange(16.0).view(8, 2), torch.arange(8))  # more than it holds
    assert sorted(queue.labels.tolist()) == [3, 4, 5, 6, 7]
    VectorQueue(0, 2).enqueue(torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64))


def test_the_queue_moves_on_only_in_training_and_does_not_disturb_the_gradient():
    loss = GPaCoLoss(4, queue=3)
    query = torch.randn(2, 4, requires_grad=True)
    key = F.normalize(torch.randn(2, 4), dim=1)
    labels, logits = torch.tensor([0, 1]), torch.zeros(2, 2)
    loss.eval()(query, key, labels, logits, logits)
    assert (loss.queue.labels == EMPTY).all()
    loss.train()(query, key, labels, logits, logits).backward()  # enqueued before the backward pass
    assert loss.queue.labels.tolist() == [0, 1, EMPTY]
    assert torch.equal(loss.queue.vectors[:2], key)
    assert query.grad.isfinite().all()


def test_half_precision_and_a_class_that_no_image_has():
    vectors, labels, centres, old, old_labels = made(seed=3)
    precise = gpaco_loss(vectors, labels, centres, queue=old, queue_labels=old_labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = gpaco_loss(
            vectors.float(), labels, centres.float(), queue=old.float(), queue_labels=old_labels
        )
    assert half.item() == pytest.approx(precise.item(), abs=1e-5)
    prior = class_prior([9, 1, 0]).double()
    assert gpaco_loss(vectors, labels.clamp_max(1), centres, prior=prior).isfinite()


# --- losses and weights that it is compared with ---------------------------------------------------------------------


def test_logit_adjustment_learns_the_prior_away():
    """Of images that say nothing, logits without the prior are alike at the loss's minimum."""
    counts = torch.tensor([80, 15, 5])
    target = torch.repeat_interleave(torch.arange(3), counts)
    logits = torch.zeros(3, requires_grad=True)
    logit_adjusted_cross_entropy(logits.expand(100, 3), target, class_prior(counts)).backward()
    assert logits.grad.abs().max() < 1e-6


def test_effective_weights_of_the_paper():
    weights = effective_weights([10, 100], beta=0.9)
    expected = [(1 - 0.9) / (1 - 0.9**n) for n in (10, 100)]
    assert weights.tolist() == pytest.approx([2 * e / sum(expected) for e in expected], abs=1e-6)
    inverse = effective_weights([10, 1000], beta=1 - 1e-9)
    assert (inverse[0] / inverse[1]).item() == pytest.approx(100, rel=1e-3)
    with pytest.raises(InputError, match="class 1 has no training images"):
        effective_weights([3, 0])
    with pytest.raises(InputError, match="class 'df' has no training images"):
        effective_weights([3, 0], names=["nv", "df"])


def test_ldam_moves_the_true_class_by_its_margin():
    margins = ldam_margins([10_000, 16, 0])
    assert margins.tolist() == pytest.approx([0.1, 0.5, 0.5])
    cosines = torch.tensor([[0.2, 0.6, -0.1], [0.3, 0.1, 0.0]])
    target = torch.tensor([1, 0])
    moved = cosines.clone()
    moved[0, 1] -= 0.5
    moved[1, 0] -= 0.1
    assert ldam_loss(cosines, target, margins).item() == pytest.approx(
        F.cross_entropy(30 * moved, target).item(), abs=1e-5
    )
