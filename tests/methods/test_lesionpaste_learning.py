"""What a small network learns from pasted lesions, on discs with texture: check 8 of the specification.

Its comparison with CutPaste and check 9 (lesions not varied) are in ``benchmarks/learning/lesionpaste/discs.py``.
"""

import numpy as np
import torch
from paste_phantoms import annotated_bank, area, discs, ill_discs, learned, pasting

from modicum.transforms import LesionAugmentation

NORMAL, TESTED = 200, 80


def test_pasted_lesions_of_one_image_teach_what_lesions_look_like():
    normal, clean = (
        discs(count, torch.Generator().manual_seed(k)) for k, count in enumerate((NORMAL, TESTED))
    )
    taught = learned(normal, pasting(annotated_bank(0), LesionAugmentation()))
    found = [area(taught, clean, ill_discs(TESTED, number, 0)) for number in (1, 3, 6)]
    assert min(found) >= 0.9
    assert np.diff(found).min() >= -0.005, "more lesions are no harder to find"
