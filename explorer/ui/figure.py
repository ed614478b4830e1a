"""Showing a plotly figure the same way everywhere."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
import streamlit as st

from explorer.ui.url import visit_key

# On hover one button: the picture as a file.
_CONFIG = {"displaylogo": False, "modeBarButtons": [["toImage"]], "responsive": True}


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
    fig.update_layout(clickmode="event+select", dragmode=False)
    event = st.plotly_chart(
        fig, key=visit_key(key), theme=None, config=config, width="stretch", on_select="rerun", selection_mode="points"
    )
    return [dict(point) for point in event["selection"]["points"]]
