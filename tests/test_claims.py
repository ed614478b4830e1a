"""The paper's claims as sentences: every verdict on hand-made rows, and what a real and an empty store say."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from explorer.claim_tests import completeness_over_live
from explorer.queries import claims, factor_claims, selection
from explorer.store import Store, open_store
from explorer.verdicts import FAILS, HOLDS, MIXED, UNSAID, Claim
from tests.hand_store import write_scored_store
from tests.mixed_store import mixed_tables, one_group, paper_only, write_tables

NAN = float("nan")


def point(**changes: object) -> dict[str, object]:
    row: dict[str, object] = {
        "encoder_id": "e", "display_name": "HuBERT", "layer": 3, "method": "sound", "level": "clip", "n_features": 100,
        "protocol": "held-out", "sparsity": 0.75, "seed": 0, "accuracy": 0.7, "dense_accuracy": 0.75, "chance": 0.2,
        "probe_n_clips": 40, "probe_n_groups": 4, "completeness": 0.5, "effective_codes": 10.0, "fvu_heldout": 0.3,
        "pca_k_fvu_heldout": 0.2, "n_heldout_clips": 40,
    }  # fmt: skip
    row |= changes
    return {"k": round((1 - row["sparsity"]) * row["n_features"]), **row}  # type: ignore[operator]


def groups_of(
    representation: str, accuracy: float, *, n_groups: int = 10, layer: int = 3, **other: object
) -> pd.DataFrame:
    """Rows of `fetch_probe_groups`: accuracies about one number, a little apart in each group."""
    noise = np.random.default_rng(len(representation)).normal(0, 0.01, n_groups)
    rows = [
        {"probe_id": f"p{representation}", "representation_id": representation, "encoder_id": "e",
         "display_name": "HuBERT", "layer": layer, "seed": 0, "n_classes": 5, "group_id": f"g{g}",
         "accuracy": accuracy + noise[g], "n": 20, "chance": 0.2, "is_sae_blind": True, **other}
        for g in range(n_groups)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def keep(*saes: tuple[float, float], dense: float = 0.75, n_groups: int = 10, **other: object) -> Claim:
    """The claim about SAEs, each of (sparsity, accuracy)."""
    points = pd.DataFrame([point(sae_id=f"s{i}", sparsity=s, **other) for i, (s, _) in enumerate(saes)])
    codes = pd.concat([groups_of(f"s{i}", a, n_groups=n_groups) for i, (_, a) in enumerate(saes)])
    return claims.claim_codes_keep_accuracy(points, codes, groups_of("e.L03", dense, n_groups=n_groups), "held-out")


def test_codes_keep_accuracy_has_all_its_verdicts() -> None:
    assert keep((0.75, 0.7)).verdict == HOLDS
    mixed = keep((0.75, 0.7), (0.99, 0.5))
    assert mixed.verdict == MIXED and mixed.sentence.startswith(
        "It holds for 1 of 2 reference SAEs and does not hold for 1"
    )
    assert "worst −25" in mixed.sentence and "(HuBERT L3 · k = 1 of 100 · seed 0)" in mixed.sentence
    assert "200 clips of 10 groups" in mixed.sentence
    assert mixed.details == ("HuBERT L3: dense 0.75; codes 0.50 at k = 1 of 100, 0.70 at k = 25 of 100",) or (
        "dense 0.75; codes 0.70 at k = 25 of 100, 0.50 at k = 1 of 100" in mixed.details[0]
    )
    assert keep((0.99, 0.5)).verdict == FAILS
    near = keep((0.9, 0.65))
    assert near.verdict == UNSAID and near.sentence.startswith("The one reference SAE does not settle it; the bar")
    nothing = pd.DataFrame(columns=groups_of("s0", 0.5).columns)
    none = claims.claim_codes_keep_accuracy(
        pd.DataFrame([point(sae_id="s0", accuracy=NAN)]), nothing, nothing, "held-out"
    )
    assert none.verdict == UNSAID and none.sentence.startswith("No SAE has probes")


def test_the_reference_saes_speak_for_the_claim() -> None:
    points = pd.DataFrame(
        [point(sae_id="s0", is_reference=True), point(sae_id="s1", sparsity=0.99, is_reference=False)]
    )
    codes = pd.concat([groups_of("s0", 0.7), groups_of("s1", 0.3)])
    claim = claims.claim_codes_keep_accuracy(points, codes, groups_of("e.L03", 0.75), "held-out")
    assert claim.verdict == HOLDS and "worst −45" in claim.sentence


def test_nothing_is_kept_where_there_was_nothing_to_keep() -> None:
    claim = keep((0.75, 0.25), dense=0.25)
    assert claim.verdict == UNSAID
    assert claim.sentence.startswith("There is nothing to keep") and "chance (0.20;" in claim.sentence


@pytest.mark.parametrize("n_groups", [2, 7])
def test_nothing_is_judged_on_few_groups(n_groups: int) -> None:
    kept = keep((0.75, 0.75), n_groups=n_groups)
    best = claims.claim_best_layer(by_layer({0: 0.9, 1: 0.5}, n_groups=n_groups), "held-out")
    errors = pd.DataFrame([{"sae_id": "s0", "group_id": f"g{g}", "sse": 1.0, "sse_pca_k": 9.0, "sst": 10.0}
                           for g in range(n_groups)])  # fmt: skip
    pca = claims.claim_reconstruction(pd.DataFrame([point(sae_id="s0", fvu_heldout=0.1)]), errors)
    rises = factor_claims.claim_completeness_rises(*completeness_of({0.75: 0.4, 0.99: 0.6}, n_groups=n_groups))
    for claim in (kept, best, pca, rises):
        assert claim.verdict == UNSAID
        assert claim.sentence.startswith(f"There are too few groups to judge by: {n_groups}, where 8 are needed.")


def completeness_of(
    by_sparsity: dict[float, float],
    *,
    n_groups: int = 20,
    n_factors: int = 10,
    spread: float = 0.05,
    n_dead: int = 0,
    noise: float = 0.02,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(points, rows of `fetch_completeness`) of one series; each factor has its own completeness about the mean."""
    points = pd.DataFrame([point(sae_id=f"s{s}", sparsity=s, n_dead=n_dead) for s in by_sparsity])
    own = np.random.default_rng(0).normal(0, spread, n_factors)
    jitter = np.random.default_rng(1).normal(0, noise, (len(by_sparsity), n_factors))
    rows = [
        {"sae_id": f"s{s}", "factor_index": g, "effective_codes": 9.0, "n_live": 90, "n_groups": n_groups,
         "completeness": mean + own[g] + jitter[i, g]}
        for i, (s, mean) in enumerate(by_sparsity.items()) for g in range(n_factors)
    ]  # fmt: skip
    return points, pd.DataFrame(rows)


