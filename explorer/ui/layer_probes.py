"""What Layers and Compare share about probes by layer: which protocol has scores, and how groups spread."""

from __future__ import annotations

import pandas as pd

from explorer.intervals import MIN_GROUPS_FOR_INTERVAL
from explorer.queries.curves import PROTOCOLS, fetch_layer_probe_groups, fetch_probe_choices
from explorer.store import Store
from explorer.text import commonest
from explorer.ui.context import cached


def dense_protocols(store: Store, label: str) -> tuple[list[str], list[str]]:
    """Protocols under which dense states were probed for `label`, and those of them that have a score; in order."""
    there = cached(fetch_probe_choices, store)
    mine = there[(there["label_name"] == label) & (there["kind"] == "dense")]
    scored = set(mine[mine["n_scored"] > 0]["protocol"])
    probed = [name for name in PROTOCOLS if name in set(mine["protocol"])]
    return probed, [name for name in probed if name in scored]


def why_unscored(probes: pd.DataFrame) -> str:
    """The commonest stored reason of probes without a score."""
    return commonest(probes["reason"])


def group_spread(store: Store, probes: pd.DataFrame, label: str, protocol: str) -> tuple[pd.DataFrame, str]:
    """The groups to draw as dots, and the sentence on how groups spread.

    Under MIN_GROUPS_FOR_INTERVAL groups each group is drawn, and no line; from there on the stored intervals are, and
    no group.
    """
    n_groups = probes["n_groups"].max()
    few = pd.notna(n_groups) and n_groups < MIN_GROUPS_FOR_INTERVAL
    groups = cached(fetch_layer_probe_groups, store, label, protocol)
    groups = groups[groups["encoder_id"].isin(probes["encoder_id"])]
    if few:
        return groups, (
            f"Small dots: one group each. Too few groups to compare layers ({int(n_groups)} of "
            f"{MIN_GROUPS_FOR_INTERVAL}): no line and no interval."
        )
    return groups.iloc[:0], "Bars: 95 % interval of the accuracy over groups."
