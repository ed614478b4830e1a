"""What the server holds for readers who left, and how it is let go.

Streamlit holds the session of a browser that went away for two minutes, in case it comes back. Its own storage looks
for expired ones only when another browser leaves, and drops them without closing them: their event loops, downloads and
tables stay. Here they are closed in time, and at most MOST_LEFT are held.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from threading import Lock
from typing import Any

import pyarrow as pa
import streamlit as st
from streamlit import config, runtime
from streamlit.runtime.session_manager import SessionInfo

MOST_LEFT, EVERY_S, COLLECT_EVERY_S = 24, 5.0, 30.0
_M_ARENA_MAX, _N_ARENAS = -8, 2


class LeftSessions:
    """Streamlit's SessionStorage: the sessions of browsers that went away, each until `ttl_s` later."""

    def __init__(self, ttl_s: float, most: int = MOST_LEFT) -> None:
        self._ttl_s, self._most, self._lock = ttl_s, most, Lock()
        self._left: dict[str, tuple[SessionInfo, float]] = {}

    def get(self, session_id: str) -> SessionInfo | None:
        """The session, while its browser may come back."""
        with self._lock:
            found = self._left.get(session_id)
        return found[0] if found else None

    def save(self, session_info: SessionInfo) -> None:
        """Hold a session whose browser went away; of too many the one that left first is closed."""
        with self._lock:
            self._left[session_info.session.id] = (session_info, time.monotonic() + self._ttl_s)
            too_many = [self._left.pop(name)[0] for name in list(self._left)[: -self._most]]
        _close(too_many)

    def delete(self, session_id: str) -> None:
        """Its browser is back, or it is closed elsewhere. Raises KeyError when it is not here."""
        with self._lock:
            del self._left[session_id]

    def list(self) -> list[SessionInfo]:
        """All that are held."""
        with self._lock:
            return [info for info, _ in self._left.values()]

    def close_expired(self, now_s: float) -> int:
        """Close the sessions whose time is over; how many."""
        with self._lock:
            over = [self._left.pop(name)[0] for name, (_, until_s) in list(self._left.items()) if until_s <= now_s]
        _close(over)
        return len(over)


def _close(sessions: list[SessionInfo]) -> None:
    for info in sessions:
        info.session.shutdown()


@asynccontextmanager
async def tidy(_app: st.App) -> AsyncIterator[None]:
    """The lifespan of the server: close sessions that left, and give memory back, every few seconds."""
    task = asyncio.create_task(_keep_tidy(_own_storage()))
    _few_arenas()
    gc.collect()
    gc.freeze()  # what a started server holds for good: later collections need not look at it
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        gc.unfreeze()


def _own_storage() -> LeftSessions | None:
    """Put our storage into the place of Streamlit's; None, with a line in the log, where it has no such place."""
    manager: Any = getattr(runtime.get_instance(), "_session_mgr", None)
    if not hasattr(manager, "_session_storage"):
        logging.getLogger(__name__).warning("This Streamlit keeps sessions elsewhere: they are closed at its own time.")
        return None
    storage = LeftSessions(float(config.get_option("server.disconnectedSessionTTL")))
    manager._session_storage = storage
    return storage


async def _keep_tidy(storage: LeftSessions | None) -> None:
    collected_s = time.monotonic()
    while True:
        await asyncio.sleep(EVERY_S)
        now_s = time.monotonic()
        n_closed = storage.close_expired(now_s) if storage is not None else 0
        if n_closed or now_s - collected_s >= COLLECT_EVERY_S:
            collected_s = now_s
            await asyncio.to_thread(_give_back)


def _give_back() -> None:
    """Sessions hang together in circles, which only a whole collection finds; freed memory then goes to the system."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    with suppress(OSError, AttributeError):  # not every C library has it
        ctypes.CDLL(None).malloc_trim(0)


def _few_arenas() -> None:
    """Have the threads share two heaps: with one each, what one thread frees no other uses."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _N_ARENAS)
