"""What SAEs hear in a sound: the features by activation, and their traces over the sound in one player."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
import streamlit as st

from explorer.audio import MIN_CLIP_S
from explorer.csv_text import sae_columns
from explorer.figures.theme import on_picture
from explorer.giants import usual_part
from explorer.inference import Heard
from explorer.naming import sae_title
from explorer.queries.corpus import resolve_feature
from explorer.store import Store
from explorer.text import MISSING, count, is_defined, number, quantity, seconds, signed
from explorer.ui.choices import chart_title, section
from explorer.ui.feature_clips import inactive_note
from explorer.ui.live_sounds import LiveSound
from explorer.ui.live_source import keep_part
from explorer.ui.player import PlayerClip, PlayerTrace, player
from explorer.ui.style import caption, empty_state, notice, table_foot
from explorer.ui.tables import as_read, one_decimal, percent_1
from explorer.ui.ticks import keep_ticks, ticked_at_first
from explorer.ui.url import get_int, go_to, visit_key

ROWS, SHOWN_ROWS, N_LINES = 25, 9, 3
UNSEEN_FROM = 1e-3
MARKS = "ABCDEFGHIJKL"  # four SAEs, three lines each
Range = tuple[float, float] | None


def heard_name(heard: Heard) -> str:
    """'HuBERT layer 7, 95 %'."""
    return sae_title(heard.sae)


def marked_range(sound: LiveSound) -> Range:
    """The part of this sound that its reader marked, if any."""
    known = st.session_state.get("so-live-range")
    return known[1] if known is not None and known[0] == sound.sound_id else None


def draw_features(store: Store, sound: LiveSound, heard: Sequence[Heard]) -> list[int | None]:
    """The player with the lines of the ticked features, and a ranking for each SAE. The feature in focus of each."""
    place = st.container()
    part = marked_range(sound)
    pools_all = any(one.pooling.all_tokens for one in heard)
    section("Strongest features" + (f" from {number(part[0])} to {seconds(part[1])}" if part else ""))
    if part:
        caption(
            "Ranked by the code of the frames in the marked part alone; the encoder's input was the whole sound. "
            "Take the mark away with ⟲ for the whole sound. Labels, factors and neighbours below are of the whole: "
            "analyse the part alone for its own. Percentiles are left out: they are of whole clips, and short "
            "parts exceed them anyway."
            + (" Special and padded tokens, which count in the whole's code, belong to no part." if pools_all else "")
        )
    for one in heard:
        heard_s = one.reading.heard_s
        if one.pooling.first_window and heard_s + one.reading.hop_s < sound.wave.duration_s:
            notice(f"{heard_name(one)} analyses only the first {seconds(heard_s)}, as in the published protocol.")
    has_dense = any(one.features["is_dense"].astype(bool).any() for one in heard)
    show_dense = st.toggle(
        "Dense features too" if has_dense else "Dense features too (none is active here)", key="live-dense",
        disabled=not has_dense, help="Features active in over half of all clips say little about one.",
    )  # fmt: skip
    asked = _asked_feature(store, heard[0])
    chosen: list[list[int]] = []
    for row in range(0, len(heard), 2):
        pair = heard[row : row + 2]
        with st.container(key=f"so-split-live-{row}"):
            columns = st.columns(len(pair), gap="medium")
        for column, one in zip(columns, pair, strict=True):
            with column:
                named = asked if one is heard[0] else None
                chosen.append(_ranking(one, sound.sound_id, part, named, show_dense=show_dense))
    with place:
        _play(store, sound, heard, chosen, part)
    return [features[0] if features else None for features in chosen]


def _asked_feature(store: Store, heard: Heard) -> int | None:
    """The feature of the first SAE that the address names, drawn until another is ticked. Says how active it is."""
    asked = get_int("feature")
    if asked is None:
        return None
    feature = resolve_feature(store, str(heard.sae["sae_id"]), asked)
    value = float(heard.code_f[asked])
    pre = float(heard.reading.preactivations_f[asked])
    kth = float(heard.reading.codes.kth_values()[0])
    name = f"Feature {asked}" + (f" ({feature['shown_label']})" if feature["shown_label"] else "")
    caption(f"{name}: activation {number(value)}." if value > 0 else f"{name}: {inactive_note(pre, kth)}")
    return asked


def _ranking(heard: Heard, sound_id: str, part: Range, named: int | None, *, show_dense: bool) -> list[int]:
    """A table of active features. Returns those ticked; where none is, the one that is named, or else the first."""
    sae_id = str(heard.sae["sae_id"])
    rows = heard.features if part is None else heard.between(*part).drop(columns="percentile")
    shown = rows if show_dense else rows[~rows["is_dense"].astype(bool)]
    n_hidden = len(rows) - len(shown)
    chart_title(heard_name(heard))
    if shown.empty:
        empty_state("No feature is active." if rows.empty else "Only dense features are active: show them above.")
        return [] if named is None else [named]
    column = st.column_config
    columns = {
        "feature": column.NumberColumn("Feature", format="%d", width=68),
        "label": column.TextColumn("Label", width=90),
        "activation": column.NumberColumn("Activation", width=84),
        "percentile": column.NumberColumn(
            "Percentile",
            width=80,
            help="The share of all corpus clips, whole ones, that activate this feature less",
        ),
        "density": column.NumberColumn("Density", width=74, help="Share of clips it is active in"),
    }
    top = shown.head(ROWS).reset_index(drop=True)
    top["density"] = top["density"] / 100  # stored here in %
    columns = {name: of for name, of in columns.items() if name in top and (name != "label" or top[name].notna().any())}
    height: int | Literal["content"] = "content" if len(top) <= SHOWN_ROWS else 36 * SHOWN_ROWS + 38
    key = visit_key(f"live-{sae_id}-{sound_id}-{show_dense}-{part}")
    ids = [int(feature) for feature in top["feature"]]
    event = st.dataframe(
        as_read(top, {"feature": str, "activation": number, "percentile": one_decimal, "density": percent_1}),
        hide_index=True, placeholder=MISSING, on_select="rerun", selection_mode=["multi-row", "single-cell"],
        column_config=columns, column_order=list(columns), height=height,
        key=key, selection_default=ticked_at_first(sae_id, key, ids),
    )  # fmt: skip
    hidden = f"{count(n_hidden, 'dense one')} hidden. " if n_hidden else ""
    n_active = count(len(rows), "feature")
    table_foot(
        f"{n_active} active (at most k = {heard.sae['k']} are). {hidden}Click a cell to open, tick to draw.",
        rows,
        f"live-{sae_id}",
        about=sae_columns(heard.sae),
    )
    if event["selection"]["cells"]:
        go_to("features", sae=sae_id, feature=int(top["feature"].iloc[event["selection"]["cells"][0][0]]))
    ticked = keep_ticks(sae_id, ids, event["selection"]["rows"])
    return ticked[:N_LINES] or [int(top["feature"].iloc[0]) if named is None else named]


def _play(store: Store, sound: LiveSound, heard: Sequence[Heard], chosen: Sequence[Sequence[int]], part: Range) -> None:
    lines: list[tuple[Heard, int, int]] = []
    n_drawn: Counter[str] = Counter()  # lines of one encoder share its hue
    for one, features in zip(heard, chosen, strict=True):
        for feature in features:
            lines.append((one, feature, n_drawn[str(one.sae["encoder_name"])]))
            n_drawn[str(one.sae["encoder_name"])] += 1
    marks = [""] if len(lines) == 1 else MARKS
    traces = tuple(_trace(*line, mark=mark) for line, mark in zip(lines, marks, strict=False))
    clip = PlayerClip(
        sound.sound_id, sound.title, sound.wave.duration_s, detail=f"{quantity(sound.wave.sample_rate_hz / 1000)} kHz",
        note="" if sound.clip_index is not None else sound.remarks, traces=traces,
    )  # fmt: skip
    event = player(store, [clip], f"live-{sound.sound_id}", height_px=150, can_open=False, can_mark=True, marked=part)
    caption(
        "Lines: pre-activation above or below the feature's corpus mean"
        + (
            ". "
            if len(lines) == 1
            else ", each divided by its own largest value here, since features have no common unit. "
        )
        + "Drag over the picture to mark a part: the ranking follows it."
        + _unseen_note(lines)
    )
    if event and event.get("action") == "mark":
        marked = event.get("range")
        st.session_state["so-live-range"] = (sound.sound_id, tuple(marked) if marked else None)
        st.rerun()
    if (
        part
        and part[1] - part[0] >= MIN_CLIP_S
        and st.button(
            f"Read only {number(part[0])} to {seconds(part[1])}", key="live-cut", icon=":material/content_cut:"
        )
    ):
        keep_part(sound, *part)


def _unseen_note(lines: Sequence[tuple[Heard, int, int]]) -> str:
    """What the lines leave out, for SAEs whose code holds special and padded tokens too."""
    parts = [
        f" Special and padded tokens, not drawn, add {signed(one.reading.unseen(feature), 3)} to feature {feature}."
        for one, feature, _ in lines
        if one.pooling.all_tokens and abs(one.reading.unseen(feature)) > UNSEEN_FROM
    ]
    return "".join(parts)


def _trace(heard: Heard, feature: int, place: int, *, mark: str) -> PlayerTrace:
    """The line of a feature over the sound, the `place`-th of its encoder; with a mark, over its largest value."""
    mean = _mean_of(heard.known, feature)
    values = heard.reading.trace(feature) - mean
    times, giants = heard.reading.times_s, tuple(heard.reading.giants)
    largest = float(np.abs(usual_part(values, times, giants)).max()) if mark else 1.0
    return PlayerTrace(
        name=(f"{mark}: " if mark else "") + f"{heard_name(heard)} · feature {feature}",
        values=(values / (largest or 1.0)).astype(np.float32),
        t0_s=float(times[0]),
        hop_s=float(times[1] - times[0]) if len(times) > 1 else 0.0,
        color=on_picture(str(heard.sae["encoder_name"]), lift=(0.45, 0.75, 0.2)[place // 2 % 3]),
        baseline=0.0,
        mark=mark,
        dashed=place % 2 == 1,
        giants=giants,
    )


def _mean_of(rows: pd.DataFrame, feature: int) -> float:
    """The corpus mean of a feature's pre-activation; 0 where it is not known."""
    found = rows.loc[rows["feature"] == feature, "preactivation_mean"]
    return float(found.iloc[0]) if len(found) and is_defined(found.iloc[0]) else 0.0
