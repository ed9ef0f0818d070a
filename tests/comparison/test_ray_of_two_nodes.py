"""A comparison on a Ray cluster of two nodes, each with one CPU: two cells at once, and the table of one process."""

import time

import pandas as pd
import pytest
from small_comparison import compare

from modicum.comparison.executors import choose_executor
from ray_nodes import at_once, two_nodes

pytestmark = pytest.mark.slow
SAME = ["method", "seeds", "score", "score_std", "low", "high", "learnable", "memory_mib", "ppe", "pme"]


@pytest.fixture(scope="module")
def nodes():
    """A head and one more node, joined by ``RAY_ADDRESS`` as on a real cluster."""
    with two_nodes() as cluster:
        yield cluster


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
    assert at_once(found.path / "cells")


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
