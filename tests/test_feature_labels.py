"""Labels of features: chosen on training groups, scored on groups left out, shown only above chance."""

import numpy as np
import pytest
from sklearn.metrics import matthews_corrcoef, precision_recall_fscore_support

from explorer.label_rules import QUANTILES, cells_of, choose_and_score, members_of, thresholds_of
from explorer.permutation import CLIPS, WHOLE, WITHIN
from precompute.feature_labels import FeatureLabels, LabelSettings, label_features
from precompute.splits import SplitItem, folds_of_all

QUICK = LabelSettings(n_permutations=40)


def planted(n=900, n_features=60, n_groups=16, seed=0):
    """Sparse codes: 0 fires on trills, 1 strongly on belts, 2 on all but vibrato, 3 never, the others by chance."""
    rng = np.random.default_rng(seed)
    labels = np.array(["belt", "breathy", "trill", "vibrato"], object)[rng.integers(0, 4, n)]
    codes = np.where(rng.random((n, n_features)) < 0.2, rng.exponential(size=(n, n_features)), 0)
    codes[:, 0] = np.where((labels == "trill") ^ (rng.random(n) < 0.05), 1 + rng.random(n), 0)
    codes[:, 1] = np.where(labels == "belt", 3, 1) + rng.random(n)
    codes[:, 2] = np.where(labels == "vibrato", 0, 1 + rng.random(n))
    codes[:, 3] = 0
    group = rng.integers(0, n_groups, n)
    heldout = group < n_groups // 3 + 1
    return codes.astype(np.float32), labels, np.array([f"g{g}" for g in group], object), ~heldout, heldout


def folds_of(groups):
    items = [SplitItem(str(i), str(group), str(i)) for i, group in enumerate(groups)]
    found, _ = folds_of_all(items, seed=0)
    return np.array([-1 if found[item.key] is None else found[item.key] for item in items])


def within(has, said, groups):
    """Pearson's r of the deviations from group means; 0 where either has none."""
    parts = [np.concatenate([part[groups == g] - part[groups == g].mean() for g in set(groups)])
             for part in (has.astype(float), said.astype(float))]  # fmt: skip
    spread = np.sqrt((parts[0] ** 2).sum() * (parts[1] ** 2).sum())
    return (parts[0] * parts[1]).sum() / spread if spread > 1e-9 else 0.0


def run(data, settings=QUICK, folds=None) -> FeatureLabels:
    codes, labels, groups, train, heldout = data
    return label_features(
        codes,
        labels,
        groups,
        train_mask_c=train,
        heldout_mask_c=heldout,
        folds_c=folds_of(groups) if folds is None else folds,
        settings=settings,
    )


def test_planted_features_get_their_labels_and_chance_features_none():
    found = run(planted())
    assert found.label[:3].tolist() == ["trill", "belt", "vibrato"]
    assert found.direction[:3].tolist() == ["above", "above", "below"]
    assert found.threshold[0] == 0
    assert 1 < found.threshold[1] < 3.5
    assert found.is_shown[:3].all()
    assert found.reason[:3].tolist() == [None] * 3
    assert (found.f1[:3] > 0.85).all()
    assert found.is_shown[4:].sum() <= 1
    assert (found.p[:3] <= 1 / 41 + 1e-9).all() and found.p[10] > 0.05
    assert "the best feature reaches" in found.reason[10]
    assert 0.08 < found.null_mcc[0] < 0.2  # of 56 chance features on 900 clips, each about 0.033


def test_scores_equal_scikit_learns_for_the_stored_rule():
    codes, labels, groups, train, heldout = planted()
    found = run((codes, labels, groups, train, heldout), LabelSettings(n_permutations=1))
    for f in (0, 1, 2, 10, 40):
        fires = codes[:, f] > np.float32(found.threshold[f])
        said = fires if found.direction[f] == "above" else ~fires
        has = labels == found.label[f]
        p, r, f1, _ = precision_recall_fscore_support(has[heldout], said[heldout], average="binary")
        assert (found.precision[f], found.recall[f], found.f1_unseen[f]) == pytest.approx((p, r, f1))
        assert found.n_unseen_hits[f] == np.sum(has & said & heldout)
        assert (found.n_unseen_said[f], found.n_unseen_there[f]) == (np.sum(said & heldout), np.sum(has & heldout))
        assert found.mcc_train[f] == pytest.approx(within(has[train], said[train], groups[train]), abs=1e-6)


