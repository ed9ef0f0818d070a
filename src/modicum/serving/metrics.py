"""Counts of a server in the text format of Prometheus (version 0.0.4); no package is needed for it."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper ends of the histogram, seconds."""
Labels = tuple[tuple[str, str], ...]


class Metrics:
    """What has happened since the start; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, Counter[Labels]] = {name: Counter() for name in _COUNTERS}
        self._seconds: dict[str, list[int]] = {}
        self._total: dict[str, float] = {}
        self._gauges: dict[str, dict[Labels, Callable[[], float]]] = {}

    def count(self, name: str, number: int = 1, **labels: str) -> None:
        """Adds to a counter."""
        with self._lock:
            self._counts[name][tuple(sorted(labels.items()))] += number

    def took(self, run: str, seconds: float) -> None:
        """Adds a request's duration to the histogram of its run."""
        with self._lock:
            counts = self._seconds.setdefault(run, [0] * (len(BUCKETS) + 1))
            counts[next((at for at, end in enumerate(BUCKETS) if seconds <= end), len(BUCKETS))] += 1
            self._total[run] = self._total.get(run, 0.0) + seconds

    def watch(self, name: str, value: Callable[[], float], **labels: str) -> None:
        """A value that is asked for whenever the metrics are."""
        self._gauges.setdefault(name, {})[tuple(sorted(labels.items()))] = value

    def text(self) -> str:
        """All of it."""
        lines: list[str] = []
        with self._lock:
            for name, counter in self._counts.items():
                lines += _head(name, "counter", _COUNTERS[name])
                lines += [f"{name}{_labelled(labels)} {value}" for labels, value in sorted(counter.items())]
            lines += self._histogram()
        for name, values in sorted(self._gauges.items()):
            lines += _head(name, "gauge", _GAUGES[name])
            lines += [f"{name}{_labelled(labels)} {value():.10g}" for labels, value in sorted(values.items())]
        return "\n".join(lines) + "\n"

    def _histogram(self) -> list[str]:
        name = "modicum_request_seconds"
        lines = _head(name, "histogram", "Seconds from a request's first byte to its answer.")
        for run, counts in sorted(self._seconds.items()):
            below = 0
            for end, number in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
                below += number
                lines.append(f"{name}_bucket{_labelled((('run', run), ('le', end)))} {below}")
            lines.append(f"{name}_sum{_labelled((('run', run),))} {self._total[run]:.6f}")
            lines.append(f"{name}_count{_labelled((('run', run),))} {below}")
        return lines


_COUNTERS: Mapping[str, str] = {
    "modicum_requests_total": "Requests for predictions, by run and status.",
    "modicum_failures_total": "Requests and files that were not answered, by reason.",
    "modicum_images_total": "Files that were predicted, by run.",
    "modicum_batches_total": "Batches of requests, by run.",
}
_GAUGES: Mapping[str, str] = {
    "modicum_queue_length": "Requests that wait for a run.",
    "modicum_requests_in_progress": "Requests to a run that are under way, waiting ones included.",
    "process_resident_memory_bytes": "Resident memory.",
}


def resident_bytes() -> float:
    """Resident memory of this process; 0 where the system does not say."""
    status = Path("/proc/self/statm")
    if not status.is_file():
        return 0.0
    import resource

    return float(int(status.read_text().split()[1]) * resource.getpagesize())


def _head(name: str, kind: str, words: str) -> list[str]:
    return [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]


def _labelled(labels: Labels) -> str:
    if not labels:
        return ""
    parts = [f'{name}="{_escaped(value)}"' for name, value in labels]
    return "{" + ",".join(parts) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
