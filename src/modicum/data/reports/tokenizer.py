"""Tokenizes reports with WordPiece vocabularies, trained here or loaded.

A trained tokenizer follows MRM (Zhou et al., ICLR 2023, arXiv 2301.13155): lower case, NFKD, no accents; words split at
blanks and punctuation, digits apart from letters; ``[PAD]`` 0, ``[UNK]`` 1, ``[CLS]`` 2, ``[MASK]`` 3 and no ``[SEP]``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int32, Int64

from modicum.atomic_files import write_text
from modicum.errors import InputError

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[MASK]")
"""Special tokens of trained tokenizers, in the order of their ids."""
CONTINUATION = "##"
"""Prefix of pieces that continue a word."""
LONGEST_WORD = 100
"""Maximum characters of a word; longer words become ``[UNK]``."""


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The parts of a tokenizer that networks and masking need.

    Attributes:
        size: tokens.
        continuation: for each token, whether it continues a word.
        pad, unknown, start, mask: ids of the special tokens.
    """

    size: int
    continuation: Bool[np.ndarray, "size"]
    pad: int
    unknown: int
    start: int
    mask: int


@dataclass(frozen=True, eq=False)
class EncodedReports:
    """Encoded reports, padded to one length.

    Attributes:
        tokens: ids; the first is ``[CLS]``, after the report is ``[PAD]``.
        mask: True where a token is not padding.
    """

    tokens: Int64[np.ndarray, "reports length"]
    mask: Bool[np.ndarray, "reports length"]


class ReportTokenizer:
    """A WordPiece tokenizer; see :func:`train_tokenizer` and :func:`load_tokenizer`.

    Text that looks like a special token (``[MASK]``) never becomes one.

    Args:
        inner: tokenizer of the ``tokenizers`` library.
        source: name for errors.

    Attributes:
        vocabulary: sizes and ids for networks.

    Raises:
        InputError: it lacks one of :data:`SPECIAL_TOKENS`.
    """

    def __init__(self, inner: Any, source: str = "tokenizer") -> None:
        inner.encode_special_tokens = True
        inner.no_padding()
        inner.no_truncation()
        self._inner = inner
        ids = inner.get_vocab(with_added_tokens=True)
        missing = [token for token in SPECIAL_TOKENS if token not in ids]
        if missing:
            raise InputError(
                f"tokenizer '{source}' has no {' and no '.join(missing)}",
                "use a BERT vocabulary or train one",
            )
        continuation = np.zeros(max(ids.values()) + 1, bool)
        for token, number in ids.items():
            continuation[number] = len(token) > len(CONTINUATION) and token.startswith(CONTINUATION)
        self.vocabulary = Vocabulary(
            len(continuation), continuation, *(ids[token] for token in SPECIAL_TOKENS)
        )

    def encode(self, texts: Sequence[str | None], length: int = 100) -> EncodedReports:
        """Encodes texts as ``[CLS]`` and their pieces, truncated and padded to a length.

        Args:
            texts: reports; None is an empty one, only ``[CLS]``.
            length: number of tokens.
        """
        if length < 2:
            raise InputError(
                f"a report length of {length} tokens is too short",
                "pass a length of 2 or more, for instance 100",
            )
        tokens = np.full((len(texts), length), self.vocabulary.pad, np.int64)
        mask = np.zeros(tokens.shape, bool)
        encodings = self._inner.encode_batch([text or "" for text in texts], add_special_tokens=False)
        for row, encoding in enumerate(encodings):
            ids = [self.vocabulary.start, *encoding.ids[: length - 1]]
            tokens[row, : len(ids)] = ids
            mask[row, : len(ids)] = True
        return EncodedReports(tokens, mask)

    def token_ids(self, texts: Sequence[str]) -> list[Int32[np.ndarray, "pieces"]]:
        """The ids of each text's pieces alone, without special tokens."""
        encodings = self._inner.encode_batch(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]

    @property
    def separator(self) -> int | None:
        """Id of ``[SEP]``, which BERT's vocabularies have and trained ones here have not."""
        found: int | None = self._inner.token_to_id("[SEP]")
        return found

    def pieces(self, text: str) -> list[str]:
        """The pieces of a text, as written in the vocabulary."""
        return list(self._inner.encode(text, add_special_tokens=False).tokens)

    def token(self, number: int) -> str:
        """The text of a token."""
        return str(self._inner.id_to_token(number))

    def save(self, path: Path | str) -> None:
        """Writes the tokenizer as JSON, for :func:`load_tokenizer` and the ``tokenizers`` library."""
        write_text(Path(path), self.to_json())

    def to_json(self) -> str:
        """The JSON text that :meth:`save` writes."""
        return str(self._inner.to_str(pretty=True)) + "\n"