def test_completeness_is_compared_over_one_set_of_factors() -> None:
    test = factor_claims.claim_completeness_rises
    risen = test(*completeness_of({0.75: 0.5, 0.9: 0.1, 0.99: 0.6}))
    assert (
        risen.verdict == HOLDS and "over 10 factors" in risen.details[0] and "one start at each end" in risen.details[0]
    )
    assert test(*completeness_of({0.75: 0.5, 0.99: 0.4})).verdict == FAILS
    assert test(*completeness_of({0.75: 0.5, 0.99: 0.51}, noise=0.2)).verdict == UNSAID
    assert test(*completeness_of({0.75: 0.5, 0.99: 0.6}, n_factors=7)).verdict == UNSAID
    assert test(*completeness_of({0.75: 0.5})).verdict == UNSAID
    dead = test(*completeness_of({0.75: 0.5, 0.99: 0.6}, n_dead=30)).sentence
    assert "Over 20 % of the features are dead in HuBERT L3" in dead


def test_starts_that_disagree_settle_nothing_about_completeness() -> None:
    points, rows = completeness_of({0.75: 0.5, 0.99: 0.6})
    other = points.assign(sae_id=points["sae_id"] + "b", seed=1)
    against = rows.assign(sae_id=rows["sae_id"] + "b").assign(completeness=rows["completeness"] * 0 + 0.54)
    claim = factor_claims.claim_completeness_rises(pd.concat([points, other]), pd.concat([rows, against]))
    assert claim.verdict == UNSAID and "4 pairs of starts" in claim.details[0]


