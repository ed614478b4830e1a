"""The table and the map of an SAE's live features: sorted, searched, filtered, coloured; each opens a feature."""

from __future__ import annotations

import random
from typing import Any

import pandas as pd
import streamlit as st

from explorer.csv_text import sae_columns
from explorer.figures.features import COLOURED_BY, map_colors
from explorer.queries.corpus import fetch_corpus
from explorer.queries.features import (
    FeatureFilter,
    count_features,
    fetch_factor_groups,
    fetch_feature_map,
    fetch_feature_table,
    fetch_live_feature_at,
    fetch_n_other_seeds,
)
from explorer.store import Store
from explorer.text import LONGEST_NAME, MISSING, count, is_defined, number, percent, signed, whole
from explorer.ui.context import cached, get_store, is_dark
from explorer.ui.feature_map import feature_map
from explorer.ui.markup import brief
from explorer.ui.notes import features_saying, notebook, short_words
from explorer.ui.options import (
    choose_from,
    choose_least,
    choose_number,
    choose_range,
    choose_switch,
    write_text,
)
from explorer.ui.reader import reader_id
from explorer.ui.style import download_csv, empty_state, page_header
from explorer.ui.tables import as_read, percent_1
from explorer.ui.url import carried, go_to, page_file, set_params, visit_key

ROWS = 50
MINE = "mine"
SORT_NAMES = {
    "density": "density",
    "largest": "largest activation",
    "mean": "mean when active",
    "f1": "label, F1",
    "factor": "weight in best factor",
    "disentanglement": "disentanglement",
    "stability": "stability",
    "number": "number",
}
LABEL_NAMES = {"any": "all", "labelled": "labelled", "unlabelled": "no label", MINE: "in my notebook"}


def draw_browser(store: Store, sae: dict[str, Any]) -> None:
    """The table and the map of the live features."""
    page_header(
        "Features",
        "Every live feature of the chosen SAE: how often it is active, how strongly, and what it goes along with. "
        "Click one, in the table or on the map, to hear it.",
        encoder_ids=[str(sae["encoder_id"])],
    )
    if not sae["n_live"]:
        empty_state(
            f"All features of this SAE are dead ({whole(sae['n_features'])}).", "Choose another SAE in the sidebar."
        )
        return
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.html(f'<p class="so-hint">{sae_sentence(sae)}</p>', width="content")
        st.page_link(
            page_file("find"), label="Find features for …", icon=":material/search:",
            query_params=carried("find", sae=sae["sae_id"]),
        )  # fmt: skip
    mine = notebook().of_sae(reader_id(), str(sae["sae_id"]))
    chosen = _choose_filter(sae, mine)
    with st.container(key="so-split"):
        left, right = st.columns([7, 4], gap="small")
    with left:
        _draw_table(store, sae, chosen, mine)
    with right:
        _draw_map(store, sae)


def sae_sentence(sae: dict[str, Any]) -> str:
    """One line about an SAE, as markup: its layer, how many features live, how many are active at once."""
    parts = [
        f"<b>{brief(sae['encoder_display'], LONGEST_NAME)} layer {sae['layer']}</b>",
        f"{whole(sae['n_live'])} of {count(sae['n_features'], 'feature')} used; "
        f"{number(sae['l0_mean'], 1)} per {sae['level']}",
    ]
    if is_defined(sae["share_returning"]):
        parts.append(f"{percent(sae['share_returning'])} return when trained again")
    return " · ".join(parts)


def _choose_filter(sae: dict[str, Any], mine: pd.DataFrame) -> FeatureFilter:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        sort = choose_from("Sort by", SORT_NAMES, "sort", width=180)
        labels = choose_from("Labels", LABEL_NAMES, "labels", width=150)
        text = write_text("Search", "q", width=190, placeholder="label, factor, note")
        dense = choose_switch("with dense", "dense", default=True)
        narrowed = _narrow(sae)
        jump = st.number_input(
            "Open feature", 0, int(sae["n_features"]) - 1, value=None, key=f"jump-{sae['sae_id']}", width=130,
            placeholder="number",
        )  # fmt: skip
        lucky = st.button("Random", icon=":material/shuffle:", key="random", help="Open a live feature by chance")
    if jump is not None:
        set_params(feature=int(jump))
    if lucky:
        open_random(get_store(), str(sae["sae_id"]))
    return FeatureFilter(
        sort=sort,
        labels="any" if labels == MINE else labels,
        text=text or "",
        with_dense=dense,
        only=tuple(int(number_) for number_ in mine["feature"]) if labels == MINE else None,
        also=features_saying(mine, text or ""),
        **narrowed,
    )


