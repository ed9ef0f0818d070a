"""Images and one comparison of them, shared by the tests of a module."""

import pandas as pd
import pytest
from small_comparison import compare

from modicum.data.phantoms import write_fundus_dataset


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """40 made photographs with a split; grade 0 or not."""
    fractions = {"train": 0.6, "val": 0.2, "test": 0.2}
    table = write_fundus_dataset(
        tmp_path_factory.mktemp("compare") / "eyes", 20, 40, seed=3, fractions=fractions, masks=False,
        grade_probabilities=(1, 0, 1, 0, 0),
    )  # fmt: skip
    rows = pd.read_csv(table, dtype=str)
    rows["label"] = ["healthy" if grade == "0" else "ill" for grade in rows["label"]]
    rows.to_csv(table, index=False)
    return table


@pytest.fixture(scope="session")
def done(images, tmp_path_factory):
    """Full fine-tuning and a linear probe, two seeds."""
    return compare(images, tmp_path_factory.mktemp("runs"), "both")
