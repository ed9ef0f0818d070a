"""Images with reports: whose words the vocabulary knows, what becomes of unusable reports, and the scores."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch

from modicum.data.layouts import load_manifest
from modicum.data.reports import load_tokenizer
from modicum.errors import InputError
from modicum.tasks import task_from_dict, task_of
from modicum.tasks.image_text.scores import CompletionScores

LENGTH = 12
SENTENCE = "Right pleural effusion. No pneumothorax."


def manifest(folder, reports, splits=None):
    """A table of these cells; the images are named and never opened."""
    rows = pd.DataFrame({"image": [f"i{number}.png" for number in range(len(reports))]})
    rows["split"] = splits or ["train"] * (len(reports) - 1) + ["val"]
    if reports[0] is not ...:
        rows["report"] = reports
    rows.to_csv(folder / "table.csv", index=False)
    return load_manifest(folder / "table.csv", missing="keep")


def task(found, length=LENGTH, **options):
    return task_of(found, "image-text", {"report_length": length, **options})


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_words_of_validation_and_test_reports_never_enter_the_vocabulary(tmp_path):
    reports = [SENTENCE, SENTENCE, "cardiomegaly " * 9, "ybrid " * 9]
    found = task(manifest(tmp_path, reports, ["train", "train", "val", "test"]))
    words = json.loads(found.artefacts()["tokenizer.json"])["model"]["vocab"]
    assert {"effusion", "pneumothorax"} <= words.keys()
    assert not any("cardio" in word or word in ("y", "##y", "##b", "##d") for word in words)


def test_every_row_has_tokens_of_one_length_and_a_mask_of_what_is_not_padding(tmp_path):
    table = manifest(tmp_path, [SENTENCE, SENTENCE, "Effusion.", SENTENCE * 5])
    found = task(table)
    targets = found.targets(table)
    tokens, mask = targets["tokens"], targets["tokens_mask"]
    assert (tokens.dtype, tokens.shape) == (np.int64, (4, LENGTH))
    assert (tokens[:, 0] == found.vocabulary.start).all()
    assert ((tokens != found.vocabulary.pad) == mask).all()
    assert mask.sum(1).tolist() == [1 + 7, 1 + 7, 1 + 2, LENGTH]  # words and full stops, cut at the length


def test_a_local_vocabulary_is_used_as_it_is(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[MASK]", "effusion", ".", "right"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    table = manifest(tmp_path, ["Right effusion.", "Right effusion."])
    found = task(table, vocabulary=str(tmp_path / "vocab.txt"))
    assert found.vocabulary.size == len(words)
    assert found.targets(table)["tokens"][0, :5].tolist() == [2, 6, 4, 5, 0]


def test_sections_cut_reports_down(tmp_path):
    table = manifest(tmp_path, ["HISTORY: cough\nFINDINGS: effusion\nIMPRESSION: normal"] * 3)
    found = task(table, sections=["findings"])
    words = json.loads(found.artefacts()["tokenizer.json"])["model"]["vocab"]
    assert "effusion" in words
    assert not {"cough", "normal"} & words.keys()


def test_a_kept_task_knows_the_vocabulary_and_its_file_makes_the_same_tokens(tmp_path):
    table = manifest(tmp_path, [SENTENCE] * 3)
    found = task(table)
    again = task_from_dict(json.loads(json.dumps(found.to_dict())))
    for name in ("size", "pad", "unknown", "start", "mask"):
        assert getattr(again.vocabulary, name) == getattr(found.vocabulary, name)
    assert (again.vocabulary.continuation == found.vocabulary.continuation).all()
    assert found.vocabulary.continuation.any()
    (tmp_path / "tokenizer.json").write_text(found.artefacts()["tokenizer.json"])
    loaded = load_tokenizer(tmp_path / "tokenizer.json")
    assert (loaded.encode([SENTENCE], LENGTH).tokens[0] == found.targets(table)["tokens"][0]).all()


def test_images_alone_have_no_targets_and_need_no_reports(tmp_path):
    table = manifest(tmp_path, [...] * 3)
    found = task(table, length=0)
    assert found.targets(table) == {}
    assert found.artefacts() == {}
    assert found.outputs == ("image",)


# --- bad input --------------------------------------------------------------------------------------------------------


def test_a_table_without_reports_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(
        InputError,
        match=r"no column 'report' \(columns: image, split\).*--report COLUMN.*learns from images alone",
    ):
        task(manifest(tmp_path, [...] * 3))


def test_training_rows_without_any_report_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"no training image has a report that can be used .*it is empty"):
        task(manifest(tmp_path, ["...", "", SENTENCE], ["train", "train", "val"]))


def test_unusable_reports_are_set_aside_and_listed_without_their_content(tmp_path):
    (tmp_path / "latin.txt").write_bytes("Herzgröße normal".encode("cp1252"))
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)))
    long = "secret " * 5715  # 40,005 characters
    cells = [SENTENCE, "---", "latin.txt", "binary.txt", "gone.txt", long, "", SENTENCE]
    table = manifest(tmp_path, cells)
    found = task(table)
    listed = pd.read_csv(pd.io.common.StringIO(found.artefacts()["reports.csv"]))
    by_place = {int(row.place.split("row ")[1]) - 2: (row.what, row.reason) for row in listed.itertuples()}
    assert by_place.keys() == {1, 2, 3, 4, 5}
    assert by_place[1] == ("set aside", "it is empty")
    assert by_place[2] == ("changed", "it is not UTF-8 and was read as Windows-1252")
    assert by_place[3] == ("set aside", "its file is not text")
    assert by_place[4] == ("set aside", "its file is missing")
    assert by_place[5] == ("changed", "it was cut at 20,000 characters")
    assert len(found.notes) == 5
    assert "secret" not in "".join(found.notes)
    mask = found.targets(table)["tokens_mask"].sum(1)
    assert mask[[1, 3, 4, 6]].tolist() == [1, 1, 1, 1]  # [CLS] alone: these rows learn from their image
    assert mask[5] == LENGTH


# --- scores -----------------------------------------------------------------------------------------------------------

NAMES = ("image", "report", "report_accuracy")
VALUES = torch.tensor([[1.0, 2.0, 0.5], [3.0, math.nan, math.nan], [2.0, 4.0, 1.0]])


def scores(values=VALUES, positions=(0, 1, 2)):
    found = CompletionScores(NAMES)
    found.update(values, {"row": torch.tensor(positions)})
    return found


def test_metrics_are_means_over_the_images_that_have_a_value():
    assert scores().metrics() == {"image": 2.0, "report": 3.0, "report_accuracy": 0.75}
    without = CompletionScores(NAMES)
    without.update(VALUES[1:2], {"row": torch.tensor([1])})
    assert math.isnan(without.metrics()["report"])
    assert "no report" in without.estimates(None, 20, 0)["report"].reason


def test_a_row_seen_by_two_processes_counts_once():
    joint = CompletionScores(NAMES)
    joint.merge([scores(VALUES[:2], (0, 1)), scores(VALUES[1:], (1, 2))])
    assert joint.metrics() == scores().metrics()
    assert joint.rows().tolist() == [0, 1, 2]


def test_intervals_are_by_patient():
    """Images of one patient are drawn together: with two patients, only three means are possible."""
    values = torch.tensor([[0.0, 0, 0], [0.0, 0, 0], [1.0, 1, 1]])
    found = scores(values).estimates(["a", "a", "b"], 500, 0)["image"]
    assert (found.low, found.high) == (0.0, 1.0)
    assert found.value == pytest.approx(1 / 3)


def test_losses_are_better_lower_and_the_share_of_right_words_higher(tmp_path):
    found = task(manifest(tmp_path, [SENTENCE] * 2))
    assert found.monitor == "image"
    assert [found.higher_is_better(name) for name in NAMES] == [False, False, True]
    with pytest.raises(InputError, match="unknown metric 'dice'"):
        found.higher_is_better("dice")
