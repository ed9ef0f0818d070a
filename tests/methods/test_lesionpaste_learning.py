"""What a small network learns from pasted lesions, on discs with texture: checks 8 and 9 of the specification."""

import numpy as np
import pytest
import torch
from paste_phantoms import annotated_bank, area, discs, ill_discs, learned, pasting, small_turned_discs

from modicum.transforms import LesionAugmentation
from modicum.transforms.cut_paste import cut_paste
from modicum.transforms.lesion_draws import NO_AUGMENTATION

NORMAL, TESTED = 200, 80


@pytest.fixture(scope="module")
def images():
    """Normal images to learn from, and others to test."""
    return discs(NORMAL, torch.Generator().manual_seed(0)), discs(TESTED, torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def taught(images):
    """The network that learned from lesions of one annotated disc."""
    return learned(images[0], pasting(annotated_bank(0), LesionAugmentation()))


def test_pasted_lesions_teach_what_lesions_look_like_and_rectangles_do_not(images, taught):
    normal, clean = images
    ill = [ill_discs(TESTED, number, 0) for number in (1, 3, 6)]
    pasted = [area(taught, clean, one) for one in ill]
    drawn = torch.Generator().manual_seed(3)
    rectangles = learned(normal, lambda shown: cut_paste(shown, drawn))
    cut = [area(rectangles, clean, one) for one in ill]
    assert min(pasted) >= 0.9
    assert np.mean(pasted) >= np.mean(cut) + 0.1
    assert np.diff(pasted).min() >= -0.005, "more lesions are no harder to find"


def test_without_varying_the_lesions_turned_and_smaller_ones_are_found_less(images, taught):
    normal, clean = images
    plain = learned(normal, pasting(annotated_bank(0), NO_AUGMENTATION))
    ill = small_turned_discs(TESTED, 0)
    assert area(taught, clean, ill) > area(plain, clean, ill)
