"""A run that has learned images together with texts, opened: texts and images in, vectors out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from modicum.data.image import ImageRef
from modicum.data.prepared import StoreSettings, expand, read_prepared
from modicum.data.reports import ReportTokenizer, encode_sentences, normalise_placeholders
from modicum.engine.devices import autocast, chosen_device
from modicum.engine.inputs.batches import to_unit_range
from modicum.engine.inputs.decoding import read_ahead
from modicum.engine.inputs.preparation import store_settings
from modicum.engine.model import load_method
from modicum.engine.recipe.settings import Recipe
from modicum.engine.run_folder import RunFolder
from modicum.errors import BrokenImageError, InputError
from modicum.methods import Method, method_class, method_entries
from modicum.methods.image_text import EncodedImages, EncodedTexts, ImageTextModel
from modicum.tasks.image_text.task import ImageText
from modicum.wording import listed

_TEXTS = 64


def text_of_artefact(folder: RunFolder, name: str) -> str | None:
    """The text of a file in a run folder, or None where there is none."""
    path = folder.path / name
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else None
    except UnicodeDecodeError as error:
        raise InputError(f"'{path}' cannot be read (it is not UTF-8)", "restore the run folder") from error


def _methods_with_texts() -> list[str]:
    """Names of the methods that learn images together with texts."""
    return [name for name in method_entries() if method_class(name).image_text is not Method.image_text]


@dataclass(frozen=True)
class ImageTextRun:
    """Both encoders of a run, on a device and in evaluation mode, with the tokenizer and the images' preprocessing."""

    recipe: Recipe
    model: ImageTextModel
    tokenizer: ReportTokenizer
    settings: StoreSettings
    device: torch.device
    batch_size: int

    @classmethod
    def open(
        cls, folder: RunFolder, weights: str | None, device: str | None = None, batch_size: int | None = None
    ) -> "ImageTextRun":
        """Opens a run.

        Raises:
            InputError: it has not finished, or has not learned images together with texts.
        """
        recipe, task, method = load_method(folder, weights)
        model = method.image_text()
        if model is None:
            raise InputError(
                f"run '{folder.name}' ({recipe.method}) has not learned images together with texts",
                f"use a run of {listed(_methods_with_texts())}",
            )
        assert isinstance(task, ImageText)
        task = task.with_artefacts(partial(text_of_artefact, folder))
        chosen = chosen_device(device or recipe.device)
        return cls(
            recipe,
            model.to(chosen).eval(),
            task.tokenizer,
            store_settings(recipe.image, recipe.task, recipe.options),
            chosen,
            batch_size or recipe.training.batch_size,
        )

    @torch.no_grad()
    def texts(self, texts: Sequence[str | None]) -> Iterator[EncodedTexts]:
        """Encodes texts, a few dozen at a time and in their order."""
        for start in range(0, len(texts), _TEXTS):
            part = [
                None if text is None else normalise_placeholders(text)
                for text in texts[start : start + _TEXTS]
            ]
            encoded = encode_sentences(
                self.tokenizer, part, self.model.report_length, self.model.max_sentences
            )
            arrays = (encoded.tokens, encoded.mask, encoded.sentence_index)
            tokens, mask, index = (torch.from_numpy(values).to(self.device) for values in arrays)
            with autocast(self.recipe.training.precision, self.device):
                yield self.model.texts(tokens.long(), mask, index.long())

    def all_texts(self, texts: Sequence[str | None]) -> EncodedTexts:
        """The same in one piece."""
        parts = list(self.texts(texts))
        return EncodedTexts(
            *(torch.cat([getattr(part, name) for part in parts]) for name in EncodedTexts._fields)
        )

    @torch.no_grad()
    def images(
        self, refs: Sequence[ImageRef]
    ) -> Iterator[tuple[list[int], EncodedImages | None, list[tuple[int, str]]]]:
        """Encodes images batch by batch: indices and vectors of those that can be read, and why others cannot."""
        items = list(enumerate(refs))
        for batch in read_ahead(items, lambda ref: read_prepared(ref, self.settings)[1], self.batch_size):
            broken = [(index, item.reason) for index, item in batch if isinstance(item, BrokenImageError)]
            good = [(index, item) for index, item in batch if not isinstance(item, BrokenImageError)]
            if not good:
                yield [], None, broken
                continue
            settings = self.settings
            pixels = np.empty((len(good), settings.height, settings.width, settings.channels), settings.dtype)
            for place, (_, record) in enumerate(good):
                expand(record, pixels[place])
            values = to_unit_range(torch.from_numpy(pixels).to(self.device))
            with autocast(self.recipe.training.precision, self.device):
                encoded = self.model.images(values)
            yield [index for index, _ in good], encoded, broken
