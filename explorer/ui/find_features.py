"""Features for a value of an attribute, or for a measure: a ranked table, the control, and the clips of one row."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from explorer.csv_text import sae_columns
from explorer.permutation import ALPHA
from explorer.queries.against import fetch_measures
from explorer.queries.corpus import CorpusFacts
from explorer.queries.search import (
    fetch_attribute_values,
    fetch_attributes,
    fetch_elsewhere,
    fetch_features_for_measure,
    fetch_features_for_value,
    fetch_measured_elsewhere,
)
from explorer.store import Store
from explorer.text import MISSING, count, is_defined, number, sentence, series_name, signed
from explorer.ui.context import cached
from explorer.ui.explained import how_measured
from explorer.ui.feature_against import AGAINST
from explorer.ui.find_elsewhere import draw_elsewhere, elsewhere_words
from explorer.ui.history import name_view
from explorer.ui.markup import as_written
from explorer.ui.measures import kind_and_name, measure_texts, old_measures
from explorer.ui.options import choose_from, once_called
from explorer.ui.style import empty_state, table_foot
from explorer.ui.tables import as_read, percent_1
from explorer.ui.top_clips import draw_top_clips
from explorer.ui.url import get_param, go_to, visit_key

MEASURE = "measure"
ROWS = 25
EXPLAINED = r"""
**For a value** each feature gets the rule *activation above $t$* (or *at most $t$*) with the largest MCC, $t$ being 0
or a quartile or the 9th decile of its activations. MCC is Matthews correlation, Pearson's $r$ of having the value and
of what the rule says: 1 is perfect, 0 is chance. $F_1 = 2PR / (P + R)$ stands beside. Every fold of groups is scored by
the rule that is best on the others, so that all groups count and none scores a rule that it helped to choose.

**For a measure** $r$ is Pearson's. Where a value or measure varies within groups, $r$ and MCC are of the deviations
from group means: a feature that only knows the group gets nothing for it. Clips of groups that have a value whole, or
not at all, then count in $F_1$, precision and what is found, and hardly in MCC.

