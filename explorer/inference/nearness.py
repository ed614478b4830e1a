"""How far from the corpus a sound lies, as one SAE sees it: a probe or a Lasso model says something of any sound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

FAR = 0.05


@dataclass(frozen=True, eq=False)
class Nearness:
    """The nearest clips of a sound (rows of `fetch_nearest_clips`), and the (n,) cosines that clips of the corpus reach
    with their nearest clip of another group, in ascending order."""

    clips: pd.DataFrame
    usual_n: NDArray[np.float64]

    @property
    def cosine(self) -> float:
        """With the nearest clip; 0 where no clip shares an active feature."""
        return float(self.clips["cosine"].iloc[0]) if len(self.clips) else 0.0

    @property
    def share_farther(self) -> float:
        """The share of corpus clips that are farther from their nearest clip than this sound is; NaN where unknown."""
        if not len(self.usual_n):
            return float("nan")
        return float(np.searchsorted(self.usual_n, self.cosine) / len(self.usual_n))

    @property
    def is_far(self) -> bool:
        """Whether at most FAR of the corpus's clips are as far from the others."""
        return self.share_farther <= FAR
