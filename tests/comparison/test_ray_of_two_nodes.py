"""A comparison on a Ray cluster of two nodes, each with one CPU: two cells at once, and the table of one process."""

import time

import pandas as pd
import pytest
from small_comparison import compare

from modicum.comparison.executors import choose_executor

pytestmark = pytest.mark.slow
SAME = ["method", "seeds", "score", "score_std", "low", "high", "learnable", "memory_mib", "ppe", "pme"]


@pytest.fixture(scope="module")
def nodes():
    """A head and one more node, joined by ``RAY_ADDRESS`` as on a real cluster."""
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


def spans(folder):
    """From when to when each cell ran, by its first and last file."""
    found = {}
    for cell in (folder / "cells").iterdir():
        times = [path.stat().st_mtime for path in cell.rglob("*") if path.is_file()]
        found[cell.name] = (min(times), max(times))
    return found


def parallel_within(seconds, folder):
    """How many cells run at once, when it is one or the time is up: a cluster takes a while to miss a node."""
    ends = time.monotonic() + seconds
    while True:
        executor = choose_executor("ray", None, "cpu", folder / "logs")
        executor.close()
        if executor.max_parallel == 1 or time.monotonic() > ends:
            return executor.max_parallel
        time.sleep(1)


def test_two_nodes_share_the_cells_and_give_the_same_table(nodes, images, done, tmp_path):
    found = compare(images, tmp_path, "nodes", executor="ray")
    pd.testing.assert_frame_equal(found.table[SAME], done.table[SAME])
    # A node has one CPU and a cell takes one: cells that ran at the same time ran on both.
    between = list(spans(found.path).values())
    assert any(a[0] < b[1] and b[0] < a[1] for i, a in enumerate(between) for b in between[:i])


def test_leave_one_domain_out_on_two_nodes(nodes, images, tmp_path):
    """Cross-validation over domains: every domain is held out once, on whichever node."""
    table = pd.read_csv(images, dtype=str)
    table["image"] = [str(images.parent / image) for image in table["image"]]
    number = pd.factorize(table["patient"])[0]
    table["domain"] = [("east", "north", "west")[patient % 3] for patient in number]
    data = tmp_path / "domains.csv"
    table.drop(columns="split").to_csv(data, index=False)
    given = {"methods": ["linear"], "seeds": 1, "protocol": "leave-one-domain-out", "allow_outside": True}
    local, far = (compare(data, tmp_path, name, executor=name, **given).table for name in ("local", "ray"))
    columns = [
        name for name in local if "seconds" not in name and "time" not in name and "images_per" not in name
    ]
    assert {"method", "score"} <= set(columns)
    pd.testing.assert_frame_equal(local[columns], far[columns])


def test_a_comparison_goes_on_with_the_node_that_is_left(nodes, images, done, tmp_path):
    assert parallel_within(0, tmp_path) == 2
    nodes.remove_node(next(iter(nodes.worker_nodes)))
    assert parallel_within(30, tmp_path) == 1
    found = compare(images, tmp_path, "one_left", executor="ray", methods=["linear"], seeds=1)
    assert found.table["score"].notna().all()
