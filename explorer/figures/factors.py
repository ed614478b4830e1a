"""Figures of the Factors page: Lasso weights as selectable marks, R² against completeness, predicted values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from scipy.cluster.hierarchy import leaves_list, linkage

from explorer.factor_words import are_predicted, p_words, verdict
from explorer.figures.theme import base_layout, palette, shown, with_alpha
from explorer.measures import measure_text
from explorer.text import count, is_defined, number, percent, shortened, signed

R2_THRESHOLD = 0.7
COMPLETENESS_THRESHOLD = 0.8


def top_features(weights: pd.DataFrame, n: int) -> list[int]:
    """At most `n` features: the strongest one of each factor, then those with the largest sum of |weight| over factors.

    Within each part the larger sum comes first; ties go to the lower number.
    """
    sized = weights.assign(mass=weights["weight"].abs())
    mass = (
        sized.groupby("feature")["mass"].sum().reset_index().sort_values(["mass", "feature"], ascending=[False, True])
    )
    ranked = [int(value) for value in mass["feature"]]
    strongest = sized.sort_values(["mass", "feature"], ascending=[False, True]).drop_duplicates("factor_index")
    first = set(strongest["feature"].astype(int))
    return [*(f for f in ranked if f in first), *(f for f in ranked if f not in first)][:n]


def cluster_order(weights: pd.DataFrame, rows: Sequence[int], column: str, other: str) -> list[int]:
    """`rows` (values of `column`) so ordered that those with alike weights over `other` are neighbours.

    Average linkage on correlation distance of the weights, leaves as scipy orders them; fewer than three rows, and
    rows without any weight (put last), keep their order.
    """
    table = weights.pivot_table(index=column, columns=other, values="weight", aggfunc="sum", fill_value=0.0)
    held = [row for row in rows if row in table.index and np.any(table.loc[row].to_numpy() != 0)]
    empty = [row for row in rows if row not in held]
    if len(held) < 3:
        return [*held, *empty]
    values = table.loc[held].to_numpy(dtype=float)
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    leaves = leaves_list(linkage(unit, method="average", metric="euclidean"))
    return [*(held[i] for i in leaves), *empty]


def lasso_marks(
    weights: pd.DataFrame, scores: pd.DataFrame, factors: Sequence[int], features: Sequence[int], dark: bool
) -> go.Figure:
    """Weights as square marks, factors down and features across, in the order given; only non-zero cells are drawn.

    Blue raises the factor, red lowers it; the shade is |weight| and so is the size. Factors that are not
    predicted are faint, with a dagger. Marks carry [feature, factor_index] as customdata. `scores` gives names and R2.
    """
    colors = palette(dark)
    names = scores.set_index("factor_index")
    score_of = names.to_dict("index")
    sound = are_predicted(names)
    cells = weights[weights["feature"].isin(features) & weights["factor_index"].isin(factors)]
    x_of = {feature: i for i, feature in enumerate(features)}
    y_of = {factor: i for i, factor in enumerate(factors)}
    largest = float(cells["weight"].abs().max()) if len(cells) else 1.0
    fig = go.Figure(
        go.Scatter(
            x=[x_of[f] for f in cells["feature"]],
            y=[y_of[g] for g in cells["factor_index"]],
            mode="markers",
            marker={
                "symbol": "square",
                "size": 5 + 9 * np.sqrt(cells["weight"].abs() / largest),
                "color": cells["weight"],
                "opacity": [1.0 if sound[g] else 0.35 for g in cells["factor_index"]],
                "line": {"width": 0},
                "cmin": -largest,
                "cmax": largest,
                "colorscale": [
                    [0, colors.negative],
                    [0.5, with_alpha(colors.muted, 0.25)],
                    [1, colors.positive],
                ],
                "showscale": False,
            },
            customdata=cells[["feature", "factor_index"]].to_numpy(dtype=object),
            text=[_weight_words(cell, score_of[cell["factor_index"]]) for cell in cells.to_dict("records")],
            hovertemplate="%{text}<extra>click opens the feature</extra>",
        )
    )
    base_layout(fig, dark)
    fig.update_xaxes(
        tickvals=list(range(len(features))),
        ticktext=[str(f) for f in features],
        tickangle=-90,
        side="top",
        tickfont={"size": 9},
        range=[-0.6, len(features) - 0.4],
        title_text="feature",
    )
    fig.update_yaxes(
        tickvals=list(range(len(factors))),
        ticktext=[
            f"{shown(shortened(measure_text(score_of[g])))}  {number(score_of[g]['r2_shown'])}"
            f"{'' if sound[g] else ' †'}"
            for g in factors
        ],
        range=[len(factors) - 0.4, -0.6],
    )
    fig.update_layout(
        height=130 + 19 * len(factors), margin={"t": 70, "b": 10}, clickmode="event+select", hovermode="closest"
    )
    return fig


def _weight_words(cell: dict[str, object], score: Mapping[str, object]) -> str:
    raises = "raises" if float(cell["weight"]) > 0 else "lowers"  # type: ignore[arg-type]
    label = f" ({shown(cell['label'])})" if is_defined(cell["label"]) else ""
    return (
        f"When feature {cell['feature']}{label} is stronger by one standard deviation,<br>"
        f"it {raises} the predicted <b>{shown(score['display_name'])}</b> by {number(abs(float(cell['weight'])), 3)} "  # type: ignore[arg-type]
        f"standard deviations<br>"
        f"factor: R² {number(score['r2_shown'])} ({score['protocol']}, {count(score['n_shown_clips'], 'clip')}) · "
        f"feature: active in {percent(cell['density'])} of clips{_control_words(score)}"
    )


def _control_words(score: Mapping[str, Any]) -> str:
    """A line for hovering where a factor is not predicted, else nothing."""
    if not is_defined(score["r2"]) or bool(are_predicted(pd.DataFrame([dict(score)])).iloc[0]):
        return ""
    return f"<br>† {verdict(score)} (to exceed: {number(score['r2_permuted'])})"


def r2_completeness(scores: pd.DataFrame, dark: bool, color: str, *, selected: int | None = None) -> go.Figure:
    """A mark for each factor with both numbers: R2 across, completeness up, with the 0.7 and 0.8 thresholds.

    customdata is [factor_index]. Factors without a completeness are not drawn: they have none. Those that are not
    predicted (protocol paper gives them one all the same) are hollow.
    """
    colors = palette(dark)
    drawn = scores[scores["r2_shown"].notna() & scores["completeness"].notna()]
    sound = are_predicted(drawn)
    fig = go.Figure(
        go.Scatter(
            x=drawn["r2_shown"],
            y=drawn["completeness"],
            mode="markers",
            marker={
                "size": [14 if g == selected else 9 for g in drawn["factor_index"]],
                "color": with_alpha(color, 0.75),
                "symbol": ["circle" if flag else "circle-open" for flag in sound],
                "line": {"color": colors.text, "width": [2 if g == selected else 0 for g in drawn["factor_index"]]},
            },
            customdata=[[int(g)] for g in drawn["factor_index"]],
            text=[factor_words(row) for row in drawn.to_dict("records")],
            hovertemplate="%{text}<extra></extra>",
        )
    )
    for value, axis in ((R2_THRESHOLD, "x"), (COMPLETENESS_THRESHOLD, "y")):
        line = {"color": colors.muted, "width": 1, "dash": "dot"}
        if axis == "x":
            fig.add_vline(x=value, line=line)
        else:
            fig.add_hline(y=value, line=line)
    base_layout(fig, dark)
    low = min(0.0, float(drawn["r2_shown"].min()) if len(drawn) else 0.0)
    fig.update_xaxes(title_text="R²", range=[low - 0.03, 1.03])
    widths = sorted({int(d) for d in drawn["completeness_d"].dropna()})
    over = f", over D = {', '.join(map(str, widths))}" if widths else ""
    fig.update_yaxes(title_text=f"completeness{over}", range=[0, 1.05])
    fig.update_layout(height=380, margin={"t": 12}, clickmode="event+select", hovermode="closest", showlegend=False)
    return fig


def factor_words(row: dict[str, object]) -> str:
    """One factor's scores in words, for hovering."""
    said = verdict(row), p_words(row), row.get("transform")
    told = " · ".join(shown(words) for words in said if is_defined(words) and words)
    return (
        f"<b>{shown(row['display_name'])}</b> ({shown(row['factor_group'])})<br>{told}<br>"
        f"R² {number(row['r2_shown'])}, within group {number(row['within_shown'])} · "
        f"{count(row['n_shown_clips'], 'clip')} of {count(row['n_shown_groups'], 'group')}<br>"
        f"{row['protocol']} R² {number(row['r2'])} of {count(row['n_clips'], 'clip')}, chance "
        f"{number(row['r2_permuted'])}<br>"
        f"completeness {number(row['completeness'])} over D = {row['completeness_d']} · "
        f"effective codes {number(row['effective_codes'], 1)} · {count(row['n_weights'], 'weight')}<br>"
        f"alpha {number(row['alpha'], 4)} ({row['alpha_source']}) · seed {row['seed']}"
    )


