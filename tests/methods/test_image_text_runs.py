"""Runs of image-text methods from files: what prompts, searches and evaluations say, and what they keep to themselves."""

import json
import re
import sys

import numpy as np
import pandas as pd
import pytest
import torch

import modicum
from modicum.__main__ import main
from modicum.data.phantoms import write_chest_dataset
from modicum.engine.inference.image_text import ImageTextRun
from modicum.engine.model import load_method
from modicum.errors import InputError
from modicum.methods.prior import PriorConfig

TEXT = {"text_width": 16, "text_depth": 1, "text_heads": 2, "text_hidden": 32, "width": 16, "report_length": 48,
        "max_sentences": 8}  # fmt: skip
PRIOR = {**TEXT, "heads": 2, "prototypes": 12, "queries": 4, "decoder_depth": 1, "decoder_heads": 2}
SMALL = {"backbone": "test_resnet", "weights": "random", "image_size": 32, "batch_size": 4, "resamples": 20,
         "device": "cpu", "leaks": "allow", "epochs": 1}  # fmt: skip
STAGES = {f"{stage}.{name}": value for stage in ("align", "prototype", "reconstruct")
          for name, value in (("epochs", 1), ("warmup_epochs", 0))}  # fmt: skip
SECRET = "Zebrafish"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chest")
    fractions = {"train": 0.6, "val": 0.2, "test": 0.2}
    path = write_chest_dataset(folder, 16, 32, seed=1, fractions=fractions, masks=False)
    table = pd.read_csv(path, dtype=str)
    table["report"] = table["report"] + f" {SECRET} Zebrowski was here."
    train = table.index[table["split"] == "train"]
    table.loc[train[0], "report"] = ""
    table.loc[train[1], "report"] = f"{SECRET}."
    table.loc[train[2], "report"] = f"{SECRET} seen. " * 200
    table.loc[train[4], "report"] = table.loc[train[3], "report"]
    table.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def prior(data, tmp_path_factory):
    return modicum.fit(
        data, "prior", name="prior", runs=tmp_path_factory.mktemp("runs"), **SMALL, **PRIOR, **STAGES
    )


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    path = tmp_path_factory.mktemp("prompts") / "prompts.csv"
    path.write_text(
        "class,prompt\nbig,The heart is enlarged.\nbig,Cardiomegaly.\nsmall,Heart size is normal.\n"
    )
    return path


def test_three_stages_are_trained_and_kept_without_decoders(prior):
    assert list(prior.metrics["stages"]) == ["align", "prototype", "reconstruct"]
    assert prior.metrics["findings"]["reconstruct"]["prototype_perplexity"] >= 1
    _, _, method = load_method(prior.folder)
    assert type(method.config) is PriorConfig
    from safetensors.torch import load_file

    names = load_file(prior.folder.weights).keys()
    assert any("prototypes" in name for name in names)
    assert not any("decoders" in name for name in names)


def test_unusual_reports_are_counted_and_no_text_leaves_the_store(prior, data):
    notes = " ".join(json.loads(prior.folder.fingerprint.read_text())["notes"])
    assert "1 image without a usable report" in notes
    assert "1 report of one sentence" in notes
    assert re.search(r"\d+ reports? longer than 48 tokens", notes)
    assert "2 images whose report another image has too" in notes
    for path in prior.path.rglob("*"):
        if path.is_file() and path.name not in ("tokenizer.json", "manifest.csv"):
            assert SECRET.encode() not in path.read_bytes(), path.name


def test_an_opened_run_is_scored_as_it_was_after_training(prior, data):
    again = prior.evaluate(data, split="test", name="again", write_report=False)
    first = prior.metrics["evaluations"]["test"]["metrics"]
    for name, value in again["metrics"].items():
        assert value["value"] == pytest.approx(first[name]["value"], abs=1e-6) or value["value"] is None
    assert again["resampling_unit"] == "patient"
    table = pd.read_csv(data, dtype=str).drop(columns="report")
    table.to_csv(data.parent / "silent.csv", index=False)
    with pytest.raises(InputError, match="no column 'report'"):
        prior.evaluate(data.parent / "silent.csv", split="test", name="none", write_report=False)


