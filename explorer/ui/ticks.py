"""Rows of a table that a reader ticked, remembered by what they are about: another order of rows keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

_TICKED, _TABLE = "so-ticked", "so-ticks-of-table"


def ticked_at_first(what: str, key: str, ids: Sequence[int]) -> Any:
    """`selection_default` for the table `key` with a row for each of `ids`: those of `what` that were ticked before.

    It stays the same as long as this is the table of `what` that is drawn.
    """
    drawn, default = st.session_state.get(f"{_TABLE}-{what}", (None, None))
    if drawn != key:
        ticked = st.session_state.get(f"{_TICKED}-{what}", [])
        default = {"selection": {"rows": [row for row, one in enumerate(ids) if one in ticked]}}
        st.session_state[f"{_TABLE}-{what}"] = key, default
    return default


def keep_ticks(what: str, ids: Sequence[int], rows: Sequence[int]) -> list[int]:
    """Remember the ticked `rows` of a table of `ids`, beside ticked ones that it does not show. Returns those of it."""
    before = st.session_state.get(f"{_TICKED}-{what}", [])
    ticked = [int(ids[row]) for row in rows]
    st.session_state[f"{_TICKED}-{what}"] = [one for one in before if one not in set(ids)] + ticked
    return ticked
