"""Display options that live in the URL as bound widgets: which label, which protocol, which way to draw."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import pandas as pd
import streamlit as st

from explorer.errors import NotInStoreError
from explorer.queries.corpus import fetch_corpus
from explorer.queries.curves import fetch_probe_choices
from explorer.store import Store
from explorer.ui.context import cached
from explorer.ui.figure import show_figure
from explorer.ui.markup import as_written
from explorer.ui.style import caption as draw_caption
from explorer.ui.style import download_csv
from explorer.ui.url import get_param


def choose_one(
    title: str, options: Sequence[str], key: str, *, help_text: str | None = None, default: str | None = None
) -> str:
    """One of `options` by buttons, by default `default` or else the first.

    `key` is its name in the URL (it replaces history entries).
    The URL carries the option as it stands in the button's label. Raises NotInStoreError for one that is not there.
    """
    asked = get_param(key)
    if asked is not None and asked not in {*options, *map(as_written, options)}:
        raise NotInStoreError(f"The link asks for {key}={asked!r}; here there are {', '.join(options)}.")
    if len(options) == 1:
        return options[0]
    chosen = st.segmented_control(
        title, options, default=default or options[0], required=True, key=key, help=help_text, bind="query-params",
        format_func=as_written,
    )  # fmt: skip
    return chosen if chosen is not None else default or options[0]


def section(title: str) -> None:
    """The heading of a part of a page, smaller than the page's own."""
    st.html(f'<h2 style="font-size:1.15rem;font-weight:600;padding:0;margin:.9rem 0 .1rem">{escape(title)}</h2>')


def chart_title(title: str) -> None:
    """The name of a figure or a table, over it."""
    st.html(f'<b class="so-chart-title">{escape(title)}</b>')


def choose_label(store: Store) -> str | None:
    """The label that probes predict: the store's primary one first. None when no probe was fitted."""
    names = list(dict.fromkeys(cached(fetch_probe_choices, store)["label_name"]))
    if not names:
        return None
    primary = fetch_corpus(store).label_name
    return choose_one("Label", sorted(names, key=lambda name: (name != primary, name)), "label")


def chart(
    figure: str,
    key: str,
    rows: pd.DataFrame,
    name: str,
    *,
    title: str,
    caption: str = "",
    selectable: bool = False,
) -> list[Any] | None:
    """A titled figure, of `kept_figure`, with its rows as CSV and a caption that carries n and protocol.

    Returns what the mark carries that was clicked for this run, or None; see `show_figure`.
    """
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        chart_title(title)
        download_csv(rows, name)
    carried = show_figure(figure, key, title=title, file_name=name, selectable=selectable)
    if caption:
        draw_caption(caption)
    return carried
