"""A feature's listed clips as players: which list, folded by group, each with its trace or the reason it has none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd
import streamlit as st

from explorer.figures.theme import on_picture
from explorer.pooling import Pooling
from explorer.queries.corpus import CorpusFacts, resolve_clip
from explorer.queries.features import fetch_activation
from explorer.queries.traces import StoredTrace, fetch_traces
from explorer.store import Store
from explorer.text import count, number, plural_of
from explorer.ui.markup import as_written
from explorer.ui.options import choose_one, choose_switch
from explorer.ui.player import PlayerClip, PlayerTrace, player
from explorer.ui.url import carried, get_param, page_file, set_params

ENOUGH_CLIPS = 6  # that a folded list shows, however few the groups are
MAX_PLAYERS = 20
N_INTERVALS = 12  # more than any store has
LISTS = {
    "top": "Strongest",
    "random": "Random",
    "false-alarms": "False alarms",
    "misses": "Misses",
    **{f"i{number_}": f"Interval {number_}" for number_ in range(1, N_INTERVALS + 1)},
}
OLD_LISTS = {"alarms": "false-alarms"}


@dataclass(frozen=True)
class ClipList:
    """One of a feature's lists: its key in the URL, its name for people, its rows and its interval if it has one."""

    key: str
    name: str
    rows: pd.DataFrame
    interval: tuple[float, float] | None = None


def clip_lists(listed: pd.DataFrame, errors: pd.DataFrame | None = None) -> list[ClipList]:
    """The lists that exist: strongest, each interval of the activation from high to low, random; of `errors` (those of
    `fetch_label_errors`) the label's false alarms and misses.
    """
    lists = []
    top = tails_last(listed[listed["kind"] == "top"])
    if not top.empty:
        lists.append(ClipList("top", "Strongest", top, (float(top["value"].min()), float(top["value"].max()))))
    intervals = listed[listed["kind"] == "interval"]
    for index, ((high, low), rows) in enumerate(
        sorted(intervals.groupby(["interval_high", "interval_low"]), key=lambda item: item[0], reverse=True)
    ):
        lists.append(ClipList(f"i{index + 1}", f"{number(low)} – {number(high)}", rows, (float(low), float(high))))
    drawn = listed[listed["kind"] == "random"]
    if not drawn.empty:
        lists.append(ClipList("random", "Random", drawn))
    for kind, key, name in (("false alarm", "false-alarms", "False alarms"), ("miss", "misses", "Misses")):
        wrong = errors[errors["kind"] == kind] if errors is not None and len(errors) else pd.DataFrame()
        if not wrong.empty:
            lists.append(ClipList(key, f"{name} ({int(wrong['n_all'].iloc[0])})", wrong))
    return lists


