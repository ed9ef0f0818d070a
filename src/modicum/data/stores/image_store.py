"""A store of decoded, cropped and resized images on disk: a large image is decoded once, not every epoch.

A store is the folder ``images-<hash of the settings>``. Any number of data sets can share it: an image is
identified by its content, and new ones are appended. Inside are two shard stores, ``grey`` and ``colour``: grey
images take one channel on disk, even if the network reads three.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Int, Shaped

from modicum.data.file_content import file_sha256, file_state
from modicum.data.image import ImageRef
from modicum.data.image_facts import ImageFacts
from modicum.data.prepared import StoreSettings, expand, read_prepared
from modicum.data.stores.image_catalogue import FACTS, Catalogue, DamagedFactsError, item_of
from modicum.data.stores.image_store_build import (
    Built,
    Shards,
    broken_error,
    build,
    build_lock,
    open_parts,
    replaced_files,
)
from modicum.data.stores.shard_format import DamagedRecordError, store_folder
from modicum.errors import BrokenImageError, InputError
from modicum.progress import say

__all__ = ["ImageStore", "StoreSettings"]


class ImageStore:
    """Images by index, as uint8 (or uint16), from memory maps. Picklable; each process opens its own maps.

    Create it with :meth:`build_or_open`.

    Attributes:
        refs: the images, by index.
        settings: how they were prepared.
        folder: folder of the store.
        broken: the images that cannot be read; they keep their indices, and :meth:`get` raises for them.
    """

    def __init__(self, refs: Sequence[ImageRef], folder: Path, settings: StoreSettings, built: Built) -> None:
        self.refs, self.folder, self.settings = list(refs), folder, settings
        self._keys, self._broken = built.keys, built.broken
        self._parts: Shards = open_parts(folder, settings)
        self._part = np.zeros(len(refs), dtype=np.int8)  # stored channels; 0 for a broken image
        self._record = np.zeros(len(refs), dtype=np.int64)
        self._remade: dict[int, np.ndarray] = {}
        for index, key in enumerate(self._keys):
            for channels, part in self._parts.items():
                if key is not None and key in part:
                    self._part[index] = channels
                    self._record[index] = part.index_of(key)

    @classmethod
    def build_or_open(
        cls,
        refs: Sequence[ImageRef],
        folder: Path,
        settings: StoreSettings,
        *,
        workers: int = 0,
        on_broken: Literal["raise", "collect"] = "raise",
        wait: float | None = None,
        check_content: bool = False,
    ) -> "ImageStore":
        """Opens the store with these settings in ``folder``, and decodes the images that it does not have.

        An image whose file has the same path, size and time of change as before is not read again; one that
        has changed is decoded again. If stopped or killed, the same call resumes.

        Args:
            refs: the images.
            folder: folder of the stores of all settings.
            settings: how images are prepared.
            workers: number of processes that decode; 0 for this one.
            on_broken: ``raise`` after all others are stored, or ``collect`` errors in ``broken``.
            wait: seconds to wait while another process builds the same store; None to wait without limit.
            check_content: read all files that are known and compare their content, so that one that was replaced by
                another of the same size and time is decoded again too.

        Raises:
            BrokenImageError: one image cannot be read (``on_broken="raise"``).
            InputError: several cannot; the first three are named.
            ResourceError: the disk is too small, or the wait is over.
        """
        root = store_folder(folder, "images", settings.as_dict())
        store = cls(refs, root, settings, build(refs, root, settings, workers, wait, check_content))
        if store.broken and on_broken == "raise":
            raise broken_error(store.broken)
        return store

    def __len__(self) -> int:
        return len(self.refs)

    def __getstate__(self) -> dict[str, Any]:
        # Facts contain thumbnails: a worker process that needs them reads them itself.
        return {name: value for name, value in vars(self).items() if name not in {"facts", "_indices"}}

    @property
    def broken(self) -> list[BrokenImageError]:
        """The images that cannot be read, by index."""
        return [self._broken[index] for index in sorted(self._broken)]

    @property
    def readable(self) -> Bool[np.ndarray, "images"]:
        """Whether the image at each index is readable."""
        return self._part > 0

    @property
    def nbytes(self) -> int:
        """Bytes of pixels on disk, for all data sets that share this store."""
        return sum(part.nbytes for part in self._parts.values())

    @cached_property
    def facts(self) -> list[ImageFacts | None]:
        """Facts of each image, from the same decoding; None for broken ones.

        Sizes are those of the file. Mean, quantiles and thumbnail are those of the image as decoded: for a large
        JPEG at a reduced scale, which moved none of them by more than one grey level of 255 where measured.
        """
        usable = np.flatnonzero(self.readable)
        read_facts = self._read_facts([self._keys[index] or "" for index in usable])
        facts: list[ImageFacts | None] = [None] * len(self)
        for index, image_facts in zip(usable, read_facts, strict=True):
            facts[index] = replace(image_facts, ref=str(self.refs[index]))
        return facts

    def _read_facts(self, keys: Sequence[str]) -> list[ImageFacts]:
        """Facts by the records' keys; where their file is damaged, the images are read again."""
        try:
            return Catalogue(self.folder).facts(keys)
        except (DamagedFactsError, KeyError):
            say("image store: the facts of its images are damaged; reading the images again")
            (self.folder / FACTS).unlink(missing_ok=True)
            build(self.refs, self.folder, self.settings, 0, None)
            return Catalogue(self.folder).facts(keys)

    @cached_property
    def _indices(self) -> dict[ImageRef, int]:
        return {ref: index for index, ref in enumerate(self.refs)}

    def indices_of(self, refs: Sequence[ImageRef]) -> Int[np.ndarray, "images"]:
        """Indices of images. Raises KeyError for an image that the store was not opened with."""
        return np.array([self._indices[ref] for ref in refs], dtype=np.int64)

    def with_channels(self, channels: int) -> "ImageStore":
        """The same store, read as grey (1) or in colour (3).

        Raises:
            InputError: grey is requested and an image is in colour.
        """
        if channels == self.settings.channels:
            return self
        if channels == 1 and (self._part == 3).any():
            ref = self.refs[int(np.flatnonzero(self._part == 3)[0])]
            raise InputError(
                f"image '{ref}' is in colour and others are grey", "make all of them grey, or set channels=3"
            )
        store = copy(self)
        store.settings = replace(self.settings, channels=channels)
        return store

    def keys_of(self, indices: Sequence[int] | np.ndarray) -> list[str]:
        """Keys of the content of images (equal keys mean equal files), for stores of features of these images."""
        return [self._parts[int(self._part[index])].keys[int(self._record[index])] for index in indices]

    def get(
        self, indices: Sequence[int] | Int[np.ndarray, "batch"]
    ) -> Shaped[np.ndarray, "batch height width channels"]:
        """Copies images into one array, in the given order.

        A record that is damaged on the disk is made again from its file, and noted, so that the next
        :meth:`build_or_open` stores it again.

        Raises:
            BrokenImageError: one of them cannot be read.
            DamagedRecordError: a record is damaged and its file is gone or another.
        """
        size, wanted = self.settings, np.asarray(indices, dtype=np.int64)
        batch = np.empty((len(wanted), size.height, size.width, size.channels), dtype=size.dtype)
        # In the order on disk, one part of the store after the other.
        for row in np.lexsort((self._record[wanted], self._part[wanted])):
            expand(self._pixels(int(wanted[row])), batch[row])
        return batch

    def verify(self) -> int:
        """Checks all records, and lists damaged ones for the next build; returns their number."""
        damaged = 0
        for part in self._parts.values():
            keys = part.verify()
            part.report_damage(keys)
            damaged += len(keys)
        return damaged

    def forget_replaced(self) -> list[Path]:
        """Files that were replaced by others of the same size and time since they were read; the next build reads them.

        All files are read.
        """
        states = {path: file_state(path) for path in {ref.path for ref in self.refs}}
        with build_lock(self.folder), Catalogue(self.folder) as catalogue:
            replaced = replaced_files(self.refs, catalogue, states)
            catalogue.forget(item_of(ref) for ref in self.refs if ref.path in replaced)
            catalogue.save()
        return sorted(replaced)

    def _pixels(self, index: int) -> Shaped[np.ndarray, "height width stored_channels"]:
        channels = int(self._part[index])
        if not channels:
            raise self._broken[index]
        if index in self._remade:
            return self._remade[index]
        try:
            return self._parts[channels].record(int(self._record[index]))
        except DamagedRecordError as error:
            self._remade[index] = self._decode_again(self.refs[index], error)
            return self._remade[index]

    def _decode_again(
        self, ref: ImageRef, error: DamagedRecordError
    ) -> Shaped[np.ndarray, "height width stored_channels"]:
        state = file_state(ref.path)
        if state is None or file_sha256(ref.path, state) + ref.part != error.key:
            raise error
        say(f"image store: the record of {ref} is damaged; decoding the image again")
        return read_prepared(ref, self.settings)[1]