def test_the_rule_is_the_best_of_all_by_a_loop():
    codes, labels, groups, train, heldout = planted(n=200, n_features=8)
    found = run((codes, labels, groups, train, heldout), LabelSettings(n_permutations=0))
    for f in range(8):
        if f == 3:
            continue
        values = np.sort(codes[train, f][codes[train, f] > 0])
        thresholds = [0.0, *(values[int(q * (len(values) - 1))] for q in (0.25, 0.5, 0.75, 0.9))]
        best = 0.0
        for t in thresholds:
            for name in set(labels[train]):
                for above in (True, False):
                    said, has = (codes[train, f] > t) == above, labels[train] == name
                    best = max(best, within(has, said, groups[train]))
        assert found.mcc_train[f] == pytest.approx(best, abs=1e-6)


def test_permuting_labels_within_groups_shows_nothing():
    codes, labels, groups, train, heldout = planted()
    rng = np.random.default_rng(4)
    shuffled = labels.copy()
    for group in set(groups):
        shuffled[groups == group] = rng.permutation(labels[groups == group])
    found = run((codes, shuffled, groups, train, heldout))
    assert found.is_shown.sum() <= 1
    assert np.nanmax(found.f1) < 0.5


def test_held_out_clips_never_reach_the_rule():
    codes, labels, groups, train, heldout = planted()
    clean = run((codes, labels, groups, train, heldout))
    other_codes, other_labels = codes.copy(), labels.copy()
    other_codes[heldout] = 9 * np.random.default_rng(2).random(other_codes[heldout].shape)
    other_labels[heldout] = "yodel"
    spoiled = run((other_codes, other_labels, groups, train, heldout))
    for name in ("label", "direction", "threshold", "mcc_train"):
        np.testing.assert_array_equal(getattr(clean, name), getattr(spoiled, name))
    assert not spoiled.n_unseen_there.any()


def test_dead_features_have_no_rule():
    codes, labels, groups, train, heldout = planted()
    codes[heldout, 3] = 5  # awake on held-out clips only
    found = run((codes, labels, groups, train, heldout))
    assert (found.label[3], found.direction[3], found.is_shown[3]) == (None, None, False)
    assert np.isnan([found.threshold[3], found.precision[3], found.f1[3], found.mcc_train[3]]).all()
    assert "not active" in found.reason[3]


def test_a_feature_that_only_knows_the_group_shows_nothing():
    """Labels lean on the group (9 of 10 clips), and the feature fires on whole groups: chance once groups are kept."""
    codes, _, groups, train, heldout = planted(n=1600)
    rng = np.random.default_rng(11)
    odd = np.array([int(group[1:]) % 2 == 1 for group in groups])
    leaning = np.where(odd ^ (rng.random(len(odd)) < 0.1), "kind 1", "kind 0").astype(object)
    codes[:, 0], codes[:, 1], codes[:, 2] = np.where(odd, 1, 0), 0, 0
    found = run((codes, leaning, groups, train, heldout))
    assert found.label[0] is None and np.isnan(found.mcc[0])
    assert found.is_shown.sum() <= 1


def test_features_that_know_the_group_hide_none_that_knows_the_label():
    """As above, and one feature fires on kind 1 in every group, but more rarely than what knows the group."""
    codes, _, groups, train, heldout = planted(n=1600)
    rng = np.random.default_rng(11)
    odd = np.array([int(group[1:]) % 2 == 1 for group in groups])
    leaning = np.where(odd ^ (rng.random(len(odd)) < 0.1), "kind 1", "kind 0").astype(object)
    codes[:, 0], codes[:, 2] = np.where(odd, 1, 0), 0
    codes[:, 1] = rng.random(len(odd)) < np.where(leaning == "kind 1", 0.6, 0.1)
    found = run((codes, leaning, groups, train, heldout))
    assert found.label[0] is None and 0.3 < found.mcc[1] < 0.5 and found.null_mcc[1] < 0.15
    assert found.is_shown[1] and found.label[1] == "kind 1" and not found.is_shown[0]


