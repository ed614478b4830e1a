"""How far from the corpus a sound lies, as one SAE sees it: a probe or a Lasso model says something of any sound."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from explorer.queries.nearness import fetch_nearest_clips, fetch_usual_cosines
from explorer.store import Store

FAR = 0.05
N_NEAR = 4


@dataclass(frozen=True, eq=False)
class Nearness:
    """The nearest clips of a sound (rows of `fetch_nearest_clips`), and the (n,) cosines that clips of the corpus reach
    with their nearest clip of another group, in ascending order; none for a sound that is itself of the corpus."""

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


def nearness_of(
    store: Store,
    sae: Mapping[str, Any],
    code_f: NDArray[np.floating],
    *,
    without: int | None = None,
    fetch_usual: Callable[[Store, str], pd.DataFrame] = fetch_usual_cosines,
) -> Nearness:
    """The N_NEAR nearest clips of a code of an SAE (its row of `saes`), and what is usual in the corpus.

    without: the clip_index of a sound that is of the corpus.
    """
    clips = fetch_nearest_clips(store, sae, code_f, N_NEAR, without=without)
    usual = fetch_usual(store, str(sae["sae_id"]))["cosine"] if without is None else ()
    return Nearness(clips, np.asarray(usual, float))
