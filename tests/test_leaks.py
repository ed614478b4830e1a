"""A planted leak: other sound in the held-out files. Whatever is fitted or chosen must come out the same.

Beside it the proof that the comparison can fail: pipelines that leak on purpose, each of which must be caught.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile as sf

from explorer.sae import load_sae
from explorer.store import Store, open_store
from precompute import attribution, label_tables, lasso_stage, layer_choice, probe_stage, sae_stage
from precompute.job import GROUP_FOLDS, HELD_OUT
from precompute.pipeline import run
from tests.conftest import measured, tiny_config

pytestmark = pytest.mark.slow

PROBE = "probes p JOIN representations r USING (representation_id)"
FIT = "JOIN factor_scores s USING (representation_id, protocol, factor_index) WHERE s.r2 IS NOT NULL"

# What is fitted or chosen, each with its key (the first columns) and how many of these there are.
FITTED: dict[str, tuple[int, str]] = {
    "choice of layers": (2, "SELECT encoder_id, layer, is_chosen, score FROM layer_choices"),
    "C of probes": (3, "SELECT representation_id, label_name, protocol, c FROM probes"),
    "folds of probes": (
        3,
        f"SELECT representation_id, label_name, protocol, accuracy FROM {PROBE} "
        "WHERE protocol LIKE '%folds' AND kind = 'dense'",
    ),
    "weights of probes": (
        3,
        "SELECT representation_id, label_name, class, intercept, weights "
        f"FROM probe_weights JOIN {PROBE} USING (probe_id)",
    ),
    "scalers of probes": (
        2,
        f"SELECT representation_id, label_name, center, scale FROM probe_scalers JOIN {PROBE} USING (probe_id)",
    ),
    "SAEs": (1, "SELECT sae_id, layer, sparsity, seed, mse_train, fvu_train, pca_k_n, pca_live_n, n_live FROM saes"),
    "curves of SAEs": (2, "SELECT sae_id, epoch, loss, dead_fraction FROM sae_curves"),
    "lengths of training": (3, "SELECT sae_id, n_epochs, fold, fvu FROM sae_lengths"),
    "PCA": (3, "SELECT encoder_id, layer, n_components, fvu_train FROM pca_baselines"),
    "labels of features": (
        2,
        "SELECT sae_id, feature, is_dead, label, label_direction, label_threshold, label_mcc_train FROM features",
    ),
    "alphas of Lasso": (
        3,
        "SELECT representation_id, protocol, factor_index, alpha, r2_train, r2_folds FROM factor_scores "
        "WHERE r2 IS NOT NULL",
    ),
    "targets of Lasso": (
        3,
        "SELECT representation_id, protocol, factor_index, m.intercept, m.y_mean, m.y_scale, m.clip_low, m.clip_high "
        f"FROM lasso_models m {FIT}",
    ),
    "weights of Lasso": (
        3,
        "SELECT representation_id, protocol, factor_index, list(w.dim ORDER BY dim) AS dims, "
        f"list(w.weight ORDER BY dim) AS weights FROM lasso_weights w {FIT} GROUP BY ALL",
    ),
    "scalers of Lasso": (2, "SELECT representation_id, protocol, x_mean, x_scale FROM lasso_scalers"),
}
# A factor is predicted only where the held-out part can score it: which ones are may differ, how they are fitted not.
MAY_LACK_ROWS = ("alphas of Lasso", "targets of Lasso", "weights of Lasso")


def leaks(mine: Store, other: Store) -> list[str]:
    """What was fitted otherwise in two stores whose training files hold the same sound."""
    found = []
    for name, (n_keys, sql) in FITTED.items():
        a, b = (store.query(sql) for store in (mine, other))
        a, b = (rows.set_index(list(rows.columns[:n_keys])).sort_index() for rows in (a, b))
        shared = a.index.intersection(b.index)
        if name in MAY_LACK_ROWS:
            a, b = a.loc[shared], b.loc[shared]
        assert len(a) and len(b), f"nothing to compare: {name}"
        if not a.index.equals(b.index) or not all(alike(a[column], b[column]) for column in a):
            found.append(name)
    weights = [weights_of(store) for store in (mine, other)]
    if weights[0].keys() != weights[1].keys() or not all(
        np.array_equal(x, y) for sae in weights[0] for x, y in zip(weights[0][sae], weights[1][sae], strict=True)
    ):
        found.append("weights of SAEs")
    return found


def alike(a: pd.Series, b: pd.Series) -> bool:
    """Whether two columns hold the same numbers, lists or words, to what float32 can say."""
    for x, y in zip(a, b, strict=True):
        if isinstance(x, np.ndarray | float):
            if np.shape(x) != np.shape(y) or not np.allclose(x, y, rtol=1e-5, atol=1e-7, equal_nan=True):
                return False
        elif x != y and not (pd.isna(x) and pd.isna(y)):
            return False
    return True


def weights_of(store: Store) -> dict[str, tuple[np.ndarray, ...]]:
    rows = store.query("SELECT sae_id, weights_file FROM saes")
    saes = {sae_id: load_sae(store.file(path)) for sae_id, path in rows.itertuples(index=False)}
    return {sae_id: (sae.w_enc_df, sae.b_enc_f, sae.w_dec_fd, sae.b_dec_d) for sae_id, sae in saes.items()}


def sing_otherwise(sources: Path, store: Store) -> None:
    """Put other sound into the held-out files: faster, so higher, with another balance and some noise."""
    held_out = store.query("SELECT DISTINCT path FROM clips JOIN files USING (file_id) WHERE split = 'held-out'")
    rng = np.random.default_rng(1)
    for relative in held_out["path"]:
        path = sources / "singing" / relative
        samples, rate_hz = sf.read(path)
        faster = np.interp(np.arange(0, len(samples), 1.3), np.arange(len(samples)), samples)
        changed = 0.7 * np.resize(np.diff(faster, prepend=0), len(samples)) + rng.normal(0, 0.003, len(samples))
        sf.write(path, np.clip(changed, -0.99, 0.99), rate_hz, subtype=sf.info(path).subtype)


@pytest.fixture(scope="module")
def other_sources(tiny_sources: Path, tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny sources with other sound in the held-out files."""
    folder = tmp_path_factory.mktemp("leaks") / "sources"
    shutil.copytree(tiny_sources, folder)
    sing_otherwise(folder, open_store(tiny_store))
    return folder


