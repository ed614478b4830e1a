"""What worker processes do in tests; a module of its own, so that they start without importing a model library."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def square(folder: Path, n_deaths: int, number: int) -> int:
    """The square of a number; the process that is asked for 3 dies, as often as it is to."""
    deaths = len(list(folder.iterdir()))
    if number == 3 and deaths < n_deaths:
        (folder / str(deaths)).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def divide_or_wait(seconds: int) -> float:
    """Wait, or fail at once."""
    if seconds:
        time.sleep(seconds)
    return 1 / seconds
