"""Features: the table and the map of an SAE's live features, and the page of one with the clips that drive it."""

from __future__ import annotations

from html import escape
from typing import Any

import streamlit as st

from explorer.errors import NotInStoreError
from explorer.queries.corpus import CorpusFacts, fetch_corpus, resolve_feature
from explorer.queries.features import (
    fetch_label_errors,
    fetch_listed_clips,
    fetch_neighbourhood,
)
from explorer.queries.traces import fetch_traces
from explorer.store import Store
from explorer.text import count, is_defined, number, percent, plural_of, series_name, whole
from explorer.ui import (
    caption,
    choose_sae,
    empty_state,
    get_int,
    get_param,
    get_store,
    set_params,
    stat_cards,
)
from explorer.ui.explained import explain
from explorer.ui.feature_against import AGAINST, draw_against
from explorer.ui.feature_browser import draw_browser, open_random, sae_sentence
from explorer.ui.feature_cards import label_rule, label_sentence, side_cards
from explorer.ui.feature_clips import ClipList, choose_list, clip_lists, draw_linked_clip, draw_list
from explorer.ui.history import name_view
from explorer.ui.markup import brief
from explorer.ui.notes import draw_notes, own_words
from explorer.ui.options import choose_one
from explorer.ui.style import LONGEST_TITLE, banners
from explorer.ui.url import drop

VIEWS = {"clips": "clips", AGAINST: "against a measure"}


def draw_feature(store: Store, sae: dict[str, Any], number_: int) -> None:
    """The page of one feature."""
    sae_id = str(sae["sae_id"])
    row = resolve_feature(store, sae_id, number_)
    facts = fetch_corpus(store)
    name_view(f"Feature {number_}", row["shown_label"], series_name(sae["encoder_display"], sae["layer"]))
    _draw_title(store, sae, row, facts)
    if row["is_dead"]:
        _say_dead(sae, row, facts)
        if not row["n_active"]:
            banners(store, encoder_ids=[str(sae["encoder_id"])])
        if not row["n_active"]:
            return
    listed = fetch_listed_clips(store, sae_id, number_)
    with st.container(key="so-split"):
        main, side = st.columns([7, 3], gap="small")
    with main:
        chosen = _draw_view(store, sae, row, listed, facts)
    with side:
        banners(store, encoder_ids=[str(sae["encoder_id"])])
        _draw_numbers(row, sae, facts)
        side_cards(store, sae, number_, facts, chosen.interval if chosen else None)
    explain("trace", "density", "label", "disentanglement", "stability", "share of variance", "lift", "match")


def _say_dead(sae: dict[str, Any], row: dict[str, Any], facts: CorpusFacts) -> None:
    n_active = int(row["n_active"] or 0)
    heard = (
        f"on {n_active} of all {count(facts.n_clips, 'clip')}"
        if n_active
        else f"on none of the {count(facts.n_clips, 'clip')}"
    )
    empty_state(
        f"Feature {row['feature']} is dead: active on no training clip, and {heard}."
        + ("" if n_active else " There is nothing to play."),
        f"{whole(sae['n_dead'])} of this SAE's {count(sae['n_features'], 'feature')} are dead. Choose a live "
        "one above.",
    )