@pytest.mark.parametrize("scored_by", ["global", "both"])
def test_prompts_classify_alike_in_any_batch(prior, data, prompts, tmp_path, scored_by):
    tables = []
    for size in (1, 5):
        out = tmp_path / f"{size}.csv"
        prior.predict(data, out, prompts=prompts, scored_by=scored_by, batch_size=size)
        tables.append(pd.read_csv(out))
    assert (tables[0]["prediction"] == tables[1]["prediction"]).all()
    np.testing.assert_allclose(tables[0]["p_big"], tables[1]["p_big"], atol=1e-4)
    np.testing.assert_allclose(tables[0]["p_big"] + tables[0]["p_small"], 1, atol=1e-6)
    assert "Heart size" not in out.read_text()


def test_labels_are_compared_with_what_prompts_say(prior, data, prompts, tmp_path):
    table = pd.read_csv(data, dtype=str)
    table["label"] = table["labels:cardiomegaly"].map({"0": "small", "1": "big"})
    table["image"] = [str(data.parent / name) for name in table["image"]]
    plain = table.drop(columns=[name for name in table if name.startswith("labels:")])
    plain.to_csv(tmp_path / "labelled.csv", index=False)
    found = prior.evaluate(
        tmp_path / "labelled.csv", prompts=prompts, split="all", allow_outside=True, write_report=False
    )
    assert {"auroc", "accuracy", "macro_f1", "kappa"} <= found["metrics"].keys()
    with pytest.raises(InputError, match="class 'big' of the data has no prompt"):
        prior.evaluate(tmp_path / "labelled.csv", prompts={"small": "x", "huge": "y"}, allow_outside=True)
    findings = prior.evaluate(
        data, prompts={"nodule": "A nodule.", "no": "None."}, name="findings", split="all", write_report=False
    )
    assert "auroc" in findings["metrics"]


def test_a_sentence_finds_images_and_an_image_finds_reports(prior, data, tmp_path):
    image = data.parent / "images" / "p00003.png"
    found = prior.retrieve(["No effusion.", str(image)], data, tmp_path / "found", k=3)
    table = pd.read_csv(tmp_path / "found" / "retrieved.csv")
    assert table["rank"].tolist() == [1, 2, 3, 1, 2, 3]
    assert table["query"].tolist() == ["text 1"] * 3 + [str(image)] * 3
    assert (table.groupby("query", sort=False)["score"].diff().dropna() <= 0).all()
    assert all(hit.reading.shape == (1, 1) for hit in found.answers[0].hits)
    page = (tmp_path / "found" / "retrieved.html").read_text()
    assert page.count("<img") == 7
    assert SECRET not in page + table.to_csv()
    assert "No effusion" not in page
    prior.retrieve(str(image), data, tmp_path / "shown", k=2, sentences=True)
    assert SECRET in (tmp_path / "shown" / "retrieved.html").read_text()
    assert SECRET in (tmp_path / "shown" / "retrieved.csv").read_text()


def test_reports_are_ranked_by_the_similarity_of_the_model(prior, data, tmp_path):
    image = data.parent / "images" / "p00003.png"
    found = prior.retrieve(str(image), data, tmp_path / "all", k=100)
    run = ImageTextRun.open(prior.folder, None)
    texts = [text for text in pd.read_csv(data)["report"] if isinstance(text, str)]
    with torch.no_grad():
        ((_, encoded, _),) = run.images([found.answers[0].image])
        scores = run.model.similarity(encoded, run.all_texts(texts))[0]
    hits = found.answers[0].hits
    assert [hit.score for hit in hits] == pytest.approx(
        scores.sort(descending=True).values.tolist(), abs=1e-3
    )


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda run, data, out: run.retrieve(" ", data, out), "an empty query"),
        (lambda run, data, out: run.retrieve("...", data, out), "a query without a word"),
        (lambda run, data, out: run.retrieve("none.png", data, out), "image 'none.png' does not exist"),
        (lambda run, data, out: run.retrieve("Clear.", data, out, k=0), "-k is 0"),
        (lambda run, data, out: run.retrieve("Clear.", data, out, scored_by="lokal"), "did you mean 'local'"),
        (lambda run, data, out: run.predict(data, out / "p.csv"), "or say what to look for: --prompts FILE"),
        (
            lambda run, data, out: run.predict(data, out / "p.csv", prompts={"a": "..."}),
            "class 'a' has no prompt",
        ),
        (
            lambda run, data, out: run.predict(data, out / "p.csv", prompts="none.csv"),
            "'none.csv' do not exist",
        ),
    ],
)
def test_what_cannot_be_asked_is_one_line(prior, data, tmp_path, call, said):
    with pytest.raises(InputError, match=re.escape(said)) as error:
        call(prior, data, tmp_path)
    assert "\n" not in str(error.value)


