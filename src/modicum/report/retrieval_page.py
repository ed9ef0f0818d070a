"""What a search found: a table, and one self-contained page with the pictures; sentences only on request."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pandas as pd
from markupsafe import Markup, escape

from modicum.atomic_files import write_text
from modicum.data.image import ImageRef
from modicum.data.prepared import StoreSettings, read_prepared
from modicum.data.table_cells import safe_cells
from modicum.engine.inference.retrieval import Answer, Hit, Retrieved
from modicum.errors import BrokenImageError
from modicum.report.pictures import data_addresses

if TYPE_CHECKING:
    from PIL.Image import Image

_BUDGET = 8_000_000
"""Bytes of all pictures of a page."""
_STYLE = """
body{font-family:system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#222;background:#fff}
.hits{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0;width:15rem}img{width:100%;background:#000}
figcaption{font-size:.85rem;overflow-wrap:anywhere}.query img{width:12rem}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#161616}}
"""


def write_retrieved(
    folder: Path, retrieved: Retrieved, rows: Sequence[Mapping[str, Any]], settings: StoreSettings
) -> None:
    """Writes ``retrieved.csv`` and ``retrieved.html``.

    Args:
        folder: is made where it is not there.
        found: the answers.
        rows: of the table.
        settings: the preprocessing of the run, so that pictures are what the network sees.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = safe_cells(pd.DataFrame(list(rows)))
    write_text(folder / "retrieved.csv", table.to_csv(index=False, float_format="%.9g"))
    write_text(folder / "retrieved.html", page_of(retrieved, settings))


def page_of(retrieved: Retrieved, settings: StoreSettings) -> str:
    """The page as text."""
    refs = retrieved.manifest.refs()
    pictures: list[list[Image | None]] = []
    for answer in retrieved.answers:
        pictures.append([None if answer.image is None else picture_of(answer.image, settings, None)])
        pictures += [[picture_of(refs[hit.row], settings, hit.reading)] for hit in answer.hits]
    addresses = iter(address for (address,) in data_addresses(pictures, _BUDGET))
    body = Markup("").join(_answer(answer, retrieved, addresses) for answer in retrieved.answers)
    told = "" if retrieved.sentences else "Sentences of reports are left out; --sentences shows them."
    return str(
        Markup(
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Retrieved</title><style>{style}</style>'
            "</head><body><h1>Retrieved</h1><p>{count} rows were searched. {told}</p>{body}</body></html>\n"
        ).format(style=Markup(_STYLE), count=len(retrieved.manifest), told=told, body=body)
    )


def _answer(answer: Answer, retrieved: Retrieved, addresses: Any) -> Markup:
    picture = _image(next(addresses), f"query {answer.name}")
    query = Markup('<div class="query">{}</div>').format(picture) if picture else Markup("")
    hits = Markup("").join(_hit(hit, retrieved, next(addresses)) for hit in answer.hits)
    return Markup('<section><h2>{}</h2>{}<div class="hits">{}</div></section>').format(
        answer.name, query, hits
    )


def _hit(hit: Hit, retrieved: Retrieved, address: str) -> Markup:
    name = str(retrieved.manifest.table["image"].iloc[hit.row])
    sentences = Markup("<br>").join(escape(sentence) for sentence in retrieved.sentences.get(hit.row, []))
    caption = Markup("{}. {} ({:.3g})").format(hit.rank, name, hit.score)
    if sentences:
        caption += Markup("<br><small>{}</small>").format(sentences)
    return Markup("<figure>{}<figcaption>{}</figcaption></figure>").format(_image(address, name), caption)


def _image(address: str, words: str) -> Markup:
    return Markup('<img src="{}" alt="{}">').format(address, words) if address else Markup("")


def picture_of(ref: ImageRef, settings: StoreSettings, reading: np.ndarray | None) -> "Image | None":
    """What the network sees of an image, with what a sentence reads of it in red."""
    from PIL import Image

    try:
        _, record = read_prepared(ref, settings)
    except BrokenImageError:
        return None
    pixels = record.astype(np.float32) / np.iinfo(record.dtype).max
    pixels = np.repeat(pixels, 3, 2) if pixels.shape[2] == 1 else pixels[..., :3]
    if reading is not None:
        spread = float(np.ptp(reading))
        heat = (reading - reading.min()) / spread if spread > 0 else np.zeros_like(reading)
        heat = cv2.resize(heat.astype(np.float32), pixels.shape[1::-1], interpolation=cv2.INTER_LINEAR)[
            ..., None
        ]
        pixels = pixels * (1 - 0.5 * heat) + np.array([1.0, 0.1, 0.1], np.float32) * 0.5 * heat
    return Image.fromarray((pixels * 255).round().astype(np.uint8))
