"""The browser's Back: one history entry for each view that was seen."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st


@cache
def _renderer() -> Any:
    return st.components.v2.component(
        "sonoscope_history", js=Path(__file__).with_name("history.js").read_text(encoding="utf-8")
    )


def one_entry_a_view() -> None:
    """See history.js; draws nothing. To be called in every run, by the frame."""
    with st.container(key="so-unseen"):
        _renderer()(key="history")
