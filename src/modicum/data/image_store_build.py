"""Filling an image store: which images are missing, decoding them, writing records and facts."""

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from modicum.data.image import ImageRef
from modicum.data.image_catalogue import Catalogue, FileState, item_of
from modicum.data.image_decoding import Decoded, Decoder, decode_all
from modicum.data.prepared import StoreSettings, read_prepared
from modicum.data.shard_format import DamagedStoreError, RecordSpec
from modicum.data.shard_writer import ShardWriter, full_disk_named, locked
from modicum.data.shards import ShardStore
from modicum.errors import BrokenImageError, InputError, ResourceError
from modicum.progress import bar, say

# Name of the part of the store for records of so many channels.
PARTS: Mapping[int, str] = {1: "grey", 3: "colour"}
# Images looked at to guess how many are in colour, where the disk may be too small for all to be.
_SAMPLE = 16

Shards = dict[int, ShardStore]


def part_settings(settings: StoreSettings, channels: int) -> dict:
    """What determines the content of one part of the store."""
    return settings.as_dict() | {"stored_channels": channels}


def open_parts(root: Path, settings: StoreSettings) -> Shards:
    """The finished parts of a store, without records that are known to be damaged.

    A part whose manifest cannot be read is removed: its images are decoded again.
    """
    parts: Shards = {}
    for channels, name in PARTS.items():
        folder = root / name
        if not (folder / "store.json").exists():
            continue
        try:
            parts[channels] = ShardStore.open(folder, part_settings(settings, channels), skip_damaged=True)
        except DamagedStoreError as error:
            say(f"{error.problem}; its images are decoded again")
            shutil.rmtree(folder)
    return parts


def file_states(refs: Sequence[ImageRef]) -> dict[Path, FileState | None]:
    """Size and time of change of each file; None for a file that cannot be looked at."""
    states: dict[Path, FileState | None] = {}
    for path in {ref.path for ref in refs}:
        try:
            status = os.stat(path)
        except OSError:
            states[path] = None
        else:
            states[path] = FileState(status.st_size, status.st_mtime_ns)
    return states


def missing(
    items: Sequence[str],
    refs: Sequence[ImageRef],
    states: Mapping[Path, FileState | None],
    root: Path,
    parts: Shards,
) -> list[int]:
    """Positions of the images that the store does not have as their files are now."""
    catalogue = Catalogue(root)
    found = []
    for position, (item, ref) in enumerate(zip(items, refs, strict=True)):
        state = states[ref.path]
        key = None if state is None else catalogue.key_of(item, state)
        if key is None or not any(key in part for part in parts.values()):
            found.append(position)
    return found


def build(
    refs: Sequence[ImageRef], root: Path, settings: StoreSettings, workers: int, wait: float | None
) -> dict[int, BrokenImageError]:
    """Decodes what the store does not have; returns the images that cannot be read, by position.

    Killed at any moment, the same call goes on where it was.

    Raises:
        ResourceError: too little disk, or another process builds the store for longer than ``wait`` seconds.
    """
    root.mkdir(parents=True, exist_ok=True)
    items, states = [item_of(ref) for ref in refs], file_states(refs)
    todo = missing(items, refs, states, root, open_parts(root, settings))
    broken = {
        position: BrokenImageError(str(refs[position]), "there is no such file, or it may not be read")
        for position in todo
        if states[refs[position].path] is None
    }
    if len(broken) == len(todo):
        return broken
    with ExitStack() as stack:
        lock = locked(root / "build.lock", wait)
        stack.callback(lock.release)
        open_parts(root, settings)  # removes what cannot be used
        writers = {
            channels: stack.enter_context(_writer(root, settings, channels, wait)) for channels in PARTS
        }
        catalogue = stack.enter_context(Catalogue(root))
        tasks = [
            (position, refs[position], state)
            for position in todo
            if (state := states[refs[position].path]) is not None
            and not _done(catalogue.key_of(items[position], state), writers)
        ]
        _check_space(writers, [ref for _, ref, _ in tasks], settings)
        known = frozenset(key for key in catalogue.keys if _done(key, writers))
        answers = decode_all([task[1:] for task in tasks], Decoder(settings, known), workers)
        stack.callback(answers.close)
        with bar("decoding images", len(tasks)) as shown, full_disk_named(root):
            for (position, _, state), answer in zip(tasks, answers, strict=True):
                if isinstance(answer, Decoded):
                    _keep(answer, items[position], state, writers, catalogue)
                else:
                    broken[position] = answer
                shown.advance()
            for writer in writers.values():
                writer.finalise()
            catalogue.save()
    return broken


def _writer(root: Path, settings: StoreSettings, channels: int, wait: float | None) -> ShardWriter:
    spec = RecordSpec("uint8", (settings.height, settings.width, channels))
    return ShardWriter(root / PARTS[channels], part_settings(settings, channels), spec, wait=wait)


def _done(key: str | None, writers: Mapping[int, ShardWriter]) -> bool:
    return key is not None and any(key in writer for writer in writers.values())


def _keep(
    answer: Decoded, item: str, state: FileState, writers: Mapping[int, ShardWriter], catalogue: Catalogue
) -> None:
    # Facts before pixels: a record that is there never lacks its facts after a kill.
    catalogue.add(item, state, answer.key, answer.facts)
    if answer.record is not None:
        writers[answer.record.shape[2]].add(answer.key, answer.record)


def _check_space(
    writers: Mapping[int, ShardWriter], refs: Sequence[ImageRef], settings: StoreSettings
) -> None:
    """Raises a ResourceError where the disk is too small for the images, most of which may turn out grey."""
    try:
        return writers[settings.channels].check_space(len(refs))
    except ResourceError:
        if settings.channels == 1:
            raise
    sample = [refs[position] for position in np.linspace(0, len(refs) - 1, _SAMPLE).astype(int)]
    channels = []
    for ref in sample:
        try:
            channels.append(read_prepared(ref, settings)[1].shape[2])
        except BrokenImageError:
            continue
    share = float(np.mean(channels)) / 3 if channels else 1.0
    writers[3].check_space(round(share * len(refs)))


def broken_error(broken: Sequence[BrokenImageError]) -> BrokenImageError | InputError:
    """One error for all images that cannot be read."""
    if len(broken) == 1:
        return broken[0]
    shown = "; ".join(str(error) for error in broken[:3])
    more = f"; and {len(broken) - 3} more" if len(broken) > 3 else ""
    return InputError(f"{len(broken)} images cannot be read: {shown}{more}", "mend, remove or skip them")
