"""The section "What we planted, what was found" of a generated corpus."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from explorer.figures.planted import planted_map
from explorer.measures import PLANTED
from explorer.queries.against import fetch_measures
from explorer.queries.planted import KINDS, fetch_planted, fetch_planted_baseline
from explorer.queries.search import fetch_attributes
from explorer.store import Store
from explorer.text import capitalised, count, is_defined, number, percent, series_name
from explorer.ui.choices import chart, section
from explorer.ui.context import cached, is_dark
from explorer.ui.explained import how_measured
from explorer.ui.feature_against import AGAINST
from explorer.ui.figure import kept_figure
from explorer.ui.find_features import MEASURE, column_key
from explorer.ui.markup import as_written
from explorer.ui.measures import measure_key
from explorer.ui.options import choose_one
from explorer.ui.style import caption, store_columns
from explorer.ui.tables import as_read
from explorer.ui.url import go_to, link_to

_EXPLAINED = r"""
Every clip of this corpus was generated, so what is in it is known. Each parameter is predicted on singers that nothing
was fitted on. Numbers: the Lasso's $R^2 = 1 - \sum (y - \hat y)^2 / \sum (y - \bar y_\text{train})^2$, its penalty
chosen by folds of training singers; from one feature, a line fitted on training clips, the feature being the one with
the largest $|r|$ there. The vowel: accuracy of a linear probe; from single features, the mean MCC of the vowels' best.
*Chance* is what permuted values reach with the same penalty (a line: the best feature for them), for the probe the
commonest vowel's share. *Technique and exercise alone*: the mean of the training clips with the same two; no sound is
used.

**Found**: at least a quarter of what chance leaves, $(s - c) / (1 - c) \ge 0.25$. **Bold**: and at least a quarter of
what technique and exercise leave, by the same formula, so that the parameter itself is known, not only what was sung.

**ᵀ**: the encoder was trained to predict something made to follow this parameter (chroma follows pitch), so finding it
is no discovery. Every training target is a function of the sound, and whatever can be heard has some part in it.
"""


def planted_section(store: Store) -> None:
    """Draw the section; nothing where the store's corpus is not a generated one."""
    dense = cached(fetch_planted, store, "dense")
    if dense.empty:
        return
    section("What we planted, what was found")
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        kind = choose_one("Predicted from", KINDS, "planted")
    said = KINDS[kind]
    rows = dense if kind == "dense" else cached(fetch_planted, store, kind)
    st.write(as_written(conclusion(rows, said)))
    scored = rows[rows["score"].notna()]
    picked = chart(
        kept_figure(planted_map, rows, is_dark()),
        "planted-map",
        rows,
        f"planted-{kind}",
        about=store_columns(store),
        title=f"What was planted, predicted from {said}",
        caption=f"{_read_on(scored)}{_baseline(cached(fetch_planted_baseline, store))} Click a cell "
        "to look for features that go with it.",
        selectable=True,
    )
    if picked:
        _open(store, *picked)
    if kind == "feature":
        _links(rows)
    how_measured(_EXPLAINED)


def _open(store: Store, sae_id: str, feature: int, parameter: str) -> None:
    """From a cell to the feature that was read, drawn against the parameter, or else to a search for such features."""
    measures = cached(fetch_measures, store)
    title = measures.loc[(measures["kind"] == PLANTED) & (measures["name"] == parameter), "title"]
    if feature >= 0:
        against = {"view": AGAINST, "measure": measure_key(PLANTED, parameter)} if len(title) else {}
        go_to("features", sae=sae_id, feature=feature, **against)
    if len(title):
        go_to("find", sae=sae_id, by=MEASURE, measure=measure_key(PLANTED, parameter))
    is_column = parameter in set(cached(fetch_attributes, store)["name"])
    go_to("find", sae=sae_id, by=column_key(parameter) if is_column else None)


def conclusion(rows: pd.DataFrame, said: str) -> str:
    """What a reader may conclude from the rows of one kind, called `said`: which encoders carry each parameter."""
    by_encoder = rows.groupby(["parameter_name", "encoder_display"], sort=False)[["is_beyond", "is_found"]].any()
    n_encoders = rows["encoder_display"].nunique()
    nuisances = set(rows.loc[rows["is_nuisance"].astype(bool), "parameter_name"])
    everywhere, somewhere, told, nowhere = [], [], [], []
    for parameter, found in by_encoder.groupby(level=0, sort=False):
        names = [str(encoder) for (_, encoder), is_beyond in found["is_beyond"].items() if is_beyond]
        name = f"{parameter} (of the recording)" if parameter in nuisances else str(parameter)
        if len(names) == n_encoders:
            everywhere.append(name)
        elif names:
            somewhere.append(f"{name} by {_listed(names)}")
        elif found["is_found"].any():
            told.append(name)
        else:
            nowhere.append(name)
    parts = [
        ("in some layer of every encoder", everywhere),
        ("in some layer of some encoders only", somewhere),
        ("in some layer, but no better than from technique and exercise alone", told),
        ("not found", nowhere),
    ]
    return " ".join(
        (f"Predicted from {said}.", *(f"{capitalised(where)}: {_listed(names)}." for where, names in parts if names))
    )


def _read_on(scored: pd.DataFrame) -> str:
    """On what the numbers of a map stand, and how to read its cells."""
    if scored.empty:
        return ""
    saes = scored[scored["sae_id"].notna()]
    which = (
        f"SAEs at {percent(saes['sparsity'].iloc[0])} sparsity, seed {int(saes['seed'].iloc[0])}; " if len(saes) else ""
    )
    return (
        f"{which}up to {count(scored['n_clips'].max(), 'clip')} of {count(scored['n_groups'].max(), 'unseen singer')}; "
        "grey: not found; bold: found, and better than from technique and exercise alone; ᵀ: in the teacher; –: "
        "undefined. "
    )


def _listed(words: list[str]) -> str:
    if any(" by " in word for word in words):
        return "; ".join(words)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _baseline(rows: pd.DataFrame) -> str:
    scored = rows[rows["score"].notna()].to_dict("records")
    if not scored:
        return ""
    factors = ", ".join(f"{row['parameter_name']} {_short(row['score'])}" for row in scored)
    told = ", ".join(f"{row['parameter_name']} {_short(row['told'])}" for row in scored if is_defined(row["told"]))
    return f"For comparison, from openSMILE's 88 factors: {factors}. From technique and exercise alone: {told}."


def _short(score: float) -> str:
    return "below 0" if round(score, 2) < 0 else number(score)


def _links(rows: pd.DataFrame) -> None:
    """The features that found something, each a link."""
    found = rows[rows["is_found"].astype(bool) & rows["feature"].notna()]
    if found.empty:
        caption("No single feature finds any of it.")
        return
    table = pd.DataFrame(
        {
            "Parameter": found["parameter_name"],
            "Encoder and layer": [series_name(row.encoder_display, row.layer) for row in found.itertuples()],
            "Feature": [link_to("features", sae=row.sae_id, feature=row.feature) for row in found.itertuples()],
            "Activation": [_direction(row.parameter, row.direction) for row in found.itertuples()],
            "Score": found["score"].astype(float),
        }
    )
    link = st.column_config.LinkColumn(display_text=r"feature=(\d+)")
    st.dataframe(as_read(table, {"Score": number}), hide_index=True, column_config={"Feature": link})


def _direction(parameter: str, direction: str) -> str:
    return f"{direction} with it" if direction in ("rises", "falls") else f"clearest for {parameter} {direction}"
