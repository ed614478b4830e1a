"""A card of rows that open views: real links (copy, open in a new tab) that a plain click follows without a reload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

from explorer.ui.url import carried, go_to, link_to


@dataclass(frozen=True)
class LinkRow:
    """One row: what it opens, a quiet word in the middle, a number at the right, a dot of `color` before the name."""

    text: str
    page: str
    params: Mapping[str, object]
    detail: str = ""
    value: str = ""
    color: str | None = None
    hint: str = field(default="")


@cache
def _renderer() -> Any:
    here = Path(__file__)
    return st.components.v2.component(
        "sonoscope_links",
        html='<div class="card"></div>',
        css=here.with_name("links.css").read_text(encoding="utf-8"),
        js=here.with_name("links.js").read_text(encoding="utf-8"),
    )


def link_card(title: str, subtitle: str, rows: Sequence[LinkRow], key: str, *, empty: str = "None is stored.") -> None:
    """Draw the card; a click on a row opens its view as a new history entry. Without rows it says `empty`."""
    data = {
        "title": title,
        "subtitle": subtitle,
        "empty": empty,
        "rows": [
            {
                "text": row.text,
                "detail": row.detail,
                "value": row.value,
                "color": row.color,
                "hint": row.hint,
                "href": link_to(row.page, **carried(row.page, **row.params)),
            }
            for row in rows
        ],
    }
    result = _renderer()(key=key, data=data, on_open_change=lambda: None)
    opened = result.get("open")
    if opened is not None and 0 <= int(opened) < len(rows):
        row = rows[int(opened)]
        go_to(row.page, **row.params)
