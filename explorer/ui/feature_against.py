"""A feature's activation against a measure of the clips: a dot a clip that can be heard, r, and the tuning curve."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from explorer.association import Association, associate, tuning_curve
from explorer.csv_text import sae_columns
from explorer.errors import NotInStoreError
from explorer.figures.features import against_measure
from explorer.figures.theme import encoder_color
from explorer.queries.against import fetch_against, fetch_measures
from explorer.queries.corpus import CorpusFacts
from explorer.store import Store
from explorer.text import count, is_defined, number, plural_of, sentence, series_name, whole
from explorer.ui.choices import chart
from explorer.ui.context import cached, is_dark
from explorer.ui.explained import how_measured
from explorer.ui.figure import kept_figure
from explorer.ui.history import name_view
from explorer.ui.markup import as_written
from explorer.ui.measures import kind_and_name, measure_key, measure_texts, old_measures
from explorer.ui.options import choose_from, choose_one
from explorer.ui.url import set_params

AGAINST = "against"  # the view of the feature page, as in the address
COLOURED = {"group": "group_id", "label": "label", "split": "split"}
_EXPLAINED = r"""
A dot is a clip; its height is the feature's activation, 0 where it is not active. $r$ is Pearson's correlation over all
clips, zeros included. $r$ *within* is that of the deviations from each group's own means,
$r(a - \bar a_g,\ m - \bar m_g)$: a feature that only differs between groups has 0 there. The interval is the 95 % t
interval over groups of their own $r$ (on Fisher's $z$); under 8 groups there is none. The line joins means over groups
in ten bins of equally many clips, with the t interval over groups. All clips take part, training ones too: this
describes, it does not test. Among 88 factors some go along with any feature by chance.
"""


def draw_against(store: Store, sae: dict[str, Any], row: dict[str, Any], facts: CorpusFacts) -> None:
    """The chooser of the measure, the sentence, and the figure; a click on a dot opens its clip above."""
    measures = cached(fetch_measures, store)
    if measures.empty:
        raise NotInStoreError("This store has neither factors nor planted values to draw activations against.")
    coloured = {"group": facts.group_name, "label": facts.label_name, "split": "split"}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kind, name = _choose(measures, row)
        by = COLOURED[choose_one("Colour by", coloured, "color")]
    rows = fetch_against(store, sae, int(row["feature"]), kind, name)
    measure = measures[(measures["kind"] == kind) & (measures["name"] == name)].iloc[0]
    name_view(
        f"Feature {row['feature']}", row["shown_label"], f"against {measure['title']}",
        series_name(sae["encoder_display"], sae["layer"]),
    )  # fmt: skip
    known = rows[rows["measured"].notna()]
    arrays = known["value"].to_numpy(), known["measured"].to_numpy(), known["group_id"].to_numpy()
    st.write(as_written(_sentence(associate(*arrays), str(measure["title"]), facts)))
    about = sentence(str(measure["description"])) if measure["description"] else ""
    unit = f" ({measure['unit']})" if measure["unit"] else ""
    carried = chart(
        kept_figure(
            against_measure, known, tuning_curve(*arrays), encoder_color(str(sae["encoder_name"])), is_dark(),
            measure=f"{measure['title']}{unit}", by=by,
        ),
        "against",
        known,
        f"feature-{row['feature']}-{name}",
        title=f"Activation against {measure['title']}",
        caption=f"{about} {_missing(len(rows) - len(known), len(rows))}"
        "Line: means over groups in ten bins of equally many clips, with 95 % intervals over groups. "
        "Click a dot to hear its clip.",
        selectable=True,
        about={**sae_columns(sae), "feature": int(row["feature"]), "measure": name},
    )  # fmt: skip
    how_measured(_EXPLAINED)
    if carried:
        set_params(clip=carried[0])


def _choose(measures: pd.DataFrame, row: dict[str, Any]) -> tuple[str, str]:
    texts = measure_texts(measures)
    best = measure_key("factor", str(row["best_factor"]))
    return kind_and_name(
        choose_from("Against", texts, "measure", default=best, old=old_measures(measures), width=420, always=True),
        measures,
    )


def _missing(n_missing: int, n: int) -> str:
    return f"{whole(n_missing)} of {count(n, 'clip')} have no value. " if n_missing else ""


def _sentence(found: Association, title: str, facts: CorpusFacts) -> str:
    groups = plural_of(facts.group_name)
    if not is_defined(found.r):
        n = count(found.n_clips, "clip")
        return f"Over {n} either the activation or {title} does not vary: there is no correlation."
    interval = (
        f"; each {facts.group_name}'s own r has a 95 % interval of {number(found.low)} to {number(found.high)}"
        if is_defined(found.low)
        else ""
    )
    within = f"{number(found.within)} within {groups}" if is_defined(found.within) else f"undefined within {groups}"
    return (
        f"r with {title}: {number(found.r)} over {count(found.n_clips, 'clip')}, {within} "
        f"({count(found.n_groups, facts.group_name)}{interval})."
    )
