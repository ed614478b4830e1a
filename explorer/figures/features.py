"""Figures of the Features page: the map of live features."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from explorer.figures.theme import base_layout, palette, shown, with_alpha


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
            go.Scattergl(
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
            go.Scattergl(
                x=here["map_x"], y=here["map_y"], mode="markers", showlegend=False, hoverinfo="skip",
                marker={"size": 15, "color": "rgba(0,0,0,0)", "line": {"width": 2, "color": colors.text}},
            )
        )  # fmt: skip
    base_layout(fig, dark)
    fig.update_layout(margin={"l": 6, "r": 6, "t": 26, "b": 6})
    fig.update_xaxes(visible=False)
    fig.update_yaxes(visible=False)
    return fig