def of_one_mixed_group():
    """Four groups of eight: two have a, two have b, but for half of the first. Feature 0 fires on the first's a and on
    every clip of the b groups."""
    groups = np.repeat([f"g{i}" for i in range(4)], 8).astype(object)
    labels = np.repeat(list("aabb"), 8).astype(object)
    labels[4:8] = "b"
    codes = np.zeros((32, 5), np.float32)
    codes[:4, 0] = codes[16:, 0] = 1
    codes[:, 1:] = np.random.default_rng(0).random((32, 4)) < 0.3
    return codes, labels, groups


@pytest.mark.parametrize("heldout_groups", [["g1", "g3"], ["g0", "g3"]])
def test_a_label_that_varies_within_one_group_alone_is_not_shown(heldout_groups):
    codes, labels, groups = of_one_mixed_group()
    heldout = np.isin(groups, heldout_groups)
    found = run((codes, labels, groups, ~heldout, heldout))
    assert found.nulls[0].exchange.level == WITHIN and not found.is_shown.any()
    if "g0" in heldout_groups:  # no training group tells
        assert set(found.reason) == {"goes with no label on the training clips"}
        assert set(found.label) == {None} and np.isnan(found.mcc).all()
    else:
        assert found.reason[0] == "it varies within one group alone, so that nothing can be said of others"


def test_a_feature_on_two_in_five_of_a_common_label_is_shown_where_there_are_enough_clips():
    """A third of the clips have the label: F1 of saying it always is 0.5, as high as this feature's."""
    codes, _, groups, train, heldout = planted(n=600)
    rng = np.random.default_rng(3)
    labels = np.array(["a", "b", "c"], object)[rng.integers(0, 3, 600)]
    codes[:, :3] = 0
    codes[:, 0] = rng.random(600) < np.where(labels == "b", 0.4, 0.1)
    found = run((codes, labels, groups, train, heldout))
    assert found.is_shown[0] and found.label[0] == "b" and found.is_shown.sum() == 1
    assert found.f1[0] < 2 * np.mean(labels == "b") / (1 + np.mean(labels == "b")) + 0.05


@pytest.mark.parametrize(("words", "labels"), [("no labelled training clip", None), ("only one label (same)", "same")])
def test_nothing_to_choose_from_gives_a_reason(words, labels):
    codes, _, groups, train, heldout = planted(n=100)
    found = run((codes, np.full(100, labels, object), groups, train, heldout))
    assert words in found.reason[0]
    assert not found.is_shown.any()
    assert found.label[0] is None
    assert np.isnan(found.f1).all()
    assert np.isnan(found.null_mcc).all()


def test_unlabelled_clips_are_left_out_and_seeds_repeat():
    codes, labels, groups, train, heldout = planted()
    some = labels.copy()
    some[::3] = None
    kept = np.array([label is not None for label in some])
    a = run((codes, some, groups, train, heldout))
    b = run((codes[kept], labels[kept], groups[kept], train[kept], heldout[kept]), folds=folds_of(groups)[kept])
    np.testing.assert_array_equal(a.f1, b.f1)
    np.testing.assert_array_equal(a.null_mcc, b.null_mcc)


def test_ties_go_to_the_lower_threshold_the_first_label_and_above():
    codes = np.array([[1.0], [1.0], [0.0], [0.0]] * 20, np.float32)
    labels = np.array(["b", "b", "a", "a"] * 20, object)
    groups = np.array([f"{half} {i % 5}" for half in "tv" for i in range(40)], object)
    train = np.array([group.startswith("t") for group in groups])
    found = run((codes, labels, groups, train, ~train))
    assert (found.label[0], found.direction[0], found.threshold[0]) == ("b", "above", 0.0)
    always = run((np.ones_like(codes), labels, groups, train, ~train))
    assert (always.label[0], always.reason[0]) == (None, "goes with no label on the training clips")


def test_thresholds_are_observed_activations_at_the_stated_ranks():
    values = np.arange(1, 12, dtype=np.float32)[:, None]  # 11 active: ranks 2, 5, 7 and 9 of 0..10
    codes = np.concatenate([values, np.zeros((4, 1), np.float32)])
    assert thresholds_of(codes, QUANTILES)[:, 0].tolist() == [0.0, 3.0, 6.0, 8.0, 10.0]
    assert thresholds_of(np.zeros((5, 2), np.float32), QUANTILES).tolist() == [[0.0, 0.0]] * 5
    assert thresholds_of(np.array([[4.0], [0.0]], np.float32), (1.0, 0.5)).tolist() == [[0.0], [4.0], [4.0]]