def test_completeness_over_live_features_falls_where_only_dead_ones_made_it_rise() -> None:
    """The same weights over more dead features: the reference formula rises with D, this one does not move."""
    assert completeness_over_live([9.0, 9.0], [90, 90]).tolist() == pytest.approx([1 - np.log(9) / np.log(90)] * 2)
    assert completeness_over_live([9.0], [30])[0] < completeness_over_live([9.0], [90])[0]
    assert np.isnan(completeness_over_live([1.0], [1])[0])


def reconstruction(gain: float, *, n_groups: int = 10, n_saes: int = 1, noise: float = 0.01) -> Claim:
    """FVU 0.3 of PCA, and `gain` less of each SAE."""
    rng = np.random.default_rng(0)
    points = pd.DataFrame([point(sae_id=f"s{i}", fvu_heldout=0.3 - gain, pca_k_fvu_heldout=0.3) for i in range(n_saes)])
    rows = []
    for i in range(n_saes):
        for g in range(n_groups):
            sst = rng.uniform(50, 150)
            rows.append({"sae_id": f"s{i}", "group_id": f"g{g}", "n_clips": 4, "sst": sst, "sse_pca_k": 0.3 * sst,
                         "sse": (0.3 - gain + noise * rng.standard_normal()) * sst})  # fmt: skip
    return claims.claim_reconstruction(
        points, pd.DataFrame(rows, columns=["sae_id", "group_id", "n_clips", "sse", "sse_pca_k", "sst"])
    )


def test_reconstruction_is_held_against_pca_by_group() -> None:
    assert reconstruction(-0.1).verdict == FAILS
    better = reconstruction(0.1)
    assert better.verdict == HOLDS and "40 held-out clips" in better.sentence and "10 groups" in better.sentence
    assert reconstruction(0.01, noise=0.1).verdict == UNSAID
    old = reconstruction(0.1, n_groups=0)
    assert old.verdict == UNSAID and "Errors by group are not stored." in old.sentence
    none = claims.claim_reconstruction(pd.DataFrame([point(sae_id="s0", pca_k_fvu_heldout=NAN)]), pd.DataFrame())
    assert none.verdict == UNSAID


def by_layer(
    layers: dict[int, float], *, encoder_id: str = "e", n_groups: int = 10, noise: float = 0.01, seed: int = 0
) -> pd.DataFrame:
    """Rows of `fetch_layer_probe_groups`, about each layer's own accuracy."""
    rng = np.random.default_rng(seed)
    return pd.concat(
        [
            groups_of(f"{encoder_id}.L{layer}", 0.0, n_groups=n_groups, layer=layer, encoder_id=encoder_id,
                      display_name=encoder_id).assign(accuracy=accuracy + noise * rng.standard_normal(n_groups))
            for layer, accuracy in layers.items()
        ]
    )  # fmt: skip


def test_the_best_layer_is_by_encoder() -> None:
    rows = pd.concat([by_layer({0: 0.3, 1: 0.7, 2: 0.5}, encoder_id="A"), by_layer({0: 0.3, 1: 0.6}, encoder_id="B")])
    claim = claims.claim_best_layer(rows, "all-groups")
    assert claim.verdict == MIXED and claim.sentence.startswith(
        "It holds for 1 of 2 encoders and does not hold for 1 (all-groups"
    )
    assert "A layer 1 0.70 against 0.50 at layer 2, +0.19" in claim.sentence
    assert "200 clips of 10 groups, 5 classes, chance 0.20" in claim.sentence
    assert claim.params == {"protocol": "all-groups"}
    assert claims.claim_best_layer(by_layer({1: 0.9}), "held-out").verdict == UNSAID


def test_a_best_layer_that_chance_makes_is_not_called_one() -> None:
    """Some layer is always the best of its groups."""
    alike = [claims.claim_best_layer(by_layer(dict.fromkeys(range(7), 0.5), noise=0.1, seed=s), "x") for s in range(40)]
    assert sum(claim.verdict == HOLDS for claim in alike) <= 5  # 40 looks at 5 %
    sure = claims.claim_best_layer(by_layer(dict.fromkeys(range(7), 0.5), noise=0.005), "x")
    assert sure.verdict == FAILS


