"""Alignment of images and reports: closed forms, padding, stop-gradients, and matching of sets."""

import math

import pytest
import torch
from torch.nn import functional as F

from modicum.losses import (
    aligned_to_targets,
    cross_modal_cluster_loss,
    equal_assignment,
    image_text_contrast,
    match_sets,
    prototype_distance,
    prototype_divergence,
    region_consistency,
    sentence_contrast,
    set_distance,
    word_region_contrast,
    word_region_similarity,
)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- wholes -----------------------------------------------------------------------------------------------------------


def test_equal_vectors_give_ln_b_and_orthonormal_ones_give_nothing():
    same, apart = torch.ones(6, 8), torch.eye(6, 8)
    assert image_text_contrast(same, same).item() == pytest.approx(math.log(6), abs=1e-5)
    assert image_text_contrast(apart, apart, 1 / 0.01).item() == pytest.approx(0, abs=1e-6)


def test_pairs_in_another_order_have_the_same_loss_and_shuffled_images_another():
    images, texts = random(5, 8), random(5, 8, seed=1)
    order = torch.tensor([3, 1, 4, 0, 2])
    before = image_text_contrast(images, texts, 10.0)
    assert image_text_contrast(images[order], texts[order], 10.0).item() == pytest.approx(
        before.item(), abs=1e-5
    )
    assert image_text_contrast(images[order], texts, 10.0).item() != pytest.approx(before.item(), abs=1e-2)


def test_rows_without_a_report_are_neither_queries_nor_negatives():
    images, texts = random(6, 8).requires_grad_(), random(6, 8, seed=1)
    present = torch.tensor([True, True, False, True, False, True])
    loss = image_text_contrast(images, texts, 10.0, present=present)
    assert loss.item() == pytest.approx(
        image_text_contrast(images[present], texts[present], 10.0).item(), abs=1e-5
    )
    loss.backward()
    assert images.grad[~present].abs().max() == 0
    nothing = image_text_contrast(images, texts, present=torch.zeros(6, dtype=torch.bool))
    assert nothing.item() == 0
    nothing.backward()


def test_rows_with_the_same_report_are_no_negatives_of_each_other():
    images, texts = random(4, 8), random(4, 8, seed=1)
    texts[1] = texts[0]
    same = torch.eye(4, dtype=torch.bool)
    same[0, 1] = same[1, 0] = True
    apart = image_text_contrast(images, texts, 10.0, same=same)
    logits = 10 * F.normalize(images) @ F.normalize(texts).T
    logits[0, 1] = logits[1, 0] = -torch.inf
    by_hand = (F.cross_entropy(logits, torch.arange(4)) + F.cross_entropy(logits.T, torch.arange(4))) / 2
    assert apart.item() == pytest.approx(by_hand.item(), abs=1e-5)


def test_weights_of_the_two_directions_are_convirts():
    images, texts = random(4, 8), random(4, 8, seed=1)
    logits = F.normalize(images) @ F.normalize(texts).T / 0.1
    rows = torch.arange(4)
    by_hand = 0.75 * F.cross_entropy(logits, rows) + 0.25 * F.cross_entropy(logits.T, rows)
    found = image_text_contrast(images, texts, 10.0, weights=(0.75, 0.25))
    assert found.item() == pytest.approx(by_hand.item(), abs=1e-5)


# --- parts ------------------------------------------------------------------------------------------------------------

COUNTS = (1, 2, 5, 16, 3)


def ragged():
    sentences, contexts = random(5, 16, 8), random(5, 16, 8, seed=1)
    present = torch.arange(16)[None] < torch.tensor(COUNTS)[:, None]
    return contexts, sentences, present


def test_n_equal_sentences_give_ln_n():
    for count in (1, 4, 9):
        present = torch.arange(12)[None] < count
        assert sentence_contrast(torch.ones(1, 12, 4), torch.ones(1, 12, 4), present).item() == pytest.approx(
            math.log(count), abs=1e-5
        )


