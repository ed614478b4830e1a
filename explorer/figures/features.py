"""Figures of the Features page: the colours of the map, and a feature's activation against a measure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.colors import sequential

from explorer.figures.theme import LONGEST_SERIES, base_layout, palette, shown, with_alpha
from explorer.text import number, quantity, shortened

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
                x=part["measured"], y=part["value"], mode="markers", name=shown(shortened(name)),
                showlegend=len(names) <= MAX_NAMED,
                customdata=np.stack([part["clip_id"], part["title"].map(shown), part["group_id"].map(shown)], axis=1),
                marker={"size": 6, "color": _nth_color(place, len(names), dark), "opacity": 0.7, "line": {"width": 0}},
                text=[f"activation {number(y)}<br>measured {quantity(x)}"
                      for x, y in zip(part["measured"], part["value"], strict=True)],
                hovertemplate="%{customdata[1]}<br>%{customdata[2]}<br>%{text}<extra></extra>",
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
                text=[f"mean over groups {number(y)}<br>at {quantity(x)}"
                      for x, y in zip(curve["measured"], curve["mean"], strict=True)],
                hovertemplate="%{text}<extra></extra>",
            )
        )  # fmt: skip
    base_layout(fig, dark)
    fig.update_xaxes(title_text=shown(shortened(measure, LONGEST_SERIES)))
    fig.update_yaxes(title_text="activation (0: not active)")
    return fig


def _nth_color(place: int, n: int, dark: bool) -> str:
    """One of n hues of like lightness."""
    return f"hsl({round(360 * place / max(n, 1))},{65 if dark else 55}%,{64 if dark else 46}%)"


@dataclass(frozen=True)
class MapColors:
    """A colour a feature, and what they mean: (colour, name) of each kind, or (low, high) under a ramp of colours."""

    colors: list[str]
    kinds: list[tuple[str, str]]
    ramp: tuple[str, ...] = ()
    ends: tuple[float, float] = (0.0, 0.0)


COLOURED_BY = {
    "label": "label",
    "factor_group": "group of the best factor",
    "density": "density",
    "max_value": "largest activation",
    "n_groups_active": "groups where active",
    "label_f1": "label, F1",
    "stability": "stability over seeds",
    "disentanglement": "disentanglement",
}


def map_colors(rows: pd.DataFrame, by: str, dark: bool) -> MapColors:
    """The colours of `rows` of `fetch_feature_map` by one of COLOURED_BY; grey where it is missing."""
    colors = palette(dark)
    missing = with_alpha(colors.muted, 0.4)
    values = rows[by]
    if by in ("label", "factor_group"):
        names = list(values.dropna().astype(str).value_counts().sort_index().index)
        of = {name: _nth_color(place, len(names), dark) for place, name in enumerate(names)}
        kinds = [(color, name) for name, color in of.items()]
        if values.isna().any():
            kinds.append((missing, "none shown" if by == "label" else "none"))
        return MapColors([of.get(str(value), missing) for value in values], kinds)
    known = values.to_numpy(dtype=np.float64, na_value=np.nan)
    finite = known[np.isfinite(known)]
    ramp = tuple(sequential.Viridis[2:] if dark else sequential.Viridis[:-2])
    if not finite.size:
        return MapColors([missing] * len(rows), [(missing, "not stored")])
    low, high = float(finite.min()), float(finite.max())
    place = np.nan_to_num((known - low) / (high - low if high > low else 1.0))
    steps = [ramp[round(float(share) * (len(ramp) - 1))] for share in place]
    shades = [color if np.isfinite(value) else missing for color, value in zip(steps, known, strict=True)]
    kinds = [(missing, "none shown" if by == "label_f1" else "none")] if len(finite) < len(known) else []
    return MapColors(shades, kinds, ramp, (low, high))
