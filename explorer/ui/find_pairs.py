"""Minimal pairs: the two clips in one player, and the features that change from the one to the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from explorer.csv_text import sae_columns
from explorer.figures.theme import on_picture
from explorer.minimal_pairs import paired_changes
from explorer.permutation import ALPHA
from explorer.queries.corpus import CorpusFacts, fetch_clips_by_index, fetch_saes
from explorer.queries.features import fetch_activation
from explorer.queries.labels import shown_label
from explorer.queries.search import (
    fetch_attribute_values,
    fetch_attributes,
    fetch_codes,
    fetch_crossed_values,
    fetch_pairs,
)
from explorer.queries.traces import fetch_traces
from explorer.store import Store
from explorer.text import MISSING, count, number, percent, series_name, signed
from explorer.ui.choices import section
from explorer.ui.context import cached
from explorer.ui.explained import how_measured
from explorer.ui.history import name_view
from explorer.ui.markup import as_written
from explorer.ui.options import choose_from, once_called
from explorer.ui.player import PlayerClip, PlayerTrace, player
from explorer.ui.style import caption, empty_state, table_foot
from explorer.ui.tables import as_read, one_decimal_signed
from explorer.ui.url import carried, drop, get_param, go_to, page_file, set_params, visit_key

ROWS = 25
EXPLAINED = r"""
Two clips are a minimal pair when every attribute of the corpus is the same but one. The change of a feature in a pair
is its activation on the second clip less that on the first; it is 0 where the feature is not active. Changes are
averaged within groups first, since pairs of one group are not independent; with the $G$ groups' means $\bar d_g$,
$t = \bar d / (s_d / \sqrt{G})$. *By chance*: whole groups are turned round, in all $2^G$ ways where they are not too
many, and the largest $|t|$ of all features is noted each time, so that the best of many features is not taken for a
finding. $p$ is the share of ways in which it is as high as the feature's; with under 6 groups none can be under 0.05.
"""


def draw_pairs(store: Store, sae: dict[str, Any], facts: CorpusFacts) -> None:
    """Choose an attribute and two of its values, hear one pair after the other, see what changes."""
    attributes = cached(fetch_attributes, store)
    names = list(attributes[attributes["role"] != "group"]["name"])
    if not names:
        empty_state("Apart from its groups, this corpus has no attribute in which two clips could differ.")
        return
    crossed = cached(fetch_crossed_values, store).set_index("name")
    there = [name for name in names if name in crossed.index]
    if not there:
        _no_pairs(sae, facts)
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        differing = choose_from("Alike but for", names, "differ", default=there[0], width=200)
        values = [str(value) for value in cached(fetch_attribute_values, store, differing)["value"]]
        firsts = list(crossed.loc[differing]) if differing in crossed.index else values[:2]
        one = _value("First", values, "one", differing, firsts[0])
        other = _value("Second", values, "other", differing, firsts[-1])
    name_view("Find", f"{one} and {other}", series_name(sae["encoder_display"], sae["layer"]))
    if one == other:
        empty_state("The two are the same: choose another second value.")
        return
    pairs = cached(_pairs_within, store, differing, one, other)
    if pairs.empty:
        empty_state(
            f"No two clips of one {facts.group_name} are alike in everything but {differing} ({one}, {other}).",
            "Choose two other values: a crossed corpus has such pairs for all of them.",
        )
        return
    rows = cached(_changes, store, str(sae["sae_id"]), differing, one, other)
    if rows.empty:
        empty_state("All features of this SAE are dead.", "Choose another SAE in the sidebar.")
        return
    pairs = cached(_pairs_to_hear, store, str(sae["sae_id"]), differing, one, other)
    place = _choose_pair(pairs, facts)
    with st.container(key="so-split"):
        left, right = st.columns(2, gap="medium")
    with right:
        section(f"What changes from {one} to {other}")
        st.write(as_written(_sentence(rows)))
        feature = _table(rows, sae, f"{differing}-{one}-{other}")
    with left:
        _play(store, sae, pairs.iloc[place], (one, other), feature)
    how_measured(EXPLAINED)


def _no_pairs(sae: dict[str, Any], facts: CorpusFacts) -> None:
    """What is said, and where to go on, on a corpus in which no clips are alike but for one thing."""
    name_view("Find", "minimal pairs", series_name(sae["encoder_display"], sae["layer"]))
    empty_state(
        f"No two clips of one {facts.group_name} are alike in every attribute but one.",
        "Minimal pairs need recordings that repeat with one thing changed.",
    )
    st.page_link(
        page_file("find"), label="Features for a label or a measure, with clips to hear", icon=":material/search:",
        query_params=carried("find", way=None, sae=sae["sae_id"]),
    )  # fmt: skip


def _value(title: str, values: list[str], name: str, differing: str, first: str) -> str:
    before = once_called(differing, values, f"{name}-{differing}")
    return choose_from(title, values, name, default=before or first, width=200)


def _place_of(pairs: pd.DataFrame) -> int:
    """The place, from 1, of the pair of the address: two clip ids, or in older addresses its number."""
    asked = get_param("pair")
    if asked is None:
        return 1
    keys = [pair_key(row) for row in pairs[["id_one", "id_other"]].to_dict("records")]
    if asked in keys:
        return keys.index(asked) + 1
    if asked.isascii() and asked.isdigit() and 1 <= int(asked) <= len(pairs):
        return int(asked)
    drop("pair", f"There is no pair {asked} here: there are {len(pairs)}. This is the first.")
    return 1


def pair_key(row: Any) -> str:
    """The key of a pair: the ids of its two clips."""
    return f"{row['id_one']}.{row['id_other']}"


def _choose_pair(pairs: pd.DataFrame, facts: CorpusFacts) -> int:
    """The place of the pair that the link names, with buttons to the next; draws the line about it."""
    asked = _place_of(pairs)
    pair = pairs.iloc[asked - 1]
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("←", key="pair-before", disabled=asked == 1, help="Pair before (P)", shortcut="P"):
            set_params(pair=pair_key(pairs.iloc[asked - 2]))
        if st.button("→", key="pair-after", disabled=asked == len(pairs), help="Next pair (N)", shortcut="N"):
            set_params(pair=pair_key(pairs.iloc[asked]))
        n_held = int((pairs["split"] == "held-out").sum())
        st.html(
            f'<p class="so-hint">pair {asked} of {len(pairs)} ({len(pairs) - n_held} training, {n_held} held out, '
            f"{count(pairs['group_id'].nunique(), 'group')})</p>"
        )
        caption(f"{pair['words']} · {pair['split']}")
    return asked - 1


def _changes(store: Store, sae_id: str, differing: str, one: str, other: str) -> pd.DataFrame:
    """Live features by their change over all groups, the largest |t| first (the largest change where there is no t):
    feature, label, change, t, p, agreeing, and change_unseen of held-out groups. critical_t, reason, n_groups and
    n_unseen (groups) are the same in every row."""
    pairs = _pairs_within(store, differing, one, other)
    change = _change_of_pairs(store, sae_id, pairs)
    found = paired_changes(change, pairs["group_id"])
    is_unseen = (pairs["split"] == "held-out").to_numpy()
    unseen = paired_changes(change[is_unseen], pairs[is_unseen]["group_id"]) if is_unseen.any() else None
    features = store.query(
        f"SELECT f.feature, f.is_dead, {shown_label('f')} AS label FROM features f WHERE sae_id = ? ORDER BY feature",  # noqa: S608
        [sae_id],
    )
    at = features["feature"].to_numpy()
    rows = features.assign(
        change=found.mean[at], t=found.t[at], p=found.p[at], agreeing=found.agreeing[at],
        change_unseen=np.nan if unseen is None else unseen.mean[at], critical_t=found.critical_t, reason=found.reason,
        n_groups=found.n_groups, n_unseen=0 if unseen is None else unseen.n_groups,
    )  # fmt: skip
    order = "t" if np.isfinite(found.t).any() else "change"
    rows = rows[~rows["is_dead"].astype(bool)].drop(columns="is_dead")
    return rows.loc[rows[order].abs().sort_values(ascending=False, kind="stable").index].reset_index(drop=True)


def _change_of_pairs(store: Store, sae_id: str, pairs: pd.DataFrame) -> np.ndarray:
    """(pairs, features): the activation on the second clip less that on the first."""
    codes = fetch_codes(store, dict(fetch_saes(store, sae_id).iloc[0]))
    return codes[pairs["clip_other"].to_numpy()] - codes[pairs["clip_one"].to_numpy()]


def _pairs_within(store: Store, differing: str, one: str, other: str) -> pd.DataFrame:
    """The pairs that lie within one group, and so within one part of the split."""
    pairs = fetch_pairs(store, differing, one, other)
    return pairs[pairs["group_id"].notna()].reset_index(drop=True)


def _pairs_to_hear(store: Store, sae_id: str, differing: str, one: str, other: str) -> pd.DataFrame:
    """The same pairs in the order to hear them in: those with traces first, then by how much the feature that changes
    most surely does so in its own direction."""
    pairs = _pairs_within(store, differing, one, other)
    top = cached(_changes, store, sae_id, differing, one, other).iloc[0]
    change = _change_of_pairs(store, sae_id, pairs)[:, int(top["feature"])]
    playable = set(store.query("SELECT clip_index FROM clips WHERE is_playable")["clip_index"])
    has_traces = pairs["clip_one"].isin(playable) & pairs["clip_other"].isin(playable)
    order = pd.DataFrame({"traces": ~has_traces, "change": -np.sign(top["change"]) * change})
    return pairs.loc[order.sort_values(["traces", "change"], kind="stable").index].reset_index(drop=True)


def _sentence(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    if isinstance(first["reason"], str):
        return f"Feature {first['feature']} changes most ({signed(first['change'])}). It {first['reason']}."
    chance = f"|t| {number(first['critical_t'])}"
    beyond = rows[rows["p"] <= ALPHA]
    if beyond.empty:
        return f"No feature of {len(rows)} changes beyond chance ({chance}, {count(first['n_groups'], 'group')})."
    words = f"{count(len(beyond), 'feature')} of {len(rows)} {'changes' if len(beyond) == 1 else 'change'} with it "
    words += f"(over {count(first['n_groups'], 'group')}, beyond {chance})"
    if not first["n_unseen"]:
        return f"{words}."
    n_alike = int((np.sign(beyond["change"]) == np.sign(beyond["change_unseen"])).sum())
    return f"{words}; {n_alike} the same way on the {count(first['n_unseen'], 'unseen group')}."


def _table(rows: pd.DataFrame, sae: dict[str, Any], name: str) -> int:
    """Features by |t|; a click on a cell opens the feature, a tick draws its trace. Returns the feature to draw."""
    column = st.column_config
    columns = {
        "feature": column.NumberColumn("Feature", format="%d", width=65),
        "label": column.TextColumn("Label", width=80),
        "change": column.NumberColumn("Change", width=66, help="Mean over all groups"),
        "t": column.NumberColumn("t", width=54, help="Over all groups: what it is ranked by"),
        "p": column.NumberColumn("p", width=54, help="Corrected for the number of features"),
        "agreeing": column.NumberColumn("Agree", width=62, help="Groups that change that way"),
        "change_unseen": column.NumberColumn("Unseen", width=70, help="Mean over held-out groups"),
    }
    written = {"feature": str, "change": signed, "t": one_decimal_signed, "p": number, "change_unseen": signed,
               "agreeing": percent}  # fmt: skip
    top = rows.head(ROWS)
    columns = {key: of for key, of in columns.items() if top[key].notna().any()}
    event = st.dataframe(
        as_read(top, written), hide_index=True, placeholder=MISSING, on_select="rerun",
        selection_mode=["single-row", "single-cell"],
        column_config=columns, column_order=list(columns), height=36 * min(len(top), 12) + 38,
        key=visit_key(f"pairs-{sae['sae_id']}-{name}"),
    )  # fmt: skip
    table_foot("Click a cell to open the feature; tick a row to draw it over the pair.", rows,
               f"pairs-{sae['sae_id']}-{name}",
               about=sae_columns(sae))  # fmt: skip
    if event["selection"]["cells"]:
        go_to("features", sae=sae["sae_id"], feature=int(top["feature"].iloc[event["selection"]["cells"][0][0]]))
    return int(top["feature"].iloc[event["selection"]["rows"][0] if event["selection"]["rows"] else 0])


def _play(store: Store, sae: dict[str, Any], pair: pd.Series, values: tuple[str, str], feature: int) -> None:
    """Both clips in one player, the feature's trace over them where it is stored, its activation beside."""
    indices = [int(pair["clip_one"]), int(pair["clip_other"])]
    clips = fetch_clips_by_index(store, indices).set_index("clip_index")
    row = store.query("SELECT * FROM features WHERE sae_id = ? AND feature = ?", [sae["sae_id"], feature]).iloc[0]
    traces = fetch_traces(store, sae, feature, indices)
    section(f"The pair, with feature {feature}")
    shown = []
    for index, value in zip(indices, values, strict=True):
        clip, trace = clips.loc[index], traces.get(index)
        line = () if trace is None else (
            PlayerTrace(
                "Pre-activation", trace.values, trace.t0_s, trace.hop_s, on_picture(str(sae["encoder_name"])),
                row["preactivation_mean"], giants=trace.giants,
            ),
        )  # fmt: skip
        active = fetch_activation(store, sae["codes_by_clip_file"], feature, index) or 0.0
        note = "" if active > 0 else "Not active here."
        note += "" if trace is not None else " No trace is stored for this clip; open it in Live to compute one."
        shown.append(
            PlayerClip(
                clip_id=str(clip["clip_id"]), title=value, duration_s=float(clip["duration_s"]),
                detail=str(clip["title"]), note=note.strip(), value=active, value_max=row["max_value"], traces=line,
            )
        )  # fmt: skip
    event = player(store, shown, f"pair-{sae['sae_id']}-{indices[0]}-{indices[1]}-{feature}", height_px=120)
    if event and event.get("action") == "open":
        go_to("features", sae=sae["sae_id"], feature=feature, clip=event["clip_id"])
    caption(
        "Values: the feature's activation on each clip. J and K go from the one to the other; both share one scale."
    )
