"""The paper's claims about acoustic factors: whether codes predict them, and on how few codes each hangs."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from explorer.claim_tests import MAX_DEAD, completeness_over_live, mean_difference
from explorer.intervals import MIN_GROUPS_FOR_INTERVAL
from explorer.naming import sae_title, size_name
from explorer.queries.factors import acoustic
from explorer.queries.names import NAMED_ENCODERS
from explorer.store import Store
from explorer.text import count, number, percent, sentence, series_name, signed
from explorer.verdicts import (
    ALPHA,
    FAILS,
    HOLDS,
    MARGINS,
    MIXED,
    UNSAID,
    Claim,
    counted,
    judge,
    level_of,
    together,
    too_few,
)

IN_SAMPLE = "in-sample (protocol paper: scored on the clips it was fitted on, where noise alone scores well)"
N_TOP = 10
_SERIES = ["encoder_id", "layer", "method", "level", "n_features", "protocol"]
_OF = ["representation_id", "kind", "encoder_id", "display_name", "is_trained", "layer", "sparsity", "seed", "k"]
_OF += ["n_features", "level", "method", "protocol", "is_reference", "n_dims"]
_MADE = ["n_scored", "n_undefined", "n_above", "p_above", "is_tested", "n_untestable", "n_over_070", "r2_median"]
_MADE += ["floor_median", "r2_top10", "r2_best", "best_factor", "n_clips", "n_groups"]
TOLD_FROM = 0.1  # R2 that has to be told from chance before "none is predicted" says anything
_PREDICTED = "Acoustic factors can be predicted from the codes"
_RISES = "Completeness rises with sparsity"


def is_paper(points: pd.DataFrame) -> bool:
    """Whether all these SAEs are of protocol paper."""
    return len(points) > 0 and bool((points["protocol"] == "paper").all())


def has_in_sample(store: Store) -> bool:
    """Whether factors were scored from codes under protocol paper."""
    rows = store.query(
        "SELECT factor_index FROM factor_scores JOIN saes ON sae_id = representation_id "
        "WHERE factor_scores.protocol = 'paper' AND r2 IS NOT NULL LIMIT 1"
    )
    return len(rows) > 0


def fetch_recovery(store: Store) -> pd.DataFrame:
    """Held out, per codes and dense states: what its factors score.

    n_scored, n_undefined, n_above (predicted: as the store's test says; where it has none, R2 above 0 and above
    r2_permuted), p_above (their p values, NaN where there is no test), is_tested, n_untestable, n_over_070, r2_median
    and floor_median (of r2_permuted, at least 0), r2_top10, r2_best and best_factor among the predicted, n_clips,
    n_groups. R2 is out of fold over all groups where the store has it, else of the held-out ones.
    """
    rows = store.query(
        f"""SELECT r.kind, r.encoder_id, e.display_name, e.is_trained, r.layer, r.n_dims, t.sparsity,
                  t.seed AS sae_seed, t.k, t.n_features, t.level, t.method, t.protocol AS sae_protocol,
                  coalesce(t.is_reference, false) AS is_reference, f.display_name AS factor, s.*
           FROM factor_scores s JOIN representations r USING (representation_id) JOIN factors f USING (factor_index)
           JOIN {NAMED_ENCODERS} e USING (encoder_id) LEFT JOIN saes t ON t.sae_id = s.representation_id
           WHERE s.protocol = 'held-out' AND r.kind IN ('codes', 'dense') AND {acoustic("f")}
           ORDER BY e.display_name, r.layer, r.kind, t.sparsity, t.seed, s.factor_index"""  # noqa: S608 - the names are code
    )
    rows = rows.drop(columns=["seed", "protocol"]).rename(columns={"sae_seed": "seed", "sae_protocol": "protocol"})
    found = [_recovered(one) for _, one in rows.groupby("representation_id", sort=False)]
    return pd.DataFrame(found, columns=[*_OF, *_MADE])


def _recovered(rows: pd.DataFrame) -> dict[str, object]:
    empty = pd.Series(np.nan, index=rows.index)
    said = rows.get("is_predicted", empty)
    is_tested = bool(said.notna().any())
    heldout, floor = rows["r2"].astype(float), rows["r2_permuted"].astype(float)
    r2 = rows.get("r2_all", empty).astype(float).fillna(heldout)
    above = (said.fillna(False).astype(bool) if is_tested else (heldout > 0) & (heldout > floor)) & r2.notna()
    best = r2[above].idxmax() if above.any() else None
    untested = rows.get("untested", empty).notna()
    names = {name: [c for c in (name, f"n_all_{name[2:]}") if c in rows] for name in ("n_clips", "n_groups")}
    return {
        **rows.iloc[0][_OF].to_dict(),
        "n_scored": int(r2.notna().sum()),
        "n_undefined": int(r2.isna().sum()),
        "n_above": int(above.sum()),
        "p_above": tuple(rows.get("r2_p", empty)[above].astype(float)),
        "is_tested": is_tested,
        "n_untestable": int((untested & r2.notna()).sum()),
        "n_over_070": int((above & (r2 >= 0.7)).sum()),
        "r2_median": r2.median(),
        "floor_median": floor[r2.notna()].clip(lower=0).median(),
        "r2_top10": r2.nlargest(N_TOP).mean(),
        "r2_best": r2[best] if best is not None else np.nan,
        "best_factor": rows["factor"][best] if best is not None else None,
        **{name: rows[columns].max().max() for name, columns in names.items()},
    }


def claim_factors_recoverable(recovery: pd.DataFrame, *, is_in_sample: bool = False) -> Claim:
    """Whether acoustic factors can be predicted from the codes of the reference SAEs, on unseen groups.

    It holds where at least half of the factors are, from one of them; in part where any is; it does not where none is,
    most could be tested, and an R2 of TOLD_FROM would have been told from chance. `is_in_sample`: the store has no
    other scores than protocol paper's, which cannot tell.
    """
    codes = recovery[(recovery["kind"] == "codes") & (recovery["n_scored"] > 0)]
    if codes.empty:
        why = "no factor was scored from codes"
        if (recovery["kind"] == "codes").any():
            why = "every factor is undefined, held out, from every SAE's codes: the Factors page names the reasons"
        elif is_in_sample:
            why = f"factors were scored only {IN_SAMPLE}"
        return Claim(_PREDICTED, UNSAID, sentence(why), page="factors")
    references = codes[codes["is_reference"]] if codes["is_reference"].any() else codes
    counts = references.apply(_n_sure, axis=1, n_looks=len(references))
    best = references.loc[counts.idxmax()]
    n, n_scored = int(counts.max()), int(best["n_scored"])
    top = f"best: {best['best_factor']} {number(best['r2_best'])}; " if best["n_above"] else ""
    undefined = f"; {best['n_undefined']} undefined" if best["n_undefined"] else ""
    facts = (
        f"{sae_title(best.to_dict())}; {top}median R² {number(best['r2_median'])}, chance reaches "
        f"{number(best['floor_median'])}; {best['n_over_070']} reach R² 0.7{undefined}"
    )
    scored = f"Scored on {count(best['n_clips'], 'clip')} of {count(best['n_groups'], 'group')}"
    verdict, why = _predictable(best, n)
    many = f"{n or 'None'} of {count(n_scored, 'factor')}"
    words = f"{many} {'are' if n > 1 else 'is'} predictable on unseen groups from the best SAE ({facts}). {scored}."
    if verdict == UNSAID:
        above = f"{many} {'score' if n > 1 else 'scores'} above chance from the best SAE"
        words = f"{sentence(why)} {above} ({facts}). {scored}."
    details = tuple(_recovery_line(row, recovery) for row in references.to_dict("records"))
    return Claim(_PREDICTED, verdict, words, details, "factors", {"sae": str(best["representation_id"])})


def _n_sure(row: pd.Series, n_looks: int) -> int:
    """How many factors are predicted where `n_looks` SAEs are looked at together."""
    return sum(p <= ALPHA / n_looks for p in row["p_above"]) if row["is_tested"] else int(row["n_above"])


def _predictable(best: pd.Series, n: int) -> tuple[str, str]:
    """(verdict, why it is UNSAID)."""
    n_scored = int(best["n_scored"])
    if not best["n_groups"] >= MIN_GROUPS_FOR_INTERVAL:
        return UNSAID, too_few(best["n_groups"])
    if n >= n_scored / 2:
        return HOLDS, ""
    if not best["is_tested"]:
        return UNSAID, "these scores are from before factors were tested"
    if n:
        return MIXED, ""
    if best["n_untestable"] > n_scored / 2:
        return UNSAID, f"{best['n_untestable']} of {count(n_scored, 'factor')} could not be tested"
    if best["floor_median"] > TOLD_FROM:
        return UNSAID, (
            "too few clips to say that none is predictable: a factor would have to reach R² "
            f"{number(best['floor_median'])} to be told from chance"
        )
    return FAILS, ""


def _recovery_line(row: dict[str, object], recovery: pd.DataFrame) -> str:
    is_of = (recovery["encoder_id"] == row["encoder_id"]) & (recovery["layer"] == row["layer"])
    dense = recovery[is_of & (recovery["kind"] == "dense")]
    beside = f"; dense states {number(dense['r2_top10'].iloc[0])}" if len(dense) else ""
    return (
        f"{sae_title(row)}: {row['n_above']} of {count(row['n_scored'], 'factor')} predicted, mean R² of its top "
        f"{N_TOP} {number(row['r2_top10'])}{beside}"
    )


def fetch_completeness(store: Store) -> pd.DataFrame:
    """The fixed factors that each SAE predicts: sae_id, factor_index, effective_codes, n_live, n_groups, completeness
    (over the live features). The same factors for all, chosen on dense states."""
    rows = store.query(
        """SELECT t.sae_id, t.n_live, s.factor_index, s.effective_codes, s.* EXCLUDE (factor_index, effective_codes)
           FROM factor_scores s JOIN saes t ON t.sae_id = s.representation_id AND t.protocol = s.protocol
           WHERE s.is_fixed_set AND s.effective_codes IS NOT NULL ORDER BY t.sae_id, s.factor_index"""
    )
    groups = [name for name in ("n_groups", "n_all_groups") if name in rows]
    return rows[["sae_id", "factor_index", "effective_codes", "n_live"]].assign(
        n_groups=rows[groups].max(axis=1), completeness=completeness_over_live(rows["effective_codes"], rows["n_live"])
    )


def claim_completeness_rises(points: pd.DataFrame, factors: pd.DataFrame) -> Claim:
    """Whether completeness is higher at the highest sparsity than at the lowest, within one width.

    `factors`: rows of `fetch_completeness`. One fixed set of factors for all SAEs, D the live features; paired over the
    factors that both ends predict, seeds averaged. Starts that disagree in sign settle nothing.
    """
    table = factors.merge(points, on="sae_id", suffixes=("", "_sae"))
    series = [rows for _, rows in table.groupby(_SERIES, sort=False) if rows["sparsity"].nunique() > 1]
    if not series:
        why = f"{count(len(points), 'SAE')}: none predicts a factor of the fixed set at two sparsities"
        return Claim(_RISES, UNSAID, f"No completeness can be compared ({why}).")
    if not table["n_groups"].max() >= MIN_GROUPS_FOR_INTERVAL:
        return Claim(_RISES, UNSAID, sentence(too_few(table["n_groups"].max())), tuple(_rise(r)[1] for r in series))
    found = [_rise(rows, level_of(len(series))) for rows in series]
    verdicts = [verdict for verdict, _ in found]
    verdict = together(verdicts)
    words = counted(verdicts, "SAE series")
    prefix = f"Only {IN_SAMPLE}. " if is_paper(points) else ""
    n_saes, n_factors = count(table["sae_id"].nunique(), "SAE"), count(table["factor_index"].nunique(), "factor")
    words += (
        f", from the lowest to the highest sparsity: {n_factors} fixed beforehand, D = live features, {n_saes}, up to "
        f"{count(table['n_groups'].max(), 'group')}."
    )
    ends = pd.concat([rows[rows["sparsity"].isin([rows["sparsity"].min(), rows["sparsity"].max()])] for rows in series])
    ends = ends.drop_duplicates("sae_id")
    dead = ends[ends["n_dead"] > MAX_DEAD * ends["n_features"]]
    if len(dead):
        names = ", ".join(sae_title(row) for row in dead.head(3).to_dict("records"))
        more = f" and {len(dead) - 3} more" if len(dead) > 3 else ""
        words += f" Over {percent(MAX_DEAD)} of the features are dead in {names}{more}."
    return Claim(_RISES, verdict, prefix + words, tuple(line for _, line in found))


def _rise(rows: pd.DataFrame, level: float = 0.95) -> tuple[str, str]:
    """(verdict, a line of words) of one encoder, layer and width."""
    low, high = rows["sparsity"].min(), rows["sparsity"].max()
    first, last = (
        rows[rows["sparsity"] == end].pivot_table(index="factor_index", columns="seed", values="completeness")
        for end in (low, high)
    )
    apart = (last.mean(axis=1) - first.mean(axis=1)).dropna()
    found = mean_difference(apart, level)
    pairs = itertools.product(first.columns, last.columns)
    by_start = [float((last[b] - first[a]).reindex(apart.index).mean()) for a, b in pairs]
    agree = all(np.sign(one) == np.sign(found.value) for one in by_start if np.isfinite(one))
    verdict = judge(found, MARGINS["completeness rises"]) if agree else UNSAID
    both = [part.reindex(apart.index).mean(axis=1).mean() for part in (first, last)]
    sizes = [size_name(rows[rows["sparsity"] == end].iloc[0].to_dict()) for end in (low, high)]
    codes = [rows[rows["sparsity"] == end]["effective_codes"].mean() for end in (low, high)]
    ends = f" ({signed(found.low, 3)} to {signed(found.high, 3)})" if np.isfinite(found.low) else ", no interval"
    starts = (
        f"; {count(len(by_start), 'pair of starts', 'pairs of starts')} {signed(min(by_start), 3)} to "
        f"{signed(max(by_start), 3)}"
        if len(by_start) > 1
        else "; one start at each end"
    )
    line = (
        f"{series_name(rows['display_name'].iloc[0], rows['layer'].iloc[0])}: {number(both[0])} at {sizes[0]} to "
        f"{number(both[1])} at {sizes[1]}, {signed(found.value, 3)}{ends} over {count(len(apart), 'factor')}{starts}; "
        f"effective codes {number(codes[0], 1)} to {number(codes[1], 1)}"
    )
    return verdict, line
