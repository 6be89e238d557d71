"""Admission: how many workers may start at the same time. The rest wait in line, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable


class Admission:
    """A bounded number of places for starts. Whoever gets none at once is called when one is free."""

    def __init__(self, places: int, longest_queue: int) -> None:
        self._places = places
        self._taken = 0
        self._longest_queue = longest_queue
        self._queue: deque[tuple[object, Callable[[], None]]] = deque()

    def enter(self, who: object, start: Callable[[], None]) -> bool:
        """Call `start` now or when a place is free; False when even the queue is full."""
        if self._taken < self._places:
            self._taken += 1
            start()
            return True
        if len(self._queue) >= self._longest_queue:
            return False
        self._queue.append((who, start))
        return True

    def take(self) -> None:
        """Count a start that is under way already, whether or not there is a place for it."""
        self._taken += 1

    def cancel(self, who: object) -> bool:
        """Leave the queue; False when `who` is not (or no longer) in it."""
        kept = deque(entry for entry in self._queue if entry[0] is not who)
        left = len(kept) < len(self._queue)
        self._queue = kept
        return left

    def leave(self) -> None:
        """Give a place back, after a start came to its end one way or the other."""
        self._taken -= 1
        while self._queue and self._taken < self._places:
            self._taken += 1
            self._queue.popleft()[1]()