def test_held_out_clips_change_nothing_that_was_fitted(tiny_store: Path, other_sources: Path, tmp_path: Path) -> None:
    run(tiny_config(other_sources, measured(tiny_store, tmp_path / "changed")), command="leak test")
    mine, other = open_store(tiny_store), open_store(tmp_path / "changed")
    splits = "SELECT path, start_s, split, fold_group, fold_random FROM clips JOIN files USING (file_id) ORDER BY ALL"
    pd.testing.assert_frame_equal(mine.query(splits), other.query(splits))
    assert leaks(mine, other) == []
    for sql in (  # and what is scored held out did change: the files were replaced
        "SELECT sum(fvu_heldout) AS s FROM saes",
        "SELECT sum(r2) AS s FROM factor_scores",
        "SELECT sum(accuracy) AS s FROM probes WHERE protocol = 'held-out'",
    ):
        assert abs(mine.query(sql)["s"].iloc[0] - other.query(sql)["s"].iloc[0]) > 1e-3


Leak = Callable[[pytest.MonkeyPatch], None]


def scale_lasso_on_all_clips(patch: pytest.MonkeyPatch) -> None:
    real = attribution.lasso_scaler
    patch.setattr(attribution, "lasso_scaler", lambda x_cd, fit_mask: real(x_cd, np.ones_like(fit_mask)))


def choose_alpha_by_the_held_out_score(patch: pytest.MonkeyPatch) -> None:
    real = lasso_stage.fit_factors

    def leaky(*data: Any, settings: Any, **options: Any) -> Any:
        tried = [
            real(*data, settings=dataclasses.replace(settings, mode="fixed", fixed_alpha=alpha), **options)
            for alpha in (0.01, 0.03, 0.1, 0.3)
        ]
        return [max(fits, key=lambda fit: np.nan_to_num(fit.r2, nan=-np.inf)) for fits in zip(*tried, strict=True)]

    patch.setattr(lasso_stage, "fit_factors", leaky)


