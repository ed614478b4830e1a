"""Probes: equal to scikit-learn, blind to held-out clips, and honest where there is nothing to score."""

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score, recall_score
from sklearn.preprocessing import StandardScaler

from precompute.probe_result import ProbeResult, score_predictions
from precompute.probes import (
    LinearProbe,
    attribute_baseline,
    fit_probe,
    fit_probes,
    one_hot,
    run_paper_probe,
    run_probe,
)

GRID = (0.01, 0.1, 1.0)


def planted(n=400, d=12, n_classes=3, n_groups=12, noise=1.0, seed=0):
    """Clips whose class shifts the first columns; (x, labels, groups, train, held out, folds by group)."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n)
    x = rng.normal(size=(n, d)) * noise
    x[:, :n_classes] += 2.0 * np.eye(n_classes)[y]
    group = rng.integers(0, n_groups, n)
    heldout = group < n_groups // 4
    labels = np.array([f"class {c}" for c in y], object)
    groups = np.array([f"g{g}" for g in group], object)
    return x.astype(np.float32), labels, groups, ~heldout, heldout, np.where(heldout, -1, group % 4)


def run(data, protocol="held-out", c_grid=(0.1,), **changed):
    x, labels, groups, train, heldout, folds = data
    parts = {"train_mask_c": train, "heldout_mask_c": heldout, "folds_c": folds} | changed
    return run_probe(x, labels, groups, protocol=protocol, c_grid=c_grid, seed=0, **parts)


@pytest.mark.parametrize(("n", "d", "n_classes"), [(300, 20, 4), (60, 150, 4), (200, 10, 2), (50, 120, 2)])
@pytest.mark.parametrize("c", [0.01, 1.0])
def test_fit_probe_equals_scikit_learn(n, d, n_classes, c):
    x, labels, *_ = planted(n, d, n_classes)
    x[:, 5] = 3.5  # a constant column
    probe = fit_probe(x, labels, c=c, seed=0)
    scaler = StandardScaler().fit(x.astype(float))
    sk = LogisticRegression(C=c, tol=1e-9, max_iter=10_000).fit(scaler.transform(x.astype(float)), labels.astype(str))
    if n_classes == 2:
        decision = np.diff(probe.logits(x), axis=1)[:, 0]
        np.testing.assert_allclose(decision, sk.decision_function(scaler.transform(x.astype(float))), atol=2e-4)
    else:
        np.testing.assert_allclose(probe.weights_kd, sk.coef_, atol=2e-4 * np.abs(sk.coef_).max())
        np.testing.assert_allclose(probe.intercept_k, sk.intercept_, atol=1e-3)
    assert probe.classes == tuple(sk.classes_)
    assert (probe.weights_kd[:, 5] == 0).all()
    np.testing.assert_array_equal(probe.predict(x), sk.predict(scaler.transform(x.astype(float))))


def test_fit_probe_on_sparse_wide_codes_equals_scikit_learn():
    rng = np.random.default_rng(3)
    x = np.maximum(rng.normal(size=(1100, 1050)) - 1.5, 0)  # no rotation at this size
    x[:, :40] = 0
    labels = np.array(["a", "b", "c"], object)[np.argmax(x[:, 50:53] + 0.1 * rng.random((1100, 3)), axis=1)]
    probe = fit_probe(x, labels, c=0.01, seed=0)
    z = (x - probe.center_d) / probe.scale_d
    sk = LogisticRegression(C=0.01, tol=1e-7, max_iter=5000).fit(z, labels.astype(str))
    np.testing.assert_allclose(probe.weights_kd, sk.coef_, atol=1e-3 * np.abs(sk.coef_).max())


def test_a_grid_of_c_gives_the_same_probes_as_single_fits():
    x, labels, *_ = planted()
    for c, probe in zip(GRID, fit_probes(x, labels, c_grid=GRID), strict=True):
        np.testing.assert_allclose(probe.weights_kd, fit_probe(x, labels, c=c, seed=1).weights_kd, atol=1e-4)


def test_logits_are_the_stated_formula():
    probe = LinearProbe(
        ("a", "b"), np.array([1.0, 0.0]), np.array([2.0, 1.0]), np.array([[1.0, 0.0], [0.0, 3.0]]), np.array([0.5, 0])
    )
    np.testing.assert_allclose(probe.logits(np.array([[3.0, 2.0]])), [[1.5, 6.0]])
    assert probe.predict(np.array([[3.0, 2.0]])).tolist() == ["b"]


def test_held_out_scores_equal_scikit_learns():
    data = planted(noise=2.0)
    x, labels, groups, train, heldout, _ = data
    result = run(data)
    truth, said = (
        labels[heldout].astype(str),
        fit_probe(x[train], labels[train], c=0.1, seed=0).predict(x[heldout]).astype(str),
    )
    assert result.predictions[heldout].tolist() == said.tolist()
    assert all(p is None for p in result.predictions[train])
    assert result.accuracy == pytest.approx(accuracy_score(truth, said))
    assert result.balanced_accuracy == pytest.approx(balanced_accuracy_score(truth, said))
    assert result.macro_f1 == pytest.approx(f1_score(truth, said, average="macro"))
    names = [row.name for row in result.classes]
    np.testing.assert_allclose(
        [row.recall for row in result.classes], recall_score(truth, said, average=None, labels=names)
    )
    table = confusion_matrix(truth, said, labels=names)
    assert dict(((t, p), n) for t, p, n in result.confusion) == {
        (names[i], names[j]): table[i, j] for i in range(3) for j in range(3) if table[i, j]
    }
    for group in result.groups:
        rows = groups[heldout] == group.name
        assert (group.accuracy, group.n) == (pytest.approx(np.mean(truth[rows] == said[rows])), rows.sum())
    commonest = max(sorted(set(labels[train])), key=lambda name: np.sum(labels[train] == name))
    assert result.chance == pytest.approx(np.mean(truth == commonest))
    assert (result.n_clips, result.n_groups, result.n_classes, result.c) == (heldout.sum(), 3, 3, 0.1)
    assert (result.ci_low, result.ci_high) == (None, None)  # three groups


@pytest.mark.parametrize("protocol", ["group-folds", "random-folds"])
def test_fold_scores_equal_a_loop_over_folds(protocol):
    data = planted(noise=2.0)
    x, labels, _, _, _, folds = data
    result = run(data, protocol)
    said = np.full(len(labels), "", object)
    for fold in range(4):
        fit, score = (folds >= 0) & (folds != fold), folds == fold
        said[score] = fit_probe(x[fit], labels[fit], c=0.1, seed=0).predict(x[score])
    inside = folds >= 0
    assert result.accuracy == pytest.approx(np.mean(said[inside] == labels[inside]))
    assert (result.n_clips, result.n_groups, result.probe) == (inside.sum(), 9, None)
    assert result.ci_low < result.accuracy < result.ci_high  # nine groups


def test_a_perfect_and_a_chance_representation():
    x, labels, groups, train, heldout, folds = planted(n=600, noise=0.05)
    assert run((x, labels, groups, train, heldout, folds)).accuracy == 1
    shuffled = np.random.default_rng(5).permutation(labels)
    result = run((x, shuffled, groups, train, heldout, folds), "group-folds")
    assert abs(result.accuracy - 1 / 3) < 0.08
    assert abs(result.accuracy - result.chance) < 0.1


def test_c_is_chosen_on_training_folds_and_folds_choose_it_inside_themselves():
    data = planted(n=240, d=200, noise=2.0)
    x, labels, _, train, _, folds = data
    result = run(data, c_grid=GRID)
    right = dict.fromkeys(GRID, 0)
    for fold in range(4):
        fit, score = train & (folds != fold), folds == fold
        for c in GRID:
            right[c] += np.sum(fit_probe(x[fit], labels[fit], c=c, seed=0).predict(x[score]) == labels[score])
    assert result.c == max(GRID, key=lambda c: (right[c], -c))
    nested = run(data, "group-folds", c_grid=GRID)
    assert nested.accuracy is not None
    assert nested.c in (*GRID, None)


def test_held_out_clips_never_reach_the_fit():
    x, labels, groups, train, heldout, folds = planted()
    clean = run((x, labels, groups, train, heldout, folds), c_grid=GRID)
    other_x, other_labels = x.copy(), labels.copy()
    other_x[heldout] = 1e6
    other_labels[heldout] = "class 0"
    spoiled = run((other_x, other_labels, groups, train, heldout, folds), c_grid=GRID)
    for name in ("center_d", "scale_d", "weights_kd", "intercept_k"):
        np.testing.assert_array_equal(getattr(spoiled.probe, name), getattr(clean.probe, name))
    assert (spoiled.c, spoiled.probe.classes) == (clean.c, clean.probe.classes)
    folds_clean, folds_spoiled = (
        run((x, labels, groups, train, heldout, folds), "group-folds"),
        run((other_x, other_labels, groups, train, heldout, folds), "group-folds"),
    )
    assert folds_clean.predictions.tolist() == folds_spoiled.predictions.tolist()


def test_a_fold_never_reaches_its_own_scaler_or_weights():
    x, labels, groups, train, heldout, folds = planted()
    before = run((x, labels, groups, train, heldout, folds), "group-folds").predictions
    row = np.flatnonzero(folds == 0)[0]
    changed = x.copy()
    changed[row] = 1e6
    after = run((changed, labels, groups, train, heldout, folds), "group-folds").predictions
    same_fold = (folds == 0) & (np.arange(len(x)) != row)
    assert after[same_fold].tolist() == before[same_fold].tolist()


def test_a_group_on_both_sides_is_a_leak_and_gives_no_score():
    x, labels, groups, train, heldout, folds = planted()
    leaking = groups.copy()
    leaking[np.flatnonzero(heldout)[0]] = groups[train][0]
    result = run((x, labels, leaking, train, heldout, folds))
    assert result.accuracy is None
    assert "leak" in result.reason
    assert groups[train][0] in result.reason
    crossing = np.where(train, np.arange(len(x)) % 4, -1)
    assert "leak" in run((x, labels, groups, train, heldout, crossing), "group-folds").reason
    assert run((x, labels, groups, train, heldout, crossing), "random-folds").accuracy is not None


@pytest.mark.parametrize("protocol", ["held-out", "all-groups", "group-folds", "random-folds"])
def test_degenerate_data_gives_a_reason_and_no_number(protocol):
    x, labels, groups, train, heldout, folds = planted()
    n = len(x)
    cases: dict[str, Any] = {
        "no labelled clip": (x, np.full(n, None, object), groups, train, heldout, folds),
        "two classes": (x, np.full(n, "same", object), groups, train, heldout, folds),
    }
    if protocol != "random-folds":
        cases["only one group"] = (x, labels, np.full(n, "f1", object), train, heldout, folds)
    if protocol == "held-out":
        cases["no labelled clip to score"] = (x, np.where(heldout, None, labels), groups, train, heldout, folds)
    else:
        cases["one fold"] = (x, labels, groups, train, heldout, np.where(train, 0, -1))
    for words, data in cases.items():
        result = run(data, protocol)
        assert words in result.reason
        numbers = (
            result.accuracy,
            result.balanced_accuracy,
            result.macro_f1,
            result.chance,
            result.ci_low,
            result.probe,
        )
        assert numbers == (None,) * 6
    with pytest.raises(ValueError, match="held-out"):
        run((x, labels, groups, train, heldout, folds), "leave-one-out")


def test_unlabelled_clips_are_left_out():
    x, labels, groups, train, heldout, folds = planted()
    some = labels.copy()
    some[::3] = None
    kept = np.array([label is not None for label in some])
    with_none = run((x, some, groups, train, heldout, folds))
    without = run((x[kept], labels[kept], groups[kept], train[kept], heldout[kept], folds[kept]))
    assert (with_none.accuracy, with_none.n_clips) == (without.accuracy, without.n_clips)
    np.testing.assert_array_equal(with_none.probe.weights_kd, without.probe.weights_kd)


def test_a_class_that_nothing_was_fitted_on_is_not_scored_and_is_named():
    x, labels, groups, train, heldout, folds = planted()
    odd = labels.copy()
    odd[np.flatnonzero(heldout)[:6]] = "yodel"
    result = run((x, odd, groups, train, heldout, folds))
    assert "6 clips not scored" in result.reason
    assert "yodel" in result.reason
    assert result.n_clips == heldout.sum() - 6
    row = next(row for row in result.classes if row.name == "yodel")
    assert (row.recall, row.f1, row.reason) == (None, None, "no clip to fit on")


def test_a_class_of_few_clips_has_its_recall_with_its_n():
    x, labels, groups, train, heldout, folds = planted()
    few = labels.copy()
    rows = np.flatnonzero(heldout & (labels == "class 2"))
    few[rows[3:]] = "class 1"
    result = run((x, few, groups, train, heldout, folds))
    row = next(row for row in result.classes if row.name == "class 2")
    hits = np.sum(result.predictions[rows[:3]] == "class 2")
    assert (row.n, row.recall, row.reason) == (3, hits / 3, None)
    assert row.precision is not None and row.f1 is not None


def test_scores_are_means_over_the_classes_that_were_scored():
    """A class without a scored clip is no zero in the means; what is called so by mistake costs the others."""
    truth = np.array(["a"] * 4 + ["b"] * 4, object)
    said = np.array(["a", "a", "a", "c", "b", "b", "b", "b"], object)
    groups = np.array([f"g{i}" for i in range(8)])
    fitted = np.array(["a", "b", "c", "c", "c"], object)
    result = score_predictions(ProbeResult("held-out", 0), truth, said, fitted, groups, np.zeros(8, bool))
    assert (result.n_classes, result.accuracy, result.balanced_accuracy) == (2, 7 / 8, 7 / 8)
    assert result.macro_f1 == pytest.approx((6 / 7 + 1) / 2)
    assert result.macro_f1 == pytest.approx(f1_score(truth, said, average="macro", labels=["a", "b"]))
    only_said = next(row for row in result.classes if row.name == "c")
    assert (only_said.n, only_said.recall, only_said.precision, only_said.f1) == (0, None, 0.0, None)
    assert only_said.reason == "no clip of it was scored"


def test_chance_is_a_guess_among_the_classes_that_were_scored():
    """The commonest class of the training part is not in the scored part: its share there would be 0."""
    truth, groups = np.array(["a", "b", "b", "b"], object), np.array(["g0", "g0", "g1", "g1"])
    fitted = np.array(["c"] * 9 + ["a"] * 2 + ["b"], object)
    result = score_predictions(ProbeResult("held-out", 0), truth, truth, fitted, groups, np.zeros(4, bool))
    assert result.chance == 0.25
    assert [(group.name, group.n, group.chance) for group in result.groups] == [("g0", 2, 0.5), ("g1", 2, 0.0)]


def test_labels_that_go_with_the_group_have_the_chance_of_the_commonest():
    """Leaving one group out makes its label the rarer one each time: a guess by what is left would never be right."""
    groups = np.repeat([f"g{i}" for i in range(8)], 5).astype(object)
    labels = np.where(np.arange(40) // 5 % 2, "low", "high").astype(object)
    x = np.random.default_rng(0).normal(size=(40, 3))
    folds = np.arange(40) // 5
    result = run((x, labels, groups, np.ones(40, bool), np.zeros(40, bool), folds), "all-groups")
    assert result.chance == 0.5 and result.n_groups == 8


def test_all_groups_are_scored_out_of_fold():
    data = planted(noise=2.0)
    x, labels, groups, train, heldout, _ = data
    folds = np.unique(groups.astype(str), return_inverse=True)[1] % 5
    result = run((x, labels, groups, train, heldout, folds), "all-groups")
    said = np.full(len(labels), "", object)
    for fold in range(5):
        said[folds == fold] = fit_probe(x[folds != fold], labels[folds != fold], c=0.1).predict(x[folds == fold])
    assert result.predictions.tolist() == said.tolist()
    assert (result.n_clips, result.n_groups, result.probe) == (400, 12, None)
    assert result.ci_low < result.accuracy < result.ci_high


def test_one_hot_takes_its_categories_from_the_fitting_clips():
    singer = np.array(["a", "b", "a", "c", None], object)
    vowel = np.array(["i", "i", "o", "u", "o"], object)
    matrix = one_hot([singer, vowel], np.array([True, True, True, False, False]))
    np.testing.assert_array_equal(matrix, [[1, 0, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 1]])


def test_attribute_baseline_finds_what_gives_the_label_away():
    _, labels, groups, train, heldout, folds = planted(n=300)
    parts = {"train_mask_c": train, "heldout_mask_c": heldout, "folds_c": folds, "c_grid": (1.0,), "seed": 0}
    giveaway = np.array([label[-1] for label in labels], object)
    assert attribute_baseline([giveaway], labels, groups, protocol="held-out", **parts).accuracy == 1
    blind = attribute_baseline([np.full(300, "same", object)], labels, groups, protocol="held-out", **parts)
    assert blind.accuracy == blind.chance


def paper(*parts, **named):
    return run_paper_probe(*parts, **named)


def test_the_paper_probe_learns_repeats_and_keeps_the_best_epoch():
    x, labels, *_ = planted(n=300, noise=0.3)
    parts = (x[:150], labels[:150], x[150:200], labels[150:200], x[200:], labels[200:])
    result = paper(*parts, 3)
    assert result.accuracy > 0.97
    assert (result.protocol, result.n_clips, result.groups, result.probe.center_d.any()) == ("paper", 100, (), False)
    again = paper(*parts, 3)
    np.testing.assert_array_equal(result.probe.weights_kd, again.probe.weights_kd)
    assert np.abs(paper(*parts, 4).probe.weights_kd - result.probe.weights_kd).max() > 0
    misled = paper(x[:150], labels[:150], x[:50], np.roll(labels[:50], 1), x[200:], labels[200:], 3)
    assert np.abs(misled.probe.weights_kd).max() < np.abs(result.probe.weights_kd).max()  # an early epoch was kept


def test_the_paper_probe_without_validation_or_classes_has_a_reason():
    x, labels, *_ = planted(n=60)
    none = np.full(20, None, object)
    assert "validation" in paper(x[:20], labels[:20], x[20:40], none, x[40:], labels[40:], 0).reason
    assert "test" in paper(x[:20], labels[:20], x[20:40], labels[20:40], x[40:], none, 0).reason
    assert "two classes" in paper(x[:20], none, x[20:40], labels[20:40], x[40:], labels[40:], 0).reason


def test_the_paper_probe_counts_groups_where_they_are_given():
    x, labels, groups, *_ = planted(n=300, noise=0.3)
    parts = (x[:150], labels[:150], x[150:200], labels[150:200], x[200:], labels[200:], 0)
    result = paper(*parts, groups_test=groups[200:])
    assert result.n_groups == len(set(groups[200:]))
    assert sum(group.n for group in result.groups) == 100
    assert 0 <= result.ci_low <= result.accuracy <= result.ci_high <= 1
