"""What the pages of a store say, kind by kind, through the functions that the pages call.

On states of noise nothing can be told of any label, column or factor, so that every such statement is false:

| statement | false on noise |
|---|---|
| a layer before the last predicts the label best | holds, or in part. "Does not hold" is true: no layer is better |
| a layer is beyond chance (part of the same claim) | whenever it is said |
| codes keep accuracy | every verdict: it rests on dense states that are surely 10 points above chance |
| factors can be predicted | holds, or in part |
| completeness rises | every verdict: it is of factors that both ends predict |
| reconstruction beats PCA | what fresh states of the same kind contradict (it may be true) |
| where to start; shown labels; predicted factors and columns; best factors; Find; minimal pairs | whenever it is said |
| Layers: a layer's interval lies above chance | whenever it does |
| a feature's interval of r over groups leaves out 0 (of the most active feature) | whenever it does |
| a feature returns (between SAEs of states drawn apart) | whenever it is said |
| matches hold up on Compare (of layers and encoders whose states are drawn apart) | whenever it is said |

Random weights hear the sound: there only what is said of labels and columns is counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks._noise_corpora import AS_THEY_ARE, Design, sample_states, states_of
from explorer.association import associate
from explorer.claim_tests import above_guess
from explorer.intervals import MIN_GROUPS_FOR_INTERVAL
from explorer.measures import COLUMN
from explorer.minimal_pairs import paired_changes
from explorer.permutation import ALPHA
from explorer.queries.against import fetch_against, fetch_measures
from explorer.queries.claims import fetch_claims
from explorer.queries.compare import fetch_match_chance, fetch_matched_pairs, holds_up, strong_matches
from explorer.queries.corpus import fetch_saes
from explorer.queries.curves import fetch_layer_probes
from explorer.queries.factors import predicted
from explorer.queries.first_looks import fetch_first_looks, fetch_joint_limits
from explorer.queries.search import (
    fetch_attribute_values,
    fetch_attributes,
    fetch_codes,
    fetch_crossed_values,
    fetch_features_for_measure,
    fetch_features_for_value,
    fetch_pairs,
)
from explorer.queries.selection import TESTED_ON, tested_groups
from explorer.sae import load_sae
from explorer.store import Store
from explorer.verdicts import FAILS, HOLDS, MARGINS, MIXED, UNSAID, judge, level_of
from precompute.metrics import Components
from precompute.stability import stability

LABEL, READING = "label", "reading"
LEVEL_FACTOR = "equivalentSoundLevel_dBp"
N_FRESH = 4000


@dataclass(frozen=True)
class Said:
    """Statements of one kind in one store: how many could have been made, how many were, and how many of those that
    could not have been tested (`n_untestable`) were made all the same."""

    kind: str
    n: int
    n_said: int
    n_untestable: int = 0
    n_forbidden: int = 0

    @classmethod
    def of(cls, kind: str, said: NDArray[np.bool_] | list[bool], can: NDArray[np.bool_] | list[bool]) -> Said:
        is_said, could = np.asarray(said, bool), np.asarray(can, bool)
        counts = (could.sum(), (is_said & could).sum(), (~could).sum(), (is_said & ~could).sum())
        return cls(kind, *(int(count) for count in counts))


def statements(store: Store, design: Design) -> Iterator[Said]:
    """Everything that is said of a store of noise, or could have been."""
    hears_sound = design.sound == AS_THEY_ARE
    references = [dict(sae) for _, sae in fetch_saes(store).iterrows() if sae["is_reference"]]
    yield from _claims(store, design, references)
    yield _beyond_chance(store)
    yield _intervals_above_chance(store)
    yield from _labels(store)
    yield from _predicted(store, hears_sound)
    yield from _first_looks(store, hears_sound)
    yield from _found_values(store, references)
    yield from _found_measures(store, references, hears_sound)
    yield _pairs(store, references)
    yield _against(store, references, hears_sound)
    if not hears_sound:
        yield _returns(store, references)
        yield _hold_up(store)


def _claims(store: Store, design: Design, references: list[dict]) -> Iterator[Said]:
    found = {claim.title: claim.verdict for claim in fetch_claims(store, LABEL)}
    can = design.n_groups >= MIN_GROUPS_FOR_INTERVAL
    layer, codes, factors, rises, rebuilt = found.values()
    yield Said.of("claim: a layer before the last is best", [layer in (HOLDS, MIXED)], [can])
    yield Said.of("claim: codes keep accuracy", [codes != UNSAID], [can])
    if design.sound != AS_THEY_ARE:
        yield Said.of("claim: factors can be predicted", [factors in (HOLDS, MIXED)], [can])
        yield Said.of("claim: completeness rises", [rises != UNSAID], [can])
        yield Said.of("claim: reconstruction", [_is_false(rebuilt, store, design, references)], [can])


def _is_false(verdict: str, store: Store, design: Design, references: list[dict]) -> bool:
    """Whether fresh states of the same kind contradict the verdict on reconstruction."""
    if verdict == UNSAID:
        return False
    margin = MARGINS["reconstruction"]
    better = np.array([_better_than_pca(store, design, sae) for sae in references])
    if verdict == FAILS:
        return bool((better < margin.fails_below).mean() <= 0.5)
    is_better = better > margin.holds_above
    return not (is_better.all() if verdict == HOLDS else is_better.any())


def _better_than_pca(store: Store, design: Design, sae: dict) -> float:
    """FVU of PCA with k components minus that of the SAE, on many fresh states of as many groups."""
    weights, n_dims = load_sae(store.file(sae["weights_file"])), int(sae["d_model"])
    train_c = (store.query("SELECT split FROM clips ORDER BY clip_index")["split"] == "train").to_numpy()
    pca = Components.of(states_of(design, str(sae["encoder_id"]), int(sae["layer"]), n_dims)[train_c])
    fresh = sample_states(design, np.arange(N_FRESH), n_dims, np.random.default_rng(1)).astype(np.float32)
    rebuilt = weights.encode(fresh).dense() @ weights.w_dec_fd + weights.b_dec_d
    of_pca, whole = (values.sum() for values in pca.errors(fresh, int(sae["k"])))
    return float((of_pca - ((fresh - rebuilt) ** 2).sum()) / whole)


def _beyond_chance(store: Store) -> Said:
    """By encoder, as the claim on the best layer has it."""
    rows, _ = tested_groups(store, LABEL, "dense", TESTED_ON)
    encoders = [part for _, part in rows.groupby("encoder_id")]
    can = [part["group_id"].nunique() >= MIN_GROUPS_FOR_INTERVAL for part in encoders]
    said = [_is_beyond_chance(part, level_of(len(encoders))) for part in encoders]
    return Said.of("claim: a layer is beyond chance", said, can)


def _is_beyond_chance(rows: pd.DataFrame, level: float) -> bool:
    table = rows.pivot_table(index="group_id", columns="layer", values="accuracy").dropna()
    n_g, guess_g = (rows.groupby("group_id")[name].mean().reindex(table.index) for name in ("n", "chance"))
    return judge(above_guess(table.to_numpy(), guess_g, n_g, level), MARGINS["beyond chance"]) == HOLDS


def _intervals_above_chance(store: Store) -> Said:
    probes = fetch_layer_probes(store, LABEL, "all-groups")
    can = probes["n_groups"] >= MIN_GROUPS_FOR_INTERVAL
    return Said.of("Layers: an interval above chance", probes["ci_low"] > probes["chance"], can)


def _hold_up(store: Store) -> Said:
    """By pair of SAEs that are matched."""
    pairs = store.query("SELECT DISTINCT sae_id, other_sae_id FROM feature_matches WHERE kind = 'encoder' ORDER BY ALL")
    said, can = [], []
    for a, b in pairs.itertuples(index=False):
        by_chance = fetch_match_chance(store, a, b)["by_chance"].iloc[0]
        n = int(holds_up(strong_matches(fetch_matched_pairs(store, a, b))).sum())
        said.append(n > by_chance)
        can.append(not np.isnan(by_chance))
    return Said.of("Compare: matches hold up", said, can)


def _labels(store: Store) -> Iterator[Said]:
    rows = store.query(
        """SELECT is_reference, bool_or(f.label_is_shown) AS said,
                  (SELECT count(*) > 0 FROM label_nulls n WHERE n.sae_id = s.sae_id AND len(n.reached) > 0) AS can
           FROM features f JOIN saes s USING (sae_id) GROUP BY s.sae_id, is_reference ORDER BY s.sae_id"""
    )
    for is_reference, name in ((True, "reference SAE"), (False, "another SAE")):
        part = rows[rows["is_reference"] == is_reference]
        yield Said.of(f"Features: a label is shown, {name}", part["said"], part["can"])


def _predicted(store: Store, hears_sound: bool) -> Iterator[Said]:
    """One statement a representation and family: that any of the factors (of the columns) is predicted."""
    rows = store.query(
        f"""SELECT r.kind, coalesce(t.is_reference, false) AS is_reference, g.factor_group = '{COLUMN}' AS is_column,
                   bool_or(coalesce({predicted("s")}, false)) AS said, bool_or(s.r2_p IS NOT NULL) AS can
            FROM factor_scores s JOIN representations r USING (representation_id) JOIN factors g USING (factor_index)
            LEFT JOIN saes t ON t.sae_id = representation_id
            WHERE s.protocol = 'held-out' AND r.kind IN ('dense', 'codes')
            GROUP BY representation_id, r.kind, t.is_reference, is_column ORDER BY representation_id"""  # noqa: S608
    )
    for is_column, what in ((False, "a factor"), (True, "a column")):
        if hears_sound and not is_column:
            continue
        for kind, is_reference, where in (
            ("dense", False, "dense states"),
            ("codes", True, "reference SAE"),
            ("codes", False, "another SAE"),
        ):
            at = (rows["kind"] == kind) & (rows["is_reference"] == is_reference) & (rows["is_column"] == is_column)
            yield Said.of(f"Factors: {what} predicted, {where}", rows[at]["said"], rows[at]["can"])
    if not hears_sound:
        best = store.query(
            "SELECT s.sae_id, bool_or(f.best_factor IS NOT NULL) AS said FROM features f JOIN saes s USING (sae_id) "
            "WHERE is_reference GROUP BY s.sae_id ORDER BY s.sae_id"
        )
        can = rows[(rows["kind"] == "codes") & rows["is_reference"] & ~rows["is_column"]]["can"]
        yield Said.of("Features: a best factor", best["said"], can)


def _first_looks(store: Store, hears_sound: bool) -> Iterator[Said]:
    """One statement a store, since the list is of all its SAEs."""
    why = set(fetch_first_looks(store)["why"])
    tested = store.query(
        """SELECT count(*) AS n FROM factor_scores s JOIN saes t ON t.sae_id = s.representation_id
           WHERE is_reference AND s.protocol = 'held-out' AND r2_p IS NOT NULL"""
    )
    yield Said.of("Where to start: a label", ["label" in why], [bool(fetch_joint_limits(store))])
    if not hears_sound:
        yield Said.of("Where to start: a factor", ["factor" in why], [bool(tested["n"].iloc[0])])


def _found_values(store: Store, references: list[dict]) -> Iterator[Said]:
    """The first value of the label and of each column that clips share; groups are left out: states may know them."""
    attributes = fetch_attributes(store)
    for role in ("label", "attribute"):
        found = [
            _search(fetch_features_for_value(store, sae, name, fetch_attribute_values(store, name)["value"].iloc[0]))
            for sae in references
            for name in attributes[attributes["role"] == role]["name"]
        ]
        what = "the label" if role == "label" else "a column"
        yield Said.of(f"Find: a value of {what}", [said for said, _ in found], [can for _, can in found])


def _found_measures(store: Store, references: list[dict], hears_sound: bool) -> Iterator[Said]:
    measures = fetch_measures(store)
    own = measures[measures["kind"] == COLUMN]
    level = measures[measures["name"] == LEVEL_FACTOR]
    for rows, what in ((own, "a column"), (level, "a factor")):
        if hears_sound and what == "a factor":
            continue
        found = [
            _search(fetch_features_for_measure(store, sae, kind, name))
            for sae in references
            for kind, name in rows[["kind", "name"]].itertuples(index=False)
        ]
        yield Said.of(f"Find: a measure, {what}", [said for said, _ in found], [can for _, can in found])


def _search(rows: pd.DataFrame) -> tuple[bool, bool]:
    """(whether a feature goes beyond chance, whether one could)."""
    return bool((rows["p"] <= ALPHA).any()), bool(len(rows)) and rows["reason"].isna().all()


def _pairs(store: Store, references: list[dict]) -> Said:
    """Of the label's two values with the most minimal pairs within a group."""
    crossed = fetch_crossed_values(store)
    said, can = [], []
    for _, one, other in crossed[crossed["name"] == LABEL].itertuples(index=False):
        pairs = fetch_pairs(store, LABEL, one, other)
        pairs = pairs[pairs["group_id"].notna()]
        for sae in references if len(pairs) else ():
            codes = fetch_codes(store, sae)
            found = paired_changes(codes[pairs["clip_other"]] - codes[pairs["clip_one"]], pairs["group_id"])
            said.append(bool((found.p <= ALPHA).any()))
            can.append(found.reason is None)
    return Said.of("Find: a change within minimal pairs", said, can)


