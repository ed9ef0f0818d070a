"""Reports are read, split and tokenised once: the store gives what encoding gives, and nothing is done twice."""

import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from modicum.data.manifest import Manifest
from modicum.data.reports import encode_sentences, read_reports, texts, train_tokenizer
from modicum.data.sampling import epoch_draws, epoch_order
from modicum.data.stores import report_store
from modicum.data.stores.report_store import Encoding, encode_reports, learned_tokenizer
from modicum.errors import InputError
from modicum.tasks.image_text.report_counts import study_numbers

TEXTS = ["No effusion. Heart size is normal.", None, "Large left effusion.", "No effusion. Heart size is normal.",
         "Nodule. " * 30]  # fmt: skip
NUMBERED = Encoding(24, 4)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([text for text in TEXTS if text], 200)


@pytest.fixture
def counted(monkeypatch):
    """Texts that are encoded, in their order."""
    seen = []
    encode = report_store._encoded

    def counting(tokenizer, some, encoding):
        seen.extend(some)
        return encode(tokenizer, some, encoding)

    monkeypatch.setattr(report_store, "_encoded", counting)
    return seen


def same(first, second):
    for name in ("tokens", "mask", "sentence_index", "is_cut"):
        one, other = getattr(first, name), getattr(second, name)
        np.testing.assert_array_equal(one, other, err_msg=name)
        assert one.dtype == other.dtype


def test_the_store_gives_what_encoding_gives_and_encodes_each_text_once(tokenizer, tmp_path, counted):
    expected = encode_sentences(tokenizer, TEXTS, 24, 4)
    for _ in range(2):
        same(encode_reports(tokenizer, TEXTS, NUMBERED, tmp_path), expected)
        assert len(counted) == 4  # two of five are the same text
    encode_reports(tokenizer, [*TEXTS, "Small right effusion."], NUMBERED, tmp_path)
    assert counted[4:] == ["Small right effusion."]
    same(encode_reports(tokenizer, TEXTS, NUMBERED), expected)  # and without a store


def test_reports_in_one_piece_are_those_of_the_tokenizer(tokenizer, tmp_path):
    whole = tokenizer.encode(TEXTS, 16)
    for _ in range(2):
        found = encode_reports(tokenizer, TEXTS, Encoding(16, 0), tmp_path)
        np.testing.assert_array_equal(found.tokens, whole.tokens)
        np.testing.assert_array_equal(found.mask, whole.mask)


def test_other_words_or_settings_have_a_store_of_their_own(tokenizer, tmp_path, counted):
    encode_reports(tokenizer, TEXTS, NUMBERED, tmp_path)
    encode_reports(tokenizer, TEXTS, replace(NUMBERED, length=20), tmp_path)
    encode_reports(train_tokenizer(["quite other words"] * 3, 200), TEXTS, NUMBERED, tmp_path)
    assert len(counted) == 12
    assert len(list(tmp_path.glob("reports-*"))) == 3


def test_numbers_above_65535_are_kept(tmp_path, counted):
    tokenizer = train_tokenizer([text for text in TEXTS if text], 200)
    tokenizer.vocabulary = replace(tokenizer.vocabulary, size=70_000)
    expected = encode_sentences(tokenizer, TEXTS, 24, 4)
    expected.tokens[expected.tokens == 5] = 69_999
    report_store._as_records(expected, report_store.RecordSpec("<i4", (2, 25)))
    same(encode_reports(tokenizer, TEXTS, NUMBERED, tmp_path), encode_sentences(tokenizer, TEXTS, 24, 4))
    store = report_store.ShardStore.open(next(tmp_path.glob("reports-*")))
    assert store.spec.dtype == "<i4"


@pytest.mark.parametrize("damaged", ["record", "manifest", "shard"])
def test_a_damaged_store_is_made_again(tokenizer, tmp_path, damaged):
    expected = encode_reports(tokenizer, TEXTS, NUMBERED, tmp_path)
    folder = next(tmp_path.glob("reports-*"))
    shard = next(folder.glob("shard-*"))
    if damaged == "record":
        content = bytearray(shard.read_bytes())
        content[7] ^= 255
        shard.write_bytes(content)
    elif damaged == "shard":
        shard.unlink()
    else:
        (folder / "store.json").write_text("{")
    for _ in range(2):
        same(encode_reports(tokenizer, TEXTS, NUMBERED, tmp_path), expected)


