"""Numbers in tables: written as everywhere else, sorted and downloaded as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pandas as pd

from explorer.text import MISSING, number, percent, quantity, signed, whole

Write = Callable[[Any], str]
one_decimal: Write = partial(number, digits=1)
three_decimals: Write = partial(number, digits=3)
one_decimal_signed: Write = partial(signed, digits=1)
percent_1: Write = partial(percent, digits=1)


def as_read(rows: pd.DataFrame, written: Mapping[str, Any] | None = None) -> Any:
    """`rows` for `st.dataframe`, each column as its function in `written` writes its values; missing is MISSING.

    Other columns of numbers are written by their kind: whole ones as counts, others as quantities. What the reader
    copies, sorts or downloads from the table are the numbers themselves.
    """
    kinds: dict[str, Write] = {
        str(name): whole if pd.api.types.is_integer_dtype(rows[name].dtype) else quantity
        for name in rows.columns
        if pd.api.types.is_numeric_dtype(rows[name].dtype) and not pd.api.types.is_bool_dtype(rows[name].dtype)
    }
    chosen = {name: write for name, write in {**kinds, **(written or {})}.items() if name in rows.columns}
    return rows.style.format(chosen, na_rep=MISSING, subset=list(chosen)) if chosen else rows
