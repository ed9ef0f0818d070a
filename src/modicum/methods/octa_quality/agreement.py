"""How well clusters agree with grades that were known: for benchmarks, not for predictions."""

from itertools import permutations

import numpy as np
from jaxtyping import Int


def best_permutation_accuracy(groups: Int[np.ndarray, "n"], grades: Int[np.ndarray, "n"]) -> float:
    """Share of images that are right under the best naming of the clusters, each cluster with a name of its own."""
    kinds = np.unique(grades)
    clusters = np.unique(groups)
    width = max(len(kinds), len(clusters))
    table = np.zeros((width, width))
    np.add.at(table, (np.searchsorted(clusters, groups), np.searchsorted(kinds, grades)), 1)
    best = max(sum(table[i, j] for i, j in enumerate(order)) for order in permutations(range(width)))
    return float(best / len(grades))


def _counts(groups: np.ndarray, grades: np.ndarray) -> np.ndarray:
    _, first = np.unique(groups, return_inverse=True)
    _, second = np.unique(grades, return_inverse=True)
    table = np.zeros((first.max() + 1, second.max() + 1))
    np.add.at(table, (first, second), 1)
    return table


def normalised_mutual_information(groups: Int[np.ndarray, "n"], grades: Int[np.ndarray, "n"]) -> float:
    """Mutual information over the mean of both entropies; 1 where either is constant and so is the other."""
    joint = _counts(groups, grades) / len(grades)
    first, second = joint.sum(1), joint.sum(0)
    inside = joint > 0
    mutual = (joint[inside] * np.log(joint[inside] / np.outer(first, second)[inside])).sum()
    entropies = [-(p[p > 0] * np.log(p[p > 0])).sum() for p in (first, second)]
    mean = sum(entropies) / 2
    return 1.0 if mean == 0 else float(max(0.0, mutual) / mean)


def adjusted_rand_index(groups: Int[np.ndarray, "n"], grades: Int[np.ndarray, "n"]) -> float:
    """Pairs that are together in both, corrected for chance (Hubert and Arabie 1985)."""

    def pairs(counts: np.ndarray) -> float:
        return float((counts * (counts - 1) / 2).sum())

    table = _counts(groups, grades)
    together, first, second = pairs(table), pairs(table.sum(1)), pairs(table.sum(0))
    expected = first * second / max(pairs(np.array([len(grades)])), 1)
    most = (first + second) / 2
    return 1.0 if most == expected else (together - expected) / (most - expected)
