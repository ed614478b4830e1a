"""Features: the table and the map of an SAE's live features, and the page of one with the clips that drive it."""

from __future__ import annotations

import random
from html import escape
from typing import Any

import pandas as pd
import streamlit as st

from explorer.figures.features import COLOURED_BY, map_colors
from explorer.queries.corpus import CorpusFacts, fetch_corpus, resolve_feature
from explorer.queries.features import (
    LABELS,
    FeatureFilter,
    count_features,
    fetch_feature_map,
    fetch_feature_table,
    fetch_label_errors,
    fetch_listed_clips,
    fetch_live_feature_at,
    fetch_neighbourhood,
)
from explorer.queries.traces import fetch_traces
from explorer.store import Store
from explorer.ui import (
    cached,
    caption,
    choose_sae,
    download_csv,
    empty_state,
    get_int,
    get_param,
    get_store,
    go_to,
    is_dark,
    number,
    page_header,
    percent,
    set_params,
    stat_cards,
    visit_key,
)
from explorer.ui.choices import choose_one
from explorer.ui.explained import explain
from explorer.ui.feature_against import draw_against
from explorer.ui.feature_cards import label_rule, label_sentence, side_cards
from explorer.ui.feature_clips import ClipList, choose_list, clip_lists, draw_linked_clip, draw_list
from explorer.ui.feature_map import feature_map
from explorer.ui.notes import draw_notes, features_saying, notebook, own_words, short_words
from explorer.ui.reader import reader_id
from explorer.ui.style import banners, plural

ROWS = 50
MINE = "mine"
VIEWS = ("clips", "against a measure")
SORT_NAMES = {
    "density": "density",
    "largest": "largest activation",
    "mean": "mean when active",
    "f1": "label, F1 held out",
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
        encoder_id=str(sae["encoder_id"]),
    )
    if not sae["n_live"]:
        empty_state(f"All {sae['n_features']} features of this SAE are dead.", "Choose another SAE in the sidebar.")
        return
    st.html(f'<p class="so-hint">{_sae_sentence(sae)}</p>')
    mine = notebook().of_sae(reader_id(), str(sae["sae_id"]))
    chosen = _choose_filter(sae, mine)
    with st.container(key="so-split"):
        left, right = st.columns([7, 4], gap="small")
    with left:
        _draw_table(store, sae, chosen, mine)
    with right:
        _draw_map(store, sae)


def _sae_sentence(sae: dict[str, Any]) -> str:
    parts = [
        f"<b>{escape(str(sae['encoder_display']))} layer {sae['layer']}</b>",
        f"{sae['n_live']:,} live of {sae['n_features']:,}",
        f"{sae['n_dead'] or 0:,} dead",
        f"{sae['n_dense'] or 0:,} dense (in over half of the {sae['level']}s)",
        f"at most {sae['k']} active at once, {number(sae['l0_mean'], 1)} measured",
    ]
    return " · ".join(parts)


def _choose_filter(sae: dict[str, Any], mine: pd.DataFrame) -> FeatureFilter:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        sort = st.selectbox(
            "Sort by", list(SORT_NAMES), key="sort", bind="query-params", width=180,
            format_func=lambda key: SORT_NAMES.get(key, key),
        )  # fmt: skip
        labels = st.selectbox(
            "Labels", [*LABELS, MINE], key="labels", bind="query-params", width=150,
            format_func=lambda key: LABEL_NAMES.get(key, key),
        )  # fmt: skip
        text = st.text_input("Search", key="q", bind="query-params", width=190, placeholder="label, factor, note")
        dense = st.toggle("with dense", value=True, key="dense", bind="query-params")
        jump = st.number_input(
            "Open feature", 0, int(sae["n_features"]) - 1, value=None, key=f"jump-{sae['sae_id']}", width=130,
            placeholder="number",
        )  # fmt: skip
        lucky = st.button("Random", icon=":material/shuffle:", key="random", help="Open a live feature by chance")
    if jump is not None:
        go_to("features", sae=sae["sae_id"], feature=int(jump))
    if lucky:
        _open_random(get_store(), str(sae["sae_id"]))
    return FeatureFilter(
        sort=sort,
        labels="any" if labels == MINE else labels,
        text=text or "",
        with_dense=dense,
        only=tuple(int(number_) for number_ in mine["feature"]) if labels == MINE else None,
        also=features_saying(mine, text or ""),
    )


def _open_random(store: Store, sae_id: str) -> None:
    feature = fetch_live_feature_at(store, sae_id, random.random())  # noqa: S311 - a pick for a reader, not a secret
    if feature is not None:
        go_to("features", sae=sae_id, feature=feature)