def _narrow(sae: dict[str, Any]) -> dict[str, Any]:
    """More conditions on the table, in a panel; each is part of the link. Returns arguments of FeatureFilter."""
    groups = ["any", *cached(fetch_factor_groups, get_store())["factor_group"]]
    n_groups = fetch_corpus(get_store()).n_groups
    with st.popover("More filters", icon=":material/tune:"):
        low, high = choose_range("Density (%)", "density", 0, 100)
        f1 = choose_least("Label's F1, at least", "f1", 1.0, 0.05)
        least = int(choose_least("Active in groups, at least", "groups", n_groups, 1))
        group = choose_from("Best factor is of", groups, "factorgroup")
        n_seeds = cached(fetch_n_other_seeds, get_store(), str(sae["sae_id"]))
        returns = int(choose_least("Returns in other seeds, at least", "returns", n_seeds, 1)) if n_seeds else 0
    return {
        "density": (low / 100, high / 100),
        "min_f1": f1,
        "min_groups": least,
        "factor_group": "" if group == "any" else group,
        "min_returns": returns,
    }


def open_random(store: Store, sae_id: str) -> None:
    """Open a live feature by chance."""
    feature = fetch_live_feature_at(store, sae_id, random.random())  # noqa: S311 - a pick for a reader, not a secret
    if feature is not None:
        go_to("features", sae=sae_id, feature=feature)


def _draw_table(store: Store, sae: dict[str, Any], chosen: FeatureFilter, mine: pd.DataFrame) -> None:
    sae_id = str(sae["sae_id"])
    total = count_features(store, sae_id, chosen)
    if total == 0:
        hint = "Bookmark one on its page. " if chosen.only == () else ""
        empty_state("No live feature passes this filter.", f"{hint}{sae['n_live']} are live: remove a filter.")
        return
    n_pages, page = -(-total // ROWS), 1
    table = st.container()
    with st.container(horizontal=True, vertical_alignment="center"):
        if n_pages > 1:
            page = choose_number(f"Page of {n_pages}", "page", 1, n_pages, default=1, width=110)
        rows = fetch_feature_table(store, sae_id, chosen, limit=ROWS, offset=(page - 1) * ROWS)
        first = (page - 1) * ROWS + 1
        place = f"page {page} of {n_pages} · " if n_pages > 1 else ""
        st.html(
            f'<p class="so-hint">{place}features {first} to {first + len(rows) - 1} of {total} in this order</p>',
            width="stretch",
        )
        download_csv(
            lambda: fetch_feature_table(store, sae_id, chosen, limit=None), f"features-{sae_id}", n_rows=total,
            about=sae_columns(sae),
        )  # fmt: skip
    shown = rows.assign(yours=short_words(mine, rows["feature"]))
    columns = _columns() if len(mine) else {name: of for name, of in _columns().items() if name != "yours"}
    columns = {name: of for name, of in columns.items() if name in ("feature", "yours") or rows[name].notna().any()}
    event = table.dataframe(
        as_read(shown, _WRITTEN), hide_index=True, placeholder=MISSING, on_select="rerun",
        height=35 * min(len(rows), 15) + 38, row_height=34,
        selection_mode="single-cell", key=visit_key(f"table-{sae_id}-{page}-{chosen.sort}"), column_config=columns,
        column_order=list(columns),
    )  # fmt: skip
    if event["selection"]["cells"]:
        go_to("features", sae=sae_id, feature=int(rows["feature"].iloc[event["selection"]["cells"][0][0]]))


_WRITTEN = {
    "feature": str, "label_f1": number, "density": percent_1, "max_value": number, "mean_active": number,
    "best_factor_weight": signed,
}  # fmt: skip


def _columns() -> dict[str, Any]:
    column = st.column_config
    return {
        "feature": column.NumberColumn("Feature", format="%d", width=70),
        "label": column.TextColumn("Label", width=110, help="Shown only where it beats permuted labels"),
        "label_f1": column.NumberColumn("F1", help="Each group scored by a rule found on the others", width=55),
        "yours": column.TextColumn("Yours", width=110, help="★ bookmarked; your own label"),
        "density": column.NumberColumn("Density", help="Share of clips or frames that is active", width=80),
        "max_value": column.NumberColumn("Largest", width=75),
        "mean_active": column.NumberColumn("Mean", help="Mean where active", width=65),
        "n_groups_active": column.NumberColumn("Groups", help="Groups in which it is ever active", width=65),
        "best_factor": column.TextColumn("Best factor", help="The factor with its largest Lasso weight"),
        "best_factor_weight": column.NumberColumn("Weight", width=70),
    }


def _draw_map(store: Store, sae: dict[str, Any]) -> None:
    rows = cached(fetch_feature_map, store, str(sae["sae_id"]))
    if rows.empty:
        empty_state("No map was computed for this SAE.")
        return
    hint = "Features near each other are active on the same clips; distances between islands mean nothing."
    st.html(f'<p class="so-hint">Map. {hint} Point at one to see it, click to open it.</p>')
    first = "label" if "label" not in COLOURED_BY or rows["label"].notna().any() else "density"
    by = choose_from("Colour by", COLOURED_BY, "mapcolor", default=first, width=240)
    clicked = feature_map(rows, map_colors(rows, by, is_dark()), visit_key(f"map-{sae['sae_id']}"))
    if clicked is not None:
        go_to("features", sae=sae["sae_id"], feature=clicked)
