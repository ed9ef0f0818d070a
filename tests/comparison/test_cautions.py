"""What a comparison says below its table of how its methods were trained."""

import pandas as pd
import pytest

from modicum.comparison.cautions import _changed_data, _data_digest, cautions_of
from modicum.comparison.grid import Cell
from modicum.comparison.records import Record
from modicum.comparison.request import Request
from modicum.engine.run_folder import RunFolder


def said(*methods, sweep=None, lrs=(), **settings):
    request = Request.of("images", methods, 1, lrs, settings, sweep)
    table = pd.DataFrame({"method": methods, "error": "", "full_memory": ""})
    found = cautions_of(request, [], table, None)
    return next((caution for caution in found if "different defaults" in caution), "")


def test_how_segmentations_are_trained_apart_is_one_sentence():
    sentence = said("segment", "aadg")
    assert "backbone resnet18 (segment), mobilenetv2_100 (aadg)" in sentence
    assert "schedule cosine (segment), constant (aadg)" in sentence
    assert "augment segmentation (segment), none (aadg)" in sentence
    assert "clip_norm 1 (segment), 0 (aadg)" in sentence
    assert "lr" not in sentence  # 0.001 in both
    assert "batch_size" not in sentence  # one for all


def test_what_was_given_is_no_methods_own():
    sentence = said("segment", "aadg", backbone="resnet18", **{"aadg.batch_size": 24})
    assert "backbone" not in sentence
    assert "batch_size" not in sentence  # said elsewhere
    assert "lr 0.0001 (full), 0.001 (linear)" in said("full", "linear")
    assert "lr" not in said("full", "linear", lrs=[1e-3, 1e-2])


def test_rows_that_are_trained_alike_need_no_sentence():
    assert said("segment", sweep={"decoder_width": [64, 128]}) == ""


def test_an_augmentation_that_a_method_does_not_have_is_named():
    assert "augment light (full), none (linear)" in said("full", "linear", augment="light")


def test_data_are_the_same_whether_a_run_kept_hashes_of_their_appearance_or_not(tmp_path):
    tables = {
        "old": "image,label,split,sha256\n1.png,a,train,00\n",
        "new": "image,label,split,sha256,near_hash\n1.png,a,train,00,ff\n",
        "other": "image,label,split,sha256,near_hash\n1.png,b,train,00,ff\n",
    }
    digests = {}
    for name, text in tables.items():
        (tmp_path / f"{name}.csv").write_text(text)
        digests[name] = _data_digest(tmp_path / f"{name}.csv")
    assert digests["old"] == digests["new"] != digests["other"]


@pytest.mark.parametrize(("tested", "learned", "changed"), [("b", "c", 0), ("x", "c", 1)])
def test_a_swept_share_of_the_labels_changes_what_is_learned_from_and_not_what_is_tested_on(
    tmp_path, tested, learned, changed
):
    request = Request.of("images", ["linear"], 1, (), {}, {"label_fraction": [0.5, 1.0]})
    records = []
    for number, variant in enumerate(request.variants):
        folder = RunFolder(tmp_path / str(number))
        folder.path.mkdir()
        label, row = (tested, "") if number else ("b", f"3.png,{learned},train,02\n")
        text = f"image,label,split,sha256\n1.png,a,train,00\n{row}2.png,{label},test,01\n"
        folder.manifest.write_text(text)
        records.append(Record(Cell(variant, 0), folder, "finished"))
    found = _changed_data(request, records)
    assert len(found) == changed