def test_a_tie_is_a_tie() -> None:
    claim = claims.claim_best_layer(by_layer({0: 0.25, 1: 0.25, 2: 0.25}, noise=0.0).assign(chance=0.1), "x")
    assert claim.verdict == UNSAID and "a tie" in claim.sentence


def test_a_network_at_chance_has_no_best_layer() -> None:
    silent = by_layer({0: 0.21, 1: 0.2, 2: 0.19}, encoder_id="a", noise=0.05)
    claim = claims.claim_best_layer(silent, "x")
    assert claim.verdict == UNSAID and "none of them beyond chance" in claim.sentence
    both = claims.claim_best_layer(pd.concat([silent, by_layer({0: 0.8, 1: 0.6}, encoder_id="b")]), "x")
    assert both.verdict == MIXED and both.sentence.startswith("It holds for 1 of 2 encoders and is open for 1")


def test_untrained_encoders_do_not_speak_for_trained_ones() -> None:
    rows = pd.DataFrame([point(is_trained=True), point(is_trained=False, accuracy=0.1), point(is_trained=None)])
    assert len(selection.trained(rows)) == 2
    assert len(selection.trained(rows.iloc[[1]])) == 1


def test_every_claim_of_a_real_store_says_its_n_or_why_not(store: Store) -> None:
    label = store.meta()["label_name"]
    found = claims.fetch_claims(store, label)
    assert len(found) == 5
    for claim in found:
        assert re.match(r"[A-Z0-9].*\.$", claim.sentence), claim.sentence
        assert not re.search(r"\b0 of|[bB]ecause", claim.sentence), claim.sentence
        if claim.verdict != UNSAID:
            assert any(word in claim.sentence for word in ("clip", "SAE")), claim.sentence
        assert "nan" not in claim.sentence.lower()


def test_an_empty_store_makes_no_claim(empty: Store) -> None:
    assert {claim.verdict for claim in claims.fetch_claims(empty, "x")} == {UNSAID}


def test_factors_of_a_hand_made_store_are_counted(tmp_path: Path) -> None:
    hand = open_store(write_scored_store(tmp_path / "hand"))
    recovery = claims.fetch_recovery(hand)
    row = recovery.iloc[0]
    assert (row["n_scored"], row["n_undefined"], row["n_above"], row["n_over_070"]) == (2, 2, 1, 1)
    claim = claims.claim_factors_recoverable(recovery)
    assert claim.verdict == UNSAID and "too few groups to judge by: 2," in claim.sentence
    enough = recovery.assign(n_groups=20)
    assert claims.claim_factors_recoverable(enough).verdict == HOLDS
    assert "1 of 2 factors" in claims.claim_factors_recoverable(enough).sentence
    assert claims.claim_factors_recoverable(enough.assign(n_above=0)).verdict == UNSAID  # of before there was a test
    assert claims.claim_factors_recoverable(recovery.assign(n_scored=0)).verdict == UNSAID
    hand.close()


def test_a_paper_store_speaks_in_sample_or_not_at_all(tmp_path: Path) -> None:
    paper = open_store(write_tables(tmp_path / "paper", paper_only(mixed_tables())))
    best, kept, recoverable, rises, pca = claims.fetch_claims(paper, "technique")
    assert best.verdict == UNSAID and "too few groups to judge by: 4," in best.sentence
    assert kept.verdict == UNSAID and "paper accuracy, 40 clips of 4 groups" in kept.sentence
    assert recoverable.verdict == UNSAID
    assert "scored only in-sample (protocol paper" in recoverable.sentence
    assert rises.verdict == UNSAID
    assert "held out" not in rises.sentence
    assert "5 held-out clips, protocol paper." in pca.sentence
    paper.close()
    points, rows = completeness_of({0.75: 0.5, 0.99: 0.6})
    in_sample = factor_claims.claim_completeness_rises(points.assign(protocol="paper"), rows)
    assert in_sample.sentence.startswith("Only in-sample (protocol paper")


