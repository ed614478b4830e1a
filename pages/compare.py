"""Compare: two SAEs side by side, their factors, the features that match, and the same clips through both."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from explorer.csv_text import sae_columns
from explorer.errors import NotInStoreError
from explorer.factor_words import are_predicted
from explorer.figures.compare import R2_FLOOR, factor_pairs, match_scatter
from explorer.figures.curves import layer_curves
from explorer.measures import are_acoustic, kinds_counted
from explorer.naming import sae_names, sae_title
from explorer.queries.compare import (
    MIN_ACTIVE,
    fetch_factor_pairs,
    fetch_match_chance,
    fetch_match_partners,
    fetch_matched_pairs,
    held_words,
)
from explorer.queries.corpus import fetch_corpus, fetch_saes, record, resolve_feature, resolve_sae
from explorer.queries.curves import FACTOR_PROTOCOLS, fetch_layer_probes, fetch_probe_choices, fetch_sae_points
from explorer.queries.factors import fetch_factor_protocols
from explorer.store import Store
from explorer.text import MISSING, capitalised, count, is_defined, number, r2_words, recipe_name, signed, whole
from explorer.ui.choices import chart, section, told_protocol
from explorer.ui.context import cached, get_store, is_dark
from explorer.ui.explained import explain
from explorer.ui.figure import kept_figure
from explorer.ui.history import name_view
from explorer.ui.kept import kept
from explorer.ui.layer_probes import dense_protocols, group_spread, why_unscored
from explorer.ui.markup import as_written
from explorer.ui.pair_clips import draw_pair
from explorer.ui.selectors import default_sae
from explorer.ui.style import caption, download_csv, empty_state, notice, page_header, plain_table
from explorer.ui.tables import as_read
from explorer.ui.url import carried, drop, get_int, get_param, go_to, page_file, set_params, write_option

# (column, words, decimals, whether B − A means something across different widths)
_MEASURES = (
    ("fvu_heldout", "FVU, held out", 3, True),
    ("pca_k_fvu_heldout", "FVU of PCA with k components", 3, True),
    ("accuracy", "probe accuracy on codes", 3, True),
    ("dense_accuracy", "probe accuracy on dense states", 3, True),
    ("informativeness", "informativeness, top 10", 3, True),
    ("informativeness_fixed", "informativeness, fixed 10", 3, True),
    ("effective_codes", "effective codes, top 10", 2, True),
    ("completeness", "completeness, top 10", 3, False),
    ("disentanglement_fixed", "disentanglement, fixed 10", 3, True),
    ("effective_factors_fixed", "effective factors of a feature, fixed 10", 2, True),
    ("l0_mean", "measured l0", 2, True),
    ("n_live", "live features", 0, True),
    ("n_dead", "dead features", 0, True),
    ("n_dense", "dense features", 0, True),
)
_OF_LEVEL = ("fvu_heldout", "pca_k_fvu_heldout", "l0_mean")
N_LISTED = 100


def main() -> None:
    """Draw the page of the address."""
    store = get_store()
    page_header("Compare", "Two SAEs side by side: scores, factors, matched features, and the same clips in both.")
    saes = cached(fetch_saes, store)
    if len(saes) < 2:
        empty_state(f"This store holds {count(len(saes), 'SAE')}; comparing takes two.", "Run precompute with more.")
        return
    a, b = _choose(store, saes)
    name_view("Compare", f"{sae_title(a)} with {sae_title(b)}")
    if a["sae_id"] == b["sae_id"]:
        notice("A and B are the same SAE: choose another one for B.")
    for text in _cautions(a, b):
        notice(text)
    label = _label(store)
    _metrics(store, a, b, label)
    with st.container(key="so-split-scores"):
        left, right = st.columns(2, gap="large")
    with left:
        _curves(store, a, b, label)
    with right:
        _factors(store, a, b)
    _matches(store, a, b)
    explain(
        "FVU", "probe accuracy", "informativeness", "effective codes", "completeness", "disentanglement", "sparsity",
        "density", "match",
    )  # fmt: skip


def _choose(store: Store, saes: pd.DataFrame) -> tuple[dict[str, Any], dict[str, Any]]:
    """A and B of the link; by default the reference SAEs of two encoders' best layers, or of two layers."""
    asked_a, asked_b = get_param("a") or get_param("sae"), get_param("b")
    accuracy = {} if asked_a and asked_b else _accuracy_of_layers(store)
    a = resolve_sae(store, asked_a) if asked_a else default_sae(saes, accuracy)
    if asked_b:
        b = resolve_sae(store, asked_b)
    else:
        others = saes[saes["sae_id"] != a["sae_id"]]
        elsewhere = others[others["encoder_id"] != a["encoder_id"]]
        deeper = others[others["layer"] != a["layer"]]
        pool = next(rows for rows in (elsewhere, deeper, others) if len(rows))
        same = pool[(pool["sparsity"] == a["sparsity"]) & (pool["protocol"] == a["protocol"])]
        b = default_sae(same if len(same) else pool, accuracy)
    names = kept(sae_names, saes, with_encoder=True)
    for column, side, sae in zip(st.columns(2, gap="large"), "ab", (a, b), strict=True):
        key = f"so-compare-{side}"
        st.session_state[key] = sae["sae_id"]
        column.selectbox(
            side.upper(), list(names), key=key, format_func=lambda i: names.get(i, i), on_change=_changed, args=(side,)
        )
    return a, b


