"""Encodes reports sentence by sentence, so that each token's sentence is known."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int16, Int32

from modicum.data.reports.sentences import split_sentences
from modicum.data.reports.tokenizer import ReportTokenizer

NO_SENTENCE = -1
"""Number of the sentence of tokens that belong to none."""


@dataclass(frozen=True, eq=False)
class NumberedReports:
    """Encoded reports whose tokens know their sentence, padded to one length.

    Attributes:
        tokens: ids; the first is ``[CLS]``, the last of a report ``[SEP]`` where the vocabulary has one.
        mask: True where a token is not padding.
        sentence_index: number of each token's sentence, from 1; -1 for ``[CLS]``, ``[SEP]`` and padding.
        is_cut: whether a report lost a token or sentence.
    """

    tokens: Int32[np.ndarray, "reports length"]
    mask: Bool[np.ndarray, "reports length"]
    sentence_index: Int16[np.ndarray, "reports length"]
    is_cut: Bool[np.ndarray, "reports"]

    @property
    def cut(self) -> int:
        """Number of reports that lost a token or sentence."""
        return int(self.is_cut.sum())


def encode_sentences(
    tokenizer: ReportTokenizer, texts: Sequence[str | None], length: int = 256, sentences: int = 32
) -> NumberedReports:
    """Splits texts into sentences and encodes each by itself.

    Sentences are never joined as text: without a blank between them, words would fuse and all later numbers shift (as
    they do in the release of PRIOR). A sentence that repeats among the reports is encoded once.

    Args:
        tokenizer: of the reports.
        texts: reports; None is an empty one.
        length: tokens of a report at most.
        sentences: of a report at most; later ones are left out.
    """
    split = [split_sentences(text) if text else [] for text in texts]
    distinct = list(dict.fromkeys(sentence for report in split for sentence in report[:sentences]))
    ids = dict(zip(distinct, tokenizer.token_ids(distinct), strict=True))
    end = tokenizer.separator
    room = length - 1 - (end is not None)
    tokens = np.full((len(texts), length), tokenizer.vocabulary.pad, np.int32)
    index = np.full(tokens.shape, NO_SENTENCE, np.int16)
    mask = np.zeros(tokens.shape, bool)
    is_cut = np.zeros(len(texts), bool)
    for row, report in enumerate(split):
        pieces = [ids[sentence] for sentence in report[:sentences]]
        pieces = [piece for piece in pieces if len(piece)]
        lengths = [len(piece) for piece in pieces]
        whole = np.concatenate(pieces) if pieces else np.zeros(0, np.int32)
        count = min(len(whole), room)
        is_cut[row] = len(whole) > room or len(report) > sentences
        tokens[row, 0] = tokenizer.vocabulary.start
        tokens[row, 1 : 1 + count] = whole[:count]
        index[row, 1 : 1 + count] = np.repeat(np.arange(1, len(pieces) + 1), lengths)[:count]
        if end is not None:
            tokens[row, 1 + count] = end
        mask[row, : 1 + count + (end is not None)] = True
    return NumberedReports(tokens, mask, index, is_cut)
