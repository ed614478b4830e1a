"""What can be heard where a corpus is too small for any factor to be scored: features described over all clips."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from explorer.measures import kind_and_own_name, kinds_counted
from explorer.queries.corpus import fetch_corpus, fetch_saes
from explorer.queries.search import fetch_features_for_measure
from explorer.store import Store
from explorer.text import commonest, is_defined, number
from explorer.ui.context import cached
from explorer.ui.markup import as_written
from explorer.ui.measures import measure_key
from explorer.ui.style import empty_state
from explorer.ui.top_clips import draw_top_clips
from explorer.ui.url import carried, page_file


def say_unscored(scores: pd.DataFrame) -> None:
    """One box: no factor was scored, and the commonest reason."""
    why = commonest(scores["reason"])
    empty_state(
        f"Not tested: none of the {kinds_counted(scores['factor_group'])} has a score here. Most often: {why}.",
        "The table below gives the reason for each factor. What follows describes all clips; it tests nothing.",
    )


def draw_described(store: Store, sae: dict[str, Any], factor: dict[str, Any]) -> None:
    """The feature that goes with the factor best over all clips, its strongest clips, and the link to the others."""
    sae_id, (kind, name) = str(sae["sae_id"]), kind_and_own_name(str(factor["factor_group"]), str(factor["name"]))
    rows = cached(_described, store, sae_id, kind, name)
    title = factor["display_name"]
    if rows.empty or not is_defined(rows["score"].iloc[0]):
        empty_state(f"No feature of this SAE goes with {title} on the clips of this corpus.")
        return
    best = rows.iloc[0]
    st.write(
        as_written(f"Over all clips feature {best['feature']} goes with {title} best (r {number(best['score'])}).")
    )
    st.page_link(
        page_file("find"), label=as_written(f"More features for {title}"), icon=":material/search:",
        query_params=carried("find", sae=sae_id, by="measure", measure=measure_key(kind, name)),
    )  # fmt: skip
    draw_top_clips(store, sae, fetch_corpus(store), int(best["feature"]), "factors-top")


def _described(store: Store, sae_id: str, kind: str, name: str) -> pd.DataFrame:
    return fetch_features_for_measure(store, dict(fetch_saes(store, sae_id).iloc[0]), kind, name).head(1)
