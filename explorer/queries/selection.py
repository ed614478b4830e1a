"""Which rows speak for a store: trained encoders, one protocol, the newest recipe, probes that have scores."""

from __future__ import annotations

import pandas as pd

from explorer.queries.curves import fetch_layer_probes
from explorer.store import Store
from explorer.text import is_false

# Layers are chosen on folds by group; the others stand in where those have no score.
BY_LAYER = ("group-folds", "held-out", "random-folds", "paper")
_PLACE = ["encoder_id", "layer", "method", "level", "n_features", "protocol"]


def trained(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` without untrained encoders, where there is any other."""
    kept = rows[[not is_false(value) for value in rows["is_trained"]]]
    return kept if len(kept) else rows


def one_protocol(points: pd.DataFrame) -> pd.DataFrame:
    """The SAEs of protocol held-out, if any: numbers of two protocols are never pooled."""
    kept = points[points["protocol"] == "held-out"]
    return kept if len(kept) else points


def newest_recipe(points: pd.DataFrame) -> pd.DataFrame:
    """Of each encoder, layer, method, level and width, the SAEs trained for as many epochs as the newest run's.

    `points` as `fetch_sae_points` returns them. Of runs that started together, or at a time not stored, the longest
    training counts.
    """
    if points.empty:
        return points
    dated = points.assign(started=points["run_started_at"].fillna("").astype(str), epochs=points["n_epochs"].fillna(-1))
    newest = dated.sort_values(["started", "epochs"]).groupby(_PLACE)["epochs"].transform("last")
    return points[dated["epochs"] == newest.reindex(points.index)]


def telling_layers(points: pd.DataFrame, n: int = 2) -> pd.DataFrame:
    """The SAEs of each encoder's `n` layers whose codes' probes are best (the first layers where none has a score).

    `points` as `fetch_sae_points` returns them. For figures that more layers would fill until nothing can be read.
    """
    place = ["encoder_id", "layer"]
    scored = points.groupby(place, as_index=False)["accuracy"].mean()
    best = scored.sort_values(["accuracy", "layer"], ascending=[False, True]).groupby("encoder_id").head(n)
    kept = pd.MultiIndex.from_frame(best[place])
    return points[pd.MultiIndex.from_frame(points[place]).isin(kept)]


def scored_layer_probes(store: Store, label_name: str) -> tuple[pd.DataFrame, str]:
    """Trained encoders' probes by layer, and their protocol: the first of BY_LAYER that has a score.

    Where none has, the first that has probes at all: their reasons say why nothing was scored.
    """
    found = [(trained(fetch_layer_probes(store, label_name, protocol)), protocol) for protocol in BY_LAYER]
    with_scores = [(rows, protocol) for rows, protocol in found if rows["accuracy"].notna().any()]
    with_rows = [(rows, protocol) for rows, protocol in found if len(rows)]
    return (with_scores or with_rows or found)[0]
