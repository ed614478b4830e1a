"""Layers: how much of a label a linear probe reads from each layer of each encoder."""

import pandas as pd
import streamlit as st

from explorer.figures.classes import dense_factor_groups
from explorer.figures.curves import METRICS, layer_curves
from explorer.figures.theme import encoder_color
from explorer.queries.curves import (
    FACTOR_PROTOCOLS,
    PROTOCOL_WORDS,
    fetch_attribute_probes,
    fetch_dense_factor_groups,
    fetch_layer_probes,
)
from explorer.store import Store
from explorer.text import count, is_false, number, or_none_stored, r2_words, series_name
from explorer.ui.choices import chart, choose_label, section
from explorer.ui.context import cached, get_store, is_dark
from explorer.ui.explained import explain
from explorer.ui.figure import kept_figure
from explorer.ui.history import name_view
from explorer.ui.layer_giants import draw_giants
from explorer.ui.layer_probes import dense_protocols, group_spread, why_unscored
from explorer.ui.options import choose_one
from explorer.ui.probe_classes import draw_classes
from explorer.ui.style import caption, empty_state, page_header
from explorer.ui.url import drop, get_param, go_to, set_params


def main() -> None:
    """Draw the page of the address."""
    store = get_store()
    page_header(
        "Layers", "How well a linear probe predicts a label from each layer's pooled hidden states.", store=store
    )
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        label = choose_label(store)
        if label is None:
            empty_state(
                "No probe was fitted: the clips have no label, or no encoder has run.",
                "Name a label in metadata.csv, or run precompute with an --encoder.",
            )
            return
        protocols, scored = dense_protocols(store, label)
        if not protocols:
            empty_state(f"No layer has a probe for {label}.", "Run precompute with an --encoder.")
            return
        protocol = choose_one("Protocol", protocols, "protocol", default=(scored or protocols)[0])
        metric = choose_one("Score", METRICS, "score")
    name_view("Layers", label)
    probes = cached(fetch_layer_probes, store, label, protocol)
    selected = _selected(probes)
    if probes[metric].isna().all():
        others = [name for name in scored if name != protocol]
        empty_state(
            f"No layer has a score for {label} under {protocol}: {why_unscored(probes)}.",
            f"Protocols with scores: {', '.join(others)}." if others else "",
        )
    else:
        _curves(store, probes, label, protocol, metric, selected)
    _one_probe(store, probes, selected)
    _factor_groups(store)
    draw_giants(store, label, protocol)
    explain("probe accuracy", "informativeness")


def _selected(probes: pd.DataFrame) -> tuple[str, int] | None:
    """Encoder and layer of the address, else the best chosen layer; what has no probe is dropped with a sentence."""
    encoder, layer = get_param("encoder"), get_param("layer")
    if encoder is not None or layer is not None:
        rows = probes[(probes["encoder_id"] == encoder) & (probes["layer"].astype(str) == layer)]
        if len(rows):
            return str(encoder), int(rows["layer"].iloc[0])
        there = ", ".join(sorted(set(probes["encoder_id"])))
        drop(
            "encoder",
            f"The link asks for encoder {encoder!r}, layer {layer}, which has no probe here. "
            f"Encoders with probes: {there}; layers {probes['layer'].min()} to {probes['layer'].max()}.",
        )
        drop("layer", "")
    scored = probes[probes["accuracy"].notna()]
    ranked = scored.assign(untrained=scored["is_trained"].map(is_false)).sort_values(
        ["untrained", "is_chosen", "accuracy"], ascending=[True, False, False]
    )
    return None if ranked.empty else (str(ranked["encoder_id"].iloc[0]), int(ranked["layer"].iloc[0]))


def _curves(
    store: Store, probes: pd.DataFrame, label: str, protocol: str, metric: str, selected: tuple[str, int] | None
) -> None:
    groups, spread = group_spread(store, probes, label, protocol)
    fig = kept_figure(
        layer_curves,
        probes,
        groups,
        is_dark(),
        metric=metric,
        attributes=cached(fetch_attribute_probes, store, label, protocol),
        selected=selected,
    )
    picked = chart(
        fig,
        "layers",
        probes,
        f"layers_{label}_{protocol}",
        about={"label_name": label, "protocol": protocol},
        title=f"{METRICS[metric].capitalize()} of probes for {label}, by layer",
        caption=f"{protocol.capitalize()}: {PROTOCOL_WORDS[protocol]}. {count(probes['n_clips'].max(), 'clip')} of "
        f"{count(probes['n_groups'].max(), 'group')}. {spread if metric == 'accuracy' else ''} "
        "Diamonds: layers chosen for SAEs. Click a point for its classes.",
        selectable=True,
    )  # fmt: skip
    if picked:
        encoder, layer, _ = picked
        if (str(encoder), int(layer)) != selected:
            set_params(encoder=encoder, layer=layer)


def _one_probe(store: Store, probes: pd.DataFrame, selected: tuple[str, int] | None) -> None:
    if selected is None:
        return
    rows = probes[(probes["encoder_id"] == selected[0]) & (probes["layer"] == selected[1])]
    probe = rows.iloc[0]
    name = series_name(probe["display_name"], probe["layer"])
    section(f"{name}: class by class")
    if pd.isna(probe["accuracy"]):
        empty_state(f"This probe has no score: {or_none_stored(probe['reason'])}.")
        return
    caption(
        f"Accuracy {number(probe['accuracy'], 3)}, balanced {number(probe['balanced_accuracy'], 3)}, macro F1 "
        f"{number(probe['macro_f1'], 3)}, chance {number(probe['chance'], 3)} · {count(probe['n_clips'], 'clip')} of "
        f"{count(probe['n_groups'], 'group')} · {probe['protocol']} · seed {probe['seed']} · probe {probe['probe_id']}"
    )
    draw_classes(store, str(probe["probe_id"]), encoder_color(str(probe["name"])))


def _factor_groups(store: Store) -> None:
    found = {protocol: cached(fetch_dense_factor_groups, store, protocol) for protocol in FACTOR_PROTOCOLS}
    has_others = any(rows["is_extra"].any() for rows in found.values())
    section(f"Acoustic factors{' and other measures' if has_others else ''} by layer")
    there = {protocol: rows for protocol, rows in found.items() if len(rows)}
    if not there:
        empty_state("Not computed: no layer has factor scores from its dense states.")
        return
    protocol = next((name for name, rows in there.items() if rows["n_scored"].any()), next(iter(there)))
    rows = there[protocol]
    if not rows["n_scored"].any():
        n = int(rows["n_undefined"].max())
        empty_state(
            f"Undefined: no factor has a {r2_words(protocol)} from dense states (up to {n} undefined in one group)."
        )
        return
    n_layers = len(rows.drop_duplicates(["encoder_id", "layer"]))
    in_sample = " Scored on the clips it was fitted on, where noise alone scores well." if protocol == "paper" else ""
    others = " Other measures have a row each." if has_others else ""
    picked = chart(
        kept_figure(dense_factor_groups, rows, is_dark()), "factor-groups", rows, "factor_groups_by_layer",
        about={"protocol": protocol},
        title=f"Median {r2_words(protocol)} of the factors of each group, from dense states",
        caption=f"{count(n_layers, 'layer')} scored, under {protocol}.{in_sample} Negative: worse than the mean of the "
        f"clips it was fitted on.{others} Click a cell of a layer with SAEs for the factors that its codes predict.",
        selectable=True,
    )  # fmt: skip
    if picked:
        go_to("factors", sae=picked[0], factor=picked[1])


main()
