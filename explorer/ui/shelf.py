"""Results that are kept for everybody, up to so many bytes: those used last stay."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

R = TypeVar("R")


class Shelf(Generic[R]):
    """Safe between threads. A result that two readers want at once is made once."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self._lock = max_bytes, Lock()
        self._kept, self._n_bytes = OrderedDict[Hashable, tuple[R, int]](), 0
        self._making: dict[Hashable, Lock] = {}

    def get(self, key: Hashable, make: Callable[[], R]) -> R:
        """The result of this key, made now if it is not kept; what `make` raises is raised, and nothing is kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key][0]
            making = self._making.setdefault(key, Lock())
        with making:
            with self._lock:
                if key in self._kept:
                    return self._kept[key][0]
            try:
                result = make()
                self._put(key, result)
            finally:
                with self._lock:
                    self._making.pop(key, None)
            return result

    def _put(self, key: Hashable, result: R) -> None:
        n_bytes = len(result) if isinstance(result, bytes | str) else len(pickle.dumps(result))
        with self._lock:
            self._kept[key] = (result, n_bytes)
            self._n_bytes += n_bytes
            while self._n_bytes > self._max_bytes and len(self._kept) > 1:
                self._n_bytes -= self._kept.popitem(last=False)[1][1]

    @property
    def n_bytes(self) -> int:
        """How much is kept."""
        return self._n_bytes
