"""Builds an image store: finds missing images, decodes them, and writes records and facts."""

import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from modicum.data.file_content import FileState, file_sha256, file_state
from modicum.data.image import ImageRef
from modicum.data.prepared import StoreSettings, read_prepared
from modicum.data.readers import read_image
from modicum.data.stores.image_catalogue import Catalogue, item_of
from modicum.data.stores.image_decoding import Decoded, Undecoded, decode_all
from modicum.data.stores.shard_format import MANIFEST, DamagedStoreError, RecordSpec
from modicum.data.stores.shard_writer import ShardWriter, check_space, full_disk_named, locked
from modicum.data.stores.shards import ShardStore
from modicum.errors import BrokenImageError, InputError, ResourceError
from modicum.progress import bar, say
from modicum.wording import count_of

# Name of the part of the store by number of channels.
PARTS: Mapping[int, str] = {1: "grey", 3: "colour"}
# Images sampled to estimate how many are in colour, if the disk may be too small for all in colour.
_SAMPLE = 16

Shards = dict[int, ShardStore]


def part_settings(settings: StoreSettings, channels: int) -> dict:
    """The settings that determine the content of one part of the store."""
    return settings.as_dict() | {"stored_channels": channels}


def open_parts(root: Path, settings: StoreSettings, *, remove_unusable: bool = False) -> Shards:
    """Opens the finished parts of a store, without records that are listed as damaged.

    Args:
        root: the image store's folder.
        settings: settings of the store.
        remove_unusable: delete a part whose manifest cannot be read, so that its images are decoded again.
            Requires the store's lock.
    """
    parts: Shards = {}
    for channels, name in PARTS.items():
        folder = root / name
        if not (folder / MANIFEST).exists():
            continue
        try:
            parts[channels] = ShardStore.open(folder, part_settings(settings, channels), skip_damaged=True)
        except DamagedStoreError as error:
            if remove_unusable:
                say(f"{error.problem}; its images are decoded again")
                shutil.rmtree(folder)
    return parts


def _why(ref: ImageRef) -> BrokenImageError:
    """The reader's error for a file that does not exist."""
    try:
        read_image(ref)
    except BrokenImageError as error:
        return error
    return BrokenImageError(str(ref), "changed while the image store was built")


@dataclass
class Built:
    """The state of a store for one list of images.

    Args:
        keys: the records' keys by index; None for broken images.
        broken: the images that cannot be read, by index.
    """

    keys: list[str | None]
    broken: dict[int, BrokenImageError] = field(default_factory=dict)


@contextmanager
def build_lock(root: Path, wait: float | None = None) -> Iterator[None]:
    """Keeps other processes from changing a store; see :func:`build` for ``wait``."""
    lock = locked(root / "build.lock", wait)
    try:
        yield
    finally:
        lock.release()


def build(
    refs: Sequence[ImageRef],
    root: Path,
    settings: StoreSettings,
    workers: int,
    wait: float | None,
    check_content: bool = False,
) -> Built:
    """Decodes the images that are new or have changed.

    If killed at any moment, the same call resumes.

    Args:
        refs, root, settings, workers, wait, check_content: see
            :meth:`~modicum.data.stores.image_store.ImageStore.build_or_open`.

    Raises:
        ResourceError: too little disk, or another process builds the store for longer than ``wait`` seconds.
    """
    root.mkdir(parents=True, exist_ok=True)
    states = {path: file_state(path) for path in {ref.path for ref in refs}}
    catalogue, parts = Catalogue(root), open_parts(root, settings)
    built, missing = Built([None] * len(refs)), []
    replaced = replaced_files(refs, catalogue, states) if check_content else frozenset()
    for index, ref in enumerate(refs):
        state = states[ref.path]
        if state is None:
            built.broken[index] = _why(ref)
            continue
        item = item_of(ref)
        key = catalogue.key_of(item, state)
        if _done(key, parts) and ref.path not in replaced:
            built.keys[index] = key
        else:
            missing.append(Undecoded(index, item, ref, state))
    if missing:
        with build_lock(root, wait), full_disk_named(root):
            _fill(built, root, settings, missing, workers, wait, replaced)
    return built


