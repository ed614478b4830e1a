"""The same clips through two features: one player each, both activations over it."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st

from explorer.figures.theme import on_picture
from explorer.queries.compare import fetch_pair_clips
from explorer.queries.traces import StoredTrace, fetch_traces
from explorer.store import Store
from explorer.text import is_defined, number, series_name
from explorer.ui.context import cached
from explorer.ui.markup import as_written
from explorer.ui.player import PlayerClip, PlayerTrace, player
from explorer.ui.style import caption, empty_state
from explorer.ui.url import carried, go_to, page_file

N_CLIPS = 6
Sides = tuple[dict[str, Any], dict[str, Any]]


def draw_pair(store: Store, saes: Sides, features: Sides, match: dict[str, Any] | None) -> None:
    """Links to both features, what joins them, and the clips that either listed first, with a trace of each."""
    with st.container(horizontal=True):
        for side, sae, feature in zip("AB", saes, features, strict=True):
            label = f" · {feature['shown_label']}" if feature["shown_label"] else ""
            name = series_name(sae["encoder_display"], sae["layer"])
            st.page_link(
                page_file("features"),
                label=as_written(f"{side}: {name} · feature {feature['feature']}{label}"),
                icon=":material/graphic_eq:",
                query_params=carried("features", sae=sae["sae_id"], feature=feature["feature"]),
            )
    if match is None:
        caption("These two are not a stored match.")
    else:
        caption(
            f"Correlation over clips: {number(match['r_train'])} on training clips (the match was chosen there), "
            f"{number(match['r_heldout'])} on held-out clips."
        )
    numbers = [int(feature["feature"]) for feature in features]
    rows = cached(fetch_pair_clips, store, saes[0]["sae_id"], numbers[0], saes[1]["sae_id"], numbers[1], N_CLIPS)
    if rows.empty:
        empty_state("Neither feature has a listed clip: neither is active in any.")
        return
    clips = list(rows["clip_index"])
    traces = [fetch_traces(store, s, f, clips) for s, f in zip(saes, numbers, strict=True)]
    caption(
        "Lines: pre-activation above (or below) the feature's corpus mean, each divided by its own largest value in "
        "these clips, since two SAEs have no common unit. Values: activations. The peak and the loop around it are A's "
        "where A has a trace."
    )
    scales = [_scale(found, feature) for found, feature in zip(traces, features, strict=True)]
    shown = [
        PlayerClip(
            clip_id=str(row["clip_id"]),
            title=str(row["title"]),
            duration_s=float(row["duration_s"]),
            detail=f"A {_value(row['value_a'])} · B {_value(row['value_b'])}",
            note=_note([int(row["clip_index"]) in found for found in traces]),
            traces=tuple(
                line(side, saes, found[int(row["clip_index"])], feature, scale)
                for side, found, feature, scale in zip("AB", traces, features, scales, strict=True)
                if int(row["clip_index"]) in found
            ),
            rank=rank,
        )
        for rank, row in enumerate(rows.to_dict("records"), start=1)
    ]
    key = f"pair-{saes[0]['sae_id']}-{numbers[0]}-{saes[1]['sae_id']}-{numbers[1]}"
    event = player(store, shown, key)
    if event and event.get("action") == "open":
        go_to("features", sae=saes[0]["sae_id"], feature=numbers[0], clip=event["clip_id"])


def _mean(feature: dict[str, Any]) -> float:
    value = feature["preactivation_mean"]
    return float(value) if is_defined(value) else 0.0


def _scale(traces: dict[int, StoredTrace], feature: dict[str, Any]) -> float:
    largest = max((float(np.max(np.abs(t.usual_values() - _mean(feature)))) for t in traces.values()), default=0.0)
    return largest if largest > 0 else 1.0


def line(side: str, saes: Sides, trace: StoredTrace, feature: dict[str, Any], scale: float) -> PlayerTrace:
    """Side 'A' or 'B' of a pair over a clip, in its encoder's colour; B is dashed and paler where A has the same one.

    Values are the distance from the feature's corpus mean, divided by `scale`.
    """
    sae = saes["AB".index(side)]
    color = on_picture(str(sae["encoder_name"]))
    is_second = side == "B" and color == on_picture(str(saes[0]["encoder_name"]))
    color = on_picture(str(sae["encoder_name"]), lift=0.8) if is_second else color
    values = ((trace.values - _mean(feature)) / scale).astype(np.float32)
    name = f"{side}: {series_name(sae['encoder_display'], sae['layer'])} · feature {feature['feature']}"
    return PlayerTrace(
        name, values, trace.t0_s, trace.hop_s, color, 0.0, mark=side, dashed=is_second, giants=trace.giants
    )


def _value(value: object) -> str:
    return number(value) if is_defined(value) else "not listed"


def _note(stored: list[bool]) -> str:
    missing = [side for side, there in zip("AB", stored, strict=True) if not there]
    return f"No trace stored of {' and '.join(missing)} in this clip." if missing else ""
