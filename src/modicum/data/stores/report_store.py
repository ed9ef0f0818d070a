"""A store of encoded reports: each text is split into sentences and tokenised once for a tokenizer and its settings.

A store is the folder ``reports-<hash of the settings>`` with a shard store inside: a record a text, known by a hash of
its content, so that any number of data sets, stages and runs share it. Beside it are the vocabularies that were learned.
Like the images beside them, both hold data of patients.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from modicum.atomic_files import write_text
from modicum.data.reports import (
    NumberedReports,
    ReportTokenizer,
    encode_sentences,
    tokenizer_of_json,
    train_tokenizer,
)
from modicum.data.stores.shard_format import (
    DamagedRecordError,
    DamagedStoreError,
    RecordSpec,
    settings_hash,
    store_folder,
)
from modicum.data.stores.shard_writer import ShardWriter
from modicum.data.stores.shards import ShardStore
from modicum.errors import InputError
from modicum.progress import bar, say

# Of how texts become sentences and tokens: another number where that changes, so that records of before are not used.
_RULES = 1
_AT_ONCE = 4096
"""Texts that are encoded before their records are written."""


@dataclass(frozen=True)
class Encoding:
    """How a report becomes tokens.

    Attributes:
        length: tokens of a report, with ``[CLS]`` (and ``[SEP]``, where sentences are numbered and there is one).
        sentences: of a report at most, which are encoded one by one; 0: the text in one piece, without their numbers.
    """

    length: int
    sentences: int


def encode_reports(
    tokenizer: ReportTokenizer, texts: Sequence[str | None], encoding: Encoding, stores: Path | None = None
) -> NumberedReports:
    """Encodes reports; those that a store has, by the same tokenizer and settings, are read from it.

    Args:
        tokenizer: of the reports.
        texts: reports; None is an empty one.
        encoding: length, and whether sentences are numbered.
        stores: folder of the stores; None to encode all of them anew and keep nothing.

    Raises:
        ResourceError: the disk is full.
    """
    if stores is None:
        return _encoded(tokenizer, texts, encoding)
    settings = {
        "rules": _RULES,
        "tokenizer": hashlib.sha256(tokenizer.to_json().encode()).hexdigest(),
        "tokenizers": version("tokenizers"),
        **asdict(encoding),
    }
    dtype = "<u2" if tokenizer.vocabulary.size <= 1 << 16 and encoding.sentences < 1 << 16 else "<i4"
    spec = RecordSpec(dtype, (2, 1 + encoding.length))
    root = store_folder(stores, "reports", settings)
    keys = [_key(text) for text in texts]
    text_of = dict(zip(keys, texts, strict=True))
    for last in (False, True):
        store = _filled(root, settings, spec, text_of, lambda some: _encoded(tokenizer, some, encoding))
        try:
            records = store.read([store.index_of(key) for key in keys])
            break
        except DamagedRecordError:  # it is on the store's list now, and made again
            if last:
                raise
    return _as_reports(records, tokenizer.vocabulary.pad)


def learned_tokenizer(texts: Sequence[str], vocab_size: int, stores: Path | None = None) -> ReportTokenizer:
    """The tokenizer that these texts teach; see :func:`~modicum.data.reports.train_tokenizer`.

    Args:
        texts: reports of the training images.
        vocab_size: tokens at most.
        stores: folder where it is kept, so that the same texts are not learned from again; None to keep nothing.
    """
    if stores is None:
        return train_tokenizer(texts, vocab_size)
    digest = hashlib.sha256()
    for text in texts:
        digest.update(bytes.fromhex(_key(text)))
    wanted = {
        "texts": digest.hexdigest(),
        "size": vocab_size,
        "tokenizers": version("tokenizers"),
        "rules": _RULES,
    }
    path = stores / f"vocabulary-{settings_hash(wanted)[:16]}.json"
    try:
        return tokenizer_of_json(path.read_text(encoding="utf-8"), path.name)
    except (OSError, UnicodeDecodeError, InputError):
        tokenizer = train_tokenizer(texts, vocab_size)
    write_text(path, tokenizer.to_json())
    return tokenizer


def _key(text: str | None) -> str:
    """A hash of a text; no report is the empty text."""
    return hashlib.blake2b((text or "").encode(errors="surrogatepass"), digest_size=16).hexdigest()


def _encoded(tokenizer: ReportTokenizer, texts: Sequence[str | None], encoding: Encoding) -> NumberedReports:
    if encoding.sentences:
        return encode_sentences(tokenizer, texts, encoding.length, encoding.sentences)
    whole = tokenizer.encode(texts, encoding.length)
    none = np.full(whole.tokens.shape, -1, np.int16)
    return NumberedReports(whole.tokens.astype(np.int32), whole.mask, none, np.zeros(len(texts), dtype=bool))


def _filled(
    root: Path,
    settings: Mapping[str, Any],
    spec: RecordSpec,
    text_of: Mapping[str, str | None],
    encode: Callable[[Sequence[str | None]], NumberedReports],
) -> ShardStore:
    """The store with a record of each text, by its key."""
    try:
        known = ShardStore.open(root, settings, skip_damaged=True)
    except (InputError, DamagedStoreError) as error:
        if isinstance(error, DamagedStoreError):
            say(f"{error.problem}; its reports are encoded again")
            shutil.rmtree(root)
        known = None
    if known is not None and all(key in known for key in text_of):
        return known
    with ShardWriter(root, settings, spec) as writer:
        missing = [key for key in text_of if key not in writer]
        writer.check_space(len(missing))
        with bar("encoding reports", len(missing)) as progress_bar:
            for some in _chunks(missing):
                for key, record in zip(
                    some, _as_records(encode([text_of[key] for key in some]), spec), strict=True
                ):
                    writer.add(key, record)
                progress_bar.advance(len(some))
        return writer.finalise()


def _chunks(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), _AT_ONCE):
        yield keys[start : start + _AT_ONCE]


def _as_records(encoded: NumberedReports, spec: RecordSpec) -> Shaped[np.ndarray, "reports 2 columns"]:
    """First the number of tokens and whether the report was cut, then each token and its sentence (0: of none)."""
    records = np.zeros((len(encoded.tokens), *spec.shape), dtype=spec.dtype)
    records[:, 0, 0], records[:, 1, 0] = encoded.mask.sum(1), encoded.is_cut
    records[:, 0, 1:] = encoded.tokens
    records[:, 1, 1:] = np.maximum(encoded.sentence_index, 0)
    return records


def _as_reports(records: Shaped[np.ndarray, "reports 2 columns"], pad: int) -> NumberedReports:
    places = np.arange(records.shape[2] - 1)
    index = records[:, 1, 1:].astype(np.int16)
    index[index == 0] = -1
    return NumberedReports(
        records[:, 0, 1:].astype(np.int32), places < records[:, 0, :1], index, records[:, 1, 0] > 0
    )
