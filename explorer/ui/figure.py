"""Showing a plotly figure the same way everywhere: a Streamlit v2 component, its script a plain file beside this one.

What Streamlit's own chart does not do: a heatmap's cells are clicked, marks are reached by keys, and nothing is drawn
before it is in sight.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from explorer.figures.theme import in_short
from explorer.ui.kept import kept
from explorer.ui.plotly_route import PLOTLY_SCRIPT


def kept_figure(draw: Callable[..., go.Figure], *arguments: object, **options: object) -> str:
    """The figure `draw(*arguments, **options)`, one of `explorer.figures`, as plotly's JSON.

    Remembered by the content of its arguments: to build a figure takes longer than all else on a page.
    """
    return kept(_as_json, draw, arguments, options)


def _as_json(draw: Callable[..., go.Figure], arguments: tuple[object, ...], options: dict[str, object]) -> str:
    return str(in_short(draw(*arguments, **options)).to_json())


@cache
def _renderer() -> Any:
    here = Path(__file__)
    return st.components.v2.component(
        "sonoscope_figure",
        html='<div class="so-figure"></div><div class="so-figure-said" aria-live="polite"></div>',
        css=here.with_name("figure.css").read_text(encoding="utf-8"),
        js="\n".join(
            here.with_name(name).read_text(encoding="utf-8") for name in ("address.js", "figure_svg.js", "figure.js")
        ),
        isolate_styles=False,  # plotly's own style sheet is the page's
    )


def show_figure(
    figure: str, key: str, *, title: str, file_name: str, caption: str = "", selectable: bool = False
) -> list[Any] | None:
    """Draw a figure, given as plotly's JSON, once it is in sight.

    `title` names it to a screen reader; its picture is saved as `file_name`.png or
    .svg, this one with title, `caption` and the figure's numbers. With `selectable`, a click on a mark
    (or Enter on one reached by the arrow keys) runs the script again: that run gets what the mark carries as
    customdata, a list. None in every other run, and for marks that carry nothing.
    """
    data = {
        "figure": figure,
        "plotly": PLOTLY_SCRIPT.name,
        "file_name": file_name,
        "title": title,
        "caption": caption,
        "selectable": selectable,
    }
    result = _renderer()(key=key, data=data, on_clicked_change=lambda: None)
    carried = result.get("clicked")
    return list(carried) if carried is not None else None
