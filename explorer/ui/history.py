"""The browser's Back and the name of the view: its tab, its entry in the history, and what a screen reader is told."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from explorer.text import shortened
from explorer.ui.params import OPTIONS
from explorer.ui.url import dropped

NAME = "Sonoscope"
_VIEW = "so-view"


@cache
def _renderer() -> Any:
    return st.components.v2.component(
        "sonoscope_history", js=Path(__file__).with_name("history.js").read_text(encoding="utf-8")
    )


def name_view(*parts: object) -> None:
    """Name the view of this run, most telling part first: 'Feature 12 · HuBERT L4 · Sonoscope' stands in the tab.

    The parts are plain text, whatever a store says in them. The last call of a run counts.
    """
    words = [shortened(part, 60) for part in parts if part]
    st.session_state[_VIEW] = " · ".join(words)
    st.set_page_config(page_title=" · ".join((*words, NAME)))


def view_name() -> str:
    """What `name_view` said last."""
    return str(st.session_state.get(_VIEW, ""))


def one_entry_a_view(place: DeltaGenerator) -> None:
    """See history.js; draws nothing. To be called at the end of every run, by the frame."""
    with place:
        _renderer()(key="history", data={"options": sorted(OPTIONS), "dropped": list(dropped()), "view": view_name()})
