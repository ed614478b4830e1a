"""Labels of features: chosen on training groups, scored held out, shown only above chance."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from explorer.label_rules import QUANTILES, choose_and_score, members_of, part_of, thresholds_of
from precompute.feature_labels import LabelSettings, label_features

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


def run(data, settings=QUICK):
    codes, labels, groups, train, heldout = data
    return label_features(codes, labels, groups, train_mask_c=train, heldout_mask_c=heldout, settings=settings)


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
    assert "is not above" in found.reason[10]
    assert 0.2 < found.null_f1 < 0.6


def test_scores_equal_scikit_learns_for_the_stored_rule():
    codes, labels, groups, train, heldout = planted()
    found = run((codes, labels, groups, train, heldout), LabelSettings(n_permutations=1))
    for f in (0, 1, 2, 10, 40):
        fires = codes[:, f] > np.float32(found.threshold[f])
        said = fires if found.direction[f] == "above" else ~fires
        has = labels == found.label[f]
        p, r, f1, _ = precision_recall_fscore_support(has[heldout], said[heldout], average="binary")
        assert (found.precision[f], found.recall[f], found.f1[f]) == pytest.approx((p, r, f1))
        assert found.f1_train[f] == pytest.approx(
            precision_recall_fscore_support(has[train], said[train], average="binary")[2]
        )


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
                    best = max(best, 2 * np.sum(said & has) / (said.sum() + has.sum()))
        assert found.f1_train[f] == pytest.approx(best)


def test_permuting_labels_within_groups_shows_nothing():
    codes, labels, groups, train, heldout = planted()
    rng = np.random.default_rng(4)
    shuffled = labels.copy()
    for group in set(groups):
        shuffled[groups == group] = rng.permutation(labels[groups == group])
    found = run((codes, shuffled, groups, train, heldout))
    assert found.is_shown.sum() <= 1
    assert np.nanmax(found.f1) < 0.5


def test_the_null_distribution_equals_a_loop_over_the_whole_procedure():
    codes, labels, groups, train, heldout = planted(n=600, n_features=20)
    found = run((codes, labels, groups, train, heldout), LabelSettings(n_permutations=200, seed=1))
    rng = np.random.default_rng(9)
    best = []
    for _ in range(60):
        shuffled = labels.copy()
        for part in (train, heldout):
            for group in set(groups):
                rows = part & (groups == group)
                shuffled[rows] = rng.permutation(labels[rows])
        best.append(np.nanmax(run((codes, shuffled, groups, train, heldout), LabelSettings(n_permutations=0)).f1))
    assert found.null_f1 == pytest.approx(np.quantile(best, 0.95), abs=0.03)


def test_held_out_clips_never_reach_the_rule():
    codes, labels, groups, train, heldout = planted()
    clean = run((codes, labels, groups, train, heldout))
    other_codes, other_labels = codes.copy(), labels.copy()
    other_codes[heldout] = 9 * np.random.default_rng(2).random(other_codes[heldout].shape)
    other_labels[heldout] = "yodel"
    spoiled = run((other_codes, other_labels, groups, train, heldout))
    for name in ("label", "direction", "threshold", "f1_train"):
        np.testing.assert_array_equal(getattr(clean, name), getattr(spoiled, name))
    assert not spoiled.is_shown.any()


def test_dead_features_have_no_rule():
    codes, labels, groups, train, heldout = planted()
    codes[heldout, 3] = 5  # awake on held-out clips only
    found = run((codes, labels, groups, train, heldout))
    assert (found.label[3], found.direction[3], found.is_shown[3]) == (None, None, False)
    assert np.isnan([found.threshold[3], found.precision[3], found.f1[3], found.f1_train[3]]).all()
    assert "not active" in found.reason[3]


def test_too_few_clips_or_groups_show_nothing_with_the_count():
    codes, labels, groups, train, heldout = planted()
    few = labels.copy()
    few[np.flatnonzero(heldout & (labels == "trill"))[19:]] = "belt"
    found = run((codes, few, groups, train, heldout))
    assert found.label[0] == "trill"
    assert not found.is_shown[0]
    assert found.reason[0].startswith("19 clips from")
    narrow = labels.copy()
    first = sorted(set(groups[heldout]))[:4]
    narrow[heldout & (labels == "trill") & ~np.isin(groups.astype(str), first)] = "belt"
    assert "from 4 groups" in run((codes, narrow, groups, train, heldout)).reason[0]


def test_a_label_that_is_its_group_shows_nothing():
    codes, _, groups, train, heldout = planted()
    singer = np.array([f"kind {int(group[1:]) % 2}" for group in groups], object)
    codes[:, 0] = np.where(singer == "kind 1", 1, 0)
    found = run((codes, singer, groups, train, heldout))
    assert found.f1[0] == 1
    assert not found.is_shown.any()


def test_a_feature_that_only_knows_the_group_shows_nothing():
    """Labels lean on the group (9 of 10 clips), and the feature fires on whole groups: chance once groups are kept."""
    codes, _, groups, train, heldout = planted(n=1600)
    rng = np.random.default_rng(11)
    odd = np.array([int(group[1:]) % 2 == 1 for group in groups])
    leaning = np.where(odd ^ (rng.random(len(odd)) < 0.1), "kind 1", "kind 0").astype(object)
    codes[:, 0], codes[:, 1], codes[:, 2] = np.where(odd, 1, 0), 0, 0
    found = run((codes, leaning, groups, train, heldout))
    assert found.f1[0] > 0.85
    assert found.null_f1 > 0.85
    assert found.is_shown.sum() <= 1


@pytest.mark.parametrize(
    ("words", "labels"), [("no labelled clip", None), ("only one label in the training part (same)", "same")]
)
def test_nothing_to_choose_from_gives_a_reason(words, labels):
    codes, _, groups, train, heldout = planted(n=100)
    found = run((codes, np.full(100, labels, object), groups, train, heldout))
    assert words in found.reason[0]
    assert not found.is_shown.any()
    assert found.label[0] is None
    assert np.isnan(found.f1).all()
    assert np.isnan(found.null_f1)


def test_one_group_or_a_leaking_group_gives_a_reason():
    codes, labels, groups, train, heldout = planted()
    assert "both parts" in run((codes, labels, np.full(len(labels), "f1", object), train, heldout)).reason[0]
    leaking = groups.copy()
    leaking[np.flatnonzero(heldout)[0]] = groups[train][0]
    found = run((codes, labels, leaking, train, heldout))
    assert groups[train][0] in found.reason[0]
    assert not found.is_shown.any()


def test_unlabelled_clips_are_left_out_and_seeds_repeat():
    codes, labels, groups, train, heldout = planted()
    some = labels.copy()
    some[::3] = None
    kept = np.array([label is not None for label in some])
    a = run((codes, some, groups, train, heldout))
    b = run((codes[kept], labels[kept], groups[kept], train[kept], heldout[kept]))
    np.testing.assert_array_equal(a.f1, b.f1)
    assert a.null_f1 == b.null_f1


def rare(n_groups=12):
    """Two common labels, and `rare`: three clips a group of three groups, on which one feature is active by group.

    Held out, chance F1 of the rare label is high wherever its groups hold little else."""
    labels, groups, heldout, codes = [], [], [], []
    rng = np.random.default_rng(5)
    for g in range(2 * n_groups):
        few = g % n_groups < 3
        names = ["rare"] * 3 + ["a"] if few else ["a", "b"] * 10
        labels += names
        groups += [f"g{g}"] * len(names)
        heldout += [g >= n_groups] * len(names)
        codes += [[float(few), *rng.exponential(size=3)]] * len(names)
    held = np.array(heldout)
    return np.array(codes, np.float32), np.array(labels, object), np.array(groups, object), ~held, held


def test_labels_with_too_few_clips_have_no_part_in_what_chance_reaches():
    """A rare label is never shown, so that the best chance feature under it raises the bar for the others."""
    few = run(rare(), LabelSettings(n_permutations=40))
    everything = run(rare(), LabelSettings(n_permutations=40, min_positives=1, min_groups=1))
    assert (few.label[0], few.is_shown[0]) == ("rare", False)
    assert everything.null_f1 > 0.85
    assert few.null_f1 < 0.75
    by_groups = run(rare(), LabelSettings(n_permutations=40, min_positives=1, min_groups=4))
    by_clips = run(rare(), LabelSettings(n_permutations=40, min_positives=10, min_groups=1))
    assert by_groups.null_f1 == by_clips.null_f1 == few.null_f1


def counted(n_train, n_heldout, n_groups):
    """Feature 0 is `trill`, on that many clips from that many groups in each part, among 400 others of 16 groups."""
    labels, groups, held = [], [], []
    for is_heldout, n in ((False, n_train), (True, n_heldout)):
        for i in range(n):
            labels.append("trill")
            groups.append(f"{is_heldout} {i % n_groups}")
        labels += ["a", "b"] * 100
        groups += [f"{is_heldout} {i // 2 % 8}" for i in range(200)]
        held += [is_heldout] * (n + 200)
    heldout = np.array(held)
    codes = np.random.default_rng(0).exponential(size=(len(labels), 5)).astype(np.float32)
    codes[:, 0] = [label == "trill" for label in labels]
    return codes, np.array(labels, object), np.array(groups, object), ~heldout, heldout


@pytest.mark.parametrize(
    ("n_train", "n_heldout", "n_groups", "reason"),
    [
        (20, 20, 5, None),
        (19, 20, 5, "19 clips from 5 groups in the training part, fewer than 20 from 5"),
        (20, 19, 5, "19 clips from 5 groups in the held-out part, fewer than 20 from 5"),
        (20, 20, 4, "20 clips from 4 groups in the training part, fewer than 20 from 5"),
    ],
)
def test_a_label_is_shown_from_20_clips_of_5_groups_in_each_part(n_train, n_heldout, n_groups, reason):
    found = run(counted(n_train, n_heldout, n_groups))
    assert (found.label[0], found.f1[0], found.reason[0]) == ("trill", 1.0, reason)
    assert found.is_shown[0] == (reason is None)


def test_the_stated_rule_is_the_default():
    stated = LabelSettings(quantiles=(0.25, 0.5, 0.75, 0.9), n_permutations=100, null_quantile=0.95, min_positives=20,
                           min_groups=5, seed=0)  # fmt: skip
    assert LabelSettings() == stated
    data = planted(n=300, n_features=12)
    spread = [run(data, LabelSettings(n_permutations=30, null_quantile=q)).null_f1 for q in (0.9, 0.95, 1.0)]
    assert spread[0] < spread[1] < spread[2]
    assert run(data, LabelSettings(n_permutations=30)).null_f1 == spread[1]


def test_permutations_in_chunks_are_all_made_and_none_is_no_bar():
    data = planted(n=300, n_features=12)
    bars = [run(data, LabelSettings(n_permutations=n, null_quantile=0.0)).null_f1 for n in (1, 11, 25)]
    assert bars[0] >= bars[1] >= bars[2]
    found = run(data, LabelSettings(n_permutations=0))
    assert np.isnan(found.null_f1) and not found.is_shown.any()
    assert "no permutations to compare with" in set(found.reason[:3])
    one = run(data, LabelSettings(n_permutations=1))
    assert np.isfinite(one.null_f1) and one.n_permutations == 1


def test_a_label_that_is_no_better_than_the_bar_is_not_shown():
    """At the bar itself: a feature whose held-out F1 equals the best of chance."""
    codes, labels, groups, train, heldout = counted(40, 40, 8)
    codes[:, :] = 0
    codes[:, 0] = 1  # always active: F1 by the label's share, under any permutation
    found = run((codes, labels, groups, train, heldout))
    assert found.f1[0] == found.null_f1
    assert not found.is_shown[0]
    assert "is not above" in found.reason[0]


def test_ties_go_to_the_lower_threshold_the_first_label_and_above():
    codes = np.array([[1.0], [1.0], [0.0], [0.0]] * 20, np.float32)
    labels = np.array(["b", "b", "a", "a"] * 20, object)
    groups = np.array([f"{half} {i % 5}" for half in "tv" for i in range(40)], object)
    train = np.array([group.startswith("t") for group in groups])
    found = run((codes, labels, groups, train, ~train))
    assert (found.label[0], found.direction[0], found.threshold[0]) == ("b", "above", 0.0)
    always = run((np.ones_like(codes), labels, groups, train, ~train))
    assert (always.label[0], always.direction[0], always.threshold[0]) == ("a", "above", 0.0)


def test_thresholds_are_observed_activations_at_the_stated_ranks():
    values = np.arange(1, 12, dtype=np.float32)[:, None]  # 11 active: ranks 2, 5, 7 and 9 of 0..10
    codes = np.concatenate([values, np.zeros((4, 1), np.float32)])
    assert thresholds_of(codes, QUANTILES)[:, 0].tolist() == [0.0, 3.0, 6.0, 8.0, 10.0]
    assert thresholds_of(np.zeros((5, 2), np.float32), QUANTILES).tolist() == [[0.0, 0.0]] * 5
    assert thresholds_of(np.array([[4.0], [0.0]], np.float32), (1.0, 0.5)).tolist() == [[0.0], [4.0], [4.0]]


def test_scores_are_undefined_where_there_is_nothing_to_score():
    codes = np.array([[1.0], [0.0]], np.float32)
    heard = part_of(codes, np.zeros((1, 1), np.float32))
    silent = part_of(np.zeros_like(codes), np.zeros((1, 1), np.float32))
    has = members_of(np.array(["x", "y"], object), np.array(["x"]))[None]
    (_, _, direction), train_f1, (precision, recall, f1) = choose_and_score(heard, silent, has, has)
    assert (direction.item(), train_f1.item()) == (0, 1.0)
    assert np.isnan(precision.item()) and (recall.item(), f1.item()) == (0.0, 0.0)
    _, _, (precision, recall, f1) = choose_and_score(heard, heard, has, has)
    assert (precision.item(), recall.item(), f1.item()) == (1.0, 1.0, 1.0)  # of one clip alone
    _, _, (precision, recall, f1) = choose_and_score(heard, heard, has, np.zeros_like(has))
    assert precision.item() == 0.0 and np.isnan([recall.item(), f1.item()]).all()
    _, _, (precision, recall, f1) = choose_and_score(heard, heard, has, np.ones_like(has))
    assert (precision.item(), recall.item()) == (1.0, 0.5)
    assert f1.item() == pytest.approx(2 / 3)
