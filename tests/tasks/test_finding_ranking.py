"""The mean area under the curve over findings, as chest radiographs are compared: exact, for any scale of scores, and
the same from one process or several, whose samplers show some images twice."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from modicum.tasks import Classification
from modicum.tasks.classification.metrics import auroc
from modicum.tasks.classification.scores import ClassificationScores
from warm_process import start

NAMES = [f"finding {number}" for number in range(14)]


def made(count: int = 211, seed: int = 0, single: tuple[int, ...] = ()) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, rounded so that many are tied, and findings; some occur in every image or in none."""
    generator = torch.Generator().manual_seed(seed)
    findings = (torch.rand(count, len(NAMES), generator=generator) < 0.2).float()
    logits = ((torch.randn(findings.shape, generator=generator) + findings) * 4).round() / 4
    for place, column in enumerate(single):
        findings[:, column] = place % 2
    return logits, findings


def scores_of(logits: torch.Tensor, findings: torch.Tensor, rows: list[int]) -> ClassificationScores:
    """Scores that saw these rows, in batches of 16."""
    scores = Classification("multi-label", NAMES).scores()
    for part in torch.tensor(rows).split(16):
        scores.update(logits[part], {"row": part, "labels": findings[part]})
    return scores


def test_the_mean_over_findings_is_scikit_learns_macro_average_with_ties():
    logits, findings = made()
    assert len(logits[:, 0].unique()) < 40
    expected = roc_auc_score(findings.numpy(), logits.numpy(), average="macro")
    found = scores_of(logits, findings, list(range(len(logits)))).metrics()
    assert found["auroc"] == pytest.approx(expected, abs=1e-12)


def test_a_finding_with_one_value_throughout_has_none_is_left_out_of_the_mean_and_named():
    logits, findings = made(single=(3, 5))
    scores = scores_of(logits, findings, list(range(len(logits))))
    both = [column for column in range(len(NAMES)) if column not in (3, 5)]
    expected = roc_auc_score(findings[:, both].numpy(), logits[:, both].numpy(), average="macro")
    found = scores.metrics()
    assert found["auroc"] == pytest.approx(expected, abs=1e-12)
    assert np.isnan([found["auroc/finding 3"], found["auroc/finding 5"]]).all()
    reason = scores.estimates(None, 10, 0)["auroc"].reason
    assert reason is not None
    assert "finding 3" in reason
    assert "finding 5" in reason


@given(st.integers(0, 10_000), st.sampled_from([np.exp, np.arctan, lambda x: x**3, lambda x: 1e-6 * x - 7]))
@settings(max_examples=40, deadline=None)
def test_a_strictly_rising_map_of_the_scores_changes_nothing(seed, rising):
    logits, findings = (tensor[:, 0].double().numpy() for tensor in made(60, seed))
    if not 0 < findings.sum() < 60:
        return
    assert auroc(rising(logits), findings > 0.5) == auroc(logits, findings > 0.5)


def test_very_sure_logits_are_still_told_apart():
    """In single precision the sigmoid of all logits above 17 is 1, and what a network ranks would be a tie."""
    logits = torch.linspace(17, 30, 40).repeat(len(NAMES), 1).T.contiguous()
    findings = (torch.arange(40) >= 20).float().repeat(len(NAMES), 1).T.contiguous()
    for sign, expected in ((1, 1.0), (-1, 0.0)):
        assert scores_of(sign * logits, findings, list(range(40))).metrics()["auroc"] == expected


def shard(count: int, process: int, processes: int) -> list[int]:
    """The rows of one process, padded to equal numbers with rows of the beginning, as PyTorch's sampler does."""
    rows = list(range(count))
    rows += rows[: -count % processes]
    return rows[process::processes]


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_shards_with_padding_have_the_metrics_of_the_whole(processes):
    logits, findings = made(single=(2,))
    whole = scores_of(logits, findings, list(range(len(logits)))).metrics()
    parts = [
        scores_of(logits, findings, shard(len(logits), number, processes)) for number in range(processes)
    ]
    first, *others = pickle.loads(pickle.dumps(parts))
    first.merge(others)
    assert first.metrics() == pytest.approx(whole, abs=1e-12, nan_ok=True)


SCRIPT = """
import os
import sys
import modicum, torch
from torch import distributed
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from test_finding_ranking import made, scores_of, shard
number, processes, folder = int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=number, world_size=processes)
logits, findings = made(single=(2,))
from modicum.distributed import gathered
first, *others = gathered(scores_of(logits, findings, shard(len(logits), number, processes)))
first.merge(others)
torch.save(first.metrics(), f"{folder}/{number}.pt")
distributed.barrier()
distributed.destroy_process_group()
os._exit(0)  # gloo's threads may still be ending
"""


def test_three_processes_agree_with_one(tmp_path):
    processes = [start("-c", SCRIPT, Path(__file__).parent, number, 3, tmp_path) for number in range(3)]
    assert [process.wait().returncode for process in processes] == [0, 0, 0]
    logits, findings = made(single=(2,))
    whole = scores_of(logits, findings, list(range(len(logits)))).metrics()
    for number in range(3):
        found = torch.load(tmp_path / f"{number}.pt", weights_only=False)
        assert found == pytest.approx(whole, abs=1e-12, nan_ok=True)