def test_a_vocabulary_is_learned_once_from_the_same_texts(tmp_path, monkeypatch):
    words = [text for text in TEXTS if text]
    expected = train_tokenizer(words, 200)
    first = learned_tokenizer(words, 200, tmp_path)
    monkeypatch.setattr(report_store, "train_tokenizer", lambda *_: pytest.fail("learned again"))
    second = learned_tokenizer(words, 200, tmp_path)
    assert first.to_json() == second.to_json() == expected.to_json()
    same(encode_sentences(second, TEXTS, 24, 4), encode_sentences(expected, TEXTS, 24, 4))
    with pytest.raises(pytest.fail.Exception, match="learned again"):
        learned_tokenizer([*words, "More."], 200, tmp_path)
    damaged = next(tmp_path.glob("vocabulary-*.json"))
    damaged.write_text("{")
    with pytest.raises(pytest.fail.Exception, match="learned again"):
        learned_tokenizer(words, 200, tmp_path)


# --- files of reports ---------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    contents = [b"No effusion.", b"", "Herz groß.".encode("cp1252"), b"\x00\x01\x02"]
    for number, content in enumerate(contents):
        (tmp_path / f"{number}.txt").write_bytes(content)
    names = [f"{number}.txt" for number in range(5)]  # the last is not there
    return lambda: Manifest(pd.DataFrame({"image": names, "report": names}), tmp_path, "reports.csv")


def test_files_that_have_not_changed_are_not_opened_again(files, tmp_path, monkeypatch):
    opened = []
    read = texts._read_file
    monkeypatch.setattr(texts, "_read_file", lambda path: opened.append(path.name) or read(path))
    stores = tmp_path / "stores"
    expected = read_reports(files())
    opened.clear()
    for manifest in (files(), files()):  # two runs
        found = read_reports(manifest, stores=stores)
        assert (found.texts, found.set_aside, found.changed) == (
            expected.texts,
            expected.set_aside,
            expected.changed,
        )
    assert opened == [
        "0.txt",
        "1.txt",
        "2.txt",
        "3.txt",
        "4.txt",
        "4.txt",
    ]  # what is missing is looked for again
    opened.clear()
    (tmp_path / "0.txt").write_bytes(b"Effusion!!!!")  # as long as before
    os.utime(tmp_path / "0.txt", (1, 1))
    assert read_reports(files(), stores=stores).texts[0] == "Effusion!!!!"
    assert opened == ["0.txt", "4.txt"]
    next(stores.glob("report-files-*")).write_bytes(b"PAR1 damaged")
    assert read_reports(files(), stores=stores).texts[0] == "Effusion!!!!"


# --- one image of each study --------------------------------------------------------------------------------------------


def test_an_epoch_shows_one_image_of_each_study_and_all_of_them_in_time():
    studies = np.array([0, 0, 0, 1, 2, 2, 7])
    seen = []
    for epoch in range(40):
        order = epoch_order(studies, "one_per_study", seed=3, epoch=epoch)
        assert sorted(studies[order]) == [0, 1, 2, 7]
        seen.append(order)
    shown = np.bincount(np.concatenate(seen), minlength=7)
    assert shown[3] == shown[6] == 40
    assert 4 <= shown[:3].min() <= shown[:3].max() <= 24  # 40 / 3 each
    assert len({tuple(order) for order in seen}) > 10
    parts = [epoch_order(studies, "one_per_study", rank=rank, world_size=2) for rank in (0, 1)]
    assert len(parts[0]) == len(parts[1]) == epoch_draws(studies, "one_per_study", 2) == 2
    assert sorted(studies[np.concatenate(parts)]) == [0, 1, 2, 7]


def test_studies_are_those_of_the_column_or_of_a_patients_report(tmp_path):
    table = pd.DataFrame({"image": list("abcdef"), "patient": [1, 1, 1, 2, 2, 2],
                          "report": ["x1", "x1", "y1", "x1", None, None]})  # fmt: skip
    manifest = Manifest(table, tmp_path)
    reports = read_reports(manifest)
    assert study_numbers(manifest, reports).tolist() == [0, 0, 1, 2, 3, 4]
    named = Manifest(table.assign(study=["s1", "s2", "s2", "s1", np.nan, ""]), tmp_path)
    assert study_numbers(named, reports).tolist() == [0, 1, 1, 2, 3, 4]


def test_other_tasks_know_no_studies():
    from modicum.engine.early_checks import check_recipe
    from modicum.engine.recipe.new_recipe import make_recipe

    for method, refused in (("linear", True), ("mae", True), ("mrm", False), ("prior", False)):
        recipe = make_recipe("data", method, {"sampling": "one_per_study"})
        if refused:
            with pytest.raises(InputError, match="only images with reports have studies"):
                check_recipe(recipe)
        else:
            check_recipe(recipe)