def _draw_title(store: Store, sae: dict[str, Any], row: dict[str, Any], facts: CorpusFacts) -> None:
    sae_id, feature = str(sae["sae_id"]), int(row["feature"])
    label, sentence = label_sentence(row, facts)
    written = own_words(sae_id, feature)
    own = f"<strong>{escape(written.label)}</strong><span class='so-chip'>your label</span>" if written.label else ""
    near = fetch_neighbourhood(store, sae_id, feature)
    strong = f"<strong>{brief(label, LONGEST_TITLE)}</strong>" if label else ""
    with st.container(key="so-feature-head", horizontal=True, vertical_alignment="center", gap="small"):
        if st.button("All", icon=":material/table_rows:", key="to-table", help="Back to the table and the map"):
            set_params(feature=None)
        if st.button(
            f"← {near.previous}" if near.previous is not None else "←",
            key="previous",
            disabled=near.previous is None,
            help="Previous live feature",
            shortcut="P",
        ):
            set_params(feature=near.previous)
        st.html(f'<div class="so-title"><h1>Feature {feature}</h1></div>', width="content")
        if st.button(
            f"{near.following} →" if near.following is not None else "→",
            key="next",
            disabled=near.following is None,
            help="Next live feature",
            shortcut="N",
        ):
            set_params(feature=near.following)
        if st.button(
            "Random", icon=":material/shuffle:", key="random-feature", help="A live feature by chance", shortcut="X"
        ):
            open_random(store, sae_id)
        draw_notes(sae, feature, written)
        st.html(
            f'<div class="so-title">{own}{strong}<span class="so-chip">{escape(sentence)}</span></div>', width="content"
        )
    st.html(f'<p class="so-hint">{sae_sentence(sae)}</p>')


def _draw_numbers(row: dict[str, Any], sae: dict[str, Any], facts: CorpusFacts) -> None:
    dense = ", dense" if row["is_dense"] else ""
    groups = f"{row['n_groups_active']} of {facts.n_groups}" if row["n_groups_active"] is not None else number(None)
    cards = [
        (percent(row["density"], 1), f"of {sae['level']}s active{dense}"),
        (number(row["max_value"]), "largest activation"),
        (number(row["mean_active"]), "mean where active"),
        (groups, f"{plural_of(facts.group_name)} where active"),
    ]
    if is_defined(row["disentanglement"]):
        cards.append((number(row["disentanglement"]), "disentanglement"))
    if is_defined(row["effective_factors"]):
        cards.append((number(row["effective_factors"], 1), "effective factors"))
    if row["stability"] is not None:
        cards.append(
            (
                number(row["stability"]),
                _returns(row),
            )
        )
    stat_cards(cards)


def _returns(row: dict[str, Any]) -> str:
    """In how many other starts a feature returns; of older stores, over how many its best match was averaged."""
    if not is_defined(row["n_returns"]):
        return f"stability over {count(row['stability_n_seeds'], 'more seed')}"
    cosine = f", decoder cosine {number(row['stability_cosine'])}" if is_defined(row["stability_cosine"]) else ""
    return f"r of its partner: returns in {row['n_returns']} of {count(row['stability_n_seeds'], 'other seed')}{cosine}"


def _draw_view(
    store: Store, sae: dict[str, Any], row: dict[str, Any], listed: Any, facts: CorpusFacts
) -> ClipList | None:
    """The clip that the link names, then what the reader chose to look at."""
    view = choose_one("View", VIEWS, "view")
    traces = fetch_traces(store, sae, int(row["feature"]), sorted(set(listed["clip_index"])))
    clip_id = get_param("clip")
    if clip_id:
        _draw_linked(store, sae, row, listed, traces, clip_id)
    if view == AGAINST:
        draw_against(store, sae, row, facts)
        return None
    return _draw_clips(store, sae, row, listed, traces, facts)


def _draw_linked(
    store: Store, sae: dict[str, Any], row: dict[str, Any], listed: Any, traces: Any, clip_id: str
) -> None:
    try:
        draw_linked_clip(store, sae, row, listed, traces, clip_id)
    except NotInStoreError as error:
        drop("clip", str(error))


def _draw_clips(
    store: Store, sae: dict[str, Any], row: dict[str, Any], listed: Any, traces: Any, facts: CorpusFacts
) -> ClipList | None:
    errors = fetch_label_errors(store, sae, row)
    lists = clip_lists(listed, errors)
    if not lists:
        empty_state("No clips are listed for this feature in this store.", "Precompute lists clips for live features.")
        return None
    chosen, folded = choose_list(lists, facts)
    if chosen.key in ("false-alarms", "misses"):
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