**By chance**: the same search on values that are exchanged among the clips of each group where they vary there, else
among whole groups; shown is what the best of all features exceeds in one of twenty such searches. $p$ is the share of
searches in which the best feature scores as high as this one.
"""


def draw_search(store: Store, sae: dict[str, Any], facts: CorpusFacts) -> None:
    """Choose what to look for, and see which features go with it."""
    attributes = cached(fetch_attributes, store)
    measures = cached(fetch_measures, store)
    names = {column_key(name): name for name in attributes["name"]}
    if len(measures):
        names[MEASURE] = "a measure"
    if not names:
        empty_state("This corpus has no attribute that several clips share, and no measure.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        default = MEASURE if get_param("measure") and not get_param("value") else None
        by = choose_from("Features for", names, "by", default=default)
        if by == MEASURE:
            rows, said, others = _for_measure(store, sae, measures)
        else:
            rows, said, others = _for_value(store, sae, names[by])
    name_view("Find", said, series_name(sae["encoder_display"], sae["layer"]))
    is_measure = by == MEASURE
    if rows.empty or rows["score"].isna().all():
        why = sentence(str(rows["reason"].iloc[0])) if len(rows) else "All features of this SAE are dead."
        empty_state(f"No feature of this SAE could be scored for {said}.", why)
    else:
        st.write(as_written(f"{_verdict(rows, said, is_measure=is_measure)} {elsewhere_words(others)}".strip()))
    score = "Lasso weight or R²" if is_measure else "F1"
    draw_elsewhere(others, said, score=score, view={"view": AGAINST} if is_measure else {})
    if rows.empty or rows["score"].isna().all():
        return
    chosen = _table(rows.head(ROWS), sae, said, is_measure=is_measure)
    how_measured(EXPLAINED)
    draw_top_clips(store, sae, facts, int(rows["feature"].iloc[chosen or 0]), "find")


def column_key(name: str) -> str:
    """The key of a column of the corpus: its name, marked where it could be taken for something else."""
    return f"column.{name}" if name == MEASURE or name.startswith("column.") else name


def _for_value(store: Store, sae: dict[str, Any], by: str) -> tuple[pd.DataFrame, str, pd.DataFrame]:
    values = [str(value) for value in cached(fetch_attribute_values, store, by)["value"]]
    value = choose_from(by, values, "value", default=once_called(by, values, f"value-{by}"))
    sae_id = str(sae["sae_id"])
    return (
        cached(_value_rows, store, sae_id, by, value), value, cached(fetch_elsewhere, store, sae_id, by, value)
    )  # fmt: skip


def _for_measure(store: Store, sae: dict[str, Any], measures: pd.DataFrame) -> tuple[pd.DataFrame, str, pd.DataFrame]:
    key = choose_from("A measure", measure_texts(measures), "measure", old=old_measures(measures), width=420)
    kind, name = kind_and_name(key, measures)
    title = measures[(measures["kind"] == kind) & (measures["name"] == name)]["title"].iloc[0]
    sae_id = str(sae["sae_id"])
    others = cached(fetch_measured_elsewhere, store, sae_id, kind, name)
    return cached(_measure_rows, store, sae_id, kind, name), str(title), others


def _value_rows(store: Store, sae_id: str, by: str, value: str) -> pd.DataFrame:
    return fetch_features_for_value(store, _sae(store, sae_id), by, value)


def _measure_rows(store: Store, sae_id: str, kind: str, name: str) -> pd.DataFrame:
    return fetch_features_for_measure(store, _sae(store, sae_id), kind, name)


_SCORES = ("score", "p", "f1", "unseen", "r", "precision", "recall", "threshold")


def _sae(store: Store, sae_id: str) -> dict[str, Any]:
    return dict(store.query("SELECT * FROM saes WHERE sae_id = ?", [sae_id]).iloc[0])


def _verdict(rows: pd.DataFrame, said: str, *, is_measure: bool) -> str:
    """How well the best feature goes with it, and how many do beyond chance."""
    best, limit = rows.iloc[0], rows["critical"].iloc[0]
    how = f"r {number(best['score'])}" if is_measure else f"{_found(best)}; MCC {number(best['score'])}"
    if not is_defined(limit):
        return f"Feature {best['feature']} goes with {said} best: {how}. It {rows['reason'].iloc[0]}."
    chance = f"chance reaches {number(limit)}"
    n_beyond = int((rows["p"] <= ALPHA).sum())
    if not n_beyond:
        return f"No feature goes with {said} beyond chance. Nearest is feature {best['feature']}: {how} ({chance})."
    backwards = f" It goes the other way round: active where there is little {said}."
    return (
        f"{count(n_beyond, 'feature')} {'goes' if n_beyond == 1 else 'go'} with {said} beyond chance. Best is feature "
        f"{best['feature']}: {how} ({chance}).{backwards if is_measure and best['score'] < 0 else ''}"
    )


def _found(row: pd.Series) -> str:
    """'15 of 16 clips, 1 false alarm', by rules found without their groups."""
    alarms = int(row["n_said"]) - int(row["n_hits"])
    words = f", {count(alarms, 'false alarm')}" if alarms else ""
    return f"{row['n_hits']} of {count(row['n_there'], 'clip')} of {count(row['n_groups'], 'group')}{words}"


def _table(rows: pd.DataFrame, sae: dict[str, Any], said: str, *, is_measure: bool) -> int | None:
    """The ranked features; a click on one of the cells opens the feature. Returns the row that is to be heard."""
    column = st.column_config
    columns: dict[str, Any] = {
        "feature": column.NumberColumn("Feature", format="%d", width=75),
        "label": column.TextColumn("Label", width=110, help="Its automatic label, where that is shown"),
        "score": column.NumberColumn(
            "r" if is_measure else "MCC",
            help="Within groups where it varies there"
            if is_measure
            else "Matthews correlation, within groups where it varies there: 1 is perfect, 0 is chance. Each group "
            "scored by rules of the others",
        ),
        "p": column.NumberColumn("p", help="Corrected for the number of features"),
    }
    if is_measure:
        columns |= {
            "r": column.NumberColumn("r all clips"),
            "unseen": column.NumberColumn("r unseen", help="On held-out groups, which the SAE has not seen"),
        }
        if rows["weight"].notna().any():
            columns["weight"] = column.NumberColumn("Lasso weight")
    else:
        columns |= {
            "found": column.TextColumn("Found", width=75, help="Clips that it finds, of those that have it"),
            "f1": column.NumberColumn("F1"),
            "precision": column.NumberColumn("Precision"),
            "unseen": column.NumberColumn("F1 unseen", help="On held-out groups, which the SAE has not seen"),
            "direction": column.TextColumn("Rule", width=75, help="above: active means yes; below: silent means yes"),
            "threshold": column.NumberColumn("Threshold"),
        }
        rows = rows.assign(
            found=[f"{hits} of {there}" for hits, there in zip(rows["n_hits"], rows["n_there"], strict=True)]
        )
    columns = {name: of for name, of in columns.items() if name == "feature" or rows[name].notna().any()}
    columns["density"] = column.NumberColumn("Density")
    event = st.dataframe(
        as_read(rows, {"feature": str, "density": percent_1, "weight": signed, **dict.fromkeys(_SCORES, number)}),
        hide_index=True, placeholder=MISSING, on_select="rerun", selection_mode=["single-row", "single-cell"],
        column_config=columns, column_order=list(columns), height=36 * min(len(rows), 10) + 38,
        key=visit_key(f"find-{sae['sae_id']}-{said}"),
    )  # fmt: skip
    table_foot("Click a cell to open the feature; tick a row to hear it below.", rows,
               f"features-for-{said}-{sae['sae_id']}", about={**sae_columns(sae), "sought": said})  # fmt: skip
    if event["selection"]["cells"]:
        go_to("features", sae=sae["sae_id"], feature=int(rows["feature"].iloc[event["selection"]["cells"][0][0]]))
    return int(event["selection"]["rows"][0]) if event["selection"]["rows"] else None
