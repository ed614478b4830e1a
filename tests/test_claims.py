"""The paper's claims as sentences: every verdict on hand-made rows, and what a real and an empty store say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from explorer.queries import claims, selection
from explorer.store import Store, open_store
from tests.hand_store import write_scored_store
from tests.mixed_store import ONE_GROUP, mixed_tables, one_group, paper_only, write_tables

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


def test_codes_keep_accuracy_has_all_its_verdicts() -> None:
    test = claims.claim_codes_keep_accuracy
    kept, lost = point(), point(sparsity=0.99, accuracy=0.5)
    assert test(pd.DataFrame([kept])).verdict == claims.HOLDS
    mixed = test(pd.DataFrame([kept, lost]))
    assert mixed.verdict == claims.MIXED
    assert "1 of 2 SAEs" in mixed.sentence
    assert "worst −25.0 (HuBERT L3 · k = 1 of 100 · seed 0)" in mixed.sentence
    assert "40 clips of 4 groups" in mixed.sentence
    assert mixed.details == ("HuBERT L3: dense 0.75; codes 0.70 at k = 25 of 100, 0.50 at k = 1 of 100",)
    assert test(pd.DataFrame([lost])).verdict == claims.FAILS
    assert test(pd.DataFrame([point(accuracy=NAN)])).verdict == claims.UNSAID


def test_nothing_is_kept_where_there_was_nothing_to_keep() -> None:
    claim = claims.claim_codes_keep_accuracy(pd.DataFrame([point(dense_accuracy=0.25, accuracy=0.25)]))
    assert claim.verdict == claims.UNSAID
    assert "chance (0.20)" in claim.sentence


def test_completeness_is_compared_within_one_width_only() -> None:
    wide = point(n_features=400, sparsity=0.99, completeness=0.9)
    assert claims.claim_completeness_rises(pd.DataFrame([point(), wide])).verdict == claims.UNSAID
    risen = point(sparsity=0.99, completeness=0.6, effective_codes=7.0)
    claim = claims.claim_completeness_rises(pd.DataFrame([point(), risen, wide]))
    assert claim.verdict == claims.HOLDS
    assert "0.50 to 0.60" in claim.sentence
    assert "10.0 to 7.0" in claim.sentence
    fallen = point(sparsity=0.99, completeness=0.4)
    assert claims.claim_completeness_rises(pd.DataFrame([point(), fallen])).verdict == claims.FAILS


def test_undefined_completeness_is_counted_and_not_averaged() -> None:
    rows = [point(), point(sparsity=0.99, completeness=0.6), point(sparsity=0.9, completeness=NAN)]
    assert "undefined for 1 SAE)" in claims.claim_completeness_rises(pd.DataFrame(rows)).sentence
    claim = claims.claim_completeness_rises(pd.DataFrame([point(completeness=NAN)]))
    assert claim.verdict == claims.UNSAID
    assert "1 of 1 SAE have no completeness" in claim.sentence


def test_reconstruction_is_held_against_pca() -> None:
    worse, better = point(), point(fvu_heldout=0.1)
    assert claims.claim_reconstruction(pd.DataFrame([worse])).verdict == claims.FAILS
    assert claims.claim_reconstruction(pd.DataFrame([worse, better])).verdict == claims.MIXED
    assert claims.claim_reconstruction(pd.DataFrame([better])).verdict == claims.HOLDS
    assert claims.claim_reconstruction(pd.DataFrame([point(pca_k_fvu_heldout=NAN)])).verdict == claims.UNSAID


def test_the_best_layer_is_by_encoder() -> None:
    rows = pd.DataFrame(
        [
            {"encoder_id": e, "display_name": e, "layer": layer, "accuracy": a, "chance": 0.2, "n_clips": 40,
             "n_groups": 4, "n_classes": 5}
            for e, layer, a in (("A", 0, 0.3), ("A", 1, 0.7), ("A", 2, 0.5), ("B", 0, 0.3), ("B", 1, 0.6))
        ]
    )  # fmt: skip
    claim = claims.claim_best_layer(rows, "group-folds", by_group("A", {1: 0.7, 2: 0.5}))
    assert claim.verdict == claims.MIXED
    assert "A layer 1 0.70 against 0.50 at layer 2, held out +0.2" in claim.sentence
    assert "group-folds" in claim.sentence
    assert claims.claim_best_layer(rows[rows["layer"] == 1], "held-out", by_group("A", {})).verdict == claims.UNSAID


def by_group(encoder_id: str, layers: dict[int, float], n_groups: int = 10, noise: float = 0.01) -> pd.DataFrame:
    """Held-out accuracies by group about each layer's own."""
    rng = np.random.default_rng(0)
    rows = [
        (encoder_id, layer, f"g{group}", accuracy + noise * rng.standard_normal())
        for layer, accuracy in layers.items()
        for group in range(n_groups)
    ]
    return pd.DataFrame(rows, columns=["encoder_id", "layer", "group_id", "accuracy"])


