"""Scores of images and reports that find each other: by hand, at chance, with the same report twice."""

import numpy as np
import pytest
import torch

from modicum.tasks.image_text.retrieval_scores import RetrievalScores, chance_of_recall


def scored(images, texts, tokens=None, has=None, sets=None):
    count = len(images)
    has = torch.ones(count, 1) if has is None else torch.tensor(has).float()[:, None]
    batch = {"row": torch.arange(count), "tokens": torch.arange(count)[:, None] if tokens is None else tokens}
    if sets is not None:
        batch["finding_set"] = torch.tensor(sets)
    scores = RetrievalScores()
    scores.update(torch.cat([images, texts, has], 1), batch)
    return scores


def test_pairs_that_are_alike_find_each_other_and_equal_vectors_find_nothing():
    found = scored(torch.eye(6), torch.eye(6)).metrics()
    assert found["mrr"] == found["image_to_text_recall_at_1"] == 1
    assert found["chance_recall_at_1"] == pytest.approx(1 / 6)
    same = scored(torch.ones(6, 2), torch.ones(6, 2)).metrics()  # ties count against
    assert same["mrr"] == pytest.approx(1 / 6)
    assert same["image_to_text_recall_at_5"] == 0


def test_ranks_are_those_of_a_loop():
    generator = torch.Generator().manual_seed(0)
    images, texts = (torch.nn.functional.normalize(torch.randn(20, 4, generator=generator)) for _ in range(2))
    scores = images @ texts.T
    ranks = [1 + int((scores[i] > scores[i, i]).sum()) for i in range(20)]
    found = scored(images, texts)
    assert found.table()["image_to_text_rank"].tolist() == ranks
    assert found.metrics()["image_to_text_mrr"] == pytest.approx(np.mean(1 / np.array(ranks)))
    back = [1 + int((scores[:, i] > scores[i, i]).sum()) for i in range(20)]
    assert found.metrics()["text_to_image_recall_at_5"] == pytest.approx(np.mean(np.array(back) <= 5))


def test_rows_without_a_report_do_not_count():
    noise = torch.eye(4) + 0.1
    found = scored(noise, noise, has=[True, True, False, True])
    assert np.isnan(found.table()["image_to_text_rank"][2])
    assert found.metrics()["chance_recall_at_1"] == pytest.approx(1 / 3)
    nothing = scored(noise, noise, has=[False] * 4).metrics()
    assert np.isnan(nothing["mrr"])


def test_the_same_report_twice_is_right_twice():
    images = torch.eye(3)
    texts = images[[1, 0, 2]]  # the first two reports are swapped
    apart = scored(images, texts).metrics()["image_to_text_recall_at_1"]
    alike = scored(images, texts, tokens=torch.tensor([[5], [5], [7]])).metrics()["image_to_text_recall_at_1"]
    assert (apart, alike) == (pytest.approx(1 / 3), 1)


def test_precision_is_the_share_with_the_labels_of_the_query():
    images = torch.eye(6)
    found = scored(images, images, sets=[0, 0, 0, 1, 1, -1]).metrics()
    assert found["image_to_text_precision_at_1"] == 1
    assert np.isnan(scored(images, images).metrics()["image_to_text_precision_at_1"])
    assert np.isnan(found["image_to_text_precision_at_10"])  # ten are not there


def test_chance_is_what_guessing_comes_to():
    rng = np.random.default_rng(0)
    drawn = [bool(set(rng.permutation(12)[:5]) & {0, 1}) for _ in range(4000)]
    assert chance_of_recall(np.array([2]), 12, 5)[0] == pytest.approx(np.mean(drawn), abs=0.03)
    assert chance_of_recall(np.array([2]), 3, 5)[0] == 1


def test_parts_of_processes_are_put_together_and_intervals_are_of_patients():
    first, second = scored(torch.eye(6), torch.eye(6)), RetrievalScores()
    second.merge([first, first])
    assert second.metrics() == pytest.approx(first.metrics(), nan_ok=True)
    estimates = first.estimates(["a", "a", "b", "b", "c", "d"], 50, 0)
    assert estimates["mrr"].value == 1
    assert first.of_rows(np.array([0, 1])).metrics()["chance_recall_at_1"] == 0.5