def test_the_score_over_all_groups_equals_a_loop_over_folds():
    codes, labels, groups, train, heldout = planted(n=240, n_features=12, n_groups=6)
    found, folds = run((codes, labels, groups, train, heldout)), folds_of(groups)
    assert set(folds) == set(range(6))  # each group by itself
    for f in (0, 1, 2, 7):
        values = np.sort(codes[train, f][codes[train, f] > 0])
        thresholds = [0.0, *(values[int(q * (len(values) - 1))] for q in (0.25, 0.5, 0.75, 0.9))]
        has, said = labels == found.label[f], np.zeros(len(labels), bool)
        for fold in range(6):
            fit, scored = folds != fold, folds == fold
            rules = [(t, above) for t in thresholds for above in (True, False)]
            mcc = [within(has[fit], (codes[fit, f] > t) == above, groups[fit]) for t, above in rules]
            t, above = rules[int(np.argmax(np.round(mcc, 6)))]
            said[scored] = (codes[scored, f] > t) == above
        n_hits, n_said = np.sum(said & has), np.sum(said)
        assert (found.n_hits[f], found.n_said[f], found.n_there[f]) == (n_hits, n_said, has.sum())
        assert found.f1[f] == pytest.approx(2 * n_hits / (n_said + has.sum()))
        assert found.mcc[f] == pytest.approx(within(has, said, groups), abs=1e-6)
        assert found.n_groups[f] == len(set(groups[has]))


