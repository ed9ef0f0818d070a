"""Reads every image of a data set once, and collects facts and errors.

Errors of images are collected, not raised, so that a scan always completes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from modicum.data.broken import ended_its_process, or_broken
from modicum.data.file_content import file_sha256, file_state
from modicum.data.image import ImageRef
from modicum.data.image_facts import ImageFacts, facts_of
from modicum.data.processes import in_processes, usable_cores
from modicum.data.readers import read_image
from modicum.errors import BrokenImageError
from modicum.progress import bar

# A JPEG is decoded at about this size at most: the statistics hardly change, and it takes a fifth of the time.
DECODED_SIDE = 256
FEW = 100  # images; for fewer, starting processes takes longer than reading


@dataclass(frozen=True)
class KnownFacts:
    """Facts from an earlier scan, and the time at which the file had last changed (nanoseconds)."""

    facts: ImageFacts
    mtime_ns: int


@dataclass(frozen=True)
class ScanResult:
    """The result of a scan.

    Attributes:
        facts: facts of the readable images, in order.
        broken: errors of the others, in order.
        mtimes_ns: times of change of the files, by reference; empty if the facts are from elsewhere.
    """

    facts: list[ImageFacts]
    broken: list[BrokenImageError]
    mtimes_ns: dict[str, int] = field(default_factory=dict)


def scan(
    refs: Sequence[ImageRef],
    workers: int | None = None,
    earlier_facts: Mapping[str, KnownFacts] | None = None,
) -> ScanResult:
    """Reads every image once.

    Args:
        refs: the images. Repeated ones are read once.
        workers: number of processes; 0 for this one, None for one per CPU, or 0 for few images.
        earlier_facts: from :func:`~modicum.data.checks.facts_file.load_facts`; files that have not changed since are
            not read again.
    """
    earlier_facts = earlier_facts or {}
    unique = list({str(ref): ref for ref in refs}.values())
    answers: dict[str, KnownFacts | BrokenImageError] = {}
    for ref in unique:
        earlier = earlier_facts.get(str(ref))
        if earlier is not None and file_state(ref.path) == (earlier.facts.bytes, earlier.mtime_ns):
            answers[str(ref)] = earlier
    todo = [ref for ref in unique if str(ref) not in answers]
    with bar("Reading images", len(todo)) as progress_bar:
        answers_in_order = in_processes(facts_of_file, todo, _workers(workers, len(todo)), ended_its_process)
        for ref, answer in zip(todo, answers_in_order, strict=True):
            answers[str(ref)] = answer
            progress_bar.advance()
    result = ScanResult([], [])
    for ref in refs:
        answer = answers[str(ref)]
        if isinstance(answer, BrokenImageError):
            result.broken.append(answer)
        else:
            result.facts.append(answer.facts)
            result.mtimes_ns[str(ref)] = answer.mtime_ns
    return result


def facts_of_file(ref: ImageRef) -> KnownFacts | BrokenImageError:
    """The facts of one image, or the error if it cannot be read."""
    return or_broken(ref, lambda: _read_facts(ref))


def _read_facts(ref: ImageRef) -> KnownFacts:
    image = read_image(ref, at_least=(DECODED_SIDE, DECODED_SIDE))
    state = file_state(ref.path)
    if state is None:
        raise BrokenImageError(str(ref), "file not found")
    digest = file_sha256(ref.path, state)
    return KnownFacts(facts_of(image, str(ref), digest, state.size), state.mtime_ns)


def _workers(requested: int | None, images: int) -> int:
    if requested is not None:
        return requested
    return 0 if images < FEW else usable_cores()
