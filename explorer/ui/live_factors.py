"""The 88 acoustic factors of a sound: measured, predicted from its code, and where the corpus lies."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from explorer.inference import Heard, with_predictions
from explorer.text import count
from explorer.ui.choices import section
from explorer.ui.live_features import heard_name
from explorer.ui.style import table_foot


def draw_factors(table: pd.DataFrame, seconds: float, heard: Heard) -> None:
    """A table of `measure` (which took `seconds`) with predictions, best predicted first."""
    section("Acoustic factors")
    rows = with_predictions(table, heard)
    rows = rows.assign(
        outside=(rows["value"] < rows["low"]) | (rows["value"] > rows["high"]), error=rows["predicted"] - rows["value"]
    ).sort_values(["r2", "factor_index"], ascending=[False, True], na_position="last", ignore_index=True)
    column = st.column_config
    columns = {
        "display_name": column.TextColumn("Factor", width=230),
        "unit": column.TextColumn("Unit", width=80),
        "value": column.NumberColumn("Measured", format="%.4g", width=90, help="By openSMILE, at the sound's own rate"),
        "predicted": column.NumberColumn("Predicted", format="%.4g", width=90, help="From the code, by Lasso"),
        "r2": column.NumberColumn("R² held out", format="%.2f", width=90, help="How well the code predicts it at all"),
        "low": column.NumberColumn("5 %", format="%.4g", width=84, help="5th percentile of the corpus"),
        "median": column.NumberColumn("Median", format="%.4g", width=84),
        "high": column.NumberColumn("95 %", format="%.4g", width=84, help="95th percentile of the corpus"),
        "outside": column.CheckboxColumn("Unusual", width=76, help="Outside the middle 90 % of the corpus"),
        "reason": column.TextColumn("Why missing", width=130),
    }
    st.dataframe(
        rows, hide_index=True, placeholder="–", column_config=columns, column_order=list(columns), height=36 * 9 + 38,
        key=f"live-factors-{heard.sae['sae_id']}",
    )  # fmt: skip
    n_outside = int(rows["outside"].sum())
    table_foot(
        f"{count(n_outside, 'factor')} of {int(rows['value'].notna().sum())} measured lie outside the middle 90 % "
        f"of the corpus. Predictions are by {heard_name(heard)}; where R² is low they say little. "
        f"openSMILE took {seconds:.2f} s.",
        rows,
        f"live-factors-{heard.sae['sae_id']}",
    )