def test_a_best_layer_that_chance_makes_is_not_called_one() -> None:
    """Some layer is always best of the training folds: without a difference on held-out groups the claim fails."""
    row = {"encoder_id": "a", "display_name": "A", "chance": 0.1, "n_clips": 100, "n_groups": 10, "n_classes": 10}
    rows = pd.DataFrame([{**row, "layer": layer, "accuracy": 0.5 + 0.01 * (layer == 2)} for layer in range(7)])
    same = by_group("a", dict.fromkeys(range(7), 0.5), noise=0.1)
    claim = claims.claim_best_layer(rows, "group-folds", same)
    assert claim.verdict == claims.FAILS and "Beyond chance in 0 of 1 encoder" in claim.sentence
    few = claims.claim_best_layer(rows, "group-folds", by_group("a", {2: 0.7, 6: 0.5}, n_groups=5))
    assert few.verdict == claims.UNSAID and "too few groups are held out" in few.sentence


def test_a_network_at_chance_has_no_best_layer() -> None:
    row = {"display_name": "HuBERT", "chance": 0.5, "n_clips": 10, "n_groups": 2, "n_classes": 2}
    rows = pd.DataFrame([{**row, "encoder_id": "a", "layer": layer, "accuracy": 0.5} for layer in range(3)])
    nobody = by_group("a", {})
    claim = claims.claim_best_layer(rows, "group-folds", nobody)
    assert claim.verdict == claims.UNSAID and "above chance (0.50)" in claim.sentence
    heard = [{**row, "encoder_id": "b", "layer": layer, "accuracy": 0.8 - 0.1 * layer} for layer in range(3)]
    by_layer = by_group("b", {0: 0.8, 2: 0.6})
    claim = claims.claim_best_layer(pd.concat([rows, pd.DataFrame(heard)]), "group-folds", by_layer)
    assert claim.verdict == claims.HOLDS
    assert claim.sentence.startswith("Beyond chance in 1 of 1 encoder") and "left out: 1 encoder" in claim.sentence


def test_untrained_encoders_do_not_speak_for_trained_ones() -> None:
    rows = pd.DataFrame([point(is_trained=True), point(is_trained=False, accuracy=0.1), point(is_trained=None)])
    assert len(selection.trained(rows)) == 2
    assert len(selection.trained(rows.iloc[[1]])) == 1


def test_every_claim_of_a_real_store_says_its_n_or_why_not(store: Store) -> None:
    label = store.meta()["label_name"]
    found = claims.fetch_claims(store, label)
    assert len(found) == 5
    for claim in found:
        if claim.verdict == claims.UNSAID:
            assert claim.sentence.startswith("because ")
        else:
            assert any(word in claim.sentence for word in ("clip", "SAE")), claim.sentence
        assert "nan" not in claim.sentence.lower()


def test_an_empty_store_makes_no_claim(empty: Store) -> None:
    assert {claim.verdict for claim in claims.fetch_claims(empty, "x")} == {claims.UNSAID}


def test_factors_of_a_hand_made_store_are_counted(tmp_path: Path) -> None:
    hand = open_store(write_scored_store(tmp_path / "hand"))
    recovery = claims.fetch_recovery(hand)
    row = recovery.iloc[0]
    assert (row["n_scored"], row["n_undefined"], row["n_above"], row["n_over_070"]) == (2, 2, 1, 1)
    claim = claims.claim_factors_recoverable(recovery)
    assert claim.verdict == claims.HOLDS
    assert "1 of 2 factors" in claim.sentence
    assert claims.claim_factors_recoverable(recovery.assign(n_above=0)).verdict == claims.FAILS
    assert claims.claim_factors_recoverable(recovery.assign(n_scored=0)).verdict == claims.UNSAID
    hand.close()


def test_a_paper_store_speaks_in_sample_or_not_at_all(tmp_path: Path) -> None:
    paper = open_store(write_tables(tmp_path / "paper", paper_only(mixed_tables())))
    best, kept, recoverable, rises, pca = claims.fetch_claims(paper, "technique")
    assert best.verdict == claims.UNSAID and "too few groups are held out" in best.sentence
    assert "on 5 clips of 4 groups, protocol paper." in kept.sentence
    assert recoverable.verdict == claims.UNSAID
    assert "scored only in-sample (protocol paper" in recoverable.sentence
    assert rises.verdict == claims.UNSAID
    assert "held out" not in rises.sentence
    assert "5 held-out clips, protocol paper." in pca.sentence
    paper.close()
    risen = pd.DataFrame([point(protocol="paper"), point(protocol="paper", sparsity=0.99, completeness=0.6)])
    assert claims.claim_completeness_rises(risen).sentence.startswith("Only in-sample (protocol paper")


def test_one_group_is_judged_by_file_and_says_so(tmp_path: Path) -> None:
    single = open_store(write_tables(tmp_path / "single", one_group(mixed_tables())))
    best, kept, *_ = claims.fetch_claims(single, "technique")
    assert best.verdict == claims.UNSAID and "too few groups are held out" in best.sentence
    assert "random-folds accuracy, which flatters: by file" in best.sentence
    assert best.params == {"protocol": "random-folds"}
    assert kept.verdict == claims.UNSAID
    assert ONE_GROUP in kept.sentence
    single.close()


def test_a_factor_under_its_control_is_neither_best_nor_over_a_threshold(tmp_path: Path) -> None:
    tables = mixed_tables()
    scores = tables["factor_scores"]
    scores.loc[scores["factor_index"] == 3, ["r2", "r2_permuted"]] = [0.95, 0.99]
    opened = open_store(write_tables(tmp_path / "noise", tables))
    row = claims.fetch_recovery(opened).iloc[0]
    assert (row["n_scored"], row["n_above"], row["n_over_070"], row["best_factor"]) == (3, 1, 1, "F0 mean")
    opened.close()
