"""Tokens of reports: MRM's rules, BERT's vocabularies (against transformers), files, and no leak from test reports."""

import csv
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modicum.data.reports import Vocabulary, load_tokenizer, train_tokenizer
from modicum.errors import InputError

REPORTS = [
    "FINDINGS: The heart is enlarged. There is a 12mm nodule in the right lung.",
    "FINDINGS: No focal consolidation, pleural effusion or pneumothorax. ___ unchanged.",
    "IMPRESSION: Normal chest. The lungs are clear. ___",
    "IMPRESSION: The heart is normal in size. No pneumothorax; no effusion.",
]
BERT = [
    "[PAD]",
    "[unused0]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "the",
    "heart",
    "is",
    "en",
    "##lar",
    "##ged",
    ".",
    "_",
]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(REPORTS * 3, vocab_size=200)


# --- the rules --------------------------------------------------------------------------------------------------------


def test_special_tokens_have_the_published_ids(tokenizer):
    vocabulary = tokenizer.vocabulary
    assert (vocabulary.pad, vocabulary.unknown, vocabulary.start, vocabulary.mask) == (0, 1, 2, 3)
    assert [tokenizer.token(number) for number in range(4)] == ["[PAD]", "[UNK]", "[CLS]", "[MASK]"]
    assert vocabulary.size <= 200
    assert len(vocabulary.continuation) == vocabulary.size


def test_there_is_no_separator_token(tokenizer):
    assert "[SEP]" not in {tokenizer.token(number) for number in range(tokenizer.vocabulary.size)}


def test_case_and_accents_do_not_matter(tokenizer):
    assert tokenizer.pieces("HEART") == tokenizer.pieces("heart") == tokenizer.pieces("Heàrt")


def test_compatibility_forms_are_taken_apart(tokenizer):
    assert tokenizer.pieces("ﬁndings") == tokenizer.pieces("findings")


def test_digits_are_apart_from_letters(tokenizer):
    assert tokenizer.pieces("12mm") == tokenizer.pieces("12 mm")


def test_words_that_are_frequent_are_one_token(tokenizer):
    assert tokenizer.pieces("the heart ___") == ["the", "heart", "___"]


def test_continuation_pieces_are_those_that_are_written_so(tokenizer):
    names = [tokenizer.token(number) for number in range(tokenizer.vocabulary.size)]
    assert tokenizer.vocabulary.continuation.tolist() == [name.startswith("##") for name in names]


def test_words_of_more_than_100_characters_are_unknown(tokenizer):
    assert tokenizer.pieces("heart" * 20) != ["[UNK]"]
    assert tokenizer.pieces("heart" * 20 + "s") == ["[UNK]"]


def test_what_looks_like_a_special_token_in_a_report_is_text(tokenizer):
    encoded = tokenizer.encode(["the [MASK] heart [CLS] [PAD]"])
    ids = encoded.tokens[0, encoded.mask[0]]
    assert (ids == 2).sum() == 1
    assert not np.isin([0, 3], ids).any()


def test_reports_begin_with_cls_and_are_padded_with_0(tokenizer):
    encoded = tokenizer.encode(["the heart", None, ""], length=6)
    assert encoded.tokens.dtype == np.int64
    assert encoded.tokens.shape == encoded.mask.shape == (3, 6)
    assert encoded.tokens[:, 0].tolist() == [2, 2, 2]
    assert encoded.mask.sum(1).tolist() == [3, 1, 1]
    assert (encoded.tokens[~encoded.mask] == 0).all()


def test_reports_are_cut_at_100_tokens(tokenizer):
    encoded = tokenizer.encode(["the heart " * 4_000])
    assert encoded.tokens.shape == (1, 100)
    assert encoded.mask.all()


@given(st.lists(st.text(alphabet="the hart12_.é", max_size=60), min_size=1, max_size=4), st.integers(2, 30))
@settings(max_examples=50)
def test_a_shorter_length_gives_the_front_of_a_longer_one(reports, length):
    found = train_tokenizer(REPORTS, vocab_size=200)
    short, long = found.encode(reports, length), found.encode(reports, 64)
    np.testing.assert_array_equal(short.tokens, long.tokens[:, :length])


# --- training ---------------------------------------------------------------------------------------------------------


def test_the_same_reports_give_the_same_vocabulary_every_time():
    found = [train_tokenizer(REPORTS, vocab_size=150) for _ in range(5)]
    assert len({tuple(one.token(n) for n in range(one.vocabulary.size)) for one in found}) == 1


def test_a_word_of_test_reports_alone_is_no_token_but_pieces_or_unknown():
    word = "mesothelioma"
    seen = train_tokenizer([*REPORTS, *[word] * 9], vocab_size=300)
    unseen = train_tokenizer(REPORTS, vocab_size=300)
    assert seen.pieces(word) == [word]
    assert unseen.pieces(word) == ["[UNK]"] or len(unseen.pieces(word)) > 1


