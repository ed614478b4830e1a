"""Showing a plotly figure the same way everywhere."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from functools import cache
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from explorer.ui.url import visit_key

# On hover one button: the picture as a file.
_CONFIG = {"displaylogo": False, "modeBarButtons": [["toImage"]], "responsive": True}


@cache
def _kept() -> Callable[..., go.Figure]:
    """The cache of figures, made on first use: at import there is no server yet."""

    def figure(content: bytes, _draw: Callable[[], go.Figure]) -> go.Figure:
        return _draw()

    return st.cache_resource(max_entries=100, show_spinner=False)(figure)


def kept_figure(draw: Callable[..., go.Figure], *arguments: object, **options: object) -> go.Figure:
    """`draw(*arguments, **options)`, one of `explorer.figures`, remembered by the content of its arguments.

    For figures of the whole store, which every reader opens and which take long. Readers share it: change nothing.
    """
    content = pickle.dumps((draw.__module__, draw.__qualname__, arguments, options))
    return _kept()(hashlib.sha256(content).digest(), lambda: draw(*arguments, **options))


def show_figure(
    fig: go.Figure, key: str, *, height_px: int | None = None, selectable: bool = False
) -> list[dict[str, Any]]:
    """Draw `fig`, which has had `base_layout`.

    Returns the selected points ('customdata' and others), empty when none is.

    A click selects one point; only figures with `selectable` run the script again for it.
    """
    config = {**_CONFIG, "toImageButtonOptions": {"filename": key, "scale": 2}}
    if height_px is not None:
        fig.update_layout(height=height_px)
    if not selectable:
        st.plotly_chart(fig, key=key, theme=None, config=config, width="stretch")
        return []
    if fig.layout.dragmode is not False:  # a kept figure is changed once
        fig.update_layout(clickmode="event+select", dragmode=False)
    event = st.plotly_chart(
        fig, key=visit_key(key), theme=None, config=config, width="stretch", on_select="rerun", selection_mode="points"
    )
    return [dict(point) for point in event["selection"]["points"]]
