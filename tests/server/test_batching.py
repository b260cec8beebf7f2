"""Batching: every waiter gets its own result, whatever the company, the crowd, the failures and those who leave."""

import asyncio
import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from composir.server.batching import Batcher
from composir.server.errors import BusyError, UnavailableError


def square(items):
    return [ValueError(item) if item < 0 else item * item for item in items]


def batcher(run=square, **options):
    return Batcher(run, **{"max_batch": 4, "max_delay": 0.0, "queue_length": 1000, **options})


@settings(max_examples=30)
@given(st.lists(st.integers(-5, 50), max_size=40), st.integers(1, 8), st.sampled_from([0.0, 0.001]))
def test_results_are_those_of_each_alone(items, size, delay):
    batches = []
    made = batcher(max_batch=size, max_delay=delay, observe=batches.append)
    futures = [made.submit(item) for item in items]
    for item, future in zip(items, futures, strict=True):
        if item < 0:
            with pytest.raises(ValueError, match=str(item)):
                future.result(10)
        else:
            assert future.result(10) == item * item
    made.close()
    assert sum(batches) == len(items)
    assert all(batch <= size for batch in batches)


def test_what_waits_is_computed_together_in_order_of_arrival():
    gate, seen = threading.Event(), []

    def run(items):
        seen.append(list(items))
        gate.wait(10)
        return items

    made = batcher(run)
    first = made.submit(0)
    while not seen:
        time.sleep(0.001)
    rest = [made.submit(n) for n in range(1, 10)]
    assert len(made) == 9
    gate.set()
    assert [future.result(10) for future in [first, *rest]] == list(range(10))
    assert seen == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9]]
    made.close()


def test_the_delay_gathers_and_a_full_batch_does_not_wait():
    sizes = []
    made = batcher(max_batch=3, max_delay=30.0, observe=sizes.append)
    futures = [made.submit(n) for n in range(3)]
    assert [future.result(10) for future in futures] == [0, 1, 4]
    made.submit(5)
    made.close()  # nor does the end
    assert sizes == [3, 1]


def test_a_batch_that_fails_as_a_whole_is_tried_one_by_one():
    def run(items):
        if 13 in items:
            raise RuntimeError("13")
        return items

    made = batcher(run, max_batch=8, max_delay=0.05)
    futures = [made.submit(n) for n in (1, 13, 2)]
    assert futures[0].result(10) == 1
    assert futures[2].result(10) == 2
    with pytest.raises(RuntimeError, match="13"):
        futures[1].result(10)
    assert made.submit(3).result(10) == 3, "the thread lives on"
    made.close()


def test_a_run_that_loses_results_is_an_error_for_all():
    made = batcher(lambda items: [])
    with pytest.raises(RuntimeError, match="1 requests got 0 results"):
        made.submit(1).result(10)
    made.close()


def test_a_full_queue_is_busy_and_says_when_to_come_back():
    gate = threading.Event()
    made = batcher(lambda items: gate.wait(10) and items, max_batch=1, queue_length=2)
    futures = [made.submit(0)]
    while len(made):
        time.sleep(0.001)
    futures += [made.submit(1), made.submit(2)]
    with pytest.raises(BusyError) as caught:
        made.submit(3)
    assert caught.value.status_code == 429
    assert 1 <= int(caught.value.headers["Retry-After"]) <= 30
    # One who leaves makes room.
    assert futures[1].cancel()
    futures.append(made.submit(4))
    gate.set()
    assert futures[2].result(10) == 2
    assert futures[3].result(10) == 4
    made.close()