def test_one_group_is_judged_by_file_and_says_so(tmp_path: Path) -> None:
    single = open_store(write_tables(tmp_path / "single", one_group(mixed_tables())))
    best, kept, *_ = claims.fetch_claims(single, "technique")
    assert best.verdict == kept.verdict == UNSAID and "too few groups to judge by: 1," in best.sentence
    assert "No probe on codes could be scored" in kept.sentence or "too few groups" in kept.sentence
    single.close()


def recovered(n_above: int, p: float, **other: object) -> pd.DataFrame:
    """A row of `fetch_recovery` of one reference SAE, of 88 factors that were tested."""
    row = {"representation_id": "s0", "kind": "codes", "n_scored": 88, "n_undefined": 0, "n_above": n_above,
           "p_above": (p,) * n_above, "is_tested": True, "n_untestable": 0, "n_over_070": 0, "r2_median": 0.3,
           "floor_median": 0.02, "r2_top10": 0.5, "r2_best": 0.9, "best_factor": "F0", "n_clips": 300, "n_groups": 20,
           "is_reference": True, **other}  # fmt: skip
    return pd.DataFrame([{**point(), **row}])


def test_factors_are_predictable_by_what_their_test_says() -> None:
    test = claims.claim_factors_recoverable
    half = test(recovered(44, 0.001))
    assert half.verdict == HOLDS
    assert "44 of 88 factors are" in half.sentence and "median R² 0.30, chance reaches 0.02" in half.sentence
    assert "300 clips of 20 groups" in half.sentence
    assert test(recovered(43, 0.001)).verdict == MIXED
    assert test(recovered(0, 0.001)).verdict == FAILS
    assert test(recovered(0, 0.001, n_untestable=60)).verdict == UNSAID
    few = test(recovered(0, 0.001, floor_median=0.41))  # absence shows only where presence would have
    assert few.verdict == UNSAID and "would have to reach R² 0.41 to be told from chance" in few.sentence
    assert test(recovered(60, 0.001, n_groups=5)).verdict == UNSAID


def test_what_the_store_says_of_its_factors_is_what_is_counted(tmp_path: Path) -> None:
    """The test of the store, not the R2 beside a permuted one; R2 and n over all groups where they are there."""
    tables = mixed_tables()
    tables["factor_scores"] = tables["factor_scores"].assign(
        is_predicted=tables["factor_scores"]["factor_index"] == 3, r2_p=0.001, r2_all=0.4, n_all_clips=200,
        n_all_groups=20,
    )  # fmt: skip
    opened = open_store(write_tables(tmp_path / "tested", tables))
    recovery = claims.fetch_recovery(opened)
    row = recovery[recovery["kind"] == "codes"].iloc[0]
    assert (row["n_above"], row["p_above"], row["r2_median"], row["is_tested"]) == (1, (0.001,), 0.4, True)
    assert (row["n_clips"], row["n_groups"]) == (200, 20)
    claim = claims.claim_factors_recoverable(recovery)
    assert claim.verdict == MIXED and "Scored on 200 clips of 20 groups" in claim.sentence
    opened.close()


def test_the_best_of_many_saes_must_be_sure_for_all_of_them() -> None:
    """On noise each SAE has a factor at 5 % in one of twenty stores: of twenty SAEs there is always one."""
    many = pd.concat([recovered(0, 0.0)] * 19 + [recovered(1, 0.04)], ignore_index=True)
    assert claims.claim_factors_recoverable(many).verdict == FAILS
    assert claims.claim_factors_recoverable(recovered(1, 0.04)).verdict == MIXED


def test_a_factor_under_its_control_is_neither_best_nor_over_a_threshold(tmp_path: Path) -> None:
    tables = mixed_tables()
    scores = tables["factor_scores"]
    scores.loc[scores["factor_index"] == 3, ["r2", "r2_permuted"]] = [0.95, 0.99]
    opened = open_store(write_tables(tmp_path / "noise", tables))
    row = claims.fetch_recovery(opened).iloc[0]
    assert (row["n_scored"], row["n_above"], row["n_over_070"], row["best_factor"]) == (3, 1, 1, "F0 mean")
    opened.close()