def _against(store: Store, references: list[dict], hears_sound: bool) -> Said:
    """The feature of each reference SAE that is active most, beside the reading and, on noise, the sound's level."""
    measures = fetch_measures(store)
    names = [READING] if hears_sound else [READING, LEVEL_FACTOR]
    said, can = [], []
    for sae in references:
        live = store.query(
            "SELECT feature FROM features WHERE sae_id = ? ORDER BY n_active DESC, feature LIMIT 1", [sae["sae_id"]]
        )
        for kind, name in measures[measures["name"].isin(names)][["kind", "name"]].itertuples(index=False):
            rows = fetch_against(store, sae, int(live["feature"].iloc[0]), kind, name)
            rows = rows[rows["measured"].notna()]
            found = associate(rows["value"], rows["measured"], rows["group_id"])
            said.append(found.low > 0 or found.high < 0)
            can.append(found.n_groups >= MIN_GROUPS_FOR_INTERVAL and np.isfinite(found.low))
    return Said.of("Features: an interval of r leaves out 0", said, can)


def _returns(store: Store, references: list[dict]) -> Said:
    """One statement a feature: that it is in the SAE of another layer too, whose states were drawn apart."""
    parts = store.query("SELECT split FROM clips ORDER BY clip_index")["split"].to_numpy()
    codes = [fetch_codes(store, sae) for sae in references[:2]]
    found = stability(codes, [None] * len(codes), parts == "train", parts == "held-out")
    returns = np.concatenate([one.n_returns for one in found])
    return Said.of("Stability: a feature returns", returns > 0, np.isfinite(returns))