def test_who_leaves_is_not_computed_for():
    gate, seen = threading.Event(), []

    def run(items):
        seen.extend(items)
        gate.wait(10)
        return items

    made = batcher(run)

    async def main():
        first = asyncio.create_task(made(0))
        while not seen:
            await asyncio.sleep(0.001)
        others = [asyncio.create_task(made(n)) for n in (1, 2, 3)]
        await asyncio.sleep(0.01)
        others[1].cancel()
        await asyncio.sleep(0.01)
        gate.set()
        assert await first == 0
        assert await others[0] == 1
        assert await others[2] == 3
        with pytest.raises(asyncio.CancelledError):
            await others[1]

    asyncio.run(main())
    made.close()
    assert seen == [0, 1, 3]


def test_who_leaves_while_being_computed_hurts_nobody():
    started, gate = threading.Event(), threading.Event()

    def run(items):
        started.set()
        gate.wait(10)
        return items

    made = batcher(run, max_delay=0.05)

    async def main():
        tasks = [asyncio.create_task(made(n)) for n in range(3)]
        await asyncio.to_thread(started.wait, 10)
        tasks[0].cancel()
        await asyncio.sleep(0)
        gate.set()
        assert await tasks[1] == 1
        assert await tasks[2] == 2

    asyncio.run(main())
    assert made.submit(9).result(10) == 9
    made.close()


def test_closing_finishes_what_is_queued_and_takes_nothing_new():
    def slow(items):
        time.sleep(0.02)
        return items

    made = batcher(slow)
    futures = [made.submit(n) for n in range(20)]
    made.close()
    assert [future.result(0) for future in futures] == list(range(20))
    with pytest.raises(UnavailableError):
        made.submit(1)
    made.close()  # again


@settings(max_examples=10)
@given(st.lists(st.tuples(st.integers(-3, 30), st.booleans()), max_size=60))
def test_many_threads_and_those_who_leave(plan):
    made = batcher(max_batch=5, max_delay=0.001)

    def one(job):
        item, leaves = job
        future = made.submit(item)
        if leaves:
            future.cancel()
        try:
            return future.result(10)
        except ValueError:
            return "negative"
        except CancelledError:
            return "left"

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(one, plan))
    made.close()
    for (item, leaves), result in zip(plan, results, strict=True):
        assert result == ("negative" if item < 0 else item * item) or (leaves and result == "left")


def until(gate, value):
    """A long computation."""
    while not gate.is_set():
        time.sleep(0.001)
        yield
    if isinstance(value, Exception):
        raise value
    return value


def test_what_takes_long_lets_others_in():
    gate, seen = threading.Event(), []
    made = batcher(lambda items: [until(gate, -item) if item > 9 else item for item in items], observe=seen.append)
    first, second = made.submit(10), made.submit(11)
    assert [made.submit(n).result(10) for n in range(5)] == list(range(5))
    assert not first.done()
    with pytest.raises(BusyError, match="2 searches that take long are under way") as caught:
        made.submit(12).result(10)
    assert caught.value.headers["Retry-After"] == "1"
    gate.set()
    assert (first.result(10), second.result(10)) == (-10, -11)
    assert made.submit(13).result(10) == -13
    made.close()
    assert sum(seen) == 9


def test_what_takes_long_may_fail_and_is_finished_at_the_end():
    gate = threading.Event()
    made = batcher(lambda items: [until(gate, ValueError("no") if item else "done") for item in items])
    futures = [made.submit(1), made.submit(0)]
    threading.Timer(0.05, gate.set).start()
    made.close()
    with pytest.raises(ValueError, match="no"):
        futures[0].result(0)
    assert futures[1].result(0) == "done"


def test_what_takes_long_is_given_up_with_its_caller():
    begun, ended = threading.Event(), threading.Event()

    def forever():
        try:
            while True:
                begun.set()
                yield
        finally:
            ended.set()

    made = batcher(lambda items: [forever() if item else item for item in items])

    async def leave():
        waiting = asyncio.create_task(made(1))
        assert await asyncio.to_thread(begun.wait, 10)
        waiting.cancel()
        assert await asyncio.to_thread(ended.wait, 10)

    asyncio.run(leave())
    assert made.submit(0).result(10) == 0
    made.close()