def train_tokenizer(
    texts: Iterable[str], vocab_size: int = 30_000, min_frequency: int = 2
) -> ReportTokenizer:
    """Trains a tokenizer on reports, which must be those of training only. The same reports give the same vocabulary.

    Args:
        texts: reports of the training images.
        vocab_size: maximum number of tokens, including special ones; few reports give fewer.
        min_frequency: how often two pieces must follow each other to become one.

    Raises:
        InputError: there are no reports, or their characters alone are more than ``vocab_size``.
    """
    from tokenizers import Tokenizer, normalizers, pre_tokenizers, trainers

    texts = list(texts)
    if not any(text.strip() for text in texts):
        raise InputError(
            "there are no reports to train a tokenizer on", "fill the report column of the training rows"
        )
    inner = Tokenizer(_word_piece())
    inner.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.NFKD(), normalizers.StripAccents()]
    )
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=False)]
    )
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        # The library numbers pieces of one letter in the order of a hash table, so that two trainings would differ.
        # Special tokens are numbered first and in order.
        special_tokens=[*SPECIAL_TOKENS, *_continuing_letters(inner, texts)],
        continuing_subword_prefix=CONTINUATION,
        show_progress=False,
    )
    inner.train_from_iterator(texts, trainer)
    learned = inner.get_vocab()
    if len(learned) > vocab_size:
        raise InputError(
            f"a vocabulary of {vocab_size} tokens cannot hold the {len(learned)} characters and special tokens of "
            "these reports",
            f"pass {len(learned)} or more",
        )
    # A new tokenizer, as the letters are not special tokens.
    trained = Tokenizer(_word_piece(learned))
    trained.normalizer, trained.pre_tokenizer = inner.normalizer, inner.pre_tokenizer
    trained.add_special_tokens(list(SPECIAL_TOKENS))
    return ReportTokenizer(trained, "trained")


def _word_piece(vocabulary: Mapping[str, int] | None = None) -> Any:
    from tokenizers import models

    arguments: dict[str, Any] = {} if vocabulary is None else {"vocab": dict(vocabulary)}
    return models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=LONGEST_WORD, **arguments)


def _continuing_letters(inner: Any, texts: Iterable[str]) -> list[str]:
    """Pieces of one letter that continue a word, in alphabetical order."""
    letters: set[str] = set()
    for text in texts:
        for word, _ in inner.pre_tokenizer.pre_tokenize_str(inner.normalizer.normalize_str(text)):
            letters.update(word[1:])
    return [CONTINUATION + letter for letter in sorted(letters)]


def load_tokenizer(source: Path | str) -> ReportTokenizer:
    """Loads a tokenizer.

    Args:
        source: a ``tokenizer.json``, a BERT vocabulary (``vocab.txt``, one token per line), a folder with one of
            the two, or ``hf-hub:owner/name`` for one on the Hugging Face hub.

    Raises:
        InputError: it does not exist, is damaged, or cannot be downloaded.
    """
    if str(source).startswith("hf-hub:"):
        return _from_hub(str(source).removeprefix("hf-hub:"))
    path = Path(source)
    if path.is_dir():
        path = next(
            (path / name for name in ("tokenizer.json", "vocab.txt") if (path / name).is_file()), path
        )
    if not path.is_file():
        raise InputError(
            f"tokenizer '{source}' does not exist", "pass the path of a tokenizer.json or vocab.txt"
        )
    return _bert(path) if path.suffix.lower() == ".txt" else _json(path)


def tokenizer_of_json(text: str, source: str = "tokenizer.json") -> ReportTokenizer:
    """The tokenizer of :meth:`ReportTokenizer.to_json`'s text. Raises :class:`InputError` where it is damaged."""
    from tokenizers import Tokenizer

    try:
        return ReportTokenizer(Tokenizer.from_str(text), source)
    except InputError:
        raise
    except Exception as error:  # the library raises bare exceptions
        raise InputError(f"tokenizer '{source}' cannot be read", "copy it again") from error


def _json(path: Path) -> ReportTokenizer:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"tokenizer '{path}' cannot be read", "copy it again") from error
    return tokenizer_of_json(text, str(path))


def _bert(path: Path) -> ReportTokenizer:
    """A tokenizer with BERT's rules; whether it is cased is inferred from the words of the vocabulary."""
    from tokenizers import Tokenizer, normalizers, pre_tokenizers

    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise InputError(
            f"vocabulary '{path}' is not UTF-8", "pass a BERT vocab.txt with one token per line"
        ) from None
    tokens = [line.rstrip("\r") for line in lines]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    lacking = [token for token in SPECIAL_TOKENS if token not in vocabulary]
    if lacking or len(vocabulary) != len(tokens):
        problem = f"has no {' and no '.join(lacking)}" if lacking else "names a token twice"
        raise InputError(f"vocabulary '{path}' {problem}", "pass a BERT vocab.txt with one token per line")
    cased = any(
        token != token.lower() for token in tokens if not (token.startswith("[") and token.endswith("]"))
    )
    inner = Tokenizer(_word_piece(vocabulary))
    inner.normalizer = normalizers.BertNormalizer(lowercase=not cased)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return ReportTokenizer(inner, str(path))


def _from_hub(name: str) -> ReportTokenizer:
    from huggingface_hub import hf_hub_download

    for file in ("tokenizer.json", "vocab.txt"):
        try:
            return load_tokenizer(hf_hub_download(name, file))
        except InputError:
            raise
        except (
            Exception
        ) as error:  # no network, no such file, no such repository: one base class for none of them
            last = error
    raise InputError(
        f"tokenizer 'hf-hub:{name}' cannot be downloaded ({type(last).__name__})",
        "check the name and the network, or pass a local tokenizer.json or vocab.txt",
    )
