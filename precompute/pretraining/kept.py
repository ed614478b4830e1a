"""Arrays that are computed once and kept in a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np


def kept(path: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The array in `path`, made and written there when it is missing; a file that is there is whole."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part.npy")
        np.save(unfinished, make())
        unfinished.replace(path)
    return np.load(path)
