"""The measures of a sound: factors as they are, all as the code predicts them, and how the corpus lies."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from explorer.csv_text import sae_columns
from explorer.figures.live import factor_places
from explorer.figures.theme import encoder_color
from explorer.inference import Heard, with_predictions
from explorer.measures import are_acoustic
from explorer.queries.live import fetch_factor_histograms
from explorer.store import Store
from explorer.text import MISSING, capitalised, count, number, r2_words, scored_on
from explorer.ui.choices import chart, section
from explorer.ui.context import cached, is_dark
from explorer.ui.live_features import heard_name
from explorer.ui.live_sounds import LiveSound
from explorer.ui.markup import as_written
from explorer.ui.style import caption, table_foot
from explorer.ui.tables import as_read
from explorer.ui.ticks import keep_ticks, ticked_at_first

N_DRAWN, MAX_DRAWN = 6, 12


def draw_factors(store: Store, sound: LiveSound, table: pd.DataFrame, seconds: float, heard: Heard) -> None:
    """A table of `measure` (which took `seconds`) with predictions, best predicted first, and the corpus of some."""
    section("Acoustic factors")
    rows = with_predictions(table, heard)
    rows = (
        rows.assign(
            outside=np.select([rows["value"] < rows["low"], rows["value"] > rows["high"]], ["low", "high"], ""),
            error=rows["predicted"] - rows["value"],
        )
        .sort_values(["r2", "factor_index"], ascending=[False, True], na_position="last")
        .merge(cached(fetch_factor_histograms, store), on="factor_index", how="left")
    )
    if words := extra_words(rows):
        st.write(as_written(words))
    place = st.container()
    ticked = _table(sound, rows, heard, seconds)
    with place:
        _corpus(sound, rows, heard, ticked)


def extra_words(rows: pd.DataFrame) -> str:
    """What the code predicts of the corpus's own columns and planted values: those that hold on unseen groups with
    their R2, the others by name. Empty where the corpus has none, or none was fitted."""
    extra = rows[~are_acoustic(rows) & rows["predicted"].notna()]
    if extra.empty:
        return ""
    sure = [
        f"{row['display_name']} {number(row['predicted'], unit=str(row['unit'] or ''))} (R² {number(row['r2'])})"
        for row in extra[extra["is_predicted"]].to_dict("records")
    ]
    words = [f"The code predicts {', '.join(sure)}; R² is over groups that the model had not seen."] if sure else []
    for is_tested, said in (
        (True, "Not predictable on unseen groups"),
        (False, "Could not be tested"),
    ):
        rest = extra[~extra["is_predicted"] & (extra["is_tested"] == is_tested)]
        words += [f"{said}: {', '.join(rest['display_name'])}."] if len(rest) else []
    return " ".join(words)


def _corpus(sound: LiveSound, rows: pd.DataFrame, heard: Heard, ticked: list[int]) -> None:
    """Histograms of the ticked factors, or of those best predicted, with this sound in them."""
    drawn = rows.iloc[ticked] if ticked else rows[rows["value"].notna()]
    drawn = drawn[drawn["counts"].notna()].head(MAX_DRAWN if ticked else N_DRAWN)
    if drawn.empty:
        caption("The corpus has no values of these factors to draw.")
        return
    if ticked:
        title = "The ticked factors among the corpus"
    elif (drawn["r2"] > 0).all():
        title = f"The {count(len(drawn), 'factor')} that the code predicts best, among the corpus"
    else:
        title = f"The first {count(len(drawn), 'factor')} among the corpus"
    of_figure = drawn[["display_name", "unit", "value", "predicted", "counts", "edges"]].reset_index(drop=True)
    name = f"live-corpus-{heard.sae['sae_id']}"
    chart(
        # Not kept as other figures are: a reader's own numbers go with the reader.
        str(factor_places(of_figure, encoder_color(str(heard.sae["encoder_name"])), is_dark()).to_json()),
        f"{name}-{sound.sound_id}",
        drawn.drop(columns=["counts", "edges"]),
        name,
        about={**sae_columns(heard.sae), "sound": sound.title},
        title=title,
        caption=f"Grey: the corpus, between the 1st and the 99th percentile of {count(int(drawn['n'].max()), 'clip')}. "
        "Tick rows of the table to draw others.",
    )


def _how_predicted(heard: Heard) -> str:
    if heard.models is None:
        return f"No Lasso models are stored for {heard_name(heard)}. "
    what = "where R² is low they say little" if heard.models.protocol != "paper" else scored_on(heard.models.protocol)
    return f"Predictions are by {heard_name(heard)}; {what}. "


def _table(sound: LiveSound, rows: pd.DataFrame, heard: Heard, seconds: float) -> list[int]:
    """All factors; the places of the ticked rows."""
    column = st.column_config
    protocol = heard.models.protocol if heard.models is not None else ""
    r2_name = capitalised(r2_words(protocol))
    columns = {
        "display_name": column.TextColumn("Factor", width=230),
        "unit": column.TextColumn("Unit", width=80),
        "value": column.NumberColumn("Measured", width=90, help="By openSMILE, at the sound's own rate"),
        "predicted": column.NumberColumn("Predicted", width=90, help="From the code, by Lasso"),
        "r2": column.NumberColumn(r2_name, width=100, help="How well the code predicts it at all"),
        "counts": column.AreaChartColumn("Corpus", width=90, y_min=0, help="From its 1st to its 99th percentile"),
        "low": column.NumberColumn("5 %", width=84, help="5th percentile of the corpus"),
        "median": column.NumberColumn("Median", width=84),
        "high": column.NumberColumn("95 %", width=84, help="95th percentile of the corpus"),
        "outside": column.TextColumn("Unusual", width=76, help="Outside the middle 90 % of the corpus"),
        "reason": column.TextColumn("Why missing", width=130),
    }
    filled = {
        name: bool((rows[name].notna() & (rows[name] != "")).any())
        for name in ("unit", "predicted", "r2", "outside", "reason")
    }
    columns = {name: of for name, of in columns.items() if filled.get(name, True)}
    key, ids = f"live-factors-{heard.sae['sae_id']}-{sound.sound_id}", [int(one) for one in rows["factor_index"]]
    event = st.dataframe(
        as_read(rows, {"r2": number}), hide_index=True, placeholder=MISSING,
        column_config=columns, column_order=list(columns), height=36 * 9 + 38,
        on_select="rerun", selection_mode="multi-row", key=key,
        selection_default=ticked_at_first("factors", key, ids),
    )  # fmt: skip
    n_outside, n_measured = int((rows["outside"] != "").sum()), int(rows["value"].notna().sum())
    table_foot(
        f"{count(n_outside, 'factor')} of {n_measured} measured are outside the middle 90 % of the corpus; of a "
        f"clip in it about {number(n_measured / 10, 0)} would. {_how_predicted(heard)}"
        f"openSMILE took {number(seconds, unit='s')}.",
        rows.drop(columns=["counts", "edges"]),
        f"live-factors-{heard.sae['sae_id']}",
        about={**sae_columns(heard.sae), "sound": sound.title},
    )
    rows_ticked = [int(row) for row in event["selection"]["rows"]]
    keep_ticks("factors", ids, rows_ticked)
    return rows_ticked