def test_a_character_of_test_reports_alone_is_unknown(tokenizer):
    assert tokenizer.pieces("β") == ["[UNK]"]


def test_a_vocabulary_smaller_than_the_alphabet_is_refused_with_its_size():
    with pytest.raises(InputError, match=r"vocabulary of 10 tokens cannot hold the (\d+) .*pass \1 or more"):
        train_tokenizer(REPORTS, vocab_size=10)


@pytest.mark.parametrize("reports", [[], ["", "  "]])
def test_nothing_to_learn_from_is_an_error(reports):
    with pytest.raises(InputError, match="no reports to train a tokenizer on"):
        train_tokenizer(reports)


def test_the_indiana_reports_need_few_unknown_tokens_outside_of_training(real_images):
    with (real_images("cxr_reports") / "indiana_reports.csv").open(encoding="utf-8", newline="") as file:
        texts = [f"{row['findings']} {row['impression']}" for row in csv.DictReader(file)]
    found = train_tokenizer(texts[:2_000], vocab_size=2_000)
    encoded = found.encode(texts[2_000:])
    assert found.vocabulary.size == 2_000
    real = encoded.tokens[encoded.mask]
    assert (real == found.vocabulary.unknown).mean() < 1e-3


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_saved_tokenizer_is_the_same(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer.json")
    text = ["The 12mm nodule [MASK] Ünchanged ___ pneumoperitoneum"]
    for again in (load_tokenizer(tmp_path / "tokenizer.json"), load_tokenizer(tmp_path)):
        np.testing.assert_array_equal(again.encode(text).tokens, tokenizer.encode(text).tokens)
        assert again.vocabulary.size == tokenizer.vocabulary.size


def test_what_is_saved_is_json_that_the_library_reads(tokenizer, tmp_path):
    from tokenizers import Tokenizer

    tokenizer.save(tmp_path / "t.json")
    assert json.loads((tmp_path / "t.json").read_text())["model"]["type"] == "WordPiece"
    assert Tokenizer.from_file(str(tmp_path / "t.json")).encode("the heart").tokens == ["the", "heart"]


@pytest.mark.parametrize("cased", [False, True])
def test_bert_vocabularies_are_read_as_bert_reads_them(tmp_path, cased):
    transformers = pytest.importorskip(
        "transformers", reason="needs transformers, another implementation to compare with"
    )
    words = [*BERT, "Heart", "##n"] if cased else BERT
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    reference = transformers.BertTokenizer(str(tmp_path / "vocab.txt"), do_lower_case=not cased)
    found = load_tokenizer(tmp_path / "vocab.txt")
    for text in ("The Heart is enlarged.", "the héart, is _ en", "heart  Enlarged zzz"):
        assert found.pieces(text) == reference.tokenize(text)
    vocabulary = found.vocabulary
    assert (vocabulary.pad, vocabulary.unknown, vocabulary.start, vocabulary.mask) == (0, 2, 3, 5)


def test_files_that_are_no_tokenizers_are_named(tmp_path):
    (tmp_path / "damaged.json").write_text('{"version": "1.0", "mod')
    (tmp_path / "words.txt").write_text("heart\nlung\n")
    (tmp_path / "twice.txt").write_text("\n".join([*BERT, "the"]))
    (tmp_path / "latin.txt").write_bytes(b"[PAD]\n\xfc\n")
    for name, problem in (
        ("gone.json", "does not exist"),
        ("damaged.json", "cannot be read"),
        ("words.txt", r"has no \[PAD\] and no \[UNK\]"),
        ("twice.txt", "names a token twice"),
        ("latin.txt", "is not UTF-8"),
    ):
        with pytest.raises(InputError, match=problem):
            load_tokenizer(tmp_path / name)


def test_a_tokenizer_without_a_mask_token_is_refused(tmp_path):
    from tokenizers import Tokenizer, models

    Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]")).save(str(tmp_path / "t.json"))
    with pytest.raises(InputError, match=r"no \[PAD\] and no \[CLS\] and no \[MASK\]"):
        load_tokenizer(tmp_path / "t.json")


def test_the_hub_out_of_reach_is_an_error_that_says_what_to_do(monkeypatch):
    import huggingface_hub

    def unreachable(*_):
        raise ConnectionError

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    with pytest.raises(InputError, match=r"hf-hub:owner/clinical' cannot be downloaded.*local"):
        load_tokenizer("hf-hub:owner/clinical")


def test_the_hub_gives_a_vocabulary_where_it_has_no_json(monkeypatch, tmp_path):
    import huggingface_hub

    def download(_, file):
        if file != "vocab.txt":
            raise FileNotFoundError(file)
        (tmp_path / file).write_text("\n".join(BERT))
        return str(tmp_path / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    found = load_tokenizer("hf-hub:owner/clinical")
    assert isinstance(found.vocabulary, Vocabulary)
    assert found.vocabulary.size == len(BERT)
