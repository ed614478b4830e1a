"""The paper's claims tested on what this store holds, each in one sentence with its numbers and its n.

Rows in, sentences out; a claim that the rows cannot settle says why. The claims are those of arXiv 2509.24793.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pandas as pd

from explorer.intervals import t_interval
from explorer.naming import sae_title, size_name
from explorer.queries.curves import fetch_layer_probe_groups, fetch_sae_points
from explorer.queries.labels import shown_label
from explorer.queries.names import NAMED_ENCODERS
from explorer.queries.selection import newest_recipe, one_protocol, scored_layer_probes, trained
from explorer.store import Store
from explorer.text import capitalised, commonest, count, is_defined, number, series_name, signed

HOLDS, FAILS, MIXED, UNSAID = "holds here", "does not hold here", "holds in part", "not testable here"
DROP_LIMIT = 0.10
IN_SAMPLE = "in-sample (protocol paper: scored on the clips it was fitted on, where noise alone scores well)"
_SERIES = ["encoder_id", "layer", "method", "level", "n_features", "protocol"]


@dataclass(frozen=True)
class Claim:
    """One claim: what is asked, the verdict (one of four), a sentence with its numbers, lines of detail, a page."""

    title: str
    verdict: str
    sentence: str
    details: tuple[str, ...] = ()
    page: str = "sparsity"
    params: Mapping[str, str] = field(default_factory=dict)


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
    of_saes = [
        claim_codes_keep_accuracy(points),
        claim_factors_recoverable(recovery, is_in_sample=_is_paper(points) and bool(len(_in_sample(store)))),
        claim_completeness_rises(points),
        claim_reconstruction(points),
    ]
    if older:
        words = f" {count(older, 'SAE')} of an older recipe left out."
        of_saes = [replace(c, sentence=c.sentence + words) if c.verdict != UNSAID else c for c in of_saes]
    heldout = fetch_layer_probe_groups(store, label_name, "held-out")
    return [claim_best_layer(*scored_layer_probes(store, label_name), heldout), *of_saes]


def _is_paper(points: pd.DataFrame) -> bool:
    return len(points) > 0 and bool((points["protocol"] == "paper").all())


def _in_sample(store: Store) -> pd.DataFrame:
    return store.query(
        "SELECT factor_index FROM factor_scores JOIN saes ON sae_id = representation_id "
        "WHERE factor_scores.protocol = 'paper' AND r2 IS NOT NULL LIMIT 1"
    )


def fetch_recovery(store: Store) -> pd.DataFrame:
    """Held out, per codes and dense states: factors scored, undefined, above permuted (and the best), top-10 mean."""
    return store.query(
        f"""WITH ranked AS (
               SELECT r.kind, r.encoder_id, r.layer, r.n_dims, s.*, f.display_name AS factor, row_number() OVER (
                          PARTITION BY s.representation_id ORDER BY s.r2 DESC NULLS LAST) AS place
               FROM factor_scores s JOIN representations r USING (representation_id) JOIN factors f USING (factor_index)
               WHERE s.protocol = 'held-out' AND r.kind IN ('codes', 'dense'))
           SELECT ranked.representation_id, kind, encoder_id, e.display_name, e.is_trained, ranked.layer,
                  t.sparsity, t.seed, t.k, t.n_features, t.level, t.method, t.protocol,
                  coalesce(t.is_reference, false) AS is_reference, any_value(n_dims) AS n_dims,
                  count(r2)::INTEGER AS n_scored, count(*) FILTER (r2 IS NULL)::INTEGER AS n_undefined,
                  count(*) FILTER (r2 > 0 AND r2 > r2_permuted)::INTEGER AS n_above,
                  count(*) FILTER (r2 >= 0.7 AND r2 > r2_permuted)::INTEGER AS n_over_070,
                  avg(r2) FILTER (place <= 10) AS r2_top10,
                  max(r2) FILTER (r2 > 0 AND r2 > r2_permuted) AS r2_best,
                  arg_max(factor, r2) FILTER (r2 > 0 AND r2 > r2_permuted) AS best_factor,
                  max(n_clips) AS n_clips, max(n_groups) AS n_groups
           FROM ranked JOIN {NAMED_ENCODERS} e USING (encoder_id)
           LEFT JOIN saes t ON t.sae_id = ranked.representation_id
           GROUP BY ALL ORDER BY e.display_name, ranked.layer, kind, t.sparsity, t.seed"""  # noqa: S608 - the names are code
    )


def claim_best_layer(probes: pd.DataFrame, protocol: str, heldout: pd.DataFrame) -> Claim:
    """Whether a layer before the last says more about the label than the last, by encoder.

    `probes` of one protocol choose the layer; `heldout`, rows of `fetch_layer_probe_groups` under protocol held-out,
    test it: the paired t interval over groups of its accuracy above the last layer's must exclude 0. Some layer is
    always the best of the others by chance.
    """
    title = "A layer before the last predicts the label best"
    scored = probes[probes["accuracy"].notna()]
    details, n_tested, n_clear, n_silent = [], 0, 0, 0
    for encoder_id, rows in scored.groupby("encoder_id", sort=False):
        by_layer = rows.groupby("layer")["accuracy"].mean()
        if len(by_layer) < 2:
            continue
        if not by_layer.max() > rows["chance"].max():
            n_silent += 1
            continue
        last = int(by_layer.index.max())
        best = last if by_layer[last] == by_layer.max() else int(by_layer.idxmax())
        if best == last:
            n_tested += 1
            details.append(f"{rows['display_name'].iloc[0]}: the last layer, {number(by_layer[last])}")
            continue
        low, high, mean = _above_last(heldout[heldout["encoder_id"] == encoder_id], best, last)
        n_tested += is_defined(low)
        n_clear += low > 0
        test = (
            f"held out {signed(mean, 3)} ({signed(low, 3)} to {signed(high, 3)})" if is_defined(low) else "no interval"
        )
        details.append(
            f"{rows['display_name'].iloc[0]} layer {best} {number(by_layer[best])} against {number(by_layer[last])} at "
            f"layer {last}, {test}"
        )
    if not details:
        why = "no encoder has scored probes on two layers or more"
        if n_silent:
            why = f"no layer of any encoder predicts the label above chance ({number(scored['chance'].max())})"
        elif len(probes) and scored.empty:
            why = f"no layer's probe could be scored ({commonest(probes['reason'])})"
        return Claim(title, UNSAID, f"because {why}.", page="layers")
    n = scored.iloc[0]
    words = f"{protocol} accuracy{', which flatters: by file' if protocol == 'random-folds' else ''}"
    facts = (
        f"{words}; {count(n['n_clips'], 'clip')} of {count(n['n_groups'], 'group')}, "
        f"{count(n['n_classes'], 'class', 'classes')}, chance {number(n['chance'])}"
    )
    if n_silent:
        details.append(f"left out: {count(n_silent, 'encoder')} with no layer above chance")
    if not n_tested:
        sentence = f"because too few groups are held out to test it. {capitalised('; '.join(details))} ({facts})."
        return Claim(title, UNSAID, sentence, (), "layers", {"protocol": protocol})
    sentence = f"Beyond chance in {n_clear} of {count(n_tested, 'encoder')} ({facts}): {'; '.join(details)}."
    return Claim(title, _verdict(n_clear, n_tested), sentence, (), "layers", {"protocol": protocol})


def _fixed(value: float) -> str:
    return signed(value)


def _above_last(heldout: pd.DataFrame, best: int, last: int) -> tuple[float, float, float]:
    """(low, high, mean) of the paired difference by group between two layers' accuracies, over seeds' means."""
    by_group = heldout.pivot_table(index="group_id", columns="layer", values="accuracy")
    if best not in by_group or last not in by_group:
        return float("nan"), float("nan"), float("nan")
    apart = (by_group[best] - by_group[last]).dropna()
    return *t_interval(apart.to_numpy()), float(apart.mean())


def claim_codes_keep_accuracy(points: pd.DataFrame) -> Claim:
    """Whether probes on codes stay within 10 points of the dense states of their layer."""
    title = "Sparse codes keep what a probe predicts from the dense states"
    scored = points[points["accuracy"].notna() & points["dense_accuracy"].notna()]
    if scored.empty:
        why = "no SAE has probes on both its codes and the dense states"
        if "probe_reason" in points and points["accuracy"].isna().all() and points["probe_reason"].notna().any():
            why = f"no probe on codes could be scored ({commonest(points['probe_reason'])})"
        return Claim(title, UNSAID, f"because {why}.")
    testable = scored[scored["dense_accuracy"] > scored["chance"] + DROP_LIMIT]
    if testable.empty:
        return Claim(
            title,
            UNSAID,
            f"because no dense probe is more than 10 points above chance ({number(scored['chance'].iloc[0])}): "
            f"there is nothing to keep (best dense accuracy {number(scored['dense_accuracy'].max())}, "
            f"{count(scored['probe_n_clips'].iloc[0], 'clip')}).",
        )
    change = testable["accuracy"] - testable["dense_accuracy"]
    kept = int((change >= -DROP_LIMIT).sum())
    worst = testable.loc[change.idxmin()]
    sentence = (
        f"{kept} of {count(len(testable), 'SAE')} keep accuracy within 10 points: median change "
        f"{signed(100 * change.median(), 1)} points, worst {signed(100 * change.min(), 1)} "
        f"({sae_title(worst.to_dict())}). "
        f"Scored on {count(testable['probe_n_clips'].iloc[0], 'clip')} of "
        f"{count(testable['probe_n_groups'].iloc[0], 'group')}{_under(points)}."
    )
    left_out = len(scored) - len(testable)
    if left_out:
        sentence += f" {count(left_out, 'SAE')} left out: their dense probe is not 10 points above chance."
    details = tuple(
        f"{series_name(rows['display_name'].iloc[0], rows['layer'].iloc[0])}: dense "
        f"{number(rows['dense_accuracy'].iloc[0])}; codes "
        + ", ".join(f"{number(part['accuracy'].mean())} at {_size(part)}" for _, part in rows.groupby("sparsity"))
        for _, rows in testable.groupby(_SERIES, sort=False)
    )
    return Claim(title, _verdict(kept, len(testable)), sentence, details)


def claim_factors_recoverable(recovery: pd.DataFrame, *, is_in_sample: bool = False) -> Claim:
    """Whether acoustic factors can be predicted from codes, held out, better than from permuted targets.

    `is_in_sample`: the store has no other scores than protocol paper's, which cannot tell.
    """
    title = "Acoustic factors can be predicted from the codes"
    codes = recovery[(recovery["kind"] == "codes") & (recovery["n_scored"] > 0)]
    if codes.empty:
        why = "no factor was scored from codes"
        if (recovery["kind"] == "codes").any():
            why = "every factor is undefined, held out, from every SAE's codes: the Factors page names the reasons"
        elif is_in_sample:
            why = f"factors were scored only {IN_SAMPLE}"
        return Claim(title, UNSAID, f"because {why}.", page="factors")
    best = codes.loc[codes["n_above"].idxmax()]
    details = []
    for rows in codes[codes["is_reference"]].to_dict("records"):
        dense = recovery[
            (recovery["kind"] == "dense")
            & (recovery["encoder_id"] == rows["encoder_id"])
            & (recovery["layer"] == rows["layer"])
        ]
        beside = f"; dense states {number(dense['r2_top10'].iloc[0])}" if len(dense) else ""
        details.append(
            f"{sae_title(rows)}: {rows['n_above']} of "
            f"{count(rows['n_scored'], 'factor')} above permuted, mean R² of its top 10 "
            f"{number(rows['r2_top10'])}{beside}"
        )
    top = f" best: {best['best_factor']} {number(best['r2_best'])};" if best["n_above"] else ""
    sentence = (
        f"Up to {best['n_above']} of {count(best['n_scored'], 'factor')} are predictable on unseen groups "
        f"({sae_title(best.to_dict())}; "
        f"{best['n_over_070']} of them reach R² 0.7;{top} "
        f"{best['n_undefined']} undefined). Scored on {count(best['n_clips'], 'clip')} of "
        f"{count(best['n_groups'], 'group')}."
    )
    verdict = FAILS if best["n_above"] == 0 else HOLDS if best["n_above"] >= best["n_scored"] / 2 else MIXED
    return Claim(title, verdict, sentence, tuple(details), "factors", {"sae": str(best["representation_id"])})


def claim_completeness_rises(points: pd.DataFrame) -> Claim:
    """Whether completeness at the highest sparsity is above that at the lowest, within one width; codes beside it."""
    title = "Completeness rises with sparsity"
    details, rising, undefined = [], 0, int(points["completeness"].isna().sum())
    ends: list[pd.DataFrame] = []
    for _, rows in points[points["completeness"].notna()].groupby(_SERIES, sort=False):
        by = rows.groupby("sparsity")[["completeness", "effective_codes"]].mean()
        if len(by) < 2:
            continue
        first, last = by.iloc[0], by.iloc[-1]
        sizes = [_size(rows[rows["sparsity"] == by.index[place]]) for place in (0, -1)]
        ends.append(by.iloc[[0, -1]].set_axis(["first", "last"]))
        rising += bool(last["completeness"] > first["completeness"])
        details.append(
            f"{series_name(rows['display_name'].iloc[0], rows['layer'].iloc[0])}: "
            f"{number(first['completeness'])} at {sizes[0]} to "
            f"{number(last['completeness'])} at {sizes[1]}; effective codes "
            f"{number(first['effective_codes'], 1)} to {number(last['effective_codes'], 1)}"
        )
    if not details:
        why = f"{undefined} of {count(len(points), 'SAE')} have no completeness: no factor is predicted held out"
        if _is_paper(points):
            why = f"{undefined} of {count(len(points), 'SAE')} have no completeness"
        if undefined < len(points):
            why = "no encoder and layer has it at two sparsities"
        return Claim(title, UNSAID, f"because {why}.")
    mean = pd.concat(ends).groupby(level=0).mean()
    prefix = f"Only {IN_SAMPLE}, factors not above permuted targets included. " if _is_paper(points) else ""
    sentence = (
        f"{prefix}From the lowest to the highest sparsity it rises in {rising} of "
        f"{count(len(details), 'series', 'series')}, "
        f"from {number(mean.loc['first', 'completeness'])} to {number(mean.loc['last', 'completeness'])} on average; "
        f"effective codes go from {number(mean.loc['first', 'effective_codes'], 1)} to "
        f"{number(mean.loc['last', 'effective_codes'], 1)} (top 10 factors by R²; undefined for "
        f"{count(undefined, 'SAE')})."
    )
    return Claim(title, _verdict(rising, len(details)), sentence, tuple(details))


def claim_reconstruction(points: pd.DataFrame) -> Claim:
    """Whether SAEs reconstruct held-out clips better than PCA with the same number of active components."""
    title = "SAEs reconstruct unseen clips better than PCA with k components"
    scored = points[points["fvu_heldout"].notna() & points["pca_k_fvu_heldout"].notna()]
    if scored.empty:
        return Claim(title, UNSAID, "because no SAE has a held-out FVU with one of PCA to compare it with.")
    better = int((scored["fvu_heldout"] < scored["pca_k_fvu_heldout"]).sum())
    sentence = (
        f"{better} of {count(len(scored), 'SAE')}: median FVU {number(scored['fvu_heldout'].median(), 3)} against "
        f"{number(scored['pca_k_fvu_heldout'].median(), 3)} of PCA, on "
        f"{count(scored['n_heldout_clips'].iloc[0], 'held-out clip')}{_under(points)}. "
        "On few pooled clips PCA is hard to beat."
    )
    details = tuple(
        f"{series_name(rows['display_name'].iloc[0], rows['layer'].iloc[0])}: "
        + ", ".join(
            f"{_size(part)}: {number(part['fvu_heldout'].mean(), 3)} (PCA "
            f"{number(part['pca_k_fvu_heldout'].mean(), 3)})"
            for _, part in rows.groupby("sparsity")
        )
        for _, rows in scored.groupby(_SERIES, sort=False)
    )
    return Claim(title, _verdict(better, len(scored)), sentence, details)


def _size(rows: pd.DataFrame) -> str:
    """'k = 17 of 341' of SAEs that differ by seed alone."""
    return size_name(rows.iloc[0].to_dict())


def _under(points: pd.DataFrame) -> str:
    """The protocol, where it is not held-out."""
    return ", protocol paper" if _is_paper(points) else ""


def _verdict(n_true: int, n: int) -> str:
    return HOLDS if n_true == n else FAILS if n_true == 0 else MIXED


def fetch_first_looks(store: Store, limit: int = 6) -> pd.DataFrame:
    """Features worth hearing first, of reference SAEs: those whose label holds up held out (by F1), else those with
    the largest weight on a factor that beats permuted targets.

    display_name, layer, sae_id, feature, why ('label' or 'factor'), label (or the factor's name), score, r2.
    At most three of one SAE and one for each label of it; one of each label before a second of any.
    """
    return store.query(
        f"""WITH asked AS (
               SELECT * FROM features WHERE sae_id IN (SELECT sae_id FROM saes WHERE is_reference)),
           found AS (
               SELECT f.sae_id, f.feature, 'label' AS why, {shown_label("f")} AS label, f.label_f1 AS score,
                    NULL::DOUBLE AS r2
               FROM asked f WHERE f.label_is_shown AND f.label_f1 IS NOT NULL
               UNION ALL
               SELECT f.sae_id, f.feature, 'factor', g.display_name, f.best_factor_weight, s.r2
               FROM asked f JOIN factors g ON f.best_factor IN (g.name, g.display_name)
               JOIN factor_scores s ON s.representation_id = f.sae_id AND s.factor_index = g.factor_index
                    AND s.protocol = 'held-out' AND s.r2 > 0 AND s.r2 > s.r2_permuted
               WHERE f.best_factor_weight IS NOT NULL AND f.n_groups_active >= 2),
           one AS (
               SELECT *, row_number() OVER (PARTITION BY sae_id, why, label ORDER BY abs(score) DESC, feature) AS place
               FROM found),
           few AS (
               SELECT *, row_number() OVER (PARTITION BY sae_id ORDER BY why = 'label' DESC,
                                            coalesce(r2, 1) * abs(score) DESC, feature) AS turn
               FROM one WHERE place = 1)
           SELECT e.display_name, t.layer, few.* EXCLUDE (place, turn)
           FROM few JOIN saes t USING (sae_id) JOIN {NAMED_ENCODERS} e USING (encoder_id)
           WHERE turn <= 3
           ORDER BY coalesce(e.is_trained, true) DESC, why = 'label' DESC,
                    row_number() OVER (PARTITION BY coalesce(e.is_trained, true), why, label
                                       ORDER BY coalesce(r2, 1) * abs(score) DESC, sae_id, feature),
                    coalesce(r2, 1) * abs(score) DESC, sae_id, feature LIMIT $limit""",  # noqa: S608 - the names are code
        {"limit": limit},
    )
