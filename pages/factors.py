"""Factors: which acoustic factors an SAE's features predict, how well, and through how many of them."""

from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from explorer.csv_text import sae_columns
from explorer.errors import NotInStoreError
from explorer.factor_words import NOT_PREDICTED, are_predicted, verdict
from explorer.figures.factors import (
    COMPLETENESS_THRESHOLD,
    R2_THRESHOLD,
    cluster_order,
    lasso_marks,
    predicted_measured,
    r2_completeness,
    top_features,
)
from explorer.figures.theme import encoder_color
from explorer.measures import are_acoustic, kinds_counted, measure_text
from explorer.naming import sae_names, sae_title
from explorer.queries.corpus import fetch_saes, resolve_clip
from explorer.queries.factors import (
    fetch_factor_predictions,
    fetch_factor_protocols,
    fetch_factor_scores,
    fetch_lasso_weights,
    fetch_scored_saes,
    fetch_undefined_reasons,
)
from explorer.store import Store
from explorer.text import (
    MISSING,
    count,
    is_defined,
    number,
    percent,
    quantity,
    series_name,
)
from explorer.ui.choices import chart
from explorer.ui.clip_list import draw_clips
from explorer.ui.context import cached, get_store, is_dark
from explorer.ui.explained import explain
from explorer.ui.factor_said import chosen_words, completeness_words, draw_summary, undefined_words
from explorer.ui.figure import kept_figure
from explorer.ui.history import name_view
from explorer.ui.kept import kept
from explorer.ui.markup import as_written
from explorer.ui.options import choose_one, choose_switch
from explorer.ui.selectors import choose_sae
from explorer.ui.style import caption, download_csv, empty_state, page_header
from explorer.ui.tables import as_read, one_decimal
from explorer.ui.untested import draw_described, say_unscored
from explorer.ui.url import carried, drop, get_param, go_to, page_file, set_params, write_option

N_FACTORS, N_FEATURES, N_LINKS = 30, 32, 6
_ORDERS = {"alike": "alike together", "group": "by group", "r2": "by R²"}
_OLD_ORDERS = {"by R2": "r2"}


def main() -> None:
    """Draw the page of the address."""
    store = get_store()
    page_header(
        "Factors",
        "What a sparse linear model predicts from the codes: acoustic factors, and this corpus's own numbers.",
        store=store,
    )
    sae = choose_sae(store)
    protocols = list(cached(_protocols, store, sae["sae_id"])["protocol"])
    if not protocols:
        _not_scored(store, sae)
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        protocol = choose_one("Protocol", protocols, "protocol")
        scores = cached(fetch_factor_scores, store, sae["sae_id"], protocol)
        is_scored = bool(scores["r2_shown"].notna().any())
        order = choose_one("Order", _ORDERS, "order", old=_OLD_ORDERS) if is_scored else ""
        everything = is_scored and choose_switch("All factors", "all")
    chosen = _chosen_factor(scores)
    name_view("Factors", chosen["display_name"], series_name(sae["encoder_display"], sae["layer"]))
    if not is_scored:
        say_unscored(scores)
        _factor_box(scores, chosen)
        draw_described(store, sae, chosen)
        _table(store, scores, sae, protocol)
        explain("informativeness", "completeness", "effective codes")
        return
    draw_summary(scores, sae, protocol)
    _weights(store, scores, sae, protocol, order, everything)
    _factor_box(scores, chosen)
    with st.container(key="so-split"):
        left, right = st.columns(2, gap="large")
    with left:
        _against_completeness(scores, sae, protocol, chosen)
    with right:
        _predictions(store, sae, protocol, chosen)
    _table(store, scores, sae, protocol)
    explain("informativeness", "completeness", "effective codes")


def _not_scored(store: Store, sae: dict[str, Any]) -> None:
    """Say that this SAE has no scores, and link those that have."""
    scored = cached(fetch_scored_saes, store)
    step = f"{count(len(scored), 'other SAE')} of this store have factor scores." if len(scored) else ""
    empty_state(f"Not computed: no factor was scored for {sae_title(sae)}.", step)
    names = kept(sae_names, cached(fetch_saes, store), with_encoder=True)
    for sae_id in scored["sae_id"].head(N_LINKS):
        st.page_link(page_file("factors"), label=as_written(names[sae_id]), query_params=carried("factors", sae=sae_id))


def _protocols(store: Store, sae_id: str) -> pd.DataFrame:
    return pd.DataFrame({"protocol": fetch_factor_protocols(store, sae_id)})


