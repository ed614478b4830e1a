"""How a run sets up its probes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from precompute.probe_stage import probe_representation


def probes_of(groups_c: np.ndarray, train_c: np.ndarray) -> dict[str, Any]:
    """Results by protocol: a rare class in one column, which a C of 1e-5 cannot tell from the common one."""
    rng = np.random.default_rng(0)
    labels_c = np.array(["rare" if i % 5 == 0 else "common" for i in range(len(groups_c))], dtype=object)
    x_cd = rng.normal(size=(len(groups_c), 6))
    x_cd[:, 2] += 4.0 * (labels_c == "rare")
    folds_c = np.where(train_c, np.arange(len(groups_c)) // 5 % 8, -1)
    arrays = SimpleNamespace(
        labels={"technique": labels_c},
        groups_c=groups_c,
        train_c=train_c,
        heldout_c=~train_c,
        fold_all_c=folds_c,
        fold_group_c=folds_c,
        fold_random_c=folds_c,
    )
    job: Any = SimpleNamespace(arrays=arrays, config=SimpleNamespace(probe_c_grid=(1e-5, 1e-2, 1.0)))
    return {result.protocol: result for _, result in probe_representation(job, x_cd, seed=0)}


def test_without_a_held_out_part_c_is_chosen_in_each_fold() -> None:
    found = probes_of(np.full(200, "one", dtype=object), np.ones(200, dtype=bool))
    assert found["held-out"].accuracy is None and found["held-out"].reason
    assert found["random-folds"].balanced_accuracy > 0.9


def test_with_one_all_protocols_share_its_c() -> None:
    groups_c = np.array([f"g{i // 5 % 8}" for i in range(200)], dtype=object)
    found = probes_of(groups_c, np.isin(groups_c, ["g0", "g1", "g2", "g3", "g4"]))
    assert found["held-out"].c is not None
    assert found["group-folds"].c == found["random-folds"].c == found["held-out"].c
