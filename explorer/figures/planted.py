"""What was planted in a generated corpus against what was found of it, as a heatmap."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from explorer.chance import above_chance
from explorer.figures.theme import base_layout, encoder_color, palette, shown, with_alpha
from explorer.naming import sae_title
from explorer.text import count, is_defined, number, series_name, shortened

_KINDS = {"r2": "R²", "accuracy": "accuracy", "mcc": "mean MCC"}


def planted_map(rows: pd.DataFrame, dark: bool) -> go.Figure:
    """A cell for each parameter (row) and encoder and layer (column), encoders side by side.

    rows: of `fetch_planted`. Shaded by how much of what chance leaves is recovered; what is not found is grey, what is
    found beyond the design's names bold, and a raised T says that the encoder's teacher was made to follow it. Cells of
    layers with an SAE carry [sae_id, feature or -1, parameter].
    """
    colors = palette(dark)
    parameters = list(dict.fromkeys(rows["parameter_name"]))
    encoders = list(dict.fromkeys(rows["encoder_display"]))
    fig = go.Figure()
    widths = [rows.loc[rows["encoder_display"] == name, "layer"].nunique() for name in encoders]
    gap = 0.012
    unit = (1 - gap * (len(encoders) - 1)) / sum(widths)
    left = 0.0
    for place, (encoder, width) in enumerate(zip(encoders, widths, strict=True), start=1):
        part = rows[rows["encoder_display"] == encoder]
        layers = sorted(part["layer"].unique())
        cells = {(row["parameter_name"], row["layer"]): row for row in part.to_dict("records")}
        axis = "" if place == 1 else str(place)
        color = encoder_color(str(part["encoder_name"].iloc[0]))
        grid = [[cells.get((parameter, layer)) for layer in layers] for parameter in parameters]
        fig.add_trace(
            go.Heatmap(
                z=[[_share(cell) for cell in line] for line in grid],
                x=[f"L{layer}" for layer in layers],
                y=[shown(name) for name in parameters],
                xaxis=f"x{axis}",
                zmin=0,
                zmax=1,
                colorscale=[[0, with_alpha(color, 0.0)], [1, with_alpha(color, 0.75)]],
                text=[[_text(cell, colors.muted) for cell in line] for line in grid],
                texttemplate="%{text}",
                textfont={"color": colors.text, "size": 8.5},
                hovertext=[[_words(cell) for cell in line] for line in grid],
                customdata=[[_link(cell) for cell in line] for line in grid],
                hovertemplate="%{hovertext}<extra></extra>",
                showscale=False,
                xgap=1,
                ygap=1,
            )
        )
        right = left + width * unit
        fig.update_layout({f"xaxis{axis}": {"domain": [left, right], "anchor": "y"}})
        fig.add_annotation(
            x=(left + right) / 2, y=1.0, xref="paper", yref="paper", xanchor="center", yanchor="bottom",
            text=f"<b>{shown(shortened(encoder, n_last=10))}</b>", font={"color": color, "size": 12}, showarrow=False,
        )  # fmt: skip
        left = right + gap
    base_layout(fig, dark)
    fig.update_xaxes(type="category", showgrid=False, title_text=None)
    fig.update_yaxes(type="category", autorange="reversed", showgrid=False)
    fig.update_layout(height=80 + 34 * len(parameters), margin={"t": 30, "b": 30})
    return fig


def _link(cell: dict[str, Any] | None) -> list[object] | None:
    if cell is None or not is_defined(cell["linked_sae"]):
        return None
    feature = int(cell["feature"]) if is_defined(cell["feature"]) else -1
    return [str(cell["linked_sae"]), feature, str(cell["parameter"])]


def _share(cell: dict[str, Any] | None) -> float | None:
    """How much of what chance leaves, 0 to 1; None where undefined."""
    if cell is None or not is_defined(cell["score"]):
        return None
    share = above_chance(float(cell["score"]), float(cell["control"]) if is_defined(cell["control"]) else math.nan)
    return None if math.isnan(share) else max(share, 0.0)


def _text(cell: dict[str, Any] | None, muted: str) -> str:
    if cell is None or not is_defined(cell["score"]):
        return f'<span style="color:{muted}">–</span>'
    said = short_score(float(cell["score"]))
    if not cell["is_found"]:
        said = f'<span style="color:{muted}">{said}</span>'
    elif cell["is_beyond"]:
        said = f"<b>{said}</b>"
    return f"{said}ᵀ" if cell["in_teacher"] else said


_NO_SCORE = 1e-12  # what rounding leaves of a zero


def short_score(score: float) -> str:
    """'.61', '1', '.003', '<0' (as markup): what fits into a cell, as `number` writes it without the first zero."""
    if score < -_NO_SCORE:
        return "&lt;0"
    if score <= _NO_SCORE:
        return "0"
    return number(score).lstrip("0") if score < 0.995 else "1"


def _words(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return "not computed"
    series = series_name(cell["encoder_display"], cell["layer"], is_whole=True)
    name = f"{shown(cell['parameter_name'])} in {shown(series)}"
    if not is_defined(cell["score"]):
        return f"{name}: undefined, {shown(cell['reason'])}"
    kind = _KINDS[str(cell["score_kind"])]
    verdict = (
        "not found"
        if not cell["is_found"]
        else "found"
        if cell["is_beyond"]
        else "found, but no better than from the technique"
    )
    lines = [
        f"<b>{name}: {verdict}</b>",
        f"{kind} {number(cell['score'])}",
        f"on {count(cell['n_clips'], 'clip')} of {count(cell['n_groups'], 'unseen singer')}",
        f"chance reaches {number(cell['control'])}",
    ]
    if is_defined(cell["told"]):
        lines.append(f"technique and exercise alone {number(cell['told'])}")
    if is_defined(cell["sae_id"]):
        lines.append(shown(sae_title(cell, is_whole=True)))
    if cell["kind"] == "feature":
        lines.append(f"feature {cell['feature']}, {shown(cell['direction'])}")
    elif is_defined(cell["n_weights"]):
        lines.append(count(cell["n_weights"], "weight"))
    if cell["in_teacher"]:
        lines.append("in the teacher: what it was trained to predict was made to follow this")
    return "<br>".join(lines)
