"""The cards beside a feature's clips: factors, label counts, shares of variance, neighbours and matches."""

from __future__ import annotations

import math
from html import escape
from typing import Any

from explorer.figures.theme import encoder_color, palette
from explorer.queries.corpus import CorpusFacts
from explorer.queries.features import (
    fetch_attribute_shares,
    fetch_factor_weights,
    fetch_histogram,
    fetch_label_counts,
    fetch_lasso_state,
    fetch_matches,
    fetch_neighbours,
)
from explorer.store import Store
from explorer.text import (
    count,
    is_defined,
    is_false,
    number,
    percent,
    plural_of,
    sentence,
    series_name,
    signed,
    whole,
)
from explorer.ui.context import is_dark
from explorer.ui.links import LinkRow, link_card
from explorer.ui.markup import brief
from explorer.ui.style import card


def histogram_card(store: Store, sae: dict[str, Any], feature: int, interval: tuple[float, float] | None) -> None:
    """The non-zero activations as bars (heights as square roots); those inside `interval` in the encoder's colour."""
    histogram = fetch_histogram(store, str(sae["sae_id"]), feature)
    title, subtitle = "Activations", f"of the {sae['level']}s where it is active"
    if histogram is None or not len(histogram["counts"]):
        card(title, subtitle, "<p>No histogram is stored for this feature.</p>")
        return
    counts, edges = histogram["counts"], histogram["edges"]
    top = max(1, int(counts.max()))
    color, bars = encoder_color(str(sae["encoder_name"])), []
    for index, n_here in enumerate(counts):
        inside = interval is not None and edges[index + 1] >= interval[0] and edges[index] <= interval[1]
        height = 60 * math.sqrt(int(n_here) / top)
        fill = color if inside else palette(is_dark()).bar
        bars.append(
            f'<i style="height:{height:.1f}px;background:{fill}" '
            f'title="{number(edges[index])} to {number(edges[index + 1])}: {whole(n_here)}"></i>'
        )
    active = int(counts.sum())
    words = f"Active in {whole(active)} of {count(active + int(histogram['n_zero']), str(sae['level']))}"
    body = (
        f'<div class="so-hist" role="img" aria-label="{words}">'
        f'{"".join(bars)}</div><div class="so-ends"><span>{number(edges[0])}</span>'
        f"<span>{number(edges[-1])}</span></div>"
        f"<p>{'Coloured: the clips listed. ' if interval else ''}{words}.</p>"
    )
    card(title, subtitle, body)


def factor_card(store: Store, sae_id: str, feature: int) -> None:
    """The Lasso weights of the feature, both signs, beside what the factor's regression is worth held out."""
    rows = fetch_factor_weights(store, sae_id, feature)
    if rows.empty:
        card("Factors", "", f"<p>{_why_no_weights(store, sae_id)}</p>")
        return
    protocol = rows["protocol"].iloc[0]
    scored = "R² held out" if protocol == "held-out" else "R² in sample"
    largest = float(rows["weight"].abs().max())
    body = "".join(_factor_row(row, largest) for row in rows.to_dict("records"))
    head = f'<tr><th>factor</th><th></th><th class="n">weight</th><th class="n">{scored}</th></tr>'
    note = "<p>Grey R²: not beyond chance, or too small to count, so its weights mean nothing.</p>"
    weak = any(not _is_above(row) for row in rows.to_dict("records"))
    card("Factors", f"Lasso weight of this feature, {protocol}", f"<table>{head}{body}</table>{note if weak else ''}")


def _is_above(row: dict[Any, Any]) -> bool:
    return is_defined(row["is_predicted"]) and bool(row["is_predicted"])


def _factor_row(row: dict[Any, Any], largest: float) -> str:
    weight, half = float(row["weight"]), 36.0
    length = max(2.0, half * abs(weight) / largest)
    colors = palette(is_dark())
    place = f"left:{half}px" if weight > 0 else f"left:{half - length:.1f}px"
    bar = (
        f'<span class="so-bar" aria-hidden="true"><u></u><i style="{place};width:{length:.1f}px;'
        f'background:{colors.positive if weight > 0 else colors.negative}"></i></span>'
    )
    muted = "" if _is_above(row) else " q"
    group = escape(str(row["factor_group"])) if is_defined(row["factor_group"]) else ""
    name = f"{brief(row['display_name'], 40)} <span class='q'>{group}</span>"
    return (
        f"<tr><td>{name}</td><td>{bar}</td><td class='n'>{signed(weight, 3)}</td>"
        f"<td class='n{muted}'>{number(row['r2'])}</td></tr>"
    )