def a_group(facts: CorpusFacts) -> int:
    """How many clips of a group a folded list shows: one, and more only where so few groups would leave it short."""
    return max(1, -(-ENOUGH_CLIPS // max(1, facts.n_groups)))


def one_per_group(facts: CorpusFacts) -> str:
    """'one per singer', or 'at most 3 per fold' in a corpus of two folds; the group's name as it is."""
    n = a_group(facts)
    return f"{'one' if n == 1 else f'at most {n}'} per {facts.group_name}"


def folded_rows(rows: pd.DataFrame, facts: CorpusFacts) -> pd.DataFrame:
    """The first `a_group` listed clips of each group, in the list's order."""
    return rows[rows.groupby("group_id", dropna=False).cumcount() < a_group(facts)]


def tails_last(rows: pd.DataFrame) -> pd.DataFrame:
    """The listed clips, with short ends of cut recordings after the others."""
    return rows.loc[rows["is_tail"].astype(bool).sort_values(kind="stable").index]


def choose_list(lists: list[ClipList], facts: CorpusFacts) -> tuple[ClipList, bool]:
    """Draw the chooser and the fold switch; both are display options of the address. Returns (list, folded).

    A list that other features have and this one lacks is said to be missing and stays in the address: the next feature
    may have it.
    """
    names = {item.key: item.name for item in lists}
    lacking = {key: name.lower() for key, name in LISTS.items() if key not in names}
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        key = choose_one(
            "Clips", names, "clips", old=_old_lists(), lacking=lacking, label_visibility="collapsed"
        )  # fmt: skip
        folded = choose_switch(as_written(one_per_group(facts)), "fold", default=True)
    return next((item for item in lists if item.key == key), lists[0]), folded


def _old_lists() -> dict[str, str]:
    """Keys by what addresses once said: 'alarms', 'False alarms (17)', whatever their number is now."""
    asked = get_param("clips") or ""
    keys = {name: key for key, name in LISTS.items()}
    return {**OLD_LISTS, asked: keys.get(asked.split(" (")[0], asked)}


def draw_list(
    store: Store,
    sae: dict[str, Any],
    feature: dict[str, Any],
    chosen: ClipList,
    traces: Mapping[int, StoredTrace],
    *,
    folded: bool,
    facts: CorpusFacts,
) -> None:
    """The players of a list, with the line that says how to read and drive them.

    `traces` are those of all the feature's listed clips: the vertical scale is the same in every list.
    """
    rows = folded_rows(chosen.rows, facts) if folded else chosen.rows
    folded_away, left_out = len(chosen.rows) - len(rows), max(0, len(rows) - MAX_PLAYERS)
    rows = rows.head(MAX_PLAYERS)
    clips = [
        player_clip(row, feature, sae, traces.get(int(row["clip_index"])), rank=rank)
        for rank, row in enumerate(rows.to_dict("records"), start=1)
    ]
    st.html(f'<p class="so-hint">{_hint(bool(traces), folded_away, left_out, facts)}</p>')
    key = f"players-{sae['sae_id']}-{feature['feature']}-{chosen.key}"
    event = player(store, clips, key, scale=trace_scale(traces))
    if event and event.get("action") == "open":
        set_params(clip=event["clip_id"])


def _hint(has_traces: bool, folded_away: int, left_out: int, facts: CorpusFacts) -> str:
    """How to read and drive the players, and how many listed clips have none, as markup."""
    parts = [
        "<span class='so-keys'><b>space</b> plays · <b>J K</b> next, previous · <b>← →</b> seek · <b>L</b> loops the "
        "peak; drag over a picture to loop a part.</span>"
    ]
    if has_traces:
        parts.append(
            "Line: activation over time (before the threshold). Dashed: its average. "
            "The cause may be elsewhere in the clip."
        )
    if folded_away:
        parts.append(f"{count(folded_away, 'more clip')} of these {escape(plural_of(facts.group_name))}.")
    if left_out:
        parts.append(f"The first {MAX_PLAYERS} of {MAX_PLAYERS + left_out} are drawn.")
    return " ".join(parts)


def trace_scale(traces: Mapping[int, StoredTrace]) -> tuple[float, float] | None:
    """The lowest and highest pre-activation of these traces outside giant frames, None when there is none."""
    if not traces:
        return None
    usual = [trace.usual_values() for trace in traces.values()]
    return min(float(values.min()) for values in usual), max(float(values.max()) for values in usual)


def player_clip(
    row: dict[Any, Any], feature: dict[str, Any], sae: dict[str, Any], trace: StoredTrace | None, *, rank: int | None
) -> PlayerClip:
    """One listed clip for the player. A clip without a stored trace says so."""
    mean = feature["preactivation_mean"]
    lines: tuple[PlayerTrace, ...] = ()
    if trace is not None:
        color = on_picture(str(sae["encoder_name"]))
        lines = (
            PlayerTrace("Pre-activation", trace.values, trace.t0_s, trace.hop_s, color, mean, giants=trace.giants),
        )
    return PlayerClip(
        clip_id=str(row["clip_id"]),
        title=str(row["title"]),
        duration_s=float(row["duration_s"]),
        detail=_detail(row),
        note=_note(row, trace),
        value=None if _missing(row["value"]) else float(row["value"]),
        value_max=feature["max_value"],
        traces=lines,
        rank=rank,
    )


def _detail(row: dict[Any, Any]) -> str:
    return f"{row['group_id']} · {row['split']}" + (" · silent" if row["is_silent"] else "")


def _note(row: dict[Any, Any], trace: StoredTrace | None) -> str:
    parts = []
    if not _missing(row["is_active"]) and not row["is_active"]:
        parts.append(inactive_note(row["preactivation"], row["kth_value"]))
    if trace is None:
        parts.append("No trace of this feature is stored for this clip; open it in Live to compute one.")
    elif trace.padded_share is not None and abs(trace.padded_share) > trace.step:
        parts.append(f"Padded and special tokens, not drawn, carry {number(trace.padded_share, 3)} of the clip's mean.")
    return " ".join(parts)


def inactive_note(preactivation: float | None, kth_value: float | None) -> str:
    """In words why a clip's activation is 0: not positive, or not among the clip's k largest."""
    if preactivation is None or _missing(preactivation):
        return "Not active here."
    if preactivation <= 0:
        return f"Not active here: its pre-activation {number(preactivation, 3)} is not positive."
    if kth_value is None or _missing(kth_value):
        return f"Not active here: its pre-activation {number(preactivation, 3)} is not among the clip's k largest."
    return (
        f"Not active here: its pre-activation {number(preactivation, 3)} is below {number(kth_value, 3)}, "
        "the smallest of the clip's k largest."
    )


def draw_linked_clip(
    store: Store,
    sae: dict[str, Any],
    feature: dict[str, Any],
    listed: pd.DataFrame,
    traces: Mapping[int, StoredTrace],
    clip_id: str,
) -> None:
    """The clip that the link names, above the lists. Raises NotInStoreError when the store does not hold it."""
    clip = resolve_clip(store, clip_id)
    index = int(clip["clip_index"])
    same = listed[listed["clip_index"] == index]
    if same.empty:
        value = fetch_activation(store, sae["codes_by_clip_file"], int(feature["feature"]), index)
        active = None if value is None else value > 0
        traces = {**traces, **fetch_traces(store, sae, int(feature["feature"]), [index])}
        trace = traces.get(index)
        pre = None
        if trace is not None and trace.padded_share == 0.0:
            without = Pooling.named(str(sae["pooling"])).without_giants
            pre = float((trace.usual_values() if without else trace.values).mean())
        row = clip | {"value": value, "preactivation": pre, "kth_value": None, "is_active": active}
    else:
        row = same.iloc[0].to_dict()
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.html('<p class="so-hint">The clip of this link</p>')
        st.page_link(
            page_file("live"), label="Hear it in Live", icon=":material/hearing:",
            query_params=carried("live", clip=clip_id, sae=sae["sae_id"], feature=feature["feature"]),
        )  # fmt: skip
        if st.button("Close", key="close-clip", type="tertiary", icon=":material/close:"):
            set_params(clip=None)
    shown = player_clip(row, feature, sae, traces.get(index), rank=None)
    player(store, [shown], f"linked-{sae['sae_id']}-{feature['feature']}-{clip_id}", scale=trace_scale(traces))


def _missing(value: Any) -> bool:
    return value is None or value is pd.NA or value != value
