"""The section "What we planted, what was found" of a generated corpus."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from explorer.figures.planted import planted_map
from explorer.queries.planted import KINDS, fetch_planted, fetch_planted_baseline
from explorer.store import Store
from explorer.text import count, series_name
from explorer.ui.choices import chart, choose_one, section
from explorer.ui.context import cached, is_dark
from explorer.ui.style import caption

_EXPLAINED = r"""
Every clip of this corpus was generated, so what is in it is known. Each parameter is predicted on singers that nothing
was fitted on. Numbers: the Lasso's $R^2 = 1 - \sum (y - \hat y)^2 / \sum (y - \bar y_\text{train})^2$, its penalty
chosen by folds of training singers; from one feature, a line fitted on training clips, the feature being the one with
the largest $|r|$ there. The vowel: accuracy of a linear probe; from single features, the mean F1 of the vowels' best.
*Chance* is what permuted values reach with the same penalty (a line: the best feature for them), for the probe the
commonest vowel's share.
**Found**: at least a quarter of what chance leaves, $(s - c) / (1 - c) \ge 0.25$. **ᵀ**: what the encoder was trained
to predict reads this parameter out, so finding it is no discovery. **Tract length goes with sex here**, as it mostly
does in life: telling men from women is enough to find it, and nothing shows that it is known among men or among women.
"""


def planted_section(store: Store) -> None:
    """Draw the section; nothing where the store's corpus is not a generated one."""
    dense = cached(fetch_planted, store, "dense")
    if dense.empty:
        return
    section("What we planted, what was found")
    st.write(conclusion(dense))
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        said = choose_one("Read from", list(KINDS.values()), "planted")
    kind = next(kind for kind, words in KINDS.items() if words == said)
    rows = dense if kind == "dense" else cached(fetch_planted, store, kind)
    scored = rows[rows["score"].notna()]
    n = (
        f"up to {count(scored['n_clips'].max(), 'clip')} of {count(scored['n_groups'].max(), 'unseen singer')}; "
        "bold: found; ᵀ: in the teacher; –: undefined. "
        if len(scored)
        else ""
    )
    chart(
        planted_map(rows, is_dark()),
        "planted-map",
        rows,
        f"planted-{kind}",
        title=f"What was planted, read from {said}",
        caption=f"{n}{_baseline(cached(fetch_planted_baseline, store))}",
    )
    if kind == "feature":
        _links(rows)
    with st.expander("How this is measured"):
        st.markdown(_EXPLAINED)


def conclusion(dense: pd.DataFrame) -> str:
    """What a reader may conclude, from the rows of kind 'dense': which encoders' layers carry each parameter."""
    found = dense.groupby(["parameter_name", "encoder_display"], sort=False)["is_found"].any()
    n_encoders = dense["encoder_display"].nunique()
    nuisances = set(dense.loc[dense["is_nuisance"].astype(bool), "parameter_name"])
    everywhere, somewhere, nowhere = [], [], []
    for parameter, by_encoder in found.groupby(level=0, sort=False):
        names = [str(encoder) for (_, encoder), is_found in by_encoder.items() if is_found]
        said = f"{parameter} (of the recording)" if parameter in nuisances else str(parameter)
        if len(names) == n_encoders:
            everywhere.append(said)
        elif names:
            somewhere.append(f"{said} by {_listed(names)}")
        else:
            nowhere.append(said)
    parts = []
    if everywhere:
        parts.append(f"Found in all dimensions of some layer of every encoder: {_listed(everywhere)}.")
    if somewhere:
        parts.append(f"By some only: {'; '.join(somewhere)}.")
    if nowhere:
        parts.append(f"By none: {_listed(nowhere)}.")
    return " ".join(parts)


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _baseline(rows: pd.DataFrame) -> str:
    scored = rows[rows["score"].notna()]
    if scored.empty:
        return ""
    said = ", ".join(f"{row['parameter_name']} {max(row['score'], 0.0):.2f}" for row in scored.to_dict("records"))
    return f"For comparison, from openSMILE's 88 factors: {said}."


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
            "Feature": [f"/features?sae={row.sae_id}&feature={row.feature}" for row in found.itertuples()],
            "Activation": [_direction(row.parameter, row.direction) for row in found.itertuples()],
            "Score": [round(float(score), 2) for score in found["score"]],
        }
    )
    link = st.column_config.LinkColumn(display_text=r"feature=(\d+)")
    st.dataframe(table, hide_index=True, column_config={"Feature": link})


def _direction(parameter: str, direction: str) -> str:
    return f"{direction} with it" if direction in ("rises", "falls") else f"clearest for {parameter} {direction}"
