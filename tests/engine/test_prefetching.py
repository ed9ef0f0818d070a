"""Reading ahead: the same items in the same order, never before they are asked for, and no thread left behind."""

import threading
import time

import pytest

from modicum.engine.inputs.prefetching import Prefetched


class Source:
    """Counts what is taken from it; item ``fails`` raises."""

    def __init__(self, count, fails=None, seconds=0.0):
        self.count, self.fails, self.seconds = count, fails, seconds
        self.taken = 0
        self.threads = set()

    def __len__(self):
        return self.count

    def __iter__(self):
        for number in range(self.count):
            self.taken += 1
            self.threads.add(threading.current_thread())
            if number == self.fails:
                raise OSError(f"item {number}")
            time.sleep(self.seconds)
            yield number


def ahead(source, depth=1):
    return Prefetched(source, lambda _: True, depth)


@pytest.mark.parametrize("worthwhile", [True, False])
@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_items_come_in_their_order_again_and_again(count, worthwhile):
    items = Prefetched(Source(count), lambda _: worthwhile)
    assert len(items) == count
    assert list(items) == list(range(count))
    assert list(items) == list(range(count))


def test_small_items_need_no_thread():
    source = Source(5)
    list(Prefetched(source, lambda item: item > 0))
    assert source.threads == {threading.current_thread()}


def test_large_items_are_made_in_a_thread_while_the_present_one_is_used():
    source = Source(6, seconds=0.02)
    seen = []
    for item in ahead(source):
        time.sleep(0.06)
        seen.append(source.taken - item)
    assert len(source.threads) == 2  # the first is made here: it tells whether a thread is worth it
    assert 1 < max(seen) <= 3  # the one in use, one that waits, one being made


@pytest.mark.parametrize("fails", [0, 1, 4])
def test_an_error_comes_where_its_item_would_have(fails):
    seen = []
    with pytest.raises(OSError, match=f"item {fails}"):
        seen.extend(ahead(Source(6, fails)))
    assert seen == list(range(fails))


def test_nothing_is_read_before_it_is_asked_for():
    source = Source(6)
    items = iter(ahead(source))
    time.sleep(0.05)
    assert source.taken == 0
    next(items)
    items.close()


@pytest.mark.parametrize("how", ["close", "break", "error"])
def test_stopping_early_ends_the_thread(how):
    source, before = Source(1000), threading.active_count()
    items = iter(ahead(source, depth=2))
    next(items), next(items)
    if how == "close":
        items.close()
    elif how == "break":
        del items
    else:
        with pytest.raises(KeyboardInterrupt):
            items.throw(KeyboardInterrupt())
    assert threading.active_count() == before
    assert source.taken <= 6
