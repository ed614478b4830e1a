"""Which rows speak for a store: trained encoders, one protocol, the newest recipe, probes that have scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from explorer.intervals import MIN_GROUPS_FOR_INTERVAL
from explorer.queries.curves import fetch_layer_probes, fetch_probe_groups
from explorer.store import Store
from explorer.text import commonest, is_false

# Over which groups claims about accuracy are tested, in the order of preference.
TESTED_ON = ("all-groups", "held-out", "group-folds", "paper")
# And what is said of codes: under the first nothing has seen the groups, under the second the SAEs heard them.
CODES_TESTED_ON = ("held-out", "all-groups")
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


def tested_groups(store: Store, label_name: str, kind: str, protocols: Sequence[str]) -> tuple[pd.DataFrame, str]:
    """Trained encoders' rows of `fetch_probe_groups`, and their protocol, the `most_telling` one of `protocols`."""
    found = {protocol: trained(fetch_probe_groups(store, label_name, protocol, kind)) for protocol in protocols}
    chosen = most_telling({protocol: rows["group_id"].nunique() for protocol, rows in found.items()})
    return found[chosen], chosen


def most_telling(n_groups: Mapping[str, int]) -> str:
    """Of protocols, in the order of preference, the first with enough groups for a verdict, else the one with the most
    groups."""
    enough = [protocol for protocol, n in n_groups.items() if n >= MIN_GROUPS_FOR_INTERVAL]
    return enough[0] if enough else max(n_groups, key=lambda protocol: n_groups[protocol])


def heard_words(protocol: str, is_blind: pd.Series) -> str:
    """What follows a number on codes that is of groups which their SAEs were trained on; nothing for others."""
    if protocol != "all-groups" or is_blind.astype("boolean").fillna(False).all():
        return ""
    return ", of groups whose sound (never labels) the SAEs were trained on"


def why_unscored(store: Store, label_name: str) -> str | None:
    """The commonest stored reason why probes of trained encoders' dense states have no score; None where one has."""
    found = [trained(fetch_layer_probes(store, label_name, protocol)) for protocol in TESTED_ON]
    probes = next((rows for rows in found if len(rows)), found[0])
    if probes.empty or any(rows["accuracy"].notna().any() for rows in found):
        return None
    return commonest(probes["reason"])