def _chosen_factor(scores: pd.DataFrame) -> dict[str, Any]:
    """The factor of the address by name, else the best acoustic one, predicted ones first."""
    asked = get_param("factor")
    if asked is not None:
        rows = scores[scores["name"] == asked]
        if len(rows):
            return rows.iloc[0].to_dict()
        drop(
            "factor",
            f"The link asks for factor {asked!r}, which was not scored here. One that was is "
            f"{scores['name'].iloc[0]!r}.",
        )
    ranked = scores.assign(sound=are_predicted(scores), acoustic=are_acoustic(scores))
    ranked = ranked.sort_values(["acoustic", "sound", "r2_shown"], ascending=False)
    return ranked.iloc[0].to_dict()


def _weights(
    store: Store, scores: pd.DataFrame, sae: dict[str, Any], protocol: str, order: str, everything: bool
) -> None:
    weights = cached(fetch_lasso_weights, store, sae["sae_id"], protocol)
    if weights.empty:
        empty_state("No Lasso weight differs from zero: no feature predicts any factor at the chosen alpha.")
        return
    held = scores[scores["factor_index"].isin(weights["factor_index"])]
    if not everything:
        sound = held[are_predicted(held)]
        held = (sound if len(sound) else held).sort_values("r2_shown", ascending=False)
        extra = held[~are_acoustic(held)].head(N_FACTORS // 2)  # what somebody asked for is there, however low
        held = pd.concat([extra, held.drop(extra.index).head(N_FACTORS - len(extra))])
    weights = weights[weights["factor_index"].isin(held["factor_index"])]
    features = top_features(weights, N_FEATURES)
    shown = weights[weights["feature"].isin(features)]
    if order == "alike":
        factors = kept(cluster_order, shown, held["factor_index"].tolist(), "factor_index", "feature")
    elif order == "group":
        factors = held.sort_values(["factor_group", "factor_index"])["factor_index"].tolist()
    else:
        factors = held.sort_values("r2_shown", ascending=False)["factor_index"].tolist()
    features = kept(cluster_order, shown, features, "feature", "factor_index")
    n_unsound = int((~are_predicted(held)).sum())
    title = f"Lasso weights: {kinds_counted(held['factor_group'])} (with R²) by the {count(len(features), 'feature')} "
    title = f"{title}that carry most"
    if n_unsound == len(held):
        title = f"No factor is predicted. {title}"
    total = weights["weight"].abs().sum()
    picked = chart(
        kept_figure(lasso_marks, weights, scores, factors, features, is_dark()), "lasso", shown,
        f"lasso_{sae['sae_id']}_{protocol}", selectable=True,
        about={**sae_columns(sae), "protocol": protocol}, title=title,
        caption=f"These features carry {percent(shown['weight'].abs().sum() / total)} of these factors' |weight|. "
        "Blue raises the factor, red lowers it; size and shade: |weight|, at most "
        f"{number(shown['weight'].abs().max())}, on standardised codes and factors. Click a square to hear it."
        + (f" †, faint: {count(n_unsound, 'factor')} {NOT_PREDICTED}." if n_unsound else ""),
    )  # fmt: skip
    if picked:
        go_to("features", sae=sae["sae_id"], feature=picked[0])


def _against_completeness(scores: pd.DataFrame, sae: dict[str, Any], protocol: str, chosen: dict[str, Any]) -> None:
    color = encoder_color(sae["encoder_name"])
    if scores["completeness"].isna().all():
        empty_state("No factor has a completeness here: none is predicted.")
        return
    picked = chart(
        kept_figure(r2_completeness, scores, is_dark(), color, selected=int(chosen["factor_index"])), "r2-completeness",
        scores[["name", "display_name", "factor_group", "r2_shown", "completeness", "completeness_d", "effective_codes",
                "n_shown_clips"]],
        f"r2_completeness_{sae['sae_id']}_{protocol}", title="R² against completeness", selectable=True,
        about={**sae_columns(sae), "protocol": protocol},
        caption=f"Dotted: R² {R2_THRESHOLD}, completeness {COMPLETENESS_THRESHOLD}. {completeness_words(scores)} "
        "Click one for its values.",
    )  # fmt: skip
    if picked:
        name = scores.loc[scores["factor_index"] == picked[0], "name"].iloc[0]
        if name != chosen["name"]:
            set_params(factor=name)


def _factor_box(scores: pd.DataFrame, chosen: dict[str, Any]) -> None:
    rows = scores.assign(extra=~are_acoustic(scores)).sort_values(["extra", "factor_index"], ascending=[False, True])
    names = {row["name"]: measure_text(row) for row in rows.to_dict("records")}
    st.session_state["so-factor"] = chosen["name"]
    st.selectbox(
        "Measure", list(names), key="so-factor", format_func=names.__getitem__,
        on_change=lambda: write_option("factor", st.session_state["so-factor"]), width=360,
    )  # fmt: skip


def _predictions(store: Store, sae: dict[str, Any], protocol: str, chosen: dict[str, Any]) -> None:
    if not is_defined(chosen["r2"]):
        empty_state(undefined_words(chosen))
        return
    rows = cached(fetch_factor_predictions, store, sae["sae_id"], protocol, int(chosen["factor_index"]))
    words = chosen_words(chosen, protocol)
    is_ranked = is_defined(chosen["transform"])
    if rows.empty:
        empty_state(f"The predictions of {chosen['display_name']} were not stored. {words}")
        return
    unit = str(chosen["unit"]) if is_defined(chosen["unit"]) else None
    fig = kept_figure(
        predicted_measured, rows, is_dark(), encoder_color(sae["encoder_name"]), name=str(chosen["display_name"]),
        unit=unit, is_clipped=protocol != "paper", is_ranked=is_ranked,
    )  # fmt: skip
    picked = chart(
        fig, "predicted", rows.assign(factor=chosen["name"]), f"predicted_{chosen['name']}_{sae['sae_id']}_{protocol}",
        title=f"{chosen['display_name']}: predicted against measured",
        caption=f"{words} Click a dot to hear its clip.", selectable=True,
        about={**sae_columns(sae), "protocol": protocol},
    )  # fmt: skip
    if picked and picked[0] != get_param("clip"):
        set_params(clip=picked[0])
    _hear(store, rows)


def _hear(store: Store, rows: pd.DataFrame) -> None:
    """The clip of the address, if the store holds it."""
    asked = get_param("clip")
    if asked is None:
        return
    try:
        clip = resolve_clip(store, asked)
    except NotInStoreError as error:
        drop("clip", str(error))
        return
    if asked not in set(rows["clip_id"]):
        caption("The clip of this link is not among those that this factor was scored on.")
    draw_clips(store, pd.DataFrame([clip]), f"clip-{asked}")


def _table(store: Store, scores: pd.DataFrame, sae: dict[str, Any], protocol: str) -> None:
    reasons = cached(fetch_undefined_reasons, store, sae["sae_id"], protocol)
    for row in reasons.to_dict("records"):
        names_of = row["factors"] if row["n_factors"] <= 6 else "each named in the table"
        example = "for example: " if row["n_reasons"] > 1 else ""
        caption(f"{count(row['n_factors'], 'factor')} undefined, {example}{row['reason']} ({names_of}).")
    fold = st.expander(
        as_written(f"All {kinds_counted(scores['factor_group'])} as a table"), key="so-numbers", on_change="rerun"
    )
    if fold.open:  # a folded table is not sent
        with fold:
            _every_score(scores, f"factors_{sae['sae_id']}_{protocol}", {**sae_columns(sae), "protocol": protocol})


def _every_score(scores: pd.DataFrame, name: str, about: dict[str, object]) -> None:
    names = {
        "display_name": "Measure", "factor_group": "Group", "unit": "Unit", "r2_shown": "R²",
        "within_shown": "Within group", "n_shown_clips": "Clips", "n_shown_groups": "Groups", "said": "Can it be told?",
        "r2_p": "p", "tested_by": "Exchanged", "r2": "R² tested", "r2_permuted": "Chance", "r2_train": "R² train",
        "r2_folds": "R² folds", "completeness": "Completeness", "effective_codes": "Effective codes",
        "n_codes_90": "Codes for 90 %", "n_weights": "Weights", "alpha": "Alpha", "is_fixed_set": "Fixed 10",
        "transform": "Ranked", "reason": "Reason",
    }  # fmt: skip
    text = {name: scores[name].fillna("") for name in ("reason", "transform", "tested_by")}
    scores = scores.assign(**text, said=[verdict(row) for row in scores.to_dict("records")])
    rows = scores.sort_values("r2_shown", ascending=False, na_position="last")[list(names)].rename(columns=names)
    floats = [name for name in names.values() if rows[name].dtype.kind == "f"]
    written = {
        **dict.fromkeys(floats, number),
        "p": partial(number, digits=3),
        "Alpha": quantity,
        "Effective codes": one_decimal,
    }
    st.dataframe(as_read(rows, written), hide_index=True, placeholder=MISSING)
    caption("–: undefined.")
    download_csv(scores, name, about=about)


main()
