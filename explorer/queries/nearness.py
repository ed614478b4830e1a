"""Which clips of the corpus have a code like a new one, and how near its clips lie to each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from explorer.queries.corpus import resolve_sae
from explorer.queries.search import fetch_codes
from explorer.store import Store

N_SAMPLED = 1000


def fetch_nearest_clips(
    store: Store, sae: Mapping[str, Any], code_f: NDArray[np.floating], n: int, *, without: int | None = None
) -> pd.DataFrame:
    """The n corpus clips whose codes point the same way: `cosine`, and the columns of `clips`, nearest first.

    `without`: a clip_index to leave out, where the sound is that clip. Clips that share no active feature are no
    neighbours: fewer than n, or none, may be left. Empty too where codes are not stored, or the code is all zero.
    """
    length = float(np.linalg.norm(code_f))
    if not sae["codes_by_clip_file"] or length == 0:
        return pd.DataFrame()
    codes = fetch_codes(store, sae)
    norms = np.linalg.norm(codes, axis=1)
    cosine = np.where(norms > 0, codes @ code_f.astype(np.float32) / np.where(norms > 0, norms, 1.0) / length, 0.0)
    if without is not None:
        cosine[without] = -1.0
    order = np.argsort(-cosine, kind="stable")[:n]
    order = order[cosine[order] > 0]
    rows = store.query("SELECT * FROM clips WHERE clip_index IN (SELECT unnest(?::INTEGER[]))", [order.tolist()])
    near = pd.DataFrame({"clip_index": order, "cosine": cosine[order]})
    return near.merge(rows, on="clip_index", how="inner").sort_values("cosine", ascending=False, ignore_index=True)


def fetch_usual_cosines(store: Store, sae_id: str) -> pd.DataFrame:
    """How near a clip is to the nearest clip of another group: `cosine` of their codes, a row a clip, ascending.

    Of N_SAMPLED clips, evenly spaced over the corpus, where it has more. Silent clips and codes of zeros take no part.
    Empty where codes are not stored or there is one group only.
    """
    sae = resolve_sae(store, sae_id)
    if not sae["codes_by_clip_file"]:
        return pd.DataFrame({"cosine": np.empty(0)})
    codes = fetch_codes(store, sae)
    clips = store.query("SELECT group_id, is_silent FROM clips ORDER BY clip_index")
    norms = np.linalg.norm(codes, axis=1)
    kept = np.flatnonzero((norms > 0) & ~clips["is_silent"].to_numpy(bool))
    unit, groups = codes[kept] / norms[kept, None], clips["group_id"].to_numpy()[kept]
    rows = np.unique(np.linspace(0, max(len(kept) - 1, 0), min(len(kept), N_SAMPLED)).astype(int))
    cosine = unit[rows] @ unit.T
    cosine[groups[rows][:, None] == groups[None]] = -1.0
    nearest = cosine.max(axis=1, initial=-1.0)
    return pd.DataFrame({"cosine": np.sort(nearest[nearest >= 0].astype(float))})
