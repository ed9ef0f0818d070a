"""No sentence of a report is in a run folder, on the screen or in an error, whatever a run comes to; bad ones count."""

import re

import pandas as pd
import pytest

import modicum
from modicum.data.phantoms import write_chest_dataset
from modicum.data.reports import split_sentences
from modicum.errors import InputError, ModicumError
from modicum.methods.convirt import ConVIRTStage

SMALL = {"backbone": "test_resnet", "weights": "random", "image_size": 32, "batch_size": 4, "resamples": 10,
         "device": "cpu", "leaks": "allow", "epochs": 1, "text_width": 16, "text_depth": 1, "text_heads": 2,
         "text_hidden": 32, "width": 16, "report_length": 48, "max_sentences": 8}  # fmt: skip
SPANISH = "Silueta cardiaca de tamaño normal, sin derrame pleural."


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Reports of all bad kinds, each text with a word that no other file has."""
    folder = tmp_path_factory.mktemp("chest")
    path = write_chest_dataset(
        folder, 20, 32, seed=4, fractions={"train": 0.6, "val": 0.2, "test": 0.2}, masks=False
    )
    table = pd.read_csv(path, dtype=str)
    train = table.index[table["split"] == "train"]
    table.loc[train[0], "report"] = "..."
    table.loc[train[1], "report"] = "Quokka sat here."
    table.loc[train[2], "report"] = " ".join(f"Quokka number {number} is calm." for number in range(200))
    table.loc[train[4], "report"] = table.loc[train[3], "report"]
    table.loc[train[5], "report"] = SPANISH
    table.loc[train[6], "report"] = "study.txt"
    (folder / "study.txt").write_text("The quokka of Mrs Bilby is enlarged.")
    table.loc[train[7], "report"] = "lost.txt"
    table.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def sentences(data):
    """Of all reports, those of three words and more."""
    texts = pd.read_csv(data, dtype=str)["report"].dropna()
    found = {sentence for text in texts for sentence in split_sentences(text) if len(sentence.split()) > 2}
    return {*found, "The quokka of Mrs Bilby is enlarged.", "quokka of Mrs Bilby", "Quokka sat"}


def told(folder, sentences):
    """Files below a folder, outside the stores, that hold one of the sentences."""
    files = [path for path in folder.rglob("*") if path.is_file() and ".stores" not in path.parts]
    assert files
    return [
        (path.name, sentence)
        for path in files
        for sentence in sentences
        if sentence.encode() in path.read_bytes()
    ]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


def test_a_run_and_what_is_asked_of_it_tell_no_sentence(data, sentences, runs, capfd, tmp_path):
    run = modicum.fit(data, "convirt", name="good", runs=runs, **SMALL)
    run.evaluate(data, split="test", name="again", allow_outside=True)
    run.retrieve(["Quokka.", str(data.parent / "images" / "p00003.png")], data, tmp_path / "found", k=3)
    run.predict(data, tmp_path / "found" / "p.csv", prompts={"calm": "The quokka is calm.", "not": "No."})
    captured = capfd.readouterr()
    assert told(runs, sentences) == told(tmp_path / "found", sentences) == []
    assert [sentence for sentence in sentences if sentence in captured.out + captured.err] == []
    notes = " ".join(run.metrics.get("notes", [])) + run.folder.fingerprint.read_text()
    for said in ("report set aside: it is empty", "report set aside: its file is missing", "of one sentence",
                 "longer than 48 tokens", "2 images whose report another image has too",
                 "2 images without a usable report"):  # fmt: skip
        assert said in notes, said


def broken_step(self, batch):
    raise RuntimeError("tensors of other sizes")


@pytest.mark.parametrize(
    ("changes", "patch", "said"),
    [
        ({}, broken_step, "tensors of other sizes"),
        ({"min_sentences": 300}, None, "can learn from none of the"),
        ({"vocabulary": "none.json"}, None, "tokenizer 'none.json' does not exist"),
        ({"columns": {"report": "findings"}}, None, "findings"),
        ({"sections": ["indication"]}, None, "indication"),
    ],
)
def test_a_run_that_fails_tells_none_either(
    data, sentences, tmp_path, capfd, monkeypatch, changes, patch, said
):
    if patch is not None:
        monkeypatch.setattr(ConVIRTStage, "losses", patch)
    with pytest.raises((ModicumError, RuntimeError)) as error:
        modicum.fit(data, "convirt", name="bad", runs=tmp_path / "runs", **{**SMALL, **changes})
    assert said in str(error.value)
    if isinstance(error.value, InputError):
        assert "\n" not in str(error.value)
    captured = capfd.readouterr()
    everything = captured.out + captured.err + str(error.value)
    assert [sentence for sentence in sentences if sentence in everything] == []
    if (tmp_path / "runs").is_dir() and any((tmp_path / "runs").iterdir()):
        assert told(tmp_path, sentences) == []


def test_other_languages_are_kept_as_they_are(data):
    from modicum.data.reports import read_reports

    assert SPANISH in read_reports(modicum.load(data)).texts


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ([None, None, None], r"no training image has a report that can be used \(all cells are blank\)"),
        (
            ["", " ", "..."],
            r"no training image has a report that can be used \(1 report set aside: it is empty",
        ),
        (["a.txt", "b.txt", "../c.txt"], "2 reports set aside: its file is missing"),
    ],
)
def test_images_without_any_report_are_one_line(data, tmp_path, column, said):
    table = pd.read_csv(data, dtype=str).iloc[:3][["image"]]
    table["image"] = [str(data.parent / name) for name in table["image"]]
    table.assign(report=column, split="train").to_csv(tmp_path / "bare.csv", index=False)
    with pytest.raises(InputError, match=said) as error:
        modicum.fit(tmp_path / "bare.csv", "convirt", runs=tmp_path / "runs", allow_outside=True, **SMALL)
    assert not re.search(r"\n", str(error.value))
