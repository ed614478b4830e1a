"""A limit of time on what a store may ask: one thread watches all queries of the process, and stops the late ones."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

QUERY_LIMIT_S = 30.0


class _Watch:
    """Calls `stop` of what is not done in time."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: OrderedDict[object, tuple[float, Callable[[], object]]] = OrderedDict()
        self._thread: threading.Thread | None = None

    def add(self, stop: Callable[[], object], seconds: float) -> object:
        token = object()
        with self._changed:
            self._running[token] = (time.monotonic() + seconds, stop)
            if self._thread is None or not self._thread.is_alive():  # after a fork there is none
                self._thread = threading.Thread(target=self._look, name="query limits", daemon=True)
                self._thread.start()
            elif len(self._running) == 1:
                self._changed.notify()
        return token

    def done(self, token: object) -> bool:
        """Whether it was done in time."""
        with self._changed:
            return self._running.pop(token, None) is not None

    def _look(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for token in [token for token, (deadline, _) in self._running.items() if deadline <= now]:
                    self._running.pop(token)[1]()
                next_s = min((deadline for deadline, _ in self._running.values()), default=None)
                self._changed.wait(None if next_s is None else min(0.25, max(0.0, next_s - now)))


@cache
def _watch() -> _Watch:
    return _Watch()


@contextmanager
def stopped_after(seconds: float, stop: Callable[[], object]) -> Iterator[Callable[[], bool]]:
    """Call `stop` from another thread once `seconds` have passed. Gives a function that says whether that happened."""
    token = _watch().add(stop, seconds)
    late: list[bool] = []
    try:
        yield lambda: late[0] if late else not _watch().done(token)
    finally:
        late.append(not _watch().done(token))
