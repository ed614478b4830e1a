"""A map of an SAE's live features: two coordinates by how features are active over clips."""

from __future__ import annotations

import numpy as np

MIN_FOR_UMAP = 16


def feature_map(codes_cf: np.ndarray, is_live_f: np.ndarray, *, method: str, seed: int) -> np.ndarray:
    """(f, 2) float32 coordinates; NaN for features that are not live, and for all where fewer than 3 are.

    Features lie near each other when they are active on the same clips (cosine). `umap` (McInnes et al. 2018) with
    init='pca', which gives the same map in every environment; `pca` is the fallback for a quick look or few features.
    """
    live = np.flatnonzero(is_live_f)
    xy_f2 = np.full((codes_cf.shape[1], 2), np.nan, dtype=np.float32)
    if len(live) < 3 or len(codes_cf) < 3:
        return xy_f2
    rows_fc = codes_cf[:, live].T.astype(np.float64)
    rows_fc /= np.linalg.norm(rows_fc, axis=1, keepdims=True)
    if method == "umap" and len(live) >= MIN_FOR_UMAP:
        from umap import UMAP  # 20 s to import: only where a map is made

        n_neighbors = min(15, len(live) - 1)
        xy_f2[live] = UMAP(
            metric="cosine", init="pca", random_state=seed, n_jobs=1, n_neighbors=n_neighbors, min_dist=0.1
        ).fit_transform(rows_fc.astype(np.float32))
        return xy_f2
    from sklearn.decomposition import PCA

    xy_f2[live] = PCA(n_components=2, random_state=seed).fit_transform(rows_fc)
    return xy_f2
