"""Bounded queues: order, policies, closing."""

from __future__ import annotations

import threading
import time

from dfanerf_rt.live.queues import BoundedQueue, WhenFull


def test_drop_oldest_keeps_the_newest_and_counts() -> None:
    queue: BoundedQueue[int] = BoundedQueue(2, WhenFull.DROP_OLDEST)
    assert all(queue.put(k) for k in range(5))
    queue.close()
    assert [queue.get(), queue.get(), queue.get()] == [3, 4, None]
    assert queue.dropped == 3


def test_block_waits_for_room() -> None:
    queue: BoundedQueue[int] = BoundedQueue(1, WhenFull.BLOCK)
    queue.put(0)
    done = threading.Event()
    threading.Thread(target=lambda: (queue.put(1), done.set()), daemon=True).start()
    time.sleep(0.05)
    assert not done.is_set()
    assert queue.get() == 0 and done.wait(1.0) and queue.get() == 1
    assert queue.dropped == 0


def test_closing_wakes_both_sides() -> None:
    queue: BoundedQueue[int] = BoundedQueue(1, WhenFull.BLOCK)
    got: list[object] = []
    reader = threading.Thread(target=lambda: got.append(queue.get()), daemon=True)
    reader.start()
    queue.close()
    reader.join(1.0)
    assert got == [None] and not queue.put(1)

    queue = BoundedQueue(1, WhenFull.BLOCK)
    queue.put(0)
    writer = threading.Thread(target=lambda: got.append(queue.put(1)), daemon=True)
    writer.start()
    queue.close(discard=True)
    writer.join(1.0)
    assert got[-1] is False and queue.get() is None
