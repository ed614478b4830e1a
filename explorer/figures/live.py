"""Figure of the page Live: where a sound lies among the corpus, factor by factor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from explorer.figures.theme import base_layout, palette, shown
from explorer.text import count, is_defined, number, quantity, shortened

N_COLUMNS, ROW_PX, N_LETTERS = 3, 128, 34


def factor_places(rows: pd.DataFrame, color: str, dark: bool) -> go.Figure:
    """A histogram of the corpus for each row, the measured value as a line and the predicted one as a dashed line.

    rows: display_name, unit, value, predicted (NaN where there is none), and of `fetch_factor_histograms` counts and
    edges.
    """
    colors = palette(dark)
    n_rows = -(-len(rows) // N_COLUMNS)
    fig = make_subplots(
        n_rows, N_COLUMNS, subplot_titles=[_title(row) for row in rows.to_dict("records")],
        vertical_spacing=0.46 / n_rows, horizontal_spacing=0.06,
    )  # fmt: skip
    for place, row in enumerate(rows.to_dict("records")):
        at = {"row": place // N_COLUMNS + 1, "col": place % N_COLUMNS + 1}
        edges, counts = row["edges"], row["counts"]
        top = float(max(counts)) or 1.0
        fig.add_trace(
            go.Bar(
                x=(edges[:-1] + edges[1:]) / 2, y=counts, width=edges[1:] - edges[:-1],
                marker={"color": colors.bar, "line": {"width": 0}}, showlegend=False,
                hovertext=[f"{count(n, 'clip')} near {quantity(x)}"
                           for n, x in zip(counts, (edges[:-1] + edges[1:]) / 2, strict=True)],
                hovertemplate="%{hovertext}<extra></extra>",
            ),
            **at,
        )  # fmt: skip
        for what, name, line in (
            ("value", "measured", {"color": colors.text, "width": 2.5}),
            ("predicted", "predicted from the code", {"color": color, "width": 2.5, "dash": "dot"}),
        ):
            value = row[what]
            fig.add_trace(
                go.Scatter(
                    x=[value, value] if is_defined(value) else [None, None], y=[0, top * 1.08], mode="lines",
                    line=line, name=name, legendgroup=name, showlegend=place == 0,
                    hovertemplate=f"{name} {number(value, 3)}<extra></extra>",
                ),
                **at,
            )  # fmt: skip
        fig.update_xaxes(range=_range([edges[0], edges[-1], row["value"], row["predicted"]]), **at)
    base_layout(fig, dark)
    fig.update_xaxes(nticks=4, tickfont={"size": 10}, showgrid=False)
    fig.update_yaxes(showticklabels=False, showgrid=False, rangemode="tozero")
    fig.update_annotations(font={"size": 11.5, "color": colors.text})
    fig.update_layout(
        height=ROW_PX * n_rows + 60, bargap=0, hovermode="closest", margin={"l": 8, "r": 8, "t": 56, "b": 28},
        legend={"y": 1.0, "yref": "container", "yanchor": "top"},
    )  # fmt: skip
    return fig


def _range(values: Sequence[object]) -> list[float]:
    """From the least to the largest, with room for a line at either end."""
    known = [float(value) for value in values if is_defined(value)]  # type: ignore[arg-type]
    room = 0.03 * (max(known) - min(known))
    return [min(known) - room, max(known) + room]


def _title(row: Mapping[str, Any]) -> str:
    """A factor's name, short enough to stand over a small histogram, and its unit."""
    name = shortened(row["display_name"], N_LETTERS)
    unit = row["unit"]
    return shown(name) + (f" ({shown(unit)})" if is_defined(unit) and unit else "")