def _draw_table(store: Store, sae: dict[str, Any], chosen: FeatureFilter, mine: pd.DataFrame) -> None:
    sae_id = str(sae["sae_id"])
    total = count_features(store, sae_id, chosen)
    if total == 0:
        hint = "Bookmark one on its page. " if chosen.only == () else ""
        empty_state("No live feature passes this filter.", f"{hint}{sae['n_live']} are live: take a condition away.")
        return
    n_pages, page = -(-total // ROWS), 1
    table = st.container()
    with st.container(horizontal=True, vertical_alignment="center"):
        if n_pages > 1:
            page = min(n_pages, int(st.number_input(f"Page of {n_pages}", 1, n_pages, key="page", bind="query-params",
                                                    width=110, label_visibility="collapsed")))  # fmt: skip
        rows = fetch_feature_table(store, sae_id, chosen, limit=ROWS, offset=(page - 1) * ROWS)
        first = (page - 1) * ROWS + 1
        place = f"page {page} of {n_pages} · " if n_pages > 1 else ""
        st.html(
            f'<p class="so-hint">{place}features {first} to {first + len(rows) - 1} of {total} in this order</p>',
            width="stretch",
        )
        download_csv(rows, f"features-{sae_id}-page{page}")
    shown = rows.assign(density=100 * rows["density"], yours=short_words(mine, rows["feature"]))
    columns = _columns() if len(mine) else {name: of for name, of in _columns().items() if name != "yours"}
    event = table.dataframe(
        shown, hide_index=True, placeholder="–", on_select="rerun", height=35 * min(len(rows), 15) + 38, row_height=34,
        selection_mode="single-cell", key=visit_key(f"table-{sae_id}-{page}-{chosen.sort}"), column_config=columns,
        column_order=list(columns),
    )  # fmt: skip
    if event["selection"]["cells"]:
        go_to("features", sae=sae_id, feature=int(rows["feature"].iloc[event["selection"]["cells"][0][0]]))


def _columns() -> dict[str, Any]:
    column = st.column_config
    return {
        "feature": column.NumberColumn("Feature", format="%d", width=70),
        "label": column.TextColumn("Label", width=110, help="Shown only where it beats permuted labels"),
        "label_f1": column.NumberColumn("F1", format="%.2f", help="On held-out groups", width=55),
        "yours": column.TextColumn("Yours", width=110, help="★ bookmarked; your own label"),
        "density": column.NumberColumn(
            "Density", format="%.1f %%", help="Share of clips or frames that is active", width=80
        ),
        "max_value": column.NumberColumn("Largest", format="%.2f", width=75),
        "mean_active": column.NumberColumn("Mean", format="%.2f", help="Mean where active", width=65),
        "n_groups_active": column.NumberColumn("Groups", help="Groups in which it is ever active", width=65),
        "best_factor": column.TextColumn("Best factor", help="The factor with its largest Lasso weight"),
        "best_factor_weight": column.NumberColumn("Weight", format="%+.2f", width=70),
    }


def _draw_map(store: Store, sae: dict[str, Any]) -> None:
    rows = cached(fetch_feature_map, store, str(sae["sae_id"]))
    if rows.empty:
        empty_state("No map was computed for this SAE.")
        return
    hint = "Features near each other are active on the same clips; distances between islands mean nothing."
    st.html(f'<p class="so-hint">Map. {hint} Point at one to see it, click to open it.</p>')
    by = st.selectbox(
        "Colour by", list(COLOURED_BY), key="mapcolor", bind="query-params", width=240,
        format_func=lambda key: COLOURED_BY.get(key, key),
    )  # fmt: skip
    clicked = feature_map(rows, map_colors(rows, by, is_dark()), visit_key(f"map-{sae['sae_id']}"))
    if clicked is not None:
        go_to("features", sae=sae["sae_id"], feature=clicked)


def draw_feature(store: Store, sae: dict[str, Any], number_: int) -> None:
    """The page of one feature."""
    sae_id = str(sae["sae_id"])
    row = resolve_feature(store, sae_id, number_)
    facts = fetch_corpus(store)
    _draw_title(store, sae, row, facts)
    banners(store, encoder_id=str(sae["encoder_id"]))
    if row["is_dead"]:
        _say_dead(sae, row, facts)
        if not row["n_active"]:
            return
    listed = fetch_listed_clips(store, sae_id, number_)
    with st.container(key="so-split"):
        main, side = st.columns([7, 3], gap="small")
    with main:
        _draw_numbers(row, sae, facts)
        chosen = _draw_view(store, sae, row, listed, facts)
    with side:
        side_cards(store, sae, number_, facts, chosen.interval if chosen else None)
    explain("trace", "density", "label", "disentanglement", "stability", "share of variance", "lift", "match")


def _say_dead(sae: dict[str, Any], row: dict[str, Any], facts: CorpusFacts) -> None:
    n_active = int(row["n_active"] or 0)
    heard = f"on {n_active} of all {facts.n_clips:,} clips" if n_active else f"on none of the {facts.n_clips:,} clips"
    empty_state(
        f"Feature {row['feature']} is dead: active on no training clip, and {heard}."
        + ("" if n_active else " There is nothing to hear."),
        f"{sae['n_dead']} of this SAE's {sae['n_features']} features are dead. Go on to a live one above.",
    )


def _draw_title(store: Store, sae: dict[str, Any], row: dict[str, Any], facts: CorpusFacts) -> None:
    sae_id, feature = str(sae["sae_id"]), int(row["feature"])
    label, sentence = label_sentence(row, facts)
    written = own_words(sae_id, feature)
    own = f"<strong>{escape(written.label)}</strong><span class='so-chip'>your label</span>" if written.label else ""
    near = fetch_neighbourhood(store, sae_id, feature)
    strong = f"<strong>{escape(label)}</strong>" if label else ""
    with st.container(key="so-feature-head", horizontal=True, vertical_alignment="center", gap="small"):
        if st.button("All", icon=":material/table_rows:", key="to-table", help="Back to the table and the map"):
            go_to("features", sae=sae_id)
        if st.button(
            f"← {near.previous}" if near.previous is not None else "←",
            key="previous",
            disabled=near.previous is None,
            help="Previous live feature",
            shortcut="P",
        ):
            set_params(feature=near.previous, clip=None, keep_options=True)
        st.html(f'<div class="so-title"><h1>Feature {feature}</h1></div>', width="content")
        if st.button(
            f"{near.following} →" if near.following is not None else "→",
            key="next",
            disabled=near.following is None,
            help="Next live feature",
            shortcut="N",
        ):
            set_params(feature=near.following, clip=None, keep_options=True)
        if st.button(
            "Random", icon=":material/shuffle:", key="random-feature", help="A live feature by chance", shortcut="X"
        ):
            _open_random(store, sae_id)
        draw_notes(sae, feature, written)
        st.html(
            f'<div class="so-title">{own}{strong}<span class="so-chip">{escape(sentence)}</span></div>', width="content"
        )
    st.html(f'<p class="so-hint">{_sae_sentence(sae)}</p>')


def _draw_numbers(row: dict[str, Any], sae: dict[str, Any], facts: CorpusFacts) -> None:
    dense = ", dense" if row["is_dense"] else ""
    groups = f"{row['n_groups_active']} of {facts.n_groups}" if row["n_groups_active"] is not None else number(None)
    cards = [
        (percent(row["density"]), f"of {sae['level']}s active{dense}"),
        (number(row["max_value"]), "largest activation"),
        (number(row["mean_active"]), "mean where active"),
        (groups, f"{plural(facts.group_name, 2)} where active"),
        (number(row["disentanglement"]), "disentanglement"),
    ]
    if row["stability"] is not None:
        cards.append(
            (
                number(row["stability"]),
                f"stability over {row['stability_n_seeds']} more {plural('seed', int(row['stability_n_seeds'] or 0))}",
            )
        )
    stat_cards(cards)


def _draw_view(
    store: Store, sae: dict[str, Any], row: dict[str, Any], listed: Any, facts: CorpusFacts
) -> ClipList | None:
    """The clip that the link names, then what the reader chose to look at."""
    view = choose_one("View", VIEWS, "view")
    traces = fetch_traces(store, sae, int(row["feature"]), sorted(set(listed["clip_index"])))
    clip_id = get_param("clip")
    if clip_id:
        draw_linked_clip(store, sae, row, listed, traces, clip_id)
    if view == VIEWS[1]:
        draw_against(store, sae, row, facts)
        return None
    return _draw_clips(store, sae, row, listed, traces, facts)


def _draw_clips(
    store: Store, sae: dict[str, Any], row: dict[str, Any], listed: Any, traces: Any, facts: CorpusFacts
) -> ClipList | None:
    errors = fetch_label_errors(store, sae, row)
    lists = clip_lists(listed, errors)
    if not lists:
        empty_state("No clips are listed for this feature in this store.", "Precompute lists clips for live features.")
        return None
    chosen, folded = choose_list(lists, facts)
    if chosen.key in ("alarms", "misses"):
        traces = {**traces, **fetch_traces(store, sae, int(row["feature"]), list(chosen.rows["clip_index"]))}
        caption(label_rule(row, facts))
    draw_list(store, sae, row, chosen, traces, folded=folded, facts=facts)
    return chosen


def main() -> None:
    """Draw the browser, or the feature that the address names."""
    store = get_store()
    sae = choose_sae(store)
    feature = get_int("feature")
    if feature is None:
        draw_browser(store, sae)
    else:
        draw_feature(store, sae, feature)


main()
