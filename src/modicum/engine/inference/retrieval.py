"""Finds the reports that fit an image, or the images that fit a sentence, among those of a data set."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from modicum.data.image import ImageRef
from modicum.data.layouts.asked_split import rows_of_split
from modicum.data.manifest import Manifest
from modicum.data.readers.content import SUFFIX_FORMATS
from modicum.data.reports import read_reports, split_sentences
from modicum.engine.inference.image_text import ImageTextRun
from modicum.engine.inference.zero_shot import LOCAL_SHARE, SCORED_BY
from modicum.engine.inputs.preparation import read_manifest
from modicum.engine.recipe.settings import DataSettings
from modicum.errors import InputError, did_you_mean
from modicum.methods.image_text import EncodedImages, EncodedTexts, ImageTextModel
from modicum.progress import bar, say
from modicum.wording import count_of, listed

RETRIEVED = ("retrieved.csv", "retrieved.html")
"""The files of a search."""


@dataclass(frozen=True)
class Hit:
    """One answer to a query.

    Attributes:
        row: of the data set.
        rank: from 1.
        score: higher is nearer; comparable within a query.
        reading: how much the query's sentence reads of each region of the image ``[rows, columns]``, where known.
    """

    row: int
    rank: int
    score: float
    reading: Float[np.ndarray, "rows columns"] | None = None


@dataclass(frozen=True)
class Answer:
    """A query with its hits, the best first. ``name`` holds no text: ``text 1``, or the path of an image."""

    name: str
    image: ImageRef | None
    hits: list[Hit]


@dataclass(frozen=True)
class Retrieved:
    """Answers among the rows of a data set.

    Attributes:
        answers: one for each query.
        manifest: the rows.
        sentences: of each row's report, by row; empty where they were not asked for.
    """

    answers: list[Answer]
    manifest: Manifest
    sentences: dict[int, list[str]] = field(default_factory=dict)


def retrieve(
    run: ImageTextRun,
    queries: Sequence[str],
    data: DataSettings,
    k: int,
    scored_by: str | None = None,
    sentences: bool = False,
    split: str | None = None,
) -> Retrieved:
    """Answers each query with ``k`` rows of a data set: an image with reports, a text with images.

    Args:
        run: the opened run.
        queries: paths of images, or texts.
        data: how the data set is read.
        k: answers to each query.
        scored_by: ``global`` (default), ``local`` or ``both``, as for prompts.
        sentences: whether the sentences of the hits' reports are given back.
        split: rows to search; all by default.

    Raises:
        InputError: nothing to search for or among, or a way to score that the run has not learned.
    """
    _check(run, queries, k, scored_by)
    manifest = read_manifest(data, run.recipe.task)
    for note in manifest.notes:
        say(note)
    manifest, _ = rows_of_split(manifest, split)
    images = {number: ref for number, query in enumerate(queries) if (ref := image_of(query)) is not None}
    answers: dict[int, list[Hit]] = {}
    scored = scored_by or "global"
    texts = [number for number in range(len(queries)) if number not in images]
    if images:
        answers |= _reports_for(run, manifest, images, k, scored)
    if texts:
        answers |= _images_for(run, manifest, {number: queries[number] for number in texts}, k, scored)
    names = {n: str(images[n]) if n in images else f"text {texts.index(n) + 1}" for n in range(len(queries))}
    all_answers = [
        Answer(names[number], images.get(number), answers[number]) for number in range(len(queries))
    ]
    rows = {hit.row for answer in all_answers for hit in answer.hits} if sentences else set()
    return Retrieved(all_answers, manifest, _sentences_of(manifest, rows))


def _check(run: ImageTextRun, queries: Sequence[str], k: int, scored_by: str | None) -> None:
    if k < 1:
        raise InputError(f"-k is {k}", "ask for one answer or more, for instance -k 10")
    if not queries or not all(query.strip() for query in queries):
        raise InputError("an empty query", "pass --query with the path of an image, or a sentence")
    if scored_by is not None and scored_by not in SCORED_BY:
        raise InputError(f"unknown --scored-by '{scored_by}'", did_you_mean(scored_by, SCORED_BY))
    has_local = type(run.model).local_similarity is not ImageTextModel.local_similarity
    if scored_by in ("local", "both") and not has_local:
        raise InputError(
            f"method '{run.recipe.method}' compares wholes only", "pass --scored-by global, or leave it out"
        )


def image_of(query: str) -> ImageRef | None:
    """The image that a query names; None for a text.

    Raises:
        InputError: it looks like the path of an image, and there is none.
    """
    if len(query) < 1000 and "\n" not in query:
        try:
            ref = ImageRef.parse(query, None)
            if ref.path.is_file():
                return ref
        except (InputError, OSError, ValueError):
            pass
        if query.lower().endswith(tuple(SUFFIX_FORMATS)):
            raise InputError(f"image '{query}' does not exist", "check the path, or ask with a sentence")
    return None


# --- an image looks for reports ---------------------------------------------------------------------------------------


def _reports_for(
    run: ImageTextRun, manifest: Manifest, images: dict[int, ImageRef], k: int, scored_by: str
) -> dict[int, list[Hit]]:
    numbers = list(images)
    parts: list[EncodedImages] = []
    for _, encoded, broken in run.images(list(images.values())):
        if broken:
            index, reason = broken[0]
            raise InputError(
                f"image '{images[numbers[index]]}' cannot be read: {reason}", "ask with another image"
            )
        assert encoded is not None
        parts.append(encoded)
    queries = EncodedImages(
        *(torch.cat([getattr(part, name) for part in parts]) for name in EncodedImages._fields)
    )
    texts = read_reports(manifest).texts
    rows = [row for row, text in enumerate(texts) if text is not None]
    if not rows:
        raise InputError(
            f"{manifest.source}: no row has a report to find", "name the column with --report COLUMN"
        )
    scores: list[tuple[Tensor, Tensor | None]] = []
    with bar("reading reports", len(rows)) as progress_bar:
        for encoded_texts in run.texts([texts[row] for row in rows]):
            scores.append(_scores(run, queries, encoded_texts, scored_by))
            progress_bar.advance(len(encoded_texts.whole))
    mixed = _mixed([part[0] for part in scores], [part[1] for part in scores], scored_by)
    return {number: _best(mixed[place], rows, k) for place, number in enumerate(numbers)}


# --- a text looks for images ------------------------------------------------------------------------------------------


def _images_for(
    run: ImageTextRun, manifest: Manifest, texts: dict[int, str], k: int, scored_by: str
) -> dict[int, list[Hit]]:
    queries = run.all_texts(list(texts.values()))
    if not bool(queries.present.any(1).all()):
        raise InputError("a query without a word", "ask with a sentence")
    refs = manifest.refs()
    scores: list[tuple[Tensor, Tensor | None]] = []
    rows: list[int] = []
    lost: list[str] = []
    with bar("reading images", len(refs)) as progress_bar:
        for indices, encoded, broken in run.images(refs):
            lost += [str(manifest.table["image"].iloc[index]) for index, _ in broken]
            if encoded is not None:
                whole, local = _scores(run, encoded, queries, scored_by)
                scores.append((whole.T, None if local is None else local.T))
                rows += indices
            progress_bar.advance(len(indices) + len(broken))
    if lost:
        say(f"{count_of(len(lost), 'image')} that cannot be read left out ({listed(lost)})")
    if not rows:
        raise InputError(f"{manifest.source}: no image can be read", "check the files")
    mixed = _mixed([part[0] for part in scores], [part[1] for part in scores], scored_by)
    hits = {number: _best(mixed[place], rows, k) for place, number in enumerate(texts)}
    return {
        number: _with_readings(run, queries, place, hits[number], refs) for place, number in enumerate(texts)
    }


@torch.no_grad()
def _with_readings(
    run: ImageTextRun, queries: EncodedTexts, place: int, hits: list[Hit], refs: Sequence[ImageRef]
) -> list[Hit]:
    """Hits with what the query's sentences, taken together, read of each image's regions."""
    grid = run.model.grid
    if grid is None:
        return hits
    query = EncodedTexts(*(part[place : place + 1] for part in queries))
    maps: dict[int, np.ndarray] = {}
    for indices, encoded, _ in run.images([refs[hit.row] for hit in hits]):
        reading = None if encoded is None else run.model.reading(encoded, query)
        if reading is None:
            return hits
        mean = reading[:, 0][:, query.present[0]].float().mean(1).unflatten(1, grid).cpu().numpy()
        maps |= {hits[index].row: values for index, values in zip(indices, mean, strict=True)}
    return [Hit(hit.row, hit.rank, hit.score, maps.get(hit.row)) for hit in hits]


# --- scores -----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def _scores(
    run: ImageTextRun, images: EncodedImages, texts: EncodedTexts, scored_by: str
) -> tuple[Tensor, Tensor | None]:
    """Global and, where asked for, local scores ``[images, texts]``, on the CPU."""
    whole = run.model.similarity(images, texts).float().cpu()
    local = run.model.local_similarity(images, texts) if scored_by != "global" else None
    return whole, None if local is None else local.float().cpu()


def _mixed(
    whole: Sequence[Tensor], local: Sequence[Tensor | None], scored_by: str
) -> Float[np.ndarray, "queries rows"]:
    wholes = torch.cat(list(whole), 1)
    if scored_by == "global":
        return wholes.numpy()
    parts = torch.cat([part for part in local if part is not None], 1)
    if scored_by == "local":
        return parts.numpy()
    return (wholes.softmax(1) + LOCAL_SHARE * parts.softmax(1)).numpy()


def _best(scores: Float[np.ndarray, "rows"], rows: Sequence[int], k: int) -> list[Hit]:
    order = np.argsort(-scores, kind="stable")[:k]
    return [
        Hit(rows[place], rank, float(scores[place])) for rank, place in enumerate(order.tolist(), start=1)
    ]


def _sentences_of(manifest: Manifest, rows: set[int]) -> dict[int, list[str]]:
    if not rows or "report" not in manifest.table:
        return {}
    texts = read_reports(manifest).texts
    return {row: split_sentences(texts[row] or "") for row in rows}


def retrieved_table(retrieved: Retrieved) -> list[dict[str, Any]]:
    """A row for each hit: query, rank, image, patient where known, score, and sentences where they were asked for."""
    table = retrieved.manifest.table
    rows = []
    for answer in retrieved.answers:
        for hit in answer.hits:
            row: dict[str, Any] = {
                "query": answer.name,
                "rank": hit.rank,
                "image": table["image"].iloc[hit.row],
            }
            if "patient" in table:
                row["patient"] = table["patient"].iloc[hit.row]
            row["score"] = hit.score
            if retrieved.sentences:
                row["sentences"] = " ".join(retrieved.sentences.get(hit.row, []))
            rows.append(row)
    return rows


def data_of(query: DataSettings, source: str | Path, given: dict[str, Any]) -> DataSettings:
    """How the searched data are read: as the run's own where nothing else is said, broken images left out."""
    columns = {
        role: name for role, name in query.columns.items() if role in ("image", "report", "patient", "split")
    }
    changed: dict[str, Any] = {
        "source": str(source),
        "skip_broken": True,
        "images": None,
        "split_lists": None,
    }
    changed |= {"columns": columns, "pairs": None, **given}
    return query.model_copy(update=changed)
