"""Contrast of lesion patches tells lesion types apart better than before learning, and than patches anywhere.

The specification's section 10, item 8: by 5 points at least.
"""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "learning" / "dr" / "lesion_types.py"


@pytest.mark.slow
def test_lesion_types_are_told_apart_after_contrast_of_their_patches(tmp_path):
    spec = importlib.util.spec_from_file_location("lesion_types", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    rows = ["lesion patches", "patches anywhere"]
    found = {cell["row"]: cell["accuracy"] for cell in script.cells(tmp_path, 0, 1500, "adam", rows)}
    assert found["lesion patches"] >= found["random"] + 0.05
    assert found["lesion patches"] > found["patches anywhere"]
