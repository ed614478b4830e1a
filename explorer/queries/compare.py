"""Rows behind the Compare page: two SAEs' factors side by side, matched features, and clips that both listed."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from explorer.errors import StoreError
from explorer.match_chance import held_up_by_chance
from explorer.queries.factors import predicted
from explorer.queries.labels import shown_label
from explorer.queries.search import fetch_codes
from explorer.store import Store
from explorer.text import count, number, whole

MIN_ACTIVE = 10
HOLDS_R = 0.5  # a match holds up from here on, as a feature returns from here on when an SAE is trained again


def fetch_factor_pairs(store: Store, rep_a: str, rep_b: str, protocol: str) -> pd.DataFrame:
    """One row per factor scored in either: r2_a, r2_b, completeness_*, effective_codes_*, n_clips_*, reason_*."""
    return store.query(
        f"""WITH a AS (SELECT * FROM factor_scores WHERE representation_id = $a AND protocol = $protocol),
                b AS (SELECT * FROM factor_scores WHERE representation_id = $b AND protocol = $protocol)
           SELECT f.factor_index, f.name, f.display_name, f.factor_group, f.unit,
                  a.r2 AS r2_a, b.r2 AS r2_b,
                  {predicted("a")} AS is_predicted_a, {predicted("b")} AS is_predicted_b,
                  a.r2_permuted AS r2_permuted_a, b.r2_permuted AS r2_permuted_b,
                  a.effective_codes AS effective_codes_a, b.effective_codes AS effective_codes_b,
                  a.completeness AS completeness_a, b.completeness AS completeness_b,
                  a.n_clips AS n_clips_a, b.n_clips AS n_clips_b, a.reason AS reason_a, b.reason AS reason_b
           FROM factors f LEFT JOIN a USING (factor_index) LEFT JOIN b USING (factor_index)
           WHERE a.factor_index IS NOT NULL OR b.factor_index IS NOT NULL ORDER BY f.factor_index""",  # noqa: S608
        {"a": rep_a, "b": rep_b, "protocol": protocol},
    )


def fetch_matched_pairs(store: Store, sae_a: str, sae_b: str) -> pd.DataFrame:
    """Every feature of A that has a match in B, with its best one.

    First those in which both are active on MIN_ACTIVE clips or more and a held-out r is defined (two features that
    share their only clip have r = 1), of these the ones that hold up, and each time the strongest on training clips
    before the others.
    feature, other_feature, r_train (chosen on), r_heldout (NULL when undefined), kind, is_rare (under MIN_ACTIVE), and
    both features' shown labels and densities. Matching is by activation on the same clips; decoder directions of two
    models cannot be compared.
    """
    rows = store.query(
        f"""SELECT m.feature, m.other_feature, m.r_train, m.r_heldout, m.kind,
                  {shown_label("x")} AS label_a, x.density AS density_a,
                  {shown_label("y")} AS label_b, y.density AS density_b,
                  coalesce(least(x.n_active, y.n_active) < {MIN_ACTIVE}, false) AS is_rare
           FROM (SELECT * FROM feature_matches WHERE sae_id = $a AND other_sae_id = $b
                 QUALIFY rank = min(rank) OVER (PARTITION BY feature)) m
           LEFT JOIN features x ON x.sae_id = $a AND x.feature = m.feature
           LEFT JOIN features y ON y.sae_id = $b AND y.feature = m.other_feature
           ORDER BY m.r_train DESC, m.feature""",  # noqa: S608
        {"a": sae_a, "b": sae_b},
    )
    order = np.lexsort((~holds_up(rows), rows["r_heldout"].isna(), rows["is_rare"].astype(bool)))
    return rows.iloc[order].reset_index(drop=True)


def holds_up(rows: pd.DataFrame) -> pd.Series:
    """Which matches reach HOLDS_R on the training clips and, in the same direction, on the held-out ones."""
    r_train, r_heldout = rows["r_train"].astype(float), rows["r_heldout"].astype(float)
    return (r_train.abs() >= HOLDS_R) & (r_heldout * np.sign(r_train) >= HOLDS_R)


def strong_matches(rows: pd.DataFrame) -> pd.DataFrame:
    """Of `fetch_matched_pairs` those that can hold up: HOLDS_R at least on training clips, active on MIN_ACTIVE clips,
    with an r on the held-out clips."""
    told = rows[rows["r_heldout"].notna()]
    return told[(told["r_train"].abs() >= HOLDS_R) & ~told["is_rare"].astype(bool)]


def fetch_match_chance(store: Store, sae_a: str, sae_b: str) -> pd.DataFrame:
    """One row: how many strong matches exchanged activations let hold up (by_chance, NaN where `why` says why not)."""
    strong = strong_matches(fetch_matched_pairs(store, sae_a, sae_b))
    saes = store.query(
        "SELECT sae_id, level, n_features, protocol, codes_by_clip_file FROM saes WHERE sae_id IN (?, ?)",
        [sae_a, sae_b],
    ).set_index("sae_id", drop=False)
    n_a, n_b = (int(saes.loc[sae_id, "n_features"]) for sae_id in (sae_a, sae_b))
    strong = strong[strong["feature"].between(0, n_a - 1) & strong["other_feature"].between(0, n_b - 1)]
    part = "paper_split = 'test'" if saes.loc[sae_a, "protocol"] == "paper" else "split = 'held-out'"
    clips = store.query(f"SELECT clip_index, group_id FROM clips WHERE {part} ORDER BY clip_index")  # noqa: S608
    by_chance, why = None, "" if len(strong) else "there is no strong match"
    if not why:
        try:
            codes = [fetch_codes(store, saes.loc[sae_id].to_dict())[clips["clip_index"]] for sae_id in (sae_a, sae_b)]
        except StoreError:  # not stored, or not of these clips and features
            why = "their activations cannot be read"
        else:
            signs = np.sign(strong["r_train"].to_numpy(np.float64))
            pair = (codes[0][:, strong["feature"]], codes[1][:, strong["other_feature"]])
            by_chance = held_up_by_chance(*pair, signs, clips["group_id"].to_numpy(), bar=HOLDS_R)
            why = "" if by_chance is not None else "there are too few of them to exchange"
    return pd.DataFrame({"by_chance": [float("nan") if by_chance is None else by_chance], "why": [why]})


def held_words(rows: pd.DataFrame, n_heldout: object, by_chance: float | None = None, why: str = "") -> str:
    """How many of the matches (of `fetch_matched_pairs`) hold up on the held-out clips, in one sentence, beside what
    `fetch_match_chance` says."""
    strong, bar = strong_matches(rows), number(HOLDS_R, 1)
    if rows["r_heldout"].isna().all():
        return "Whether a match holds up cannot be told: no matched feature varies over the held-out clips."
    if strong.empty:
        return f"No feature of A has a match in B to speak of: none reaches r {bar} on the training clips."
    n = int(holds_up(strong).sum())
    of, clips = count(len(strong), "match", "matches"), f"the {count(n_heldout, 'held-out clip')}"
    if not n:
        return f"No match holds up: of {of} of r {bar} or more on the training clips, none reaches that on {clips}."
    reached = f"{n} of {of} of r {bar} or more on the training clips {'reach' if n > 1 else 'reaches'} that on {clips}"
    if by_chance is None or math.isnan(by_chance):
        return f"Whether matches hold up cannot be told from chance{f' ({why})' if why else ''}: {reached}."
    if n <= by_chance:
        return f"No more matches hold up than by chance: {reached}, and {whole(by_chance)} would with clips exchanged."
    return (
        f"{n} of {of} of r {bar} or more on the training clips {'hold' if n > 1 else 'holds'} up on {clips} "
        f"(chance reaches {whole(by_chance)})."
    )


def fetch_match_partners(store: Store, sae_id: str) -> pd.DataFrame:
    """Which other SAEs hold stored matches of this one: other_sae_id, kind, n_features."""
    return store.query(
        """SELECT other_sae_id, kind, count(DISTINCT feature)::INTEGER AS n_features FROM feature_matches
           WHERE sae_id = $sae GROUP BY ALL ORDER BY kind, other_sae_id""",
        {"sae": sae_id},
    )


def fetch_pair_clips(
    store: Store, sae_a: str, feature_a: int, sae_b: str, feature_b: int, limit: int = 10
) -> pd.DataFrame:
    """Clips listed as top clips of either feature, with both activations where the store lists them.

    clip_index, clip_id, title, group_id, duration_s, value_a, value_b (NULL: not listed for that feature), is_playable.
    """
    return store.query(
        """WITH listed AS (
               SELECT clip_index, max(CASE WHEN sae_id = $sae_a AND feature = $fa THEN value END) AS value_a,
                      max(CASE WHEN sae_id = $sae_b AND feature = $fb THEN value END) AS value_b,
                      min(rank) FILTER (kind = 'top') AS best_rank
               FROM listed_clips
               WHERE (sae_id = $sae_a AND feature = $fa) OR (sae_id = $sae_b AND feature = $fb) GROUP BY clip_index)
           SELECT c.clip_index, c.clip_id, c.title, c.label, c.group_id, c.duration_s, c.is_playable, value_a, value_b
           FROM listed JOIN clips c USING (clip_index) WHERE best_rank IS NOT NULL
           ORDER BY (value_a IS NOT NULL AND value_b IS NOT NULL) DESC, best_rank, c.clip_index LIMIT $limit""",
        {"sae_a": sae_a, "fa": feature_a, "sae_b": sae_b, "fb": feature_b, "limit": limit},
    )
