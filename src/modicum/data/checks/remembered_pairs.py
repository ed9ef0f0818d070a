"""Caches near-duplicates, so that runs on the same images do not search again.

The inputs of the search (the content of every file, the rows of each patient, the splits) are hashed in the file's
name, so that a cached result is never used for other data. A file that cannot be read is ignored.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

from modicum.atomic_files import write_text
from modicum.data.checks.near_duplicates import NearPair, NearSearch

FOLDER = "near-duplicates"
"""Folder of the files, in the folder of the stores."""
FEWEST = 500
"""Minimum number of images for which a file is written."""
_VERSION = 3  # of the search: increase when its results change


def remembered(
    stores: Path | None, rows: Iterable[tuple[str, ...]], find: Callable[[], NearSearch]
) -> NearSearch:
    """The result of ``find``, or its cached result for the same rows.

    Args:
        stores: folder of the stores; None disables the cache.
        rows: everything that ``find`` depends on.
    """
    if stores is None:
        return find()
    digest, count = hashlib.sha256(str(_VERSION).encode()), 0
    for row in rows:  # one at a time: there may be hundreds of thousands
        digest.update(json.dumps(row).encode())
        count += 1
    if count < FEWEST:
        return find()
    path = stores / FOLDER / f"{digest.hexdigest()[:32]}.json"
    stored_pairs = _read(path, count)
    if stored_pairs is None:
        stored_pairs = find()
        path.parent.mkdir(parents=True, exist_ok=True)
        pairs = [[pair.first, pair.second, pair.similarity] for pair in stored_pairs.pairs]
        write_text(path, json.dumps({"pairs": pairs, "limits": stored_pairs.limits}))
    return stored_pairs


def _read(path: Path, count: int) -> NearSearch | None:
    try:
        content = json.loads(path.read_text("utf-8"))
        pairs = [NearPair(int(a), int(b), float(s)) for a, b, s in content["pairs"]]
        limits = [str(limit) for limit in content["limits"]]
    except (OSError, ValueError, TypeError, KeyError, OverflowError):
        return None
    usable = all(0 <= pair.first < pair.second < count and 0 <= pair.similarity <= 1 for pair in pairs)
    return NearSearch(pairs, limits) if usable else None
