"""`modicum verify`: what is stored is what was written, and what would be made again."""

import re
import shutil

import pytest
import timm
from safetensors.torch import save_file
from typer.testing import CliRunner

import modicum
from modicum.cli import app
from modicum.data.phantoms import write_fundus_dataset
from modicum.engine.inference.verification import verify_stores
from modicum.engine.run_folder import RunFolder
from modicum.errors import InputError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run where a comparison puts its cells: the stores are beside the comparison."""
    folder = tmp_path_factory.mktemp("verification")
    data = write_fundus_dataset(folder, 10, 32, seed=3, masks=False, grade_probabilities=(1, 1, 0, 0, 0))
    run = modicum.fit(
        data, "linear", name="linear-seed0", runs=folder / "runs" / "all" / "cells", stores=folder / "runs" / ".stores",
        backbone="test_vit", weights="random", image_size=32, epochs=1, leaks="allow", resamples=0, workers=0,
        device="cpu", write_report=False,
    )  # fmt: skip
    return run.folder


@pytest.fixture
def cell(made, tmp_path):
    shutil.copytree(made.path.parents[2], tmp_path / "runs")
    return RunFolder(tmp_path / "runs" / "all" / "cells" / "linear-seed0")


def feature_shard(cell):
    (shard,) = (cell.path.parents[2] / ".stores").glob("features-*/shard-*.bin")
    return shard


def test_the_stores_of_a_cell_are_those_of_its_comparison(cell):
    found = verify_stores(cell, recompute=3)
    assert found.damaged == 0
    assert re.fullmatch(r"images: 20 records, 0 damaged", found.lines[0])
    assert re.fullmatch(
        r"extract: 20 records in 'features-[0-9a-f]{16}', 0 damaged; 3 records computed again: \d differ, by at most .*",
        found.lines[1],
    )
    assert not (cell.path.parent / ".stores").exists()


def test_a_record_with_another_byte_is_found_and_ends_the_command_with_3(cell):
    shard = feature_shard(cell)
    content = bytearray(shard.read_bytes())
    content[0] ^= 0x40
    shard.write_bytes(content)
    done = CliRunner().invoke(app, ["verify", str(cell.path)])
    assert done.exit_code == 3
    assert "20 records in" in done.output
    assert ", 1 damaged" in done.output


def test_a_folder_without_stores_is_named_and_not_filled(cell, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    with pytest.raises(InputError, match=r"has no stores in .*elsewhere'.*--stores"):
        verify_stores(cell, stores=elsewhere)
    assert not elsewhere.exists()
    assert verify_stores(cell, stores=cell.path.parents[2] / ".stores").damaged == 0


def test_a_backbone_that_has_moved_is_named_by_the_user(tmp_path):
    kept = tmp_path / "kept.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), kept)
    data = write_fundus_dataset(tmp_path, 6, 32, seed=3, masks=False, grade_probabilities=(1, 1, 0, 0, 0))
    run = modicum.fit(
        data, "linear", name="moved", runs=tmp_path / "runs", backbone="test_vit", weights=str(kept), image_size=32,
        epochs=1, leaks="allow", resamples=0, workers=0, device="cpu",
    )  # fmt: skip
    kept.rename(tmp_path / "elsewhere.safetensors")
    command = ["verify", str(run.path), "--recompute", "2"]
    refused = CliRunner().invoke(app, command)
    assert isinstance(refused.exception, InputError)
    assert "--weights" in str(refused.exception)
    done = CliRunner().invoke(app, [*command, "--weights", str(tmp_path / "elsewhere.safetensors")])
    assert (done.exit_code, "2 records computed again" in done.output) == (0, True)
