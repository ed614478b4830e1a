"""Pieces that pages share: the label that probes predict, headings, a figure with its title, rows and caption."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from explorer.queries.corpus import fetch_corpus
from explorer.queries.curves import fetch_codes_protocols, fetch_probe_choices
from explorer.queries.selection import CODES_TESTED_ON, most_telling
from explorer.store import Store
from explorer.ui.context import cached
from explorer.ui.figure import show_figure
from explorer.ui.markup import brief
from explorer.ui.options import choose_one
from explorer.ui.style import LONGEST_TITLE, download_csv
from explorer.ui.style import caption as draw_caption


def section(title: str) -> None:
    """The heading of a part of a page, smaller than the page's own."""
    style = "font-size:1.15rem;font-weight:600;padding:0;margin:.9rem 0 .1rem"
    st.html(f'<h2 style="{style}">{brief(title, LONGEST_TITLE)}</h2>')


def chart_title(title: str) -> None:
    """The name of a figure or a table, over it."""
    st.html(f'<b class="so-chart-title">{brief(title, LONGEST_TITLE)}</b>')


def choose_label(store: Store) -> str | None:
    """The label that probes predict: the store's primary one first. None when no probe was fitted."""
    names = list(dict.fromkeys(cached(fetch_probe_choices, store)["label_name"]))
    if not names:
        return None
    primary = fetch_corpus(store).label_name
    return choose_one("Label", sorted(names, key=lambda name: (name != primary, name)), "label")


def choose_probed(store: Store, label: str | None) -> str | None:
    """The protocol under which probes on codes are scored: the one that tells most first. None where none is."""
    told = _n_groups_of_codes(store, label)
    return choose_one("Probes scored", list(told), "probed", default=most_telling(told)) if told else None


def told_protocol(store: Store, label: str | None) -> str | None:
    """The protocol that `choose_probed` offers first."""
    told = _n_groups_of_codes(store, label)
    return most_telling(told) if told else None


def _n_groups_of_codes(store: Store, label: str | None) -> dict[str, int]:
    """In how many groups probes on codes have scores, by protocol, in the order of preference."""
    rows = cached(fetch_codes_protocols, store, label) if label is not None else pd.DataFrame()
    found = {str(row["protocol"]): int(row["n_groups"]) for row in rows.to_dict("records")}
    return {protocol: found[protocol] for protocol in CODES_TESTED_ON if protocol in found}


def chart(
    figure: str,
    key: str,
    rows: pd.DataFrame,
    name: str,
    *,
    title: str,
    caption: str = "",
    selectable: bool = False,
    about: Mapping[str, object] | None = None,
) -> list[Any] | None:
    """A titled figure, of `kept_figure`, with its rows as CSV (`about`: see `download_csv`) and a caption with n and
    protocol; a picture that is saved carries title and caption.

    Returns what the mark carries that was clicked for this run, or None; see `show_figure`.
    """
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        chart_title(title)
        download_csv(rows, name, about=about)
    carried = show_figure(figure, key, title=title, caption=caption, file_name=name, selectable=selectable)
    if caption:
        draw_caption(caption)
    return carried