def _accuracy_of_layers(store: Store) -> dict[tuple[str, int], float]:
    """Accuracy of the primary label's probe by encoder and layer, from dense states, as Layers shows it first."""
    label = _label(store)
    _, scored = dense_protocols(store, label) if label else ([], [])
    if label is None or not scored:
        return {}
    rows = cached(fetch_layer_probes, store, label, scored[0]).dropna(subset="accuracy")
    return {(row.encoder_id, int(row.layer)): float(row.accuracy) for row in rows.itertuples()}


def _changed(side: str) -> None:
    write_option(side, st.session_state[f"so-compare-{side}"])


def _cautions(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    words = []
    if a["n_features"] != b["n_features"]:
        words.append(
            f"A has {count(a['n_features'], 'feature')}, B {whole(b['n_features'])}: completeness is not "
            "comparable between them "
            "(log D alone moves it). Read effective codes instead."
        )
    if a["protocol"] != b["protocol"]:
        words.append(f"A was fitted under protocol {a['protocol']}, B under {b['protocol']}: other clips.")
    if a["level"] != b["level"]:
        words.append(f"A codes {a['level']}s, B {b['level']}s: reconstruction and l0 are of different things.")
    return words


def _label(store: Store) -> str | None:
    names = list(cached(fetch_probe_choices, store)["label_name"])
    primary = fetch_corpus(store).label_name
    return primary if primary in names else (names[0] if names else None)


def _metrics(store: Store, a: dict[str, Any], b: dict[str, Any], label: str | None) -> None:
    points = cached(fetch_sae_points, store, label, told_protocol(store, label))
    rows = {side: record(points[points["sae_id"] == sae["sae_id"]]) for side, sae in (("A", a), ("B", b))}
    lines, undefined = [], []
    for column, words, digits, across in _MEASURES:
        va, vb = rows["A"][column], rows["B"][column]
        if not is_defined(va) and not is_defined(vb):
            undefined.append(words.split(",")[0])
            continue
        difference = _why_not_comparable(a, b, column, across)
        if difference is None:
            difference = signed(vb - va, digits) if is_defined(va) and is_defined(vb) else MISSING
        words = words if across else f"{words} (A: D = {a['n_features']}, B: D = {b['n_features']})"
        if column.startswith("informativeness"):
            kinds = [r2_words(sae["protocol"]) for sae in (a, b)]
            words += f": {kinds[0]}" if kinds[0] == kinds[1] else f" (A: {kinds[0]}, B: {kinds[1]})"
        if column == "accuracy" or column == "dense_accuracy":
            words += _scored_on(rows)
        lines.append({"Measure": words, "A": number(va, digits), "B": number(vb, digits), "B − A": difference})
    plain_table(pd.DataFrame(lines), right=("A", "B", "B − A"))
    if undefined:
        caption(f"Undefined for both: {', '.join(dict.fromkeys(undefined))}.")
    for side, sae in (("A", a), ("B", b)):
        caption(_side_words(side, sae, rows[side], label))
    download_csv(_raw_metrics(a, b, rows, label), f"compare_{a['sae_id']}_{b['sae_id']}")


def _raw_metrics(
    a: dict[str, Any], b: dict[str, Any], rows: dict[str, dict[str, Any]], label: str | None
) -> pd.DataFrame:
    """The table for a program: a row for each measure and side, its n and interval where it has them."""
    found = []
    for column, words, _, across in _MEASURES:
        for side, sae in (("A", a), ("B", b)):
            row, is_probe = rows[side], column == "accuracy"
            n = ("probe_n_clips", "probe_n_groups") if "accuracy" in column else ("n_heldout_clips", "")
            found.append({
                "side": side, **sae_columns(sae), "label": label if is_probe else None, "measure": column,
                "words": words, "value": row[column],
                "low": row.get("ci_low") if is_probe else None, "high": row.get("ci_high") if is_probe else None,
                "n_clips": row.get(n[0]) if column in _OF_LEVEL or "accuracy" in column else None,
                "n_groups": row.get(n[1]), "probe_protocol": row.get("probe_protocol") if is_probe else None,
                "not_comparable": _why_not_comparable(a, b, column, across),
            })  # fmt: skip
    return pd.DataFrame(found)


def _both(a: dict[str, Any], b: dict[str, Any]) -> dict[str, object]:
    """What a download of rows about both SAEs says of them."""
    return {f"{name}_{side}": value for side, sae in (("a", a), ("b", b)) for name, value in sae_columns(sae).items()}


def _why_not_comparable(a: dict[str, Any], b: dict[str, Any], column: str, across: bool) -> str | None:
    """Why B − A of a measure means nothing, None where it means something."""
    if a["protocol"] != b["protocol"]:
        return "not comparable: different protocol"
    if a["level"] != b["level"] and column in _OF_LEVEL:
        return "not comparable: different level"
    if not across and a["n_features"] != b["n_features"]:
        return "not comparable: different D"
    if not across and a["n_live"] != b["n_live"]:
        return "not comparable: dead features count in D"
    return None


def _side_words(side: str, sae: dict[str, Any], row: dict[str, Any], label: str | None) -> str:
    probe = f"no scored probe for {label or 'any label'}"
    if is_defined(row["accuracy"]):
        n = f"{count(row['probe_n_clips'], 'clip')} of {count(row['probe_n_groups'], 'group')}"
        probe = f"probe for {label} on {n}"
    return (
        f"{side}: SAE {sae['sae_id']}, run {sae['run_id']}, {sae['protocol']}, {recipe_name(sae['n_epochs'])}. "
        f"Reconstruction on {count(row['n_heldout_clips'], 'held-out clip')}; {probe}."
    )


def _scored_on(rows: dict[str, dict[str, Any]]) -> str:
    """On how many clips and groups the accuracies of a row are, '(40 clips of 4 groups, held-out)'; each side's where
    they differ."""
    n = {
        side: f"{count(row['probe_n_clips'], 'clip')} of {count(row['probe_n_groups'], 'group')}, "
        f"{row['probe_protocol']}"
        for side, row in rows.items()
        if is_defined(row["probe_n_clips"])
    }
    if len(set(n.values())) == 1:
        return f" ({next(iter(n.values()))})"
    return f" ({', '.join(f'{side}: {words}' for side, words in n.items())})" if n else ""


def _curves(store: Store, a: dict[str, Any], b: dict[str, Any], label: str | None) -> None:
    probed, scored = dense_protocols(store, label) if label else ([], [])
    if label is None or not probed:
        empty_state("Not computed: these encoders have no probes by layer.")
        return
    protocol = (scored or probed)[0]
    probes = cached(fetch_layer_probes, store, label, protocol)
    probes = probes[probes["encoder_id"].isin([a["encoder_id"], b["encoder_id"]])]
    if probes["accuracy"].isna().all():
        why = why_unscored(probes) if len(probes) else "no layer of these encoders was probed"
        empty_state(f"No layer has a score for {label} under {protocol}: {why}.")
        return
    groups, spread = group_spread(store, probes, label, protocol)
    picked = chart(
        kept_figure(layer_curves, probes, groups, is_dark(), height_px=400), "compare-layers", probes,
        "compare_layers", about={"label_name": label, "protocol": protocol},
        title=f"Probe accuracy for {label} by layer, dense states",
        caption=f"{protocol.capitalize()}, {count(probes['n_clips'].max(), 'clip')} of "
        f"{count(probes['n_groups'].max(), 'group')}. {spread} Diamonds: layers with SAEs. "
        "Click a point for its classes.", selectable=True,
    )  # fmt: skip
    if picked:
        go_to("layers", encoder=picked[0], layer=picked[1])


def _factors(store: Store, a: dict[str, Any], b: dict[str, Any]) -> None:
    there = [fetch_factor_protocols(store, sae["sae_id"]) for sae in (a, b)]
    shared = [name for name in FACTOR_PROTOCOLS if all(name in names for names in there)]
    if not shared:
        scored = [f"{side}: {', '.join(names) or 'none'}" for side, names in zip("AB", there, strict=True)]
        empty_state("No factor was scored from A and B under one protocol.", f"Protocols scored: {'; '.join(scored)}.")
        return
    found = [(cached(fetch_factor_pairs, store, a["sae_id"], b["sae_id"], name), name) for name in shared]
    pairs, protocol = next((each for each in found if len(_in_both(each[0]))), found[0])
    both = _in_both(pairs)
    if both.empty:
        n_a, n_b = int(pairs["r2_a"].notna().sum()), int(pairs["r2_b"].notna().sum())
        empty_state(
            f"No factor has a {r2_words(protocol)} from both A and B.",
            f"Of {kinds_counted(pairs['factor_group'])}, {n_a} have one from A and {n_b} from B; the Factors page says "
            "why.",
        )
        return
    sound = both[are_predicted(both, "_a") | are_predicted(both, "_b")]
    higher = int((sound["r2_a"] > sound["r2_b"]).sum())
    clips = [int(n) for n in dict.fromkeys([both["n_clips_a"].max(), both["n_clips_b"].max()]) if is_defined(n)]
    in_sample = ", where noise alone scores well" if protocol == "paper" else ""
    what = "acoustic factor" if are_acoustic(pairs).all() else "measure"
    picked = chart(
        kept_figure(factor_pairs, pairs, is_dark(), name_a=sae_title(a), name_b=sae_title(b)), "compare-factors", pairs,
        f"factors_{a['sae_id']}_{b['sae_id']}",
            about=_both(a, b), title=f"{capitalised(r2_words(protocol))} of each {what}",
        caption=f"{protocol.capitalize()}{in_sample}, {' and '.join(count(n, 'clip') for n in clips)}. Of "
        f"{kinds_counted(sound['factor_group'])} predicted from A or B, {higher or 'none'} "
        f"{'is' if higher < 2 else 'are'} higher from A. "
        f"{'R² under −1 is drawn at −1. ' if (both[['r2_a', 'r2_b']] < R2_FLOOR).any(axis=None) else ''}"
        f"{'' if are_acoustic(both).all() else 'Diamonds: no acoustic factors. '}"
        f"Hollow: {len(both) - len(sound)} not predictable from either. Not drawn: {len(pairs) - len(both)} undefined "
        "in one of them. Click one for what predicts it in A.", selectable=True,
    )  # fmt: skip
    if picked:
        go_to("factors", sae=a["sae_id"], factor=pairs.loc[pairs["factor_index"] == picked[0], "name"].iloc[0])


def _in_both(pairs: pd.DataFrame) -> pd.DataFrame:
    return pairs[pairs["r2_a"].notna() & pairs["r2_b"].notna()]


def _matches(store: Store, a: dict[str, Any], b: dict[str, Any]) -> None:
    section("Matched features")
    rows = cached(fetch_matched_pairs, store, a["sae_id"], b["sae_id"])
    if rows.empty:
        _no_matches(store, a)
        return
    label = _label(store)
    points = cached(fetch_sae_points, store, label, told_protocol(store, label))
    chance = record(cached(fetch_match_chance, store, a["sae_id"], b["sae_id"]))
    n_heldout = record(points[points["sae_id"] == a["sae_id"]])["n_heldout_clips"]
    st.write(as_written(held_words(rows, n_heldout, chance["by_chance"], chance["why"])))
    fa, fb = _pair(store, a, b, (int(rows["feature"].iloc[0]), int(rows["other_feature"].iloc[0])))
    features = resolve_feature(store, a["sae_id"], fa), resolve_feature(store, b["sae_id"], fb)
    with st.container(key="so-split-matches"):
        left, right = st.columns([0.45, 0.55], gap="large")
    with left:
        drawn = rows["r_train"].notna() & rows["r_heldout"].notna()
        picked = chart(
            kept_figure(match_scatter, rows, is_dark(), selected=(fa, fb)), "matches", rows,
            f"matches_{a['sae_id']}_{b['sae_id']}",
            about=_both(a, b), title="Does a match hold up?", selectable=True,
            caption=f"{count(int(drawn.sum()), 'feature')} of A with their best match in B by correlation of "
            "activation over the same clips, chosen on training clips. Click one to hear the pair. Not drawn: "
            f"{int((~drawn).sum())} without a held-out r (a feature is constant there).",
        )  # fmt: skip
        if picked:
            _open_pair(*picked[:2], now=(fa, fb))
        _match_table(rows, a, b, (fa, fb))
    with right:
        found = rows[(rows["feature"] == fa) & (rows["other_feature"] == fb)]
        draw_pair(store, (a, b), features, record(found) if len(found) else None)


def _pair(store: Store, a: dict[str, Any], b: dict[str, Any], first: tuple[int, int]) -> tuple[int, int]:
    """The two features of the address, else `first`; what A or B does not have is dropped with a sentence."""
    try:
        fa, fb = get_int("fa"), get_int("fb")
        if fa is None or fb is None:
            return first
        for sae, feature in ((a, fa), (b, fb)):
            resolve_feature(store, sae["sae_id"], feature)
    except NotInStoreError as error:
        drop("fa", str(error))
        drop("fb", "")
        return first
    return fa, fb


def _no_matches(store: Store, a: dict[str, Any]) -> None:
    partners = cached(fetch_match_partners, store, a["sae_id"])
    names = kept(sae_names, cached(fetch_saes, store), with_encoder=True)
    empty_state("Not computed: the store holds no matches from A to B.")
    if len(partners):
        caption("A has matches with:")
        for other in partners["other_sae_id"].head(6):
            st.page_link(
                page_file("compare"), label=as_written(names.get(other, other)),
                query_params=carried("compare", a=a["sae_id"], b=other),
            )  # fmt: skip


def _match_table(rows: pd.DataFrame, a: dict[str, Any], b: dict[str, Any], now: tuple[int, int]) -> None:
    named = ["feature", "label_a", "other_feature", "label_b", "r_train", "r_heldout"]
    shown = rows[named].head(N_LISTED)
    filled = [name for name in named if not name.startswith("label_") or shown[name].notna().any()]
    if len(rows) > N_LISTED:
        rare = int(rows["is_rare"].sum())
        last = f" Last: {rare} in which a feature is active on under {MIN_ACTIVE} clips." if rare else ""
        caption(f"The first {N_LISTED} of {count(len(rows), 'match', 'matches')}; the CSV has all.{last}")
    event = st.dataframe(
        as_read(shown, {"feature": str, "other_feature": str, "r_train": number, "r_heldout": number}),
        hide_index=True, height=280, on_select="rerun", selection_mode="single-row", placeholder=MISSING,
        column_order=filled, key=f"match-table-{a['sae_id']}-{b['sae_id']}-{now[0]}-{now[1]}",
        column_config={
            "feature": "A", "label_a": "label", "other_feature": "B", "label_b": "label ",
            "r_train": st.column_config.NumberColumn("r train"),
            "r_heldout": st.column_config.NumberColumn("r held out"),
        },
    )  # fmt: skip
    if event["selection"]["rows"]:
        row = shown.iloc[event["selection"]["rows"][0]]
        _open_pair(row["feature"], row["other_feature"], now=now)


def _open_pair(feature: int, other: int, *, now: tuple[int, int]) -> None:
    if (int(feature), int(other)) != now:
        set_params(fa=int(feature), fb=int(other))


main()
