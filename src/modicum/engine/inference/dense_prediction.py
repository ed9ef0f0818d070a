"""Dense predictions, at the size of the images that they are predicted from."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any, Generic

import numpy as np
import torch
from jaxtyping import Float32, Shaped
from torch import nn

from modicum.data.adjacent_slices import AdjacentSlices
from modicum.data.image import ImageRef, MedicalImage
from modicum.data.placement import placed
from modicum.data.prepared import StoreSettings, expand, prepared, read_prepared
from modicum.data.readers import read_image
from modicum.engine.devices import autocast
from modicum.engine.inference.earlier_outputs import EarlierOutputs
from modicum.engine.inference.fields_of_view import FieldsOfView
from modicum.engine.inference.guards import ImageGuard, Seen
from modicum.engine.inference.predictor_calls import map_names_of, outputs_with_maps, predictor_outputs
from modicum.engine.inputs.batches import to_unit_range
from modicum.engine.inputs.decoding import Name, read_ahead
from modicum.errors import BrokenImageError, InputError
from modicum.methods.predictor import KnowsItsImages
from modicum.nn.tiles import tile_count, tiled
from modicum.tasks import DenseTask

Size = tuple[int, int]
SIDE_STEP = 32
"""Images predicted at their own size are continued by reflection until this divides their sides: networks halve them."""


@dataclass(frozen=True, eq=False)
class Predicted(Generic[Name]):
    """One image and its prediction.

    Attributes:
        name: the caller's name for it.
        image: as it was decoded; None for one that cannot be read.
        activated: the task's reading of the network's output ``[c, h, w]``, at the size of the image's file.
        error: why it cannot be read.
        maps: what the predictor says of its answer, by name, at the same size; empty unless asked for.
        unlike: why it is unlike the training images; empty where it is not, or these are not known.
    """

    name: Name
    image: MedicalImage | None
    activated: Float32[np.ndarray, "channels height width"] | None
    error: BrokenImageError | None = None
    maps: Mapping[str, Float32[np.ndarray, "height width"]] = field(default_factory=dict)
    unlike: str = ""


@dataclass(frozen=True, eq=False)
class _Read:
    """An image that was read: as the network gets it, and as it is compared with those of the training."""

    image: MedicalImage
    record: np.ndarray
    settings: StoreSettings
    ref: ImageRef
    seen: np.ndarray


def _silent(text: str) -> None:
    pass


@dataclass(frozen=True)
class DensePredictor:
    """Predicts images one batch after another, in bounded memory.

    Attributes:
        network: from images ``[b, c, h, w]`` in ``[0, 1]`` to outputs of the same height and width.
        task: what the outputs mean.
        settings: how the network's training images were prepared.
        precision: the run's precision setting.
        device: where to compute.
        batch_size: images in one forward pass.
        tile: height and width of the pieces in which larger images are predicted; None for whole images.
        overlap: overlap of neighbouring tiles, as a share of their side.
        native: predict at the size of each file, independent of the size in training.
        seed: the run's seed, for stochastic predictors.
        adjacent: finds the adjacent slices of an image.
        regions: where images may be predicted; None for everywhere.
        earlier: outputs of another run, which the network sees in place of the images; None for the images.
        with_maps: whether maps of the predictor come with its answers.
        unlike: how many predicted images were unlike those that the network learned from, as far as it can tell.
        guard: compares images with those of the training; None where these are not known.
        tell: called with the progress of an image that is predicted in tiles, in words.
    """

    network: nn.Module
    task: DenseTask
    settings: StoreSettings
    precision: str
    device: torch.device
    batch_size: int = 1
    tile: Size | None = None
    overlap: float = 0.25
    native: bool = False
    seed: int = 0
    adjacent: AdjacentSlices = field(default_factory=AdjacentSlices, compare=False, repr=False)
    regions: FieldsOfView | None = field(default=None, compare=False, repr=False)
    earlier: EarlierOutputs | None = field(default=None, compare=False, repr=False)
    with_maps: bool = False
    unlike: list[int] = field(default_factory=lambda: [0], compare=False, repr=False)
    guard: ImageGuard | None = field(default=None, compare=False, repr=False)
    _last: list[Any] = field(default_factory=lambda: [None, None], init=False, compare=False, repr=False)
    """Of the last batch: what the network says of its images by itself, and its backbone's features."""
    tell: Callable[[str], None] = field(default=_silent, compare=False, repr=False)

    @torch.no_grad()
    def predict(self, items: Iterable[tuple[Name, ImageRef]]) -> Iterator[Predicted[Name]]:
        """Predictions for images, in their order; a broken one comes with its error."""
        with nullcontext() if self.guard is None else self.guard.listening(self.network):
            yield from self._predict(items)

    def _predict(self, items: Iterable[tuple[Name, ImageRef]]) -> Iterator[Predicted[Name]]:
        self.network.to(self.device).eval()
        batch_size = 1 if self.native or self.tile is not None else self.batch_size
        for part in read_ahead(items, self._read, batch_size):
            good = [item for _, item in part if not isinstance(item, BrokenImageError)]
            outputs, why = iter(self._outputs(good) if good else ()), iter(self._compared(good))
            for name, item in part:
                if isinstance(item, BrokenImageError):
                    yield Predicted(name, None, None, item)
                    continue
                image, settings, ref, unlike = item.image, item.settings, item.ref, next(why)
                if self.guard is not None and (refusal := self.guard.refuses(unlike)) is not None:
                    next(outputs)
                    yield Predicted(name, None, None, BrokenImageError(str(ref), refusal), unlike=unlike)
                    continue
                activated = placed(image, settings).restored(next(outputs), self.task.padding_value)
                try:
                    inside = self._inside(ref, image, activated)
                    channels = len(activated) - len(self._map_names)
                    maps = dict(zip(self._map_names, inside[channels:], strict=True))
                    yield Predicted(name, image, inside[:channels], maps=maps, unlike=unlike)
                except BrokenImageError as error:
                    yield Predicted(name, None, None, error)

    @property
    def _map_names(self) -> tuple[str, ...]:
        return map_names_of(self.network) if self.with_maps else ()

    def _inside(
        self, ref: ImageRef, image: MedicalImage, activated: Float32[np.ndarray, "channels height width"]
    ) -> Float32[np.ndarray, "channels height width"]:
        """A prediction with nothing outside the image's field of view, if it has one."""
        if self.regions is None:
            return activated
        inside = self.regions.inside(ref, image, (activated.shape[1], activated.shape[2]))
        if inside is None:
            return activated
        return np.where(inside, activated, np.float32(self.task.padding_value))

    def network_input(self, ref: ImageRef) -> Float32[torch.Tensor, "1 image_channels height width"]:
        """An image (with its neighbours) as the network gets it, not yet on its device.

        Raises:
            BrokenImageError: it cannot be read.
        """
        return self._batch([self._read(ref).record])

    def _read(self, ref: ImageRef) -> _Read:
        settings = replace(self.settings, channels=self.task.channels_alone)
        if self.native:
            size = read_image(
                ref, window=settings.window, intensity=settings.intensity_rule, empty=True
            ).source
            settings = replace(settings, height=size.height, width=size.width, resize="stretch")
        image, record = read_prepared(ref, settings)
        seen = record
        if self.native and self.guard is not None:  # compared as those of the training were prepared
            seen = prepared(image.pixels, replace(self.settings, channels=self.task.channels_alone))
        if self.earlier is not None:
            of_file = image.source.height, image.source.width
            record = prepared(self.earlier.pixels(ref, of_file), settings)
        if self.task.adjacent_slices:
            try:
                around = self.adjacent.around(ref, self.task.adjacent_slices)
            except InputError as error:  # a series that is not complete
                raise BrokenImageError(str(ref), error.problem) from error
            middle = len(around) // 2
            slices = [
                record if at == middle else read_prepared(one, settings)[1] for at, one in enumerate(around)
            ]
            record = np.concatenate(slices, axis=2)
        return _Read(image, record, settings, ref, seen)

    def _compared(self, read: Sequence[_Read]) -> list[str]:
        """Why each image of the batch that was just predicted is unlike those of the training."""
        if self.guard is None:
            return [""] * len(read)
        flags, features = self._last
        return self.guard.judge([Seen(one.seen, one.image) for one in read], features, flags)

    def _batch(
        self, records: list[Shaped[np.ndarray, "height width stored_channels"]]
    ) -> Float32[torch.Tensor, "batch image_channels height width"]:
        height, width = records[0].shape[:2]
        pixels = np.empty((len(records), height, width, self.task.channels), dtype=records[0].dtype)
        for place, record in enumerate(records):
            expand(record, pixels[place])
        return to_unit_range(torch.from_numpy(pixels))

    def _outputs(self, read: Sequence[_Read]) -> Float32[np.ndarray, "batch channels height width"]:
        images, names = self._batch([one.record for one in read]), [str(one.ref) for one in read]
        flags = features = None
        if isinstance(self.network, KnowsItsImages):
            flags = self.network.unlike(images.to(self.device)).cpu().tolist()
            self.unlike[0] += sum(flags)
        tile = self._tile_of((images.shape[2], images.shape[3]))
        if tile is None:
            outputs = self._forward(images, names).numpy()
            if self.guard is not None and not self.native and self.earlier is None:
                features = self.guard.features(images.to(self.device))
            self._last[:] = [flags, features]
            return outputs
        self._last[:] = [flags, None]
        parts = [self._tiled(image, tile, name) for image, name in zip(images, names, strict=True)]
        return torch.stack(parts).numpy()

    def _tiled(
        self, image: Float32[torch.Tensor, "image_channels height width"], tile: Size, name: str
    ) -> Float32[torch.Tensor, "channels height width"]:
        overlap = int(self.overlap * tile[0]), int(self.overlap * tile[1])
        count, done = tile_count((image.shape[1], image.shape[2]), tile, overlap), 0

        def forward(tiles: torch.Tensor) -> torch.Tensor:
            nonlocal done
            outputs = self._forward(tiles, [f"{name}@{done + index}" for index in range(len(tiles))])
            done += len(tiles)
            self.tell(f"tile {done} of {count}")
            return outputs

        return tiled(forward, image, tile, overlap, self.batch_size)

    def _tile_of(self, size: Size) -> Size | None:
        """The tiles for images of a size; None if they are predicted whole."""
        step = SIDE_STEP if self.native else 1
        whole = step * ceil(size[0] / step), step * ceil(size[1] / step)
        tile = whole if self.tile is None else (min(whole[0], self.tile[0]), min(whole[1], self.tile[1]))
        return None if tile == size else tile

    def _forward(
        self, images: Float32[torch.Tensor, "batch image_channels height width"], names: list[str]
    ) -> Float32[torch.Tensor, "batch channels height width"]:
        images = images.to(self.device)
        if self.device.type == "cuda":
            images = images.contiguous(memory_format=torch.channels_last)
        with autocast(self.precision, self.device):
            if not self._map_names:
                outputs = predictor_outputs(self.network, images, names, self.seed)
                return self.task.activate(outputs).float().cpu()
            outputs, maps = outputs_with_maps(self.network, images, names, self.seed)
        return torch.cat([self.task.activate(outputs).float(), maps.float()], 1).cpu()