def scale_probes_on_all_clips(patch: pytest.MonkeyPatch) -> None:
    real = probe_stage.run_probe

    def leaky(x_cd: np.ndarray, *data: Any, **options: Any) -> Any:
        return real((x_cd - x_cd.mean(axis=0)) / (x_cd.std(axis=0) + 1e-6), *data, **options)

    patch.setattr(probe_stage, "run_probe", leaky)


def choose_layers_by_the_held_out_score(patch: pytest.MonkeyPatch) -> None:
    assert layer_choice.GROUP_FOLDS == GROUP_FOLDS
    patch.setattr(layer_choice, "GROUP_FOLDS", HELD_OUT)


def centre_saes_on_all_clips(patch: pytest.MonkeyPatch) -> None:
    real = sae_stage._fit

    def leaky(work: Any, states: Any, layers: Any, settings: Any) -> Any:
        moved = states.pooled_cld - states.pooled_cld.mean(axis=0)
        return real(work, dataclasses.replace(states, pooled_cld=moved), layers, settings)

    patch.setattr(sae_stage, "_fit", leaky)


def choose_labels_on_held_out_clips(patch: pytest.MonkeyPatch) -> None:
    real = label_tables.label_features

    def leaky(*data: Any, train_mask_c: np.ndarray, heldout_mask_c: np.ndarray, **options: Any) -> Any:
        return real(*data, train_mask_c=heldout_mask_c, heldout_mask_c=train_mask_c, **options)

    patch.setattr(label_tables, "label_features", leaky)


PLANTED: list[tuple[Leak, list[str], list[str]]] = [  # the leak, the stages it touches, what must be found
    (scale_lasso_on_all_clips, ["lasso"], ["scalers of Lasso", "weights of Lasso"]),
    (choose_alpha_by_the_held_out_score, ["lasso"], ["alphas of Lasso", "weights of Lasso"]),
    (scale_probes_on_all_clips, ["probes"], ["scalers of probes"]),
    (choose_layers_by_the_held_out_score, ["probes"], ["choice of layers"]),
    (centre_saes_on_all_clips, ["saes", "codes", "traces", "lasso"], ["weights of SAEs"]),
    (choose_labels_on_held_out_clips, ["codes", "traces"], ["labels of features"]),
]


@pytest.fixture(scope="module")
def pair(
    tiny_sources: Path, tiny_store: Path, other_sources: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[Path, Path]]:
    """(sources, finished store) of a small run over the same corpus, and over the one with other held-out sound."""
    folder = tmp_path_factory.mktemp("pair")
    stores = [(sources, folder / sources.parent.name) for sources in (tiny_sources, other_sources)]
    for sources, store in stores:
        run(small(sources, measured(tiny_store, store)), command="honest")
    return stores


def small(sources: Path, store: Path) -> Any:
    encoders = [f"hubert={sources / 'random-hubert'}"]
    options: dict[str, Any] = {"sparsities": (0.8,), "seeds": (0,), "layers": "1", "epochs": 4}
    return tiny_config(sources, store, encoders=encoders, **options)


@pytest.mark.parametrize(("leak", "stages", "expected"), PLANTED, ids=[leak.__name__ for leak, *_ in PLANTED])
def test_a_pipeline_that_leaks_is_caught(
    leak: Leak,
    stages: list[str],
    expected: list[str],
    pair: list[tuple[Path, Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert leaks(*(open_store(store) for _, store in pair)) == []
    leak(monkeypatch)
    stores = []
    for place, (sources, honest) in enumerate(pair):
        store = tmp_path / str(place)
        shutil.copytree(honest, store)
        for stage in stages:
            shutil.rmtree(store / "artefacts" / stage)
        for weights in (store / "files").glob("sae-*"):
            weights.unlink()
        run(small(sources, store), command=leak.__name__)
        stores.append(open_store(store))
    assert set(expected) <= set(leaks(*stores))