def whole(n_groups=20, n_clips=3, n_features=40, seed=0):
    """A label that each group has whole, and features of which the first is that label."""
    rng = np.random.default_rng(seed)
    groups = np.repeat([f"g{g}" for g in range(n_groups)], n_clips).astype(object)
    labels = np.repeat(rng.permutation(["f", "m"] * (n_groups // 2)), n_clips).astype(object)
    codes = np.where(rng.random((len(groups), n_features)) < 0.2, rng.exponential(size=(len(groups), n_features)), 0)
    codes[:, 0] = labels == "f"
    heldout = np.repeat(np.arange(n_groups) % 4 == 0, n_clips)
    return codes.astype(np.float32), labels, groups, ~heldout, heldout


def test_mcc_of_labels_that_whole_groups_have_is_scikit_learns():
    codes, labels, groups, train, heldout = whole(n_clips=5)
    found = run((codes, labels, groups, train, heldout))
    for f in (0, 3, 11):
        fires = codes[train, f] > np.float32(found.threshold[f])
        said = fires if found.direction[f] == "above" else ~fires
        expected = matthews_corrcoef(labels[train] == found.label[f], said)
        assert found.mcc_train[f] == pytest.approx(expected, abs=1e-6)


def test_a_label_of_whole_groups_is_shown_as_soon_as_their_number_can_tell():
    found = run(whole())
    assert found.is_shown[0] and found.nulls[0].exchange.level == WHOLE
    assert (found.label[0] in ("f", "m"), found.f1[0], found.n_groups[0]) == (True, 1.0, 10)
    few = run(whole(n_groups=4))
    assert few.f1[0] == 1.0 and not few.is_shown.any() and np.isnan(few.null_mcc).all()
    assert few.reason[0] == "cannot be tested: the smallest p that exchanging whole groups can reach is 0.17"
    single = run(whole(n_groups=24, n_clips=1))
    assert single.is_shown[0] and single.nulls[0].exchange.level == CLIPS


def test_a_label_with_few_clips_is_shown_where_chance_cannot_reach_it():
    """Two groups, ten labels, four clips of each in a group: no count forbids what permutation allows."""
    rng = np.random.default_rng(1)
    labels = np.tile(np.repeat(np.arange(10).astype(str), 4), 2).astype(object)
    groups = np.repeat(["anna", "ben"], 40).astype(object)
    codes = np.where(rng.random((80, 50)) < 0.2, rng.exponential(size=(80, 50)), 0).astype(np.float32)
    codes[:, 0] = labels == "7"
    found = run((codes, labels, groups, groups == "anna", groups == "ben"), LabelSettings(n_permutations=60))
    assert found.is_shown[0] and found.label[0] == "7" and found.is_shown.sum() == 1
    assert (found.n_unseen_hits[0], found.n_unseen_there[0], found.n_unseen_groups[0]) == (4, 4, 1)
    assert found.nulls[0].exchange.level == WITHIN


def test_labels_of_both_kinds_are_each_exchanged_where_they_vary():
    """One label that only some groups have, whole; the others vary within the rest."""
    rng = np.random.default_rng(2)
    groups = np.repeat([f"g{g:02d}" for g in range(24)], 6).astype(object)
    is_whole = np.repeat(np.arange(24) % 3 == 0, 6)
    labels = np.where(is_whole, "hum", np.where(rng.random(144) < 0.5, "a", "b")).astype(object)
    codes = np.where(rng.random((144, 40)) < 0.2, rng.exponential(size=(144, 40)), 0).astype(np.float32)
    codes[:, 0], codes[:, 1] = labels == "hum", labels == "a"
    heldout = np.repeat(np.arange(24) % 4 == 0, 6)
    found = run((codes, labels, groups, ~heldout, heldout), LabelSettings(n_permutations=60))
    assert {null.names: null.exchange.level for null in found.nulls} == {("a", "b"): WITHIN, ("hum",): WHOLE}
    assert found.label[:2].tolist() == ["hum", "a"] and found.is_shown[:2].all() and found.is_shown.sum() == 2
    assert all(null.alpha == 0.025 for null in found.nulls)


@pytest.mark.parametrize("level", ["clip", "group"])
@pytest.mark.parametrize(("n_groups", "n_clips"), [(4, 12), (12, 4), (30, 2)])
def test_on_noise_at_most_one_in_twenty_shows_a_label(level, n_groups, n_clips):
    n_false = n = 0
    for trial in range(30):
        rng = np.random.default_rng([trial, n_groups])
        groups = np.repeat([f"g{g}" for g in range(n_groups)], n_clips).astype(object)
        known = rng.integers(0, 3, n_groups).repeat(n_clips) if level == "group" else rng.integers(0, 3, len(groups))
        size = rng.random(n_groups)[:, None].repeat(n_clips, axis=0) * 2  # what sets groups apart
        codes = np.maximum(rng.normal(size=(len(groups), 60)) + size * rng.normal(size=60) - 0.8, 0).astype(np.float32)
        heldout = np.repeat(np.arange(n_groups) % 4 == 0, n_clips)
        found = run((codes, known.astype(str).astype(object), groups, ~heldout, heldout))
        n += any(null.why_not is None for null in found.nulls)
        n_false += bool(found.is_shown.any())
    assert n_false <= 5, f"{n_false} of {n}"  # 30 at 5 %: more than 5 in 0.3 % of cases


def test_no_permutations_are_no_test():
    found = run(planted(n=300, n_features=12), LabelSettings(n_permutations=0))
    assert np.isnan(found.null_mcc).all() and not found.is_shown.any()
    assert "cannot be tested: 0 permutations" in found.reason[0]
    few = run(planted(n=300, n_features=12), LabelSettings(n_permutations=10))
    assert not few.is_shown.any() and "10 permutations give no p under 0.091" in few.reason[0]


def test_a_permutation_is_the_same_one_in_every_sae_of_a_corpus():
    codes, labels, groups, train, heldout = planted()
    a = run((codes, labels, groups, train, heldout))
    b = run((codes[:, ::-1], labels, groups, train, heldout))
    np.testing.assert_array_equal(a.nulls[0].reached, b.nulls[0].reached)


def test_scores_are_undefined_where_there_is_nothing_to_score():
    codes, train = np.array([[1.0], [0.0], [0.0]], np.float32), np.array([True, True, False])
    zero = np.zeros((1, 1), np.float32)
    cells = cells_of(codes, zero, np.array([0, 0, 1]), train)
    has = members_of(np.array(["x", "y", "x"], object), np.array(["x"]))[None]
    found = choose_and_score(cells, has)
    assert (found.direction.item(), found.mcc_train.item()) == (0, 1.0)
    assert np.isnan(found.unseen.precision.item()) and (found.unseen.recall.item(), found.unseen.f1.item()) == (
        0.0,
        0.0,
    )
    none = choose_and_score(cells, np.zeros_like(has))
    assert np.isnan([none.unseen.recall.item(), none.unseen.f1.item(), none.all_groups.f1.item()]).all()
    alone = choose_and_score(cells_of(codes, zero, np.zeros(3), train), has)
    assert (alone.all_groups.n_said.item(), alone.all_groups.f1.item()) == (0.0, 0.0)  # one fold: nothing was fitted