def what_is_found(store: Store) -> dict[str, bool]:
    """Of a store whose states hold label 'a', the reading and the level of the sound: what of it its pages say."""
    sae = next(dict(sae) for _, sae in fetch_saes(store).iterrows() if sae["is_reference"])
    shown = store.query(
        "SELECT count(*) AS n FROM features JOIN saes USING (sae_id) "
        "WHERE is_reference AND label_is_shown AND label = 'a'"
    )
    scores = store.query(
        f"""SELECT g.name, r.kind FROM factor_scores s JOIN factors g USING (factor_index)
            JOIN representations r USING (representation_id) LEFT JOIN saes t ON t.sae_id = representation_id
            WHERE s.protocol = 'held-out' AND (r.kind = 'dense' OR t.is_reference) AND {predicted("s")}"""  # noqa: S608
    )
    return {
        "label shown": bool(shown["n"].iloc[0]),
        "a layer beyond chance": _beyond_chance(store).n_said > 0,
        "column predicted": f"{COLUMN}.{READING}" in set(scores["name"]),
        "factor predicted": LEVEL_FACTOR in set(scores["name"]),
        "Find: value": _search(fetch_features_for_value(store, sae, LABEL, "a"))[0],
        "Find: column": _search(fetch_features_for_measure(store, sae, COLUMN, READING))[0],
    }
