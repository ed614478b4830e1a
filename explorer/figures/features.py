"""Figures of the Features page: the map of live features, and a feature's activation against a measure."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from explorer.figures.theme import base_layout, palette, shown, with_alpha

MAX_NAMED = 12  # groups in a legend


def against_measure(
    rows: pd.DataFrame, curve: pd.DataFrame, color: str, dark: bool, *, measure: str, by: str
) -> go.Figure:
    """A dot a clip, activation against the measure, and the curve of the groups' means with its interval.

    rows: of `fetch_against`; curve: of `tuning_curve`. by: the column that colours the dots. customdata: [clip_id].
    """
    colors = palette(dark)
    fig = go.Figure()
    names = sorted(rows[by].fillna("none").astype(str).unique())
    for place, name in enumerate(names):
        part = rows[rows[by].fillna("none").astype(str) == name]
        fig.add_trace(
            go.Scatter(
                x=part["measured"], y=part["value"], mode="markers", name=shown(name),
                showlegend=len(names) <= MAX_NAMED,
                customdata=np.stack([part["clip_id"], part["title"].map(shown), part["group_id"].map(shown)], axis=1),
                marker={"size": 6, "color": _nth_color(place, len(names)), "opacity": 0.7, "line": {"width": 0}},
                hovertemplate="%{customdata[1]}<br>%{customdata[2]}<br>activation %{y:.2f}<br>measured %{x:.4g}"
                "<extra></extra>",
            )
        )  # fmt: skip
    if len(curve):
        fig.add_trace(
            go.Scatter(
                x=curve["measured"], y=curve["mean"], mode="lines+markers", name="mean over groups",
                line={"color": color, "width": 2.5},
                marker={"size": 7, "line": {"width": 1, "color": colors.background}},
                error_y={"type": "data", "symmetric": False, "array": curve["high"] - curve["mean"],
                         "arrayminus": curve["mean"] - curve["low"], "color": color, "thickness": 1.4, "width": 3},
                hovertemplate="mean over groups %{y:.2f}<br>at %{x:.4g}<extra></extra>",
            )
        )  # fmt: skip
    base_layout(fig, dark)
    fig.update_xaxes(title_text=shown(measure))
    fig.update_yaxes(title_text="activation (0: not active)")
    return fig


def _nth_color(place: int, n: int) -> str:
    """One of n hues of like lightness."""
    return f"hsl({round(360 * place / max(n, 1))},55%,50%)"


def feature_map(rows: pd.DataFrame, color: str, dark: bool, *, marked: int | None = None) -> go.Figure:
    """Every live feature at its place on the map; features with a shown label are filled, the others are faint.

    `rows` are those of `fetch_feature_map`; customdata holds the feature's number. Distances on such a map mean little.
    """
    colors = palette(dark)
    fig = go.Figure()
    named = rows["label"].notna()
    for group, name, fill, size in (
        (rows[~named], "no label shown", with_alpha(colors.muted, 0.45), 6),
        (rows[named], "labelled", with_alpha(color, 0.95), 8),
    ):
        if group.empty:
            continue
        label = group["label"].fillna("no label shown").map(shown)
        fig.add_trace(
            go.Scatter(
                x=group["map_x"], y=group["map_y"], mode="markers", name=name,
                customdata=np.stack([group["feature"], label, 100 * group["density"]], axis=1),
                marker={"size": size, "color": fill, "line": {"width": 0}},
                hovertemplate="Feature %{customdata[0]}<br>%{customdata[1]}<br>active in %{customdata[2]:.1f} %"
                "<extra></extra>",
            )
        )  # fmt: skip
    here = rows[rows["feature"] == marked]
    if not here.empty:
        fig.add_trace(
            go.Scatter(
                x=here["map_x"], y=here["map_y"], mode="markers", showlegend=False, hoverinfo="skip",
                marker={"size": 15, "color": "rgba(0,0,0,0)", "line": {"width": 2, "color": colors.text}},
            )
        )  # fmt: skip
    base_layout(fig, dark)
    fig.update_layout(margin={"l": 6, "r": 6, "t": 26, "b": 6})
    fig.update_xaxes(visible=False)
    fig.update_yaxes(visible=False)
    return fig
