"""A bounded queue between two stages, with a stated policy for when it is full."""

from __future__ import annotations

import threading
from collections import deque
from enum import Enum
from typing import Generic, TypeVar

T = TypeVar("T")


class WhenFull(Enum):
    """What happens to an item that comes while the queue is full."""

    BLOCK = "block"
    """The sender waits."""
    DROP_OLDEST = "drop oldest"
    """The item that waited longest goes, and is counted."""


class BoundedQueue(Generic[T]):
    """First in, first out, never longer than ``capacity``.

    Args:
        capacity: the most items held.
        when_full: see :class:`WhenFull`.
    """

    def __init__(self, capacity: int, when_full: WhenFull) -> None:
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}, expected at least 1")
        self._capacity = capacity
        self._when_full = when_full
        self._items: deque[T] = deque()
        self._closed = False
        self._changed = threading.Condition()
        self.dropped = 0
        """Items that went because the queue was full."""

    def put(self, item: T) -> bool:
        """Append an item; False (and the item is gone) once the queue is closed."""
        with self._changed:
            if self._when_full is WhenFull.BLOCK:
                self._changed.wait_for(lambda: len(self._items) < self._capacity or self._closed)
            if self._closed:
                return False
            if len(self._items) == self._capacity:
                self._items.popleft()
                self.dropped += 1
            self._items.append(item)
            self._changed.notify_all()
            return True

    def get(self) -> T | None:
        """Take the oldest item, waiting for one; None once the queue is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._items) or self._closed)
            if not self._items:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def __len__(self) -> int:
        """Items that wait now."""
        return len(self._items)

    def close(self, discard: bool = False) -> None:
        """Take no more items; ``discard`` throws away those still waiting."""
        with self._changed:
            self._closed = True
            if discard:
                self._items.clear()
            self._changed.notify_all()