def command(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["modicum", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code or 0


def test_the_commands_do_the_same(prior, data, prompts, tmp_path, capsys, monkeypatch):
    out = tmp_path / "p.csv"
    assert command(monkeypatch, "predict", prior.path, data, "--prompts", prompts, "--out", out) == 0
    assert len(pd.read_csv(out)) == 16
    asked = ("--query", "Clear lungs.", "--among", data, "-k", 2, "--out", tmp_path / "found")
    assert command(monkeypatch, "retrieve", prior.path, *asked) == 0
    assert "2 answers to 1 query among 16 rows" in capsys.readouterr().out


def test_a_run_without_texts_says_which_runs_have_some(prior, data, tmp_path, monkeypatch):
    monkeypatch.setattr("modicum.methods.prior.Prior.image_text", lambda self: None)
    with pytest.raises(
        InputError, match=r"has not learned images together with texts.*convirt, gloria, prior"
    ):
        prior.retrieve("Clear.", data, tmp_path / "out")


def test_a_local_bert_brings_its_sizes_words_and_weights(data, tmp_path):
    from safetensors.torch import save_file

    from modicum.methods.image_text import make_bert
    from modicum.nn import Bert, BertSize

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "effusion", "heart", "no", "."]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
             "max_position_embeddings": 40, "type_vocab_size": 2, "model_type": "bert"}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(sizes))
    torch.manual_seed(3)
    bert = Bert(len(words), BertSize(8, 1, 2, 16, 40, 2))
    save_file(
        {f"bert.{n}": t.contiguous() for n, t in bert.state_dict().items()}, tmp_path / "model.safetensors"
    )
    config = PriorConfig(text_weights=str(tmp_path), report_length=24)
    assert (config.text_width, config.text_depth, config.text_positions) == (8, 1, 40)
    from modicum.data.reports import load_tokenizer

    loaded = make_bert(config, load_tokenizer(tmp_path).vocabulary, load=True)
    for name, tensor in bert.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    (tmp_path / "config.json").write_text(json.dumps({**sizes, "hidden_size": 16}))
    wrong = PriorConfig(text_weights=str(tmp_path), report_length=24)
    with pytest.raises(InputError, match=r"do not fit a BERT of this size: \d+ of \d+ tensors"):
        make_bert(wrong, load_tokenizer(tmp_path).vocabulary, load=True)


def test_another_run_reads_splits_and_tokenises_nothing_again(prior, data, monkeypatch):
    from modicum.data.stores import report_store

    monkeypatch.setattr(report_store, "_encoded", lambda *_: pytest.fail("encoded again"))
    monkeypatch.setattr(report_store, "train_tokenizer", lambda *_: pytest.fail("learned again"))
    runs = prior.path.parent
    again = modicum.fit(
        data, "convirt", name="convirt", runs=runs, seed=5, write_report=False, **SMALL, **TEXT
    )
    assert (again.path / "tokenizer.json").read_text() == (prior.path / "tokenizer.json").read_text()
    assert again.metrics["time"]["data_wait_share"] < 0.5
    with pytest.raises(pytest.fail.Exception, match="encoded again"):
        modicum.fit(
            data, "convirt", name="other", runs=runs, write_report=False, **SMALL, **{**TEXT, "report_length": 40}
        )  # fmt: skip
