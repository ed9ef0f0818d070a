"""Acceptance 9 of SPMix: on made images whose texture tells the class in training but not in a test, mixing rare blobs
onto common backgrounds finds rare classes that cross-entropy and plain mixup miss.

``benchmarks/learning/spmix_blobs.py`` has further seeds, and the controls.
"""

import pytest
from blobs_on_textures import METHODS, found_by


@pytest.fixture(scope="module")
def found():
    return {name: found_by(name, seed=0) for name in ("cross-entropy", "mixup", "SPMix")}


def test_rare_classes_are_found_by_their_blobs(found):
    tails = {name: values["tail"] for name, values in found.items()}
    assert set(tails) <= set(METHODS)
    assert tails["SPMix"] >= tails["cross-entropy"] + 0.1
    assert tails["SPMix"] > tails["mixup"]


def test_common_classes_are_not_lost_for_it(found):
    assert found["SPMix"]["head"] >= found["cross-entropy"]["head"] - 0.05
