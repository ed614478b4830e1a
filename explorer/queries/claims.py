"""The paper's claims tested on what this store holds, each in one sentence with its numbers and its n.

Rows in, sentences out; a claim that the rows cannot settle says why. The claims are those of arXiv 2509.24793, the
rules those of `explorer.verdicts`. Claims about factors are in `factor_claims`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from explorer.claim_tests import above_guess, above_last_layer, difference
from explorer.intervals import MIN_GROUPS_FOR_INTERVAL, Estimate, ratio_interval
from explorer.naming import sae_title, size_name
from explorer.queries.curves import fetch_group_errors, fetch_sae_points
from explorer.queries.factor_claims import (
    claim_completeness_rises,
    claim_factors_recoverable,
    fetch_completeness,
    fetch_recovery,
    has_in_sample,
    is_paper,
)
from explorer.queries.selection import (
    CODES_TESTED_ON,
    TESTED_ON,
    heard_words,
    newest_recipe,
    one_protocol,
    tested_groups,
    trained,
    why_unscored,
)
from explorer.store import Store
from explorer.text import capitalised, commonest, count, number, sentence, series_name, signed
from explorer.verdicts import HOLDS, MARGINS, UNSAID, Claim, counted, judge, level_of, together, too_few

_SERIES = ["encoder_id", "layer", "method", "level", "n_features", "protocol"]
_KEPT = "Sparse codes keep what a probe predicts from the dense states"
_RECONSTRUCTED = "SAEs reconstruct unseen clips better than PCA with k components"


def fetch_claims(store: Store, label_name: str) -> list[Claim]:
    """Every claim, tested on this store's own numbers for the label `label_name`.

    Untrained encoders are left out where there is any other; SAEs of protocol held-out are used if any, and of several
    recipes of one layer the newest.
    """
    found = one_protocol(trained(fetch_sae_points(store, label_name)))
    points = newest_recipe(found)
    recovery = trained(fetch_recovery(store))
    recovery = recovery[(recovery["kind"] == "dense") | recovery["representation_id"].isin(points["sae_id"])]
    older = len(found) - len(points)
    protocols = ("paper",) if is_paper(points) else CODES_TESTED_ON
    codes, protocol = tested_groups(store, label_name, "codes", protocols)
    dense, _ = tested_groups(store, label_name, "dense", (protocol,))
    of_saes = [
        claim_codes_keep_accuracy(points, codes, dense, protocol),
        claim_factors_recoverable(recovery, is_in_sample=is_paper(points) and has_in_sample(store)),
        claim_completeness_rises(points, fetch_completeness(store)),
        claim_reconstruction(points, fetch_group_errors(store)),
    ]
    if older:
        words = f" {count(older, 'SAE')} of an older recipe left out."
        of_saes = [replace(claim, sentence=claim.sentence + words) for claim in of_saes]
    groups, protocol = tested_groups(store, label_name, "dense", TESTED_ON)
    return [claim_best_layer(groups, protocol, why_unscored(store, label_name)), *of_saes]


def claim_best_layer(groups: pd.DataFrame, protocol: str, unscored: str | None = None) -> Claim:
    """Whether a layer before the last says more about the label than the last, by encoder.

    `groups`: rows of `fetch_layer_probe_groups`; `unscored`: why there are none. An encoder none of whose layers is
    beyond one constant guess has no best layer.
    """
    title = "A layer before the last predicts the label best"
    encoders = {key: rows for key, rows in groups.groupby("encoder_id", sort=False) if rows["layer"].nunique() > 1}
    if not encoders:
        why = f"no layer's probe could be scored ({unscored})" if unscored else ""
        why = why or "no encoder has scored probes on two layers or more"
        return Claim(title, UNSAID, sentence(why), page="layers")
    level = level_of(len(encoders))
    found = [_best_layer(rows, level) for rows in encoders.values()]
    verdicts, lines = [verdict for verdict, _ in found], "; ".join(line for _, line in found)
    facts = _facts(next(iter(encoders.values())), protocol)
    n_groups = max(rows["group_id"].nunique() for rows in encoders.values())
    if n_groups < MIN_GROUPS_FOR_INTERVAL:
        words = f"{sentence(too_few(n_groups))} {lines} ({facts})."
    else:
        words = f"{counted(verdicts, 'encoder')} ({facts}): {lines}."
    return Claim(title, together(verdicts), words, (), "layers", {"protocol": protocol})


def _best_layer(rows: pd.DataFrame, level: float) -> tuple[str, str]:
    """(verdict, a line of words) for one encoder."""
    table = rows.pivot_table(index="group_id", columns="layer", values="accuracy").dropna()
    n_g, guess_g = (rows.groupby("group_id")[name].mean().reindex(table.index) for name in ("n", "chance"))
    accuracy_gl = table.to_numpy()
    by_layer = (accuracy_gl * n_g.to_numpy()[:, None]).sum(axis=0) / n_g.sum()
    last, best = int(table.columns[-1]), int(table.columns[int(np.argmax(by_layer[:-1]))])
    line = (
        f"{rows['display_name'].iloc[0]} layer {best} {number(by_layer[:-1].max())} against {number(by_layer[-1])} at "
        f"layer {last}"
    )
    if len(table) < MIN_GROUPS_FOR_INTERVAL:
        return UNSAID, line
    if judge(above_guess(accuracy_gl, guess_g, n_g, level), MARGINS["beyond chance"]) != HOLDS:
        return UNSAID, f"{line}, none of them beyond chance"
    above = above_last_layer(accuracy_gl, n_g, level)
    if above.low == above.high == 0:
        return UNSAID, f"{line}, a tie"
    return judge(above, MARGINS["best layer"]), f"{line}, {_interval(above)}"


def _facts(rows: pd.DataFrame, protocol: str) -> str:
    one = rows[rows["probe_id"] == rows["probe_id"].iloc[0]]
    chance = float((one["chance"] * one["n"]).sum() / one["n"].sum())
    n_classes = count(one["n_classes"].iloc[0], "class", "classes")
    return f"{protocol} accuracy; {_n(one)}, {n_classes}, chance {number(chance)}"


def _n(groups: pd.DataFrame) -> str:
    return f"{count(groups['n'].sum(), 'clip')} of {count(groups['group_id'].nunique(), 'group')}"


def _interval(found: Estimate, digits: int = 3) -> str:
    if not np.isfinite(found.low):
        return f"{signed(found.value, digits)}, no interval"
    return f"{signed(found.value, digits)} ({signed(found.low, digits)} to {signed(found.high, digits)})"


def claim_codes_keep_accuracy(points: pd.DataFrame, codes: pd.DataFrame, dense: pd.DataFrame, protocol: str) -> Claim:
    """Whether probes on codes stay within 10 points of the dense states of their layer, by group.

    `codes`, `dense`: rows of `fetch_probe_groups` under `protocol`. The verdict is of the reference SAEs.
    """
    tables = _paired_tables(points, codes, dense)
    if not tables:
        why = "no SAE has probes on both its codes and the dense states"
        if "probe_reason" in points and points["accuracy"].isna().all() and points["probe_reason"].notna().any():
            why = f"no probe on codes could be scored ({commonest(points['probe_reason'])})"
        return Claim(_KEPT, UNSAID, sentence(why))
    scored = points[points["sae_id"].isin(tables)]
    first = tables[scored["sae_id"].iloc[0]]
    n = f"{count(first['n'].sum(), 'clip')} of {count(len(first), 'group')}"
    where = f"{protocol} accuracy, {n}{heard_words(protocol, codes['is_sae_blind'])}"
    details = _accuracy_lines(scored, tables)
    change = pd.Series({sae_id: _change(rows) for sae_id, rows in tables.items()})
    worst = sae_title(scored[scored["sae_id"] == change.idxmin()].iloc[0].to_dict())
    spread = f"median change {signed(100 * change.median(), 1)} points, worst {signed(100 * change.min(), 1)} ({worst})"
    if len(first) < MIN_GROUPS_FOR_INTERVAL:
        return Claim(_KEPT, UNSAID, f"{sentence(too_few(len(first)))} {capitalised(spread)} ({where}).", details)
    judged = _references(scored)
    level = level_of(len(judged))
    verdicts = [_keeps(tables[sae_id], level) for sae_id in judged["sae_id"]]
    told = [verdict for verdict in verdicts if verdict is not None]
    if not told:
        dense_best = max(_pooled(rows, "dense") for rows in tables.values())
        chance = _pooled(first, "chance")
        words = (
            f"There is nothing to keep: no dense probe is surely more than 10 points above chance ({number(chance)}; "
            f"best dense accuracy {number(dense_best)}; {where})."
        )
        return Claim(_KEPT, UNSAID, words, details)
    words = f"{counted(told, 'reference SAE')}; the bar is 10 points under the layer's dense states."
    words += f" {capitalised(spread)}; {where}."
    if len(told) < len(verdicts):
        words += f" {count(len(verdicts) - len(told), 'SAE')} left out: nothing to keep, dense states near chance."
    return Claim(_KEPT, together(told), words, details)


def _paired_tables(points: pd.DataFrame, codes: pd.DataFrame, dense: pd.DataFrame) -> Mapping[str, pd.DataFrame]:
    """By sae_id: accuracy on codes and on dense states of its layer, chance and n, a row for each group with both."""
    by_layer = {key: _by_group(rows) for key, rows in dense.groupby(["encoder_id", "layer"])}
    by_sae = {key: _by_group(rows) for key, rows in codes.groupby("representation_id")}
    found = {}
    for sae in points.to_dict("records"):
        ours, theirs = by_sae.get(sae["sae_id"]), by_layer.get((sae["encoder_id"], sae["layer"]))
        if ours is not None and theirs is not None:
            both = ours.join(theirs["accuracy"].rename("dense"), how="inner").dropna()
            if len(both):
                found[str(sae["sae_id"])] = both
    return found


def _by_group(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.groupby("group_id")[["accuracy", "n", "chance"]].mean()


def _keeps(rows: pd.DataFrame, level: float) -> str | None:
    """The verdict of one SAE; None where its dense states have nothing to keep."""
    if judge(difference(rows["dense"], rows["chance"], rows["n"], level), MARGINS["something to keep"]) != HOLDS:
        return None
    return judge(difference(rows["accuracy"], rows["dense"], rows["n"], level), MARGINS["codes keep accuracy"])


def _change(rows: pd.DataFrame) -> float:
    return _pooled(rows, "accuracy") - _pooled(rows, "dense")


def _pooled(rows: pd.DataFrame, column: str) -> float:
    return float((rows[column] * rows["n"]).sum() / rows["n"].sum())


def _accuracy_lines(scored: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> tuple[str, ...]:
    lines = []
    for _, rows in scored.groupby(_SERIES, sort=False):
        at = [
            f"{number(np.mean([_pooled(tables[sae_id], 'accuracy') for sae_id in part['sae_id']]))} at {_size(part)}"
            for _, part in rows.groupby("sparsity")
        ]
        name = series_name(rows["display_name"].iloc[0], rows["layer"].iloc[0])
        lines.append(f"{name}: dense {number(_pooled(tables[rows['sae_id'].iloc[0]], 'dense'))}; codes {', '.join(at)}")
    return tuple(lines)


def _references(points: pd.DataFrame) -> pd.DataFrame:
    """The SAEs that verdicts are of: one for each encoder and layer, where the store says which."""
    chosen = points[points["is_reference"].fillna(False).astype(bool)] if "is_reference" in points else points.iloc[:0]
    return chosen if len(chosen) else points


def claim_reconstruction(points: pd.DataFrame, errors: pd.DataFrame) -> Claim:
    """Whether SAEs reconstruct held-out clips better than PCA with the same number of active components.

    `errors`: rows of `fetch_group_errors`, of which the interval is; the verdict is of the reference SAEs.
    """
    scored = points[points["fvu_heldout"].notna() & points["pca_k_fvu_heldout"].notna()]
    if scored.empty:
        return Claim(_RECONSTRUCTED, UNSAID, "No SAE has a held-out FVU with one of PCA to compare it with.")
    better = int((scored["fvu_heldout"] < scored["pca_k_fvu_heldout"]).sum())
    judged = _references(scored)
    by_sae = {key: rows for key, rows in errors.groupby("sae_id")}
    n_groups = min((len(by_sae.get(sae_id, ())) for sae_id in judged["sae_id"]), default=0)
    n_heldout = scored["n_heldout_clips"].iloc[0]
    clips = f"{count(n_heldout, 'held-out clip')}{_under(points)}"
    ours, theirs = scored["fvu_heldout"].median(), scored["pca_k_fvu_heldout"].median()
    facts = (
        f"FVU is lower for {better or 'none'} of {count(len(scored), 'SAE')}: median FVU {number(ours, 3)} against "
        f"{number(theirs, 3)} of PCA, on {clips}"
    )
    details = _fvu_lines(scored)
    if n_groups < MIN_GROUPS_FOR_INTERVAL:
        why = too_few(n_groups) if n_groups else "errors by group are not stored"
        return Claim(_RECONSTRUCTED, UNSAID, f"{sentence(why)} {facts}.", details)
    level = level_of(len(judged))
    found = [
        ratio_interval(rows["sse_pca_k"] - rows["sse"], rows["sst"], level)
        for rows in (by_sae[sae_id] for sae_id in judged["sae_id"])
    ]
    verdicts = [judge(one, MARGINS["reconstruction"]) for one in found]
    refitted = by_sae[judged["sae_id"].iloc[0]]["n_clips"].sum() > n_heldout
    unseen = ", each by an SAE refitted without it" if refitted else ""
    words = f"{counted(verdicts, 'reference SAE')} ({count(n_groups, 'group')}{unseen}). {facts}."
    lines = tuple(
        f"{sae_title(sae)}: FVU of PCA − FVU {_interval(one)}"
        for sae, one in zip(judged.to_dict("records"), found, strict=True)
    )
    return Claim(_RECONSTRUCTED, together(verdicts), words, (*lines, *details))


def _fvu_lines(scored: pd.DataFrame) -> tuple[str, ...]:
    return tuple(
        f"{series_name(rows['display_name'].iloc[0], rows['layer'].iloc[0])}: "
        + ", ".join(
            f"{_size(part)}: {number(part['fvu_heldout'].mean(), 3)} (PCA "
            f"{number(part['pca_k_fvu_heldout'].mean(), 3)})"
            for _, part in rows.groupby("sparsity")
        )
        for _, rows in scored.groupby(_SERIES, sort=False)
    )


def _size(rows: pd.DataFrame) -> str:
    """'k = 17 of 341' of SAEs that differ by seed alone."""
    return size_name(rows.iloc[0].to_dict())


def _under(points: pd.DataFrame) -> str:
    """The protocol, where it is not held-out."""
    return ", protocol paper" if is_paper(points) else ""