def test_batched_sentences_are_those_of_a_loop_and_padding_changes_nothing():
    contexts, sentences, present = ragged()
    losses = []
    for row, count in enumerate(COUNTS):
        logits = 20 * F.normalize(contexts[row, :count]) @ F.normalize(sentences[row, :count]).T
        target = torch.arange(count)
        losses.append((F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2)
    found = sentence_contrast(contexts, sentences, present, 20.0)
    assert found.item() == pytest.approx(torch.stack(losses).mean().item(), abs=1e-5)
    wider = [F.pad(part, (0, 0, 0, 7), value=3.0) for part in (contexts, sentences)]
    unmasked = F.pad(present, (0, 7))
    assert sentence_contrast(*wider, unmasked, 20.0).item() == pytest.approx(found.item(), abs=1e-5)
    control = F.pad(present, (0, 7), value=True)
    assert abs(sentence_contrast(*wider, control, 20.0).item() - found.item()) > 1e-2


def test_regions_are_consistent_between_minus_one_and_one_without_gradient_through_the_targets():
    regions, contexts = random(3, 7, 8).requires_grad_(), random(3, 7, 8, seed=1).requires_grad_()
    head = torch.nn.Linear(8, 8)
    loss = region_consistency(head(regions), regions, head(contexts), contexts)
    assert -1 <= loss.item() <= 1
    loss.backward()
    # The gradients are those of a loss whose targets are constants.
    for given, of_target in ((regions, contexts), (contexts, regions)):
        alone = given.detach().clone().requires_grad_()
        surrogate = -F.cosine_similarity(head(alone), of_target.detach(), dim=2).mean() / 2
        surrogate.backward()
        torch.testing.assert_close(given.grad, alone.grad)
    same = region_consistency(regions, regions, regions, regions)
    assert same.item() == pytest.approx(-1, abs=1e-6)
    counted = torch.tensor([True, False, False])
    one = region_consistency(*(part[:1] for part in (regions, contexts, contexts, regions)))
    some = region_consistency(regions, contexts, contexts, regions, counted)
    assert some.item() == pytest.approx(one.item(), abs=1e-6)


# --- sets and prototypes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "order", [(0, 1, 2, 3, 4), (1, 0, 2, 3, 4), (1, 2, 0, 3, 4), (4, 0, 1, 2, 3), (2, 4, 1, 0, 3)]
)
def test_predictions_in_any_order_are_matched(order):
    """The release's indexing is right for swaps only."""
    targets = random(2, 5, 8)
    predicted = targets[:, list(order)]
    assert set_distance(aligned_to_targets(predicted, targets), targets).item() == 0
    assert match_sets(predicted, targets)[0].tolist() == [order.index(i) for i in range(5)]
    assert not match_sets(predicted.requires_grad_(), targets).requires_grad


def test_matching_is_known_to_dry_runs():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        assert match_sets(torch.rand(2, 5, 3), torch.rand(2, 5, 3)).shape == (2, 5)


def test_distances_count_padding_slots_of_reports_that_count():
    aligned, targets = torch.ones(2, 4, 3), torch.zeros(2, 4, 3)
    assert set_distance(aligned, targets).item() == 1
    aligned[1] = 5.0
    assert set_distance(aligned, targets, torch.tensor([True, False])).item() == 1


def test_distance_and_divergence_are_those_of_their_formulas():
    sentences, mixtures, prototypes = random(2, 3, 8), random(2, 3, 8, seed=1), random(6, 8, seed=2)
    present = torch.tensor([[True, True, False], [True, False, False]])
    by_hand = (mixtures - sentences).abs()[present].mean()
    assert prototype_distance(mixtures, sentences, present).item() == pytest.approx(by_hand.item(), abs=1e-6)
    target = (sentences[present] @ prototypes.T).softmax(1)
    found = (mixtures[present] @ prototypes.T).log_softmax(1)
    by_hand = F.kl_div(found, target, reduction="batchmean")
    value = prototype_divergence(sentences, mixtures, prototypes, present)
    assert value.item() == pytest.approx(by_hand.item(), rel=1e-5)


# --- words and regions ------------------------------------------------------------------------------------------------


def test_word_region_similarity_is_that_of_one_pair_at_a_time():
    regions, words = random(3, 5, 8), random(2, 4, 8, seed=1)
    mask = torch.tensor([[True, True, True, True], [True, True, False, False]])
    found = word_region_similarity(regions, words, mask)
    for image in range(3):
        for text, count in enumerate((4, 2)):
            v, t = F.normalize(regions[image], dim=1), F.normalize(words[text, :count], dim=1)
            read = (t @ v.T / 0.25).softmax(1) @ v
            near = F.cosine_similarity(read, t, dim=1)
            by_hand = 0.2 * torch.logsumexp(near / 0.2, 0)
            assert found[image, text].item() == pytest.approx(by_hand.item(), abs=1e-5)


def test_reports_without_words_do_not_count():
    regions, words = random(3, 5, 8), random(3, 4, 8, seed=1).requires_grad_()
    mask = torch.ones(3, 4, dtype=torch.bool)
    mask[2] = False
    loss = word_region_contrast(regions, words, mask)
    assert loss.item() == pytest.approx(
        word_region_contrast(regions[:2], words[:2], mask[:2]).item(), abs=1e-5
    )
    loss.backward()
    assert words.grad.isfinite().all()


# --- clusters ---------------------------------------------------------------------------------------------------------


def test_clusters_are_equally_full_and_rows_without_a_report_in_none():
    scores = random(40, 4) + torch.tensor([3.0, 0, 0, 0])  # nearest to the first, nearly all of them
    counted = torch.arange(40) < 36
    found = equal_assignment(scores, counted, epsilon=0.5, iterations=50)
    torch.testing.assert_close(found.sum(1), counted.float())
    torch.testing.assert_close(found.sum(0), torch.full((4,), 9.0), atol=0.05, rtol=0)


def test_each_predicts_the_cluster_of_the_other():
    images, texts, prototypes = random(8, 4).requires_grad_(), random(8, 4, seed=1), random(5, 4, seed=2)
    near = [F.normalize(part) @ F.normalize(prototypes).T for part in (images, texts)]
    everyone = torch.ones(8, dtype=torch.bool)
    targets = [equal_assignment(part.detach(), everyone) for part in near]
    by_hand = [F.cross_entropy(near[i] / 0.2, targets[1 - i]) for i in (0, 1)]
    loss = cross_modal_cluster_loss(images, texts, prototypes)
    assert loss.item() == pytest.approx(sum(by_hand).item() / 2, abs=1e-5)
    loss.backward()
    assert images.grad.abs().max() > 0