def predicted_measured(
    rows: pd.DataFrame,
    dark: bool,
    color: str,
    *,
    name: str,
    unit: str | None,
    is_clipped: bool,
    is_ranked: bool = False,
) -> go.Figure:
    """Predicted against measured values of one factor, a mark for each scored clip; the line is equality.

    `is_clipped`: the measured values are those the fit saw, clipped to its training part's percentiles; `is_ranked`:
    both are normal scores of ranks, without a unit. customdata is [clip_id].
    """
    colors = palette(dark)
    clipped = ", rank as normal score" if is_ranked else ", clipped" if is_clipped else ""
    unit = None if is_ranked else unit
    in_unit = f" ({unit})" if unit else ""
    fig = go.Figure()
    if len(rows):
        low = float(min(rows["measured"].min(), rows["predicted"].min()))
        high = float(max(rows["measured"].max(), rows["predicted"].max()))
        fig.add_scatter(
            x=[low, high],
            y=[low, high],
            mode="lines",
            line={"color": colors.muted, "width": 1, "dash": "dot"},
            hoverinfo="skip",
            showlegend=False,
        )
    fig.add_scatter(
        x=rows["measured"],
        y=rows["predicted"],
        mode="markers",
        marker={"size": 8, "color": with_alpha(color, 0.7)},
        customdata=[[clip] for clip in rows["clip_id"]],
        text=[
            f"<b>{shown(row['title'])}</b><br>measured {number(row['measured'], 3)}{clipped}, predicted "
            f"{number(row['predicted'], 3)}{in_unit}<br>"
            f"error {signed(row['predicted'] - row['measured'], 3)} · group {shown(row['group_id'])}"
            for row in rows.to_dict("records")
        ],
        hovertemplate="%{text}<extra></extra>",
        showlegend=False,
    )
    base_layout(fig, dark)
    fig.update_xaxes(title_text=f"measured {shown(shortened(name))}{clipped}{in_unit}")
    fig.update_yaxes(title_text="predicted")
    fig.update_layout(height=380, margin={"t": 12}, hovermode="closest")
    return fig