def _why_no_weights(store: Store, sae_id: str) -> str:
    state = fetch_lasso_state(store, sae_id)
    if not state.n_tried:
        return "No Lasso was fitted on this SAE's codes in this store."
    if not state.n_weights:
        reason = f": {escape(state.reason)}" if state.reason else ""
        return f"No factor could be regressed on this SAE's codes{reason}."
    return "No factor's regression uses this feature: all its weights are 0."


def label_card(store: Store, sae_id: str, feature: int, facts: CorpusFacts) -> None:
    """How the feature's active clips spread over the labels, against how all clips do."""
    rows = fetch_label_counts(store, sae_id, feature)
    title = facts.label_name[:1].upper() + facts.label_name[1:]
    if rows.empty:
        card(title, "", "<p>This corpus has no such label, or its counts were not stored.</p>")
        return
    shown, rest = rows.head(8), rows.iloc[8:]
    body = "".join(
        f"<tr><td>{brief(row['label'], 40)}</td><td class='n'>{percent(row['share_active'], 0)}</td>"
        f"<td class='n q'>{percent(row['share_all'], 0)}</td>"
        f"<td class='n q'>{whole(row['n_active'])} / {whole(row['n_clips'])}</td></tr>"
        for row in shown.to_dict("records")
    )
    head = '<tr><th></th><th class="n">of active</th><th class="n">of all</th><th class="n">active / clips</th></tr>'
    more = (
        f"<p>{count(len(rest), 'more label')} with {count(rest['n_active'].sum(), 'active clip')}.</p>"
        if len(rest)
        else ""
    )
    card(title, "share of the active clips against all clips", f"<table>{head}{body}</table>{more}")


def share_card(store: Store, sae_id: str, feature: int) -> None:
    """How much of the activation's variance each label, group and attribute accounts for."""
    rows = fetch_attribute_shares(store, sae_id, feature)
    if rows.empty:
        card("What it varies with", "", "<p>No share was stored for this feature.</p>")
        return
    color = palette(is_dark()).bar
    body = "".join(
        f"<tr><td>{escape(str(row['column_name']))}</td><td><span class='so-bar' aria-hidden='true'>"
        f"<i style='left:0;width:{72 * min(1.0, max(0.0, row['share'])):.1f}px;background:{color}'></i></span></td>"
        f"<td class='n'>{percent(row['share'], 0)}</td></tr>"
        for row in rows.dropna(subset=["share"]).head(8).to_dict("records")
    )
    note = "<p>Share of variance explained (eta squared); columns with many values score some by chance.</p>"
    card("What it varies with", "share of variance", f"<table>{body}</table>{note}")


def neighbour_card(store: Store, sae_id: str, feature: int) -> None:
    """Features of the same SAE with a like decoder, and those active on the same clips."""
    words = {"decoder": "cosine", "lift": "lift"}
    hints = {
        "decoder": "cosine of the two decoder directions",
        "lift": "how many times as often both are active as by chance",
    }
    rows = [
        LinkRow(
            text=_feature_name(row), page="features", params={"sae": sae_id, "feature": int(row["other"])},
            detail=words.get(row["kind"], row["kind"]),
            value=f"{number(row['value'])}{'×' if row['kind'] == 'lift' else ''}",
            hint=hints.get(row["kind"], ""),
        )
        for row in fetch_neighbours(store, sae_id, feature).to_dict("records")
    ]  # fmt: skip
    link_card("Like this one", "same SAE", rows, f"neighbours-{sae_id}-{feature}", empty="No neighbour is stored.")


def match_card(store: Store, sae_id: str, feature: int) -> None:
    """Features of other encoders, layers and seeds whose activations go along with this one's on the same clips."""
    matches = fetch_matches(store, sae_id, feature)
    rows = [_match_row(row) for row in matches.to_dict("records")]
    link_card(
        "Elsewhere", "correlation on training clips", rows, f"matches-{sae_id}-{feature}",
        empty="No match in another encoder, layer or seed is stored for this feature.",
    )  # fmt: skip


