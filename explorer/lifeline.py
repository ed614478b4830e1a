"""A process that ends when the one that started it has ended, however that came: killed, out of memory, or in order."""

from __future__ import annotations

import os
import threading


def end_with(lifeline: int) -> None:
    """End this process at once when nobody holds the other end of a pipe any more.

    `lifeline`: the reading end; the process to end with holds the only writing end and never writes. Works on every
    system that has pipes, and also where the other process is gone before this one looks.
    """
    threading.Thread(target=_wait_and_end, args=(lifeline,), name="lifeline", daemon=True).start()


def _wait_and_end(lifeline: int) -> None:
    while os.read(lifeline, 1):
        pass
    os._exit(1)
