"""Figures of one SAE's training: its loss by epoch, and how groups kept apart were reconstructed after each length."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from explorer.figures.theme import base_layout, log_ticks, palette
from explorer.text import count, number, percent, quantity

_HEIGHT, _MARGIN = 240, {"t": 10, "b": 36}


def training_curve(
    curve: pd.DataFrame, dark: bool, color: str, *, most: int | None = None, stopped: int | None = None
) -> go.Figure:
    """Loss of one SAE's training by epoch (logarithmic axis); rows: epoch, loss, dead_fraction.

    `most` epochs were allowed; a line stands where the training `stopped` before them.
    """
    fig = go.Figure()
    fig.add_scatter(
        x=curve["epoch"],
        y=curve["loss"],
        mode="lines",
        line={"color": color, "width": 2},
        text=[
            f"epoch {epoch}: loss {quantity(loss)}, dead {percent(dead, 1)}"
            for epoch, loss, dead in zip(curve["epoch"], curve["loss"], curve["dead_fraction"], strict=True)
        ],
        hovertemplate="%{text}<extra></extra>",
        showlegend=False,
    )
    base_layout(fig, dark)
    fig.update_xaxes(title_text="epoch")
    if most is not None and stopped is not None and stopped < most:
        fig.update_xaxes(range=[0, most])
        _mark(fig, stopped, f"stopped after {stopped} of {most}", dark)
    fig.update_yaxes(title_text="training loss (MSE)", type="log", **log_ticks(curve["loss"]))
    fig.update_layout(height=_HEIGHT, margin=_MARGIN)
    return fig


def length_curve(lengths: pd.DataFrame, dark: bool, color: str, *, stopped: int | None = None) -> go.Figure:
    """FVU of clips kept apart by the epochs trained, a line for each fold; rows: n_epochs, fold, fvu.

    A length that was no better than the longest in one fold was not tried in the next, so lines may be short.
    """
    fig = go.Figure()
    for fold, rows in lengths.sort_values("n_epochs").groupby("fold"):
        fig.add_scatter(
            x=rows["n_epochs"],
            y=rows["fvu"],
            mode="lines+markers",
            line={"color": color, "width": 1.5},
            marker={"color": color, "size": 7},
            text=[
                f"fold {fold}, {count(n, 'epoch')}: FVU {number(value, 3)}"
                for n, value in zip(rows["n_epochs"], rows["fvu"], strict=True)
            ],
            hovertemplate="%{text}<extra></extra>",
            showlegend=False,
        )
    base_layout(fig, dark)
    fig.update_xaxes(title_text="epochs of the training", rangemode="tozero")
    if stopped is not None:
        _mark(fig, stopped, "chosen", dark)
    fig.update_yaxes(title_text="FVU, groups kept apart")
    fig.update_layout(height=_HEIGHT, margin=_MARGIN)
    return fig


def _mark(fig: go.Figure, epoch: int, words: str, dark: bool) -> None:
    """A dotted line at an epoch, with its words beside it."""
    muted = palette(dark).muted
    fig.add_vline(
        x=epoch, line={"color": muted, "dash": "dot"}, annotation_text=words, annotation_font={"color": muted}
    )
