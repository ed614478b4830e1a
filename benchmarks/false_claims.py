"""How often the product says something of noise, and how soon it says what is there.

    python -m benchmarks.false_claims [--trials 40] [--quick | --large]

Corpora of noise in many sizes, with labels and measures that mean nothing, go through the functions that pages and
precompute use. Every kind of statement is counted: at most 5 % may be false. Then features of known strength are
planted, and the share that is found is printed. Exits with 1 where a rate is surely over 5 %.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from explorer.feature_search import Clips, find_measure, find_value
from explorer.minimal_pairs import paired_changes
from explorer.permutation import ALPHA
from explorer.sae import top_k_codes
from precompute.feature_labels import LabelSettings, label_features
from precompute.splits import SplitItem, split_files

SIZES = ((2, 8), (2, 100), (4, 25), (6, 3), (8, 12), (12, 4), (20, 10), (40, 2), (40, 1))  # groups, clips a group
LARGE_SIZES = ((20, 150), (4, 750))  # 1,000 clips a label
QUICK_SIZES = ((2, 20), (4, 12), (12, 4), (30, 2))
SOUNDS = ("white", "coloured by group")
LABELS = ("of clips", "of groups", "of both")
N_FEATURES = 96


@dataclass(frozen=True, eq=False)
class Noise:
    """A corpus in which nothing means anything: codes (c, f), a label, a number, and who is in which group."""

    name: str
    codes_cf: NDArray[np.float32]
    labels_c: NDArray
    measured_c: NDArray[np.float64]
    clips: Clips


Statement = Callable[[Noise], bool | None]
"""Whether it is said; None where nothing can be tested."""


def label_is_shown(noise: Noise) -> bool | None:
    found = label_features(
        noise.codes_cf, noise.labels_c, noise.clips.groups_c,
        train_mask_c=noise.clips.train_c, heldout_mask_c=noise.clips.heldout_c, folds_c=noise.clips.folds_c,
        settings=LabelSettings(n_permutations=60),
    )  # fmt: skip
    return bool(found.is_shown.any()) if any(null.why_not is None for null in found.nulls) else None


def value_is_found(noise: Noise) -> bool | None:
    found = find_value(noise.codes_cf, noise.labels_c == noise.labels_c[0], noise.clips)
    return None if found.reason else bool((found.p <= ALPHA).any())


def measure_is_found(noise: Noise) -> bool | None:
    found = find_measure(noise.codes_cf, noise.measured_c, noise.clips)
    return None if found.reason else bool((found.p <= ALPHA).any())


def pairs_change(noise: Noise) -> bool | None:
    half = len(noise.codes_cf) // 2 * 2
    change = noise.codes_cf[1:half:2] - noise.codes_cf[:half:2]
    found = paired_changes(change, noise.clips.groups_c[:half:2])
    return None if found.reason else bool((found.p <= ALPHA).any())


STATEMENTS: Mapping[str, Statement] = {
    "a label is shown": label_is_shown,
    "Find: a value": value_is_found,
    "Find: a measure": measure_is_found,
    "minimal pairs: a change": pairs_change,
}


def clips_of(n_groups: int, per_group: int, seed: int) -> Clips:
    """Groups with the splits that a corpus of them gets."""
    items = [SplitItem(f"{g}-{i}", f"g{g:03d}", f"{g}-{i}") for g in range(n_groups) for i in range(per_group)]
    splits = split_files(items, seed=seed)
    train = np.array([splits.split[item.key] == "train" for item in items])
    folds = np.array([-1 if splits.fold_all[item.key] is None else splits.fold_all[item.key] for item in items])
    return Clips(np.array([item.group for item in items], dtype=object), train, ~train, folds)


def noise_of(n_groups: int, per_group: int, sound: str, label: str, seed: int) -> Noise:
    """States of noise, the codes of a random dictionary over them, and a label and a number drawn apart from them."""
    rng = np.random.default_rng([seed, n_groups, per_group, SOUNDS.index(sound), LABELS.index(label)])
    clips = clips_of(n_groups, per_group, seed)
    group = np.unique(clips.groups_c.astype(str), return_inverse=True)[1]
    states = rng.standard_normal((len(group), 32))
    if sound == "coloured by group":
        states += 2 * rng.standard_normal((n_groups, 32))[group]
    codes = top_k_codes((states @ rng.standard_normal((32, N_FEATURES))).astype(np.float32), 8).dense()
    of_clips, of_groups = rng.integers(0, 3, len(group)), rng.integers(0, 3, n_groups)[group]
    labels = {"of clips": of_clips, "of groups": of_groups, "of both": np.where(group % 3 == 0, 3, of_clips)}[label]
    numbers = rng.standard_normal(n_groups)[group]
    if label != "of groups":
        numbers = numbers + rng.standard_normal(len(group)) * (1.0 if label == "of clips" else 0.1)
    name = f"{n_groups} groups of {per_group}, {sound}, labels {label}"
    return Noise(name, codes, labels.astype(str).astype(object), numbers, clips)


def corpora(sizes: tuple[tuple[int, int], ...], n_trials: int) -> Iterator[Noise]:
    """Every size, sound and level of labels, `n_trials` times."""
    for n_groups, per_group in sizes:
        for sound in SOUNDS:
            for label in LABELS:
                for trial in range(n_trials):
                    yield noise_of(n_groups, per_group, sound, label, trial)


@dataclass(frozen=True)
class Rate:
    """How often a statement was false, of how many times it could have been made."""

    n_false: int
    n: int

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Clopper-Pearson."""
        if not self.n:
            return 0.0, 1.0
        low = stats.beta.ppf(0.025, self.n_false, self.n - self.n_false + 1) if self.n_false else 0.0
        high = stats.beta.ppf(0.975, self.n_false + 1, self.n - self.n_false) if self.n_false < self.n else 1.0
        return float(low), float(high)

    @property
    def is_too_often(self) -> bool:
        """Whether it is surely over 5 %."""
        return self.interval[0] > ALPHA


