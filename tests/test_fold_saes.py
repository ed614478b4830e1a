"""SAEs refitted by fold: what they never saw, and that the scores over all groups stand on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from explorer.queries.claims import fetch_claims
from explorer.store import Store, open_store
from precompute import fold_saes
from precompute.artefacts import Artefacts
from precompute.config import PRESETS
from precompute.encoder_choice import choose_encoders
from precompute.fold_codes import folds_of
from precompute.pipeline import open_job, run
from precompute.plan import estimate
from precompute.probes import run_probe
from precompute.reporting import Reporter
from tests.conftest import measured, tiny_config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained_on() -> list[int]:
    """How many clips each refit was trained on."""
    return []


@pytest.fixture(scope="module")
def refitted(
    tiny_sources: Path, tiny_store: Path, tmp_path_factory: pytest.TempPathFactory, trained_on: list[int]
) -> Store:
    folder = measured(tiny_store, tmp_path_factory.mktemp("refitted") / "store")
    encoders = [f"hubert={tiny_sources / 'random-hubert'}"]
    options = {"encoders": encoders, "layers": "2", "sparsities": (0.9,), "seeds": (0, 1), "epochs": 3}
    train = fold_saes.train_sound

    def counted(train_cd: np.ndarray, *rest: Any) -> Any:
        trained_on.append(len(train_cd))
        return train(train_cd, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fold_saes, "train_sound", counted)
        run(tiny_config(tiny_sources, folder, sae_per_fold=True, **options), command="refitted")
    return open_store(folder)


def test_each_refit_sees_no_clip_of_its_fold(refitted: Store, trained_on: list[int]) -> None:
    sizes = refitted.query("SELECT fold_all, count(*) AS n FROM clips GROUP BY ALL ORDER BY fold_all")
    assert len(sizes) == 8 and sorted(trained_on) == sorted(80 - sizes["n"])


def test_scores_over_all_groups_stand_on_them_for_the_first_seed_alone(refitted: Store) -> None:
    blind = refitted.query(
        "SELECT s.seed, p.protocol, p.is_sae_blind, p.accuracy FROM probes p JOIN saes s "
        "ON s.sae_id = p.representation_id"
    ).set_index(["seed", "protocol"])["is_sae_blind"]
    assert set(blind.index.get_level_values("protocol")) == {"all-groups", "held-out"}
    assert blind[0, "all-groups"] and blind[1, "held-out"] and not blind[1, "all-groups"]
    errors = refitted.query(
        "SELECT s.seed, count(*) AS n_groups, sum(n_clips) AS n FROM sae_group_errors JOIN saes s USING (sae_id) "
        "GROUP BY ALL ORDER BY s.seed"
    )
    held_out = refitted.query("SELECT count(*) AS n FROM clips WHERE split = 'held-out'")["n"].iloc[0]
    assert errors["n"].tolist() == [80, held_out] and errors["n_groups"].iloc[0] == 8
    label = refitted.query("SELECT value FROM meta WHERE key = 'label_name'")["value"].iloc[0]
    said = " ".join(claim.sentence for claim in fetch_claims(refitted, label))
    assert "each by an SAE refitted without it" in said
    assert "the SAEs were trained on" in said  # the second seed was not refitted


def test_a_leak_through_the_representation_is_gone() -> None:
    """Codes that carry each clip's own label where their fit saw it: blind codes do not."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(8), 12)
    labels = rng.integers(0, 3, len(groups)).astype(str).astype(object)
    leaking = np.eye(3)[labels.astype(int)] + 0.01 * rng.normal(size=(len(groups), 3))
    blind = {fold: np.where((groups == fold)[:, None], rng.normal(size=leaking.shape), leaking) for fold in range(8)}
    none = np.zeros(len(groups), bool)
    arguments = {"train_mask_c": ~none, "heldout_mask_c": none, "folds_c": groups, "c_grid": (0.1,), "seed": 0}
    seen, unseen = (
        run_probe(leaking, labels, groups, protocol="all-groups", x_by_fold=by_fold, **arguments)  # type: ignore[arg-type]
        for by_fold in (None, blind)
    )
    assert seen.accuracy == 1.0 and unseen.accuracy is not None and unseen.accuracy < 0.6


def test_rigorous_asks_for_them_and_the_forecast_counts_them(tiny_sources: Path, tmp_path: Path) -> None:
    assert PRESETS["rigorous"]["sae_per_fold"] is True and "sae_per_fold" not in PRESETS["default"]
    forecasts = []
    for asked in (False, True):
        config = tiny_config(tiny_sources, tmp_path / str(asked), sae_per_fold=asked)
        job = open_job(config, Artefacts(config.store), Reporter())
        forecasts.append(estimate(job, [choice.at(job) for choice in choose_encoders(config, job.artefacts)]))
        assert folds_of(job) == tuple(range(8))
    assert forecasts[1].other_s > forecasts[0].other_s and forecasts[1].disk_bytes > forecasts[0].disk_bytes
