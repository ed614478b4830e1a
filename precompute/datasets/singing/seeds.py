"""Random generators by name: what is drawn for one thing does not depend on what else is drawn."""

from __future__ import annotations

import zlib

import numpy as np


def generator(seed: int, *words: str) -> np.random.Generator:
    """The generator of one thing, such as ("female1", "belt"): the same seed and words give the same draws."""
    return np.random.default_rng([seed, *(zlib.crc32(word.encode()) for word in words)])