def false_rates(sizes: tuple[tuple[int, int], ...], n_trials: int) -> dict[str, Rate]:
    """By kind of statement."""
    said: dict[str, list[bool]] = {kind: [] for kind in STATEMENTS}
    for noise in corpora(sizes, n_trials):
        for kind, statement in STATEMENTS.items():
            if (is_said := statement(noise)) is not None:
                said[kind].append(is_said)
    return {kind: Rate(sum(every), len(every)) for kind, every in said.items()}


def power(strength: float, n_groups: int, per_group: int, n_trials: int) -> float:
    """The share of corpora in which a feature is labelled that fires on a label with this odds, and else by chance."""
    n_found = 0
    for trial in range(n_trials):
        noise = noise_of(n_groups, per_group, SOUNDS[0], LABELS[0], trial)
        rng = np.random.default_rng(trial)
        codes = noise.codes_cf.copy()
        has_it = noise.labels_c == "1"
        codes[:, 0] = np.where(
            rng.random(len(has_it)) < np.where(has_it, strength, 0.1), 1 + rng.random(len(has_it)), 0
        )
        found = label_features(
            codes, noise.labels_c, noise.clips.groups_c, train_mask_c=noise.clips.train_c,
            heldout_mask_c=noise.clips.heldout_c, folds_c=noise.clips.folds_c,
            settings=LabelSettings(n_permutations=60),
        )  # fmt: skip
        n_found += bool(found.is_shown[0]) and found.label[0] == "1"
    return n_found / n_trials


def main() -> int:
    parser = argparse.ArgumentParser(description="False and true statements on noise and on planted features.")
    parser.add_argument("--trials", type=int, default=20, help="of each corpus (default: 20)")
    parser.add_argument("--quick", action="store_true", help="four sizes")
    parser.add_argument("--large", action="store_true", help="3,000 clips instead")
    options = parser.parse_args()
    sizes = LARGE_SIZES if options.large else QUICK_SIZES if options.quick else SIZES
    rates = false_rates(sizes, options.trials)
    for kind, rate in rates.items():
        share, (low, high) = rate.n_false / max(rate.n, 1), rate.interval
        print(f"{kind:28} {rate.n_false:4} of {rate.n:5} false  {share:6.3f} ({low:.3f} to {high:.3f})")
    print("\nlabels found of features that fire on a share of the label's clips, and on a tenth of the others")
    shares = (0.4, 0.6, 0.8, 1.0)
    print(f"{'groups x clips':18}" + "".join(f"{share:>8}" for share in shares))
    for n_groups, per_group in sizes:
        found = [power(share, n_groups, per_group, options.trials) for share in shares]
        print(f"{f'{n_groups} x {per_group}':18}" + "".join(f"{value:8.2f}" for value in found))
    return int(any(rate.is_too_often for rate in rates.values()))


if __name__ == "__main__":
    sys.exit(main())
