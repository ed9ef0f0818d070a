"""Decoded, cropped, resized images on disk: a photograph of 3000 pixels is decoded once, not every epoch.

A store is the folder ``images-<hash of the settings>``. Any number of data sets can share it: an image is
known by its content, and new ones are appended. Inside are two shard stores, ``grey`` and ``colour``: what is
grey takes one channel on the disk, whatever the network wants.
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
from modicum.data.stores.image_catalogue import Catalogue
from modicum.data.stores.image_store_build import Built, Shards, broken_error, build, open_parts
from modicum.data.stores.shard_format import DamagedRecordError, store_folder
from modicum.errors import BrokenImageError, InputError
from modicum.progress import say

__all__ = ["ImageStore", "StoreSettings"]


class ImageStore:
    """Images by position, as uint8 (or uint16), from memory maps. Picklable; each process opens its own maps.

    Made by :meth:`build_or_open`.

    Attributes:
        refs: the images, in the order of positions.
        settings: how they were prepared.
        folder: where the store lies.
        broken: the images that cannot be read; their positions stay, and :meth:`get` raises for them.
    """

    def __init__(self, refs: Sequence[ImageRef], folder: Path, settings: StoreSettings, built: Built) -> None:
        self.refs, self.folder, self.settings = list(refs), folder, settings
        self._keys, self._broken = built.keys, built.broken
        self._parts: Shards = open_parts(folder, settings)
        self._part = np.zeros(len(refs), dtype=np.int8)  # stored channels; 0 for a broken image
        self._record = np.zeros(len(refs), dtype=np.int64)
        self._remade: dict[int, np.ndarray] = {}
        for position, key in enumerate(self._keys):
            for channels, part in self._parts.items():
                if key is not None and key in part:
                    self._part[position] = channels
                    self._record[position] = part.position_of(key)

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
    ) -> "ImageStore":
        """Opens the store of these settings below ``folder`` and decodes the images that it does not have.

        An image whose file has the same path, size and time of change as before is not read again; one that
        has changed is decoded anew. Stopped or killed, the same call goes on where it was.

        Args:
            refs: the images.
            folder: holds the stores of all settings.
            settings: how images are prepared.
            workers: processes that decode; 0 for this one.
            on_broken: ``raise`` after all others are stored, or ``collect`` what is broken in ``broken``.
            wait: seconds to wait while another process builds the same store; None for as long as it takes.

        Raises:
            BrokenImageError: one image cannot be read (``on_broken="raise"``).
            InputError: several cannot; the first three are named.
            ResourceError: too little disk, or waited for too long.
        """
        root = store_folder(folder, "images", settings.as_dict())
        store = cls(refs, root, settings, build(refs, root, settings, workers, wait))
        if store.broken and on_broken == "raise":
            raise broken_error(store.broken)
        return store

    def __len__(self) -> int:
        return len(self.refs)

    def __getstate__(self) -> dict[str, Any]:
        # Facts hold a thumbnail each: a worker process that wants them reads them itself.
        return {name: value for name, value in vars(self).items() if name not in {"facts", "_positions"}}

    @property
    def broken(self) -> list[BrokenImageError]:
        """The images that cannot be read, by position."""
        return [self._broken[position] for position in sorted(self._broken)]

    @property
    def readable(self) -> Bool[np.ndarray, "images"]:
        """Which positions hold an image."""
        return self._part > 0

    @property
    def nbytes(self) -> int:
        """Bytes of pixels on disk, of all data sets that share this store."""
        return sum(part.nbytes for part in self._parts.values())

    @cached_property
    def facts(self) -> list[ImageFacts | None]:
        """Facts of each image, from the same decoding; None for broken ones.

        Sizes are the file's own. Mean, quantiles and thumbnail are those of the image as decoded: of a large
        JPEG at a reduced scale, which moved none of them by more than one grey level of 255 where measured.
        """
        usable = np.flatnonzero(self.readable)
        found = Catalogue(self.folder).facts([self._keys[position] or "" for position in usable])
        facts: list[ImageFacts | None] = [None] * len(self)
        for position, one in zip(usable, found, strict=True):
            facts[position] = replace(one, ref=str(self.refs[position]))
        return facts

    @cached_property
    def _positions(self) -> dict[ImageRef, int]:
        return {ref: position for position, ref in enumerate(self.refs)}

    def positions_of(self, refs: Sequence[ImageRef]) -> Int[np.ndarray, "images"]:
        """Where images are. Raises KeyError for one that the store was not opened with."""
        return np.array([self._positions[ref] for ref in refs], dtype=np.int64)

    def with_channels(self, channels: int) -> "ImageStore":
        """The same store, read as grey (1) or in colour (3).

        Raises:
            InputError: grey is asked for and an image is in colour.
        """
        if channels == self.settings.channels:
            return self
        if channels == 1 and (self._part == 3).any():
            ref = self.refs[int(np.flatnonzero(self._part == 3)[0])]
            raise InputError(
                f"image '{ref}' is in colour and others are grey", "make all of them grey, or set channels=3"
            )
        other = copy(self)
        other.settings = replace(self.settings, channels=channels)
        return other

    def keys_of(self, positions: Sequence[int] | np.ndarray) -> list[str]:
        """What names the content of images: equal keys are equal files. For stores of what is made of them."""
        return [self._parts[int(self._part[p])].keys[int(self._record[p])] for p in positions]

    def get(
        self, positions: Sequence[int] | Int[np.ndarray, "batch"]
    ) -> Shaped[np.ndarray, "batch height width channels"]:
        """Copies images into one array, in the order asked for.

        A record that is damaged on the disk is made again from its file, and noted, so that the next
        :meth:`build_or_open` stores it again.

        Raises:
            BrokenImageError: one of them cannot be read.
            DamagedRecordError: a record is damaged and its file is gone or another.
        """
        size, asked = self.settings, np.asarray(positions, dtype=np.int64)
        batch = np.empty((len(asked), size.height, size.width, size.channels), dtype=size.dtype)
        # The disk in its own order; the part of the store first.
        for row in np.lexsort((self._record[asked], self._part[asked])):
            expand(self._pixels(int(asked[row])), batch[row])
        return batch

    def verify(self) -> int:
        """Reads all and notes what is damaged, for the next build to make again; returns how many records."""
        damaged = 0
        for part in self._parts.values():
            keys = part.verify()
            part.report_damage(keys)
            damaged += len(keys)
        return damaged

    def _pixels(self, position: int) -> Shaped[np.ndarray, "height width stored_channels"]:
        channels = int(self._part[position])
        if not channels:
            raise self._broken[position]
        if position in self._remade:
            return self._remade[position]
        try:
            return self._parts[channels].record(int(self._record[position]))
        except DamagedRecordError as error:
            self._remade[position] = self._made_again(self.refs[position], error)
            return self._remade[position]

    def _made_again(
        self, ref: ImageRef, error: DamagedRecordError
    ) -> Shaped[np.ndarray, "height width stored_channels"]:
        state = file_state(ref.path)
        if state is None or file_sha256(ref.path, state) + ref.part != error.key:
            raise error
        say(f"image store: the record of {ref} is damaged; decoding the image again")
        return read_prepared(ref, self.settings)[1]
