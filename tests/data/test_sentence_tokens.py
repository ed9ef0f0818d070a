"""Reports by sentence: numbers of tokens, what is cut, prompts, and a BERT's folder."""

import json

import numpy as np
import pytest

from modicum.data.reports import encode_sentences, load_tokenizer, split_sentences, train_tokenizer
from modicum.data.reports.bert_folder import bert_sizes, bert_weights
from modicum.data.reports.prompts import prompts_of, read_prompts
from modicum.errors import InputError

TEXTS = ["No effusion. Heart size normal. No effusion.", "Effusion", None, "..."]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["no effusion heart size normal ."] * 3, vocab_size=200)


def test_each_token_knows_its_sentence(tokenizer):
    found = encode_sentences(tokenizer, TEXTS, 16, 8)
    assert found.sentence_index[0].tolist() == [-1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, -1, -1, -1, -1, -1]
    assert found.mask.sum(1).tolist() == [11, 2, 1, 1]
    assert (found.tokens[:, 0] == tokenizer.vocabulary.start).all()
    assert found.cut == 0
    whole = tokenizer.encode(TEXTS[:1], 16).tokens[0]
    assert (found.tokens[0] == whole).all()  # as when it is encoded in one piece


def test_sentences_without_a_full_stop_do_not_fuse(tokenizer):
    """The release joins sentences without a blank."""
    text = "Heart size normal\n\nNo effusion"
    assert split_sentences(text) == ["Heart size normal", "No effusion"]
    index = encode_sentences(tokenizer, [text], 8, 8).sentence_index[0]
    assert index.tolist() == [-1, 1, 1, 1, 2, 2, -1, -1]


def test_what_is_too_long_is_cut_and_counted(tokenizer):
    many = "No effusion. " * 200
    found = encode_sentences(tokenizer, [many, "Effusion."], 64, 4)
    assert found.cut == 1
    assert found.sentence_index[0].max() == 4
    assert encode_sentences(tokenizer, [many], 6, 100).sentence_index.max() == 2


def test_berts_words_end_with_their_separator(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "no", "effusion", "."]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    loaded = load_tokenizer(tmp_path)
    found = encode_sentences(loaded, ["No effusion. No effusion."], 5, 4)
    assert found.tokens[0].tolist() == [2, 5, 6, 7, 3]  # cut, and the separator is kept
    assert found.sentence_index[0].tolist() == [-1, 1, 1, 1, -1]
    assert encode_sentences(loaded, [None], 5, 4).tokens[0].tolist() == [2, 3, 0, 0, 0]


def test_other_languages_are_kept_as_they_are(tokenizer):
    spanish = train_tokenizer(["Silueta cardíaca aumentada. Derrame pleural."] * 3, vocab_size=200)
    found = encode_sentences(spanish, ["Silueta cardíaca aumentada. Derrame pleural."], 16, 4)
    assert found.sentence_index[0].max() == 2
    assert (found.tokens[0][found.mask[0]] != spanish.vocabulary.unknown).all()


# --- prompts ----------------------------------------------------------------------------------------------------------


def test_prompts_of_a_class_are_an_ensemble(tmp_path):
    path = tmp_path / "prompts.csv"
    path.write_text("Class,Prompt\nsick,An effusion.\nwell,No  effusion.\nsick,Effusion.\nsick,Effusion.\n")
    assert read_prompts(path) == {"sick": ["An effusion.", "Effusion."], "well": ["No effusion."]}
    assert prompts_of({"a": "x", "b": ["y", "z"]}) == {"a": ["x"], "b": ["y", "z"]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("class,prompt\n,Secret words.\n", r"prompts.csv row 2: a prompt without a class"),
        ("class,prompt\nsick,\n", "row 2: a class without a prompt"),
        (
            "class,prompt\nsick,Secret words.\nwell,Secret words.\n",
            "row 3: the same prompt for 'well' and 'sick'",
        ),
        ("class,prompt\nsick,Secret words.\n", "prompts of 1 class, and there is nothing to choose"),
        ("name,words\na,b\n", "no columns 'class' and 'prompt'"),
    ],
)
def test_prompts_that_cannot_be_used_are_one_line_without_their_text(tmp_path, text, said):
    (tmp_path / "prompts.csv").write_text(text)
    with pytest.raises(InputError, match=said) as error:
        read_prompts(tmp_path / "prompts.csv")
    assert "\n" not in str(error.value)
    assert "Secret" not in str(error.value)


def test_prompts_that_are_not_there_and_classes_without_any():
    with pytest.raises(InputError, match=r"prompts 'none.csv' do not exist"):
        read_prompts("none.csv")
    with pytest.raises(InputError, match="class 'a' has no prompt"):
        prompts_of({"a": ["..."]})


# --- the folder of a BERT ---------------------------------------------------------------------------------------------


def test_sizes_of_a_bert_are_read_and_other_networks_refused(tmp_path):
    sizes = {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
        "max_position_embeddings": 64, "type_vocab_size": 2,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(sizes))
    assert bert_sizes(tmp_path)["text_width"] == 16
    with pytest.raises(InputError, match="has no weights"):
        bert_weights(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**sizes, "model_type": "roberta"}))
    with pytest.raises(InputError, match="a network of kind 'roberta'"):
        bert_sizes(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="does not say the sizes of a BERT"):
        bert_sizes(tmp_path)
    with pytest.raises(InputError, match=r"no config.json in it"):
        bert_sizes(tmp_path / "none")


def test_numbers_fit_their_types(tokenizer):
    found = encode_sentences(tokenizer, TEXTS, 16, 8)
    assert (found.tokens.dtype, found.sentence_index.dtype) == (np.int32, np.int16)