def replaced_files(
    refs: Sequence[ImageRef], catalogue: Catalogue, states: Mapping[Path, FileState | None]
) -> frozenset[Path]:
    """Files whose size and time of change are those of when they were read, and whose content is another.

    Says how many. Every file is read; what the process remembers of their content is forgotten.

    Args:
        refs: images, of which several may be in one file.
        catalogue: of the store.
        states: of each file, now.
    """
    file_sha256.cache_clear()
    keys: dict[Path, str] = {}
    for ref in refs:
        state = states[ref.path]
        if ref.path not in keys and state is not None and (key := catalogue.key_of(item_of(ref), state)):
            keys[ref.path] = key.removesuffix(ref.part)
    replaced = []
    with bar("checking files", len(keys)) as progress_bar:
        for path, digest in keys.items():
            state = states[path]
            with suppress(OSError):  # told when it is read
                if state is not None and file_sha256(path, state) != digest:
                    replaced.append(path)
            progress_bar.advance()
    if replaced:
        say(
            f"{count_of(len(replaced), 'file')} replaced by another of the same size and time ({replaced[0].name}): "
            "decoding again"
        )
    return frozenset(replaced)


def _fill(
    built: Built,
    root: Path,
    settings: StoreSettings,
    missing: Sequence[Undecoded],
    workers: int,
    wait: float | None,
    replaced: Collection[Path] = (),
) -> None:
    """Decodes and stores images, and adds their keys and errors to ``built``. Requires the store's lock."""
    with ExitStack() as stack:
        open_parts(root, settings, remove_unusable=True)
        writers = {n: stack.enter_context(_writer(root, settings, n, wait)) for n in PARTS}
        catalogue = stack.enter_context(Catalogue(root))
        catalogue.forget(image.item for image in missing if image.ref.path in replaced)
        left = [image for image in missing if not _already_stored(built, image, writers, catalogue)]
        _check_space(root, [image.ref for image in left], settings)
        answers = stack.enter_context(closing(decode_all(left, settings, workers)))
        with bar("decoding images", len(left)) as progress_bar:
            for image, answer in zip(left, answers, strict=True):
                if isinstance(answer, Decoded):
                    # Facts before pixels: after a kill, a stored record never lacks its facts.
                    catalogue.add(image.item, image.state, answer.key, answer.facts)
                    writers[answer.record.shape[2]].add(answer.key, answer.record)
                    built.keys[image.index] = answer.key
                else:
                    built.broken[image.index] = answer
                progress_bar.advance()
        for writer in writers.values():
            writer.finalise()
        catalogue.save()


def _writer(root: Path, settings: StoreSettings, channels: int, wait: float | None) -> ShardWriter:
    spec = RecordSpec(np.dtype(settings.dtype).name, (settings.height, settings.width, channels))
    return ShardWriter(root / PARTS[channels], part_settings(settings, channels), spec, wait=wait)


def _done(key: str | None, parts: Mapping[int, ShardWriter] | Shards) -> bool:
    return key is not None and any(key in part for part in parts.values())


def _already_stored(
    built: Built, image: Undecoded, writers: Mapping[int, ShardWriter], catalogue: Catalogue
) -> bool:
    """Whether an image is already stored; then adds its key to ``built``."""
    # Another process, or this one before it was killed, may have stored it.
    key = catalogue.key_of(image.item, image.state)
    if not _done(key, writers) and catalogue.has_size(image.state.size):
        # A file of that size is known: it may only have been moved or touched, which its hash shows.
        try:
            key = file_sha256(image.ref.path, image.state) + image.ref.part
        except OSError:
            return False  # decoding raises the error
        if _done(key, writers) and catalogue.has_facts(key):
            catalogue.add(image.item, image.state, key, None)
    if not (_done(key, writers) and catalogue.has_facts(key)):
        return False
    built.keys[image.index] = key
    return True


def _check_space(root: Path, refs: Sequence[ImageRef], settings: StoreSettings) -> None:
    """Raises a ResourceError if the disk is too small for the images, many of which may be grey."""
    plane = settings.height * settings.width * np.dtype(settings.dtype).itemsize
    what = f"{len(refs)} images of {settings.height} x {settings.width}"
    try:
        check_space(root, settings.channels * plane * len(refs), what)
        return
    except ResourceError:
        if settings.channels == 1:
            raise
    channels = []
    for index in np.unique(np.linspace(0, len(refs) - 1, _SAMPLE).astype(int)):
        try:
            channels.append(read_prepared(refs[index], settings)[1].shape[2])
        except BrokenImageError:
            continue
    if channels:
        check_space(root, round(float(np.mean(channels)) * plane * len(refs)), what)


def broken_error(broken: Sequence[BrokenImageError]) -> BrokenImageError | InputError:
    """Combines the errors of all images that cannot be read."""
    if len(broken) == 1:
        return broken[0]
    examples = "; ".join(str(error) for error in broken[:3])
    more = f"; and {len(broken) - 3} more" if len(broken) > 3 else ""
    return InputError(
        f"{len(broken)} images cannot be read: {examples}{more}",
        "repair or remove them, or pass --skip-broken",
    )
