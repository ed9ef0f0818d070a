"""A Ray cluster of two nodes on this machine, and whether runs were trained at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def two_nodes() -> Iterator[Any]:
    """A head and one more node with one CPU each, joined by ``RAY_ADDRESS`` as on a real cluster."""
    pytest.importorskip("ray", reason="needs the extra 'scale'")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        from ray.cluster_utils import Cluster

        small = {"num_cpus": 1, "object_store_memory": 100_000_000}
        cluster = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False})
        cluster.add_node(**small)
        patch.setenv("RAY_ADDRESS", cluster.address)
        yield cluster
        cluster.shutdown()


def spans(runs: Path) -> dict[str, tuple[float, float]]:
    """From when to when each run of a folder was trained, by its first and last file."""
    found = {}
    for run in runs.iterdir():
        times = [path.stat().st_mtime for path in run.rglob("*") if path.is_file()]
        found[run.name] = (min(times), max(times))
    return found


def at_once(runs: Path) -> bool:
    """Whether two runs of a folder were trained at the same time: on both nodes, as a node has one CPU for one run."""
    between = list(spans(runs).values())
    return any(a[0] < b[1] and b[0] < a[1] for i, a in enumerate(between) for b in between[:i])