def _match_row(row: dict[Any, Any]) -> LinkRow:
    seed = f" · seed {row['seed']}" if row["kind"] == "seed" else ""
    untrained = " · untrained" if is_false(row["is_trained"]) else ""
    held_out = f"held out {number(row['r_heldout'])}" if row["r_heldout"] == row["r_heldout"] else ""
    label = f" {row['label']}" if isinstance(row["label"], str) else ""
    return LinkRow(
        text=f"{series_name(row['encoder_display'], row['layer'])} · {row['other_feature']}{label}{seed}{untrained}",
        page="features",
        params={"sae": row["other_sae_id"], "feature": int(row["other_feature"])},
        detail=held_out,
        value=number(row["r_train"]),
        color=encoder_color(str(row["encoder_name"])),
    )


def _feature_name(row: dict[Any, Any]) -> str:
    label = row["label"]
    return f"{row['other']} {label}" if isinstance(label, str) and label else str(row["other"])


def side_cards(
    store: Store, sae: dict[str, Any], feature: int, facts: CorpusFacts, interval: tuple[float, float] | None
) -> None:
    """All cards, in the order in which they answer 'what is it?'; `interval` is that of the clips beside them."""
    sae_id = str(sae["sae_id"])
    histogram_card(store, sae, feature, interval)
    factor_card(store, sae_id, feature)
    label_card(store, sae_id, feature, facts)
    share_card(store, sae_id, feature)
    neighbour_card(store, sae_id, feature)
    match_card(store, sae_id, feature)


def label_rule(row: dict[str, Any], facts: CorpusFacts) -> str:
    """The shown label's rule and how often it is right on held-out clips: beside its false alarms and misses."""
    sign = "at most" if row["label_direction"] == "below" else "above"
    return (
        f"The rule says {row['label']} where the activation is {sign} {number(row['label_threshold'])}. On unseen "
        f"{plural_of(facts.group_name)} {percent(row['label_precision'], 0)} of what it says is right (precision) "
        f"and it finds {percent(row['label_recall'], 0)} of what is there (recall). False alarms: said, and another "
        f"{row['label_name'] or facts.label_name}; misses: there, and not said. Largest activations first."
    )


def label_evidence(row: dict[str, Any], facts: CorpusFacts) -> str:
    """What a label's rule found, in clips and groups: on unseen groups where they have it, else on groups left out."""
    group = facts.group_name
    if is_defined(row["label_unseen_there"]) and row["label_unseen_there"]:
        hits, said, there, n = (int(row[f"label_unseen_{name}"]) for name in ("hits", "said", "there", "groups"))
        whose = f"of {count(n, f'unseen {group}', f'unseen {plural_of(group)}')}"
    elif is_defined(row["label_there"]):
        hits, said, there, n = (int(row[f"label_{name}"]) for name in ("hits", "said", "there", "groups"))
        whose = f"of {count(n, group, plural_of(group))}, each left out in turn"
    else:
        return ""
    alarms = f", {count(said - hits, 'false alarm')}" if said > hits else ""
    return f"{hits} of {count(there, 'clip')} {whose}{alarms}"


def label_sentence(row: dict[str, Any], facts: CorpusFacts) -> tuple[str | None, str]:
    """The label to show (None where it is not shown) and one sentence on how good it is or why it is not shown.

    `row` is a row of `resolve_feature`.
    """
    name = row["label_name"] or facts.label_name
    if row["shown_label"]:
        low = f": {row['label']} where its activation is at most {number(row['label_threshold'])}"
        rule = low if row["label_direction"] == "below" else ""
        found = label_evidence(row, facts)
        return str(row["shown_label"]), (
            f"automatic label{rule}{f' · {found}' if found else ''} "
            f"(F1 {number(row['label_f1'])}; MCC {number(row['label_mcc'])}, "
            f"chance reaches {number(row['label_null_mcc'])})"
        )
    reason, found = row["label_reason"], label_evidence(row, facts) if row["label"] else ""
    none = "no label" if name == "label" else f"no {name} label"
    guess = f" Nearest is {row['label']}: {found}." if found else ""
    return None, f"{none}: {sentence(str(reason))}{guess}" if reason else none
