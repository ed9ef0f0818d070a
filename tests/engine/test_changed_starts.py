"""What a run starts from changes under it: reports, the frozen backbone, an earlier run's stage, masks."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from made_grades import fit, write_grades
from made_runs import SMALL_DECODER, made_run
from safetensors.torch import save_file

from modicum.data.manifest import Manifest
from modicum.engine.fit import prepared_data
from modicum.engine.inference.verification import verify_stores
from modicum.engine.inputs.data_changes import AUXILIARY, data_changes
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.run_folder import RunFolder, read_json, write_json
from modicum.engine.stage_sources import check_same_start, stage_sources
from modicum.engine.training.stage_trainer import StageTrainer
from modicum.errors import InputError
from modicum.nn import Backbone
from modicum.tasks import task_from_dict
from modicum.tasks.image_text.task import ImageText


class Killed(BaseException):
    pass


def reports(*texts):
    table = pd.DataFrame(
        {"image": [f"{n}.png" for n in range(len(texts))], "report": texts, "split": "train"}
    )
    return ImageText.from_manifest(
        Manifest(table, root=Path(), source="t"), {"report_length": 8, "vocabulary_size": 60}
    )


TEXTS = ("No effusion is seen.", "A large effusion.", "The heart is large.", "Clear lungs without effusion.")


@pytest.mark.parametrize(
    "other",
    [
        (*TEXTS[:3], "Clear lungs."),
        (TEXTS[1], TEXTS[0], *TEXTS[2:]),
        (*TEXTS[:3], None),
    ],
)
def test_other_reports_have_another_digest(other, tmp_path):
    before, now = (reports(*texts).content_digests()["report"] for texts in (TEXTS, other))
    assert before != now
    assert reports(*TEXTS).content_digests()["report"] == before


def test_words_of_another_run_are_refused():
    learned, other = (
        reports(*TEXTS),
        reports("Pneumothorax on the left.", "Normal.", "Old fractures.", "A mass."),
    )
    opened = task_from_dict(json.loads(json.dumps(learned.to_dict())))
    assert opened.with_artefacts(learned.artefacts().get).tokenizer.vocabulary.size == learned.vocabulary.size
    with pytest.raises(InputError, match=r"tokenizer.json is not the one that the run has learned with"):
        opened.with_artefacts(other.artefacts().get)
    with pytest.raises(InputError, match="cannot be read"):
        opened.with_artefacts(lambda name: "{}")


@pytest.fixture(scope="module")
def vessels(tmp_path_factory):
    """Images with masks, and a run on them as training leaves it, with its stores."""
    home = tmp_path_factory.mktemp("vessels")
    rows = ["image,mask,split"]
    for number, split in enumerate(("train", "train", "val", "test")):
        picture = np.random.default_rng(number).integers(1, 256, (32, 32), dtype=np.uint8)
        cv2.imwrite(str(home / f"{number}.png"), picture)
        cv2.imwrite(str(home / f"{number}_mask.png"), np.uint8(255) * (picture > 140))
        rows.append(f"{number}.png,{number}_mask.png,{split}")
    (home / "t.csv").write_text("\n".join(rows))
    folder = made_run(home / "runs" / "vessels", "segment")
    recipe = make_recipe(str(home / "t.csv"), "segment", {**SMALL_DECODER, "leaks": "allow"})
    folder.recipe.write_text(recipe.to_yaml())
    prepared, _ = prepared_data(recipe, folder, folder.stores, 0)
    prepared.with_digests().save(folder.manifest)
    write_json(folder.fingerprint, {AUXILIARY: prepared.auxiliary_digests})
    return folder, prepared


def test_masks_that_are_as_they_were_are_found_sound(vessels):
    folder, _ = vessels
    found = verify_stores(folder, recompute=1)
    assert found.lines == ["images: 4 records, 0 damaged", "mask: 4 records, 0 damaged"]
    assert found.damaged == 0


def test_a_mask_of_the_same_size_and_time_is_found(vessels, tmp_path):
    home = tmp_path / "copy"
    shutil.copytree(vessels[0].path.parents[1], home, copy_function=shutil.copy2)
    folder = RunFolder(home / "runs" / "vessels")
    text = folder.recipe.read_text().replace(str(vessels[0].path.parents[1]), str(home))
    folder.recipe.write_text(text)
    prepared_data(
        make_recipe(str(home / "t.csv"), "segment", {**SMALL_DECODER, "leaks": "allow"}),
        folder,
        folder.stores,
        0,
    )
    mask = home / "1_mask.png"
    state = mask.stat()
    mask.write_bytes((home / "0_mask.png").read_bytes()[: state.st_size].ljust(state.st_size, b"\0"))
    os.utime(mask, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert verify_stores(folder).damaged == 0
    found = verify_stores(folder, recompute=1)
    assert found.damaged == 1
    assert (
        "mask: 4 records, 0 damaged; 1 file replaced by another of the same size and time (1_mask.png)"
        in found.lines
    )


def test_changed_masks_and_reports_are_named(vessels):
    folder, prepared = vessels
    assert data_changes(folder, prepared) == []
    stored = read_json(folder.fingerprint)
    try:
        write_json(folder.fingerprint, {AUXILIARY: {**stored[AUXILIARY], "mask": "0", "report": "1"}})
        now = replace(prepared, auxiliary_digests={**prepared.auxiliary_digests, "report": "2", "fov": "3"})
        assert data_changes(folder, now) == [
            "files of column 'mask' of another content", "column 'report' of another content",
        ]  # fmt: skip
    finally:
        write_json(folder.fingerprint, stored)


# --- what only the weights' files say ---------------------------------------------------------------------------------


def test_a_run_does_not_go_on_on_another_frozen_backbone(tmp_path, monkeypatch):
    def write(seed):
        torch.manual_seed(seed)
        save_file(Backbone("test_vit", (32, 32)).body.state_dict(), tmp_path / "vit.safetensors")

    write(1)
    table = write_grades(tmp_path / "data", images=16)
    given = {
        "epochs": 2,
        "resamples": 0,
        "checkpoint_steps": 1,
        "write_report": False,
        "backbone": "test_vit",
    }
    given |= {"method": "bitfit", "weights": str(tmp_path / "vit.safetensors")}
    with monkeypatch.context() as patch:
        patch.setattr(StageTrainer, "_step_ended", _doomed(StageTrainer._step_ended))
        with pytest.raises(Killed):
            fit(table, tmp_path / "runs", "run", **given)
    write(2)
    with pytest.raises(
        InputError, match=r"run 'run' cannot go on: the weights of its frozen backbone changed"
    ):
        fit(table, tmp_path / "runs", "run", resume=True, **given)
    write(1)
    fit(table, tmp_path / "runs", "run", resume=True, **given)


def _doomed(original):
    calls = []

    def step(self, *arguments):
        calls.append(1)
        if len(calls) == 2:
            raise Killed
        original(self, *arguments)

    return step


def test_a_stage_that_was_learned_anew_since_is_named(tmp_path):
    class Of:
        def __init__(self, name):
            self.name = name

    class Method:
        def stages(self):
            return [Of("pretrain"), Of("tune")]

    earlier = made_run(tmp_path / "earlier", "full")
    recipe = make_recipe("t.csv", "toy_pretext", {"pretrain": f"run:{earlier.path}"})
    sources = stage_sources(recipe, Method())
    assert sources == {"pretrain": read_json(earlier.model)["weights_sha256"]}
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    check_same_start(folder, None, sources)  # nothing is known of its start
    write_json(folder.model, {"stage_sources": sources, "frozen_backbone_sha256": "a"})
    check_same_start(folder, "a", sources)
    with pytest.raises(InputError, match="the run that stage 'pretrain' is taken from changed since"):
        check_same_start(folder, "a", {"pretrain": "0"})
    with pytest.raises(
        InputError, match="frozen backbone and the run that stage 'pretrain' is taken from changed"
    ):
        check_same_start(folder, "b", {"pretrain": "0"})
