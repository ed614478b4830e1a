"""Preset paper from end to end on a small corpus: what it pools, trains together, keeps apart and reports."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile as sf

from explorer.audio import load_waveform
from explorer.encoders import load_encoder
from explorer.errors import ConfigError
from explorer.inference import clip_sound, listen, own_encoder
from explorer.queries.corpus import fetch_saes
from explorer.queries.search import fetch_codes
from explorer.queries.traces import fetch_traces
from explorer.sae import load_sae
from explorer.store import Store, open_store
from precompute import sae_stage
from precompute.artefacts import Artefacts
from precompute.config import RunConfig
from precompute.crops import CROPS_STAGE, crops_key, encode_crops
from precompute.datasets.singing.corpus import write_corpus
from precompute.datasets.singing.parts import crossed
from precompute.datasets.singing.voice import RATE_HZ
from precompute.encode_stage import States
from precompute.encoder_choice import choose_encoders
from precompute.giant_frames import Giants, Usual
from precompute.lasso_stage import lasso
from precompute.pipeline import open_job, run
from precompute.probe_stage import probe_layers
from precompute.reporting import Reporter
from precompute.sae_stage import LAST_STATE
from precompute.shards import ClipSource, Shard
from precompute.targets import Targets
from tests.conftest import tiny_config
from tests.test_pages import at, no_trouble, words

pytestmark = pytest.mark.slow

LONG_S = 11.5  # more than AST sees at once
LONG = "FULL/female2/arpeggios/straight/f2_arpeggios_long_straight_a.wav"  # of the test singer


@pytest.fixture(scope="module")
def sources(tiny_sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four singers with six short files each, one of them a test singer with a long file; the small checkpoints."""
    folder = tmp_path_factory.mktemp("paper_sources")
    techniques = ("belt", "breathy", "straight", "vibrato", "vocal_fry", "trill")
    write_corpus(folder / "singing", crossed(n_singers=4, techniques=techniques, exercises=("arpeggios",), n_vowels=1))
    parts = [sf.read(path)[0] for path in sorted((folder / "singing" / "FULL" / "female2").rglob("*.wav"))]
    samples = np.concatenate(parts)[: round(LONG_S * RATE_HZ)]
    assert len(samples) == LONG_S * RATE_HZ
    (folder / "singing" / LONG).parent.mkdir(parents=True, exist_ok=True)
    sf.write(folder / "singing" / LONG, samples, RATE_HZ)
    for name in ("ast", "hubert"):
        (folder / f"random-{name}").symlink_to(tiny_sources / f"random-{name}")
    return folder


def paper_config(sources: Path, store: Path, **options: object) -> RunConfig:
    chosen: dict[str, object] = {
        "preset": "paper",
        "layers": "ast=2,4;hubert=1,4",
        "sparsities": (0.75, 0.8, 0.9),
        "seeds": (42,),
        "epochs": 3,
        "n_crops": 2,
        "lasso_permutations": 1,
        "label_permutations": 2,
        "feature_map": "pca",
    }
    return tiny_config(sources, store, **{**chosen, **options})


@pytest.fixture(scope="module")
def trained_together() -> list[tuple[list[int], np.ndarray]]:
    """Filled by the fixture `store`: the layers of every joint training, and the last of them's training crops."""
    return []


@pytest.fixture(scope="module")
def folder(
    sources: Path, tmp_path_factory: pytest.TempPathFactory, trained_together: list[tuple[list[int], np.ndarray]]
) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("paper") / "store"
    real = sae_stage.train_paper

    def spied(crops: dict[int, np.ndarray], valid: Any, settings: Any, **options: Any) -> Any:
        trained_together.append((list(crops), crops[list(crops)[-1]]))
        return real(crops, valid, settings, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sae_stage, "train_paper", spied)
        run(paper_config(sources, folder), command="paper")
    yield folder


@pytest.fixture(scope="module")
def store(folder: Path) -> Store:
    return open_store(folder)


def test_everything_is_fitted_and_scored_on_the_published_parts(store: Store) -> None:
    saes = store.query("SELECT * FROM saes JOIN encoders USING (encoder_id)")
    assert set(saes["protocol"]) == set(saes["method"]) == {"paper"} and len(saes) == 2 * 2 * 3
    assert dict(saes.groupby("name")["layer"].agg(lambda layers: sorted(set(layers)))) == {
        "ast": [2, 4],
        "hubert": [1, 4],
    }
    assert dict(zip(saes["sparsity"], saes["k"], strict=True)) == {0.75: 32, 0.8: 25, 0.9: 12}  # int((1 - s) * 128)
    n_clips = store.query("SELECT paper_split, count(*) AS n FROM clips GROUP BY 1").set_index("paper_split")["n"]
    assert (n_clips["train"], n_clips["valid"], n_clips["test"]) == (14, 4, 7)
    probes = store.query("SELECT * FROM probes WHERE protocol = 'paper'")
    assert set(probes["n_clips"]) == {7} and (probes["representation_id"].isin(saes["sae_id"])).sum() == len(saes)
    scores = store.query("SELECT * FROM factor_scores WHERE r2 IS NOT NULL")
    assert set(scores["protocol"]) == {"paper"} and set(scores["alpha"]) == {0.1}
    assert (scores["r2"] == scores["r2_train"]).all() and set(scores["n_groups"]) == {1}
    assert (scores.loc[scores["n_weights"] == 0, "completeness"] == 1).all()


def test_three_saes_are_trained_together_even_where_the_last_layer_is_chosen(
    store: Store, trained_together: list[tuple[list[int], np.ndarray]]
) -> None:
    layers = sorted(layers for layers, _ in trained_together)
    assert layers == [[1, 4, LAST_STATE]] * 3 + [[2, 4, LAST_STATE]] * 3
    assert len(store.query("SELECT * FROM saes")) == 12  # the third is not kept


def test_crops_of_a_file_that_is_shorter_than_a_crop_differ_in_training_mode(
    trained_together: list[tuple[list[int], np.ndarray]], store: Store
) -> None:
    del store
    for _, crops_cnd in trained_together:
        assert (np.abs(crops_cnd[:, 0] - crops_cnd[:, 1]).max(axis=1) > 1e-4).all() or np.allclose(
            crops_cnd[:, 0], crops_cnd[:, 1]
        )  # AST draws nothing: no dropout, no masks
    assert sum(not np.allclose(crops[:, 0], crops[:, 1]) for _, crops in trained_together) == 3


def test_a_whole_file_is_what_the_network_sees_of_it_at_once(store: Store, sources: Path) -> None:
    """AST: the first 10.24 s, over all tokens. HuBERT: all of it."""
    path = sources / "singing" / LONG
    clip = store.query("SELECT clip_index FROM clips JOIN files USING (file_id) WHERE path = ?", [LONG])
    saes = store.query("SELECT * FROM saes JOIN encoders USING (encoder_id) WHERE layer = 4 AND sparsity = 0.9")
    for row in saes.to_dict("records"):
        encoder = load_encoder(f"{row['name']}={sources / ('random-' + row['name'])}", device="cpu")
        wave = load_waveform(path, sample_rate_hz=16_000)
        if row["name"] == "ast":
            wave = dataclasses.replace(wave, samples=wave.samples[: 1023 * 160 + 400])  # 1024 frames of filter banks
        pooled_cd = encoder.hidden_states([wave], (4,), all_tokens=True)[4].all_tokens_mean_cd
        assert pooled_cd is not None
        codes = load_sae(store.file(row["weights_file"])).encode(pooled_cd).dense()[0]
        stored = store.query(
            "SELECT feature, value FROM read_parquet(?) WHERE clip_index = ? ORDER BY feature",
            [str(store.file(row["codes_by_clip_file"]).resolve()), int(clip["clip_index"].iloc[0])],
        )
        assert stored["feature"].tolist() == np.flatnonzero(codes).tolist()
        np.testing.assert_allclose(stored["value"], codes[codes > 0], rtol=1e-3, atol=1e-4)
        assert row["pooling"] == ("all tokens, first window" if row["name"] == "ast" else "all tokens")


def test_it_comes_out_the_same_whatever_the_number_of_workers(folder: Path, sources: Path, tmp_path: Path) -> None:
    hubert = [f"hubert={sources / 'random-hubert'}"]
    run(paper_config(sources, tmp_path / "store", encoders=hubert, n_workers=1), command="one worker")
    mine, other = open_store(folder), open_store(tmp_path / "store")
    for sql in (
        "SELECT sae_id, round(mse_train, 6) AS m, round(mse_heldout, 6) AS h FROM saes "
        "WHERE encoder_id LIKE 'hubert%' ORDER BY ALL",
        "SELECT sae_id, epoch, round(loss, 6) AS loss FROM sae_curves JOIN saes USING (sae_id) "
        "WHERE encoder_id LIKE 'hubert%' ORDER BY ALL",
        "SELECT probe_id, accuracy FROM probes JOIN representations USING (representation_id) "
        "WHERE encoder_id LIKE 'hubert%' ORDER BY ALL",
    ):
        assert len(other.query(sql))
        pd.testing.assert_frame_equal(mine.query(sql), other.query(sql))


def test_a_new_sound_is_read_as_the_published_protocol_reads_it(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saes = fetch_saes(store)
    saes = saes[saes["is_reference"].astype(bool)]
    encode = own_encoder(store, device="cpu")
    long = store.query("SELECT clip_index, clip_id FROM clips WHERE duration_s > 11").iloc[0]
    predicted = store.query("SELECT * FROM factor_predictions WHERE protocol = 'paper'")
    unseen = []
    for sae in saes.to_dict("records"):
        codes = fetch_codes(store, sae)
        listed = store.query("SELECT DISTINCT clip_index FROM listed_clips WHERE sae_id = ?", [sae["sae_id"]])
        for index in dict.fromkeys([int(long["clip_index"]), *listed["clip_index"].head(3)]):
            (heard,) = listen(store, clip_sound(store, index).wave, [sae["sae_id"]], encode)
            assert np.allclose(heard.code_f, codes[index], rtol=1e-4, atol=1e-4 * codes[index].max())
            for feature in store.query(
                "SELECT feature FROM listed_clips WHERE sae_id = ? AND clip_index = ? LIMIT 3", [sae["sae_id"], index]
            )["feature"]:
                stored = fetch_traces(store, sae, int(feature), [index])[index]
                mine = heard.reading.trace(int(feature))
                assert len(mine) == len(stored.values) and stored.padded_share is not None
                assert np.abs(mine - stored.values).max() <= 0.55 * stored.step + 1e-4 * np.abs(mine).max()
                assert heard.reading.unseen(int(feature)) == pytest.approx(stored.padded_share, abs=2e-3)
                unseen.append((sae["encoder_name"], abs(stored.padded_share)))
            assert heard.models is not None and heard.models.protocol == "paper"
            theirs = predicted[
                (predicted["representation_id"] == sae["sae_id"]) & (predicted["clip_index"] == index)
            ].set_index("factor_index")["predicted"]
            values = pd.Series(heard.models.predict(heard.code_f), heard.models.factor_index_m)
            assert np.allclose(values[theirs.index], theirs, rtol=1e-3, atol=1e-4)
            assert heard.probe is not None
    assert max(value for name, value in unseen if name == "ast") > 1e-2
    ast = str(saes[saes["encoder_name"] == "ast"]["sae_id"].iloc[0])
    page = at("live", folder, monkeypatch, clip=long["clip_id"], sae=ast)
    no_trouble(page)
    said = words(page)
    assert "analyses only the first 10" in said and "Special and padded tokens, not drawn" in said
    assert "in-sample: scored on the clips it was fitted on" in said


@pytest.mark.parametrize("pads", [True, False])
def test_crops_are_pooled_as_the_fault_says(pads: bool, sources: Path, tmp_path: Path) -> None:
    """With the fault, zeros and special tokens count as sound; without it, the same frames as everywhere else."""
    encoder = load_encoder(f"ast={sources / 'random-ast'}", device="cpu")
    path = next((sources / "singing" / "FULL" / "female1").rglob("*.wav"))
    wave = load_waveform(path, sample_rate_hz=16_000)
    shard = Shard((ClipSource(0, "abc", path, 0.0, wave.duration_s),))
    artefacts = Artefacts(tmp_path)
    options = {"layers": [3], "crop_s": 5.0, "n_crops": 2, "seed": 0, "all_tokens": pads}
    keys = [crops_key("ast", shard, **{**options, "all_tokens": value}) for value in (True, False)]  # type: ignore[arg-type]
    encode_crops(artefacts, encoder, encoder, shard, key="crops", on_clip=lambda _: None, **options)  # type: ignore[arg-type]
    arrays = artefacts.get(CROPS_STAGE, "crops").arrays("crops")
    padded = dataclasses.replace(wave, samples=np.pad(wave.samples, (0, 80_000 - len(wave.samples))))
    states = encoder.hidden_states([padded if pads else wave], (3,), all_tokens=pads)[3]
    expected = states.all_tokens_mean_cd if pads else states.pooled()
    assert expected is not None
    np.testing.assert_allclose(arrays["first_cld"][:, 0], expected, atol=1e-5)
    np.testing.assert_allclose(arrays["crops_cnld"][:, 1, 0], expected, atol=1e-5)
    assert keys[0] != keys[1]


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ({"crop_s": 4.0}, True),
        ({"n_crops": 3}, True),
        ({"faults": {"encoders_in_training_mode": False}}, True),
        ({"faults": {"last_batch_checkpoint": False}}, True),
        ({"faults": {"pool_padding": False}}, True),
        ({"faults": {"completeness_one_without_weights": False}}, False),
    ],
)
def test_an_sae_is_named_by_what_made_it_and_nothing_else(
    options: dict[str, object], changes: bool, sources: Path, tmp_path: Path
) -> None:
    def ids(**options: object) -> set[str]:
        config = paper_config(sources, tmp_path / "store", **options)
        job = open_job(config, Artefacts(config.store, tmp_path / "scratch"), Reporter())
        work = choose_encoders(config, job.artefacts)[1].at(job)
        return set(sae_stage.sae_ids(work, (1, 4), sae_stage.train_settings(work, 0.9, 42)).values())

    assert (ids() != ids(**options)) == changes


def no_giants(n_clips: int, n_layers: int, d_model: int) -> Giants:
    counts_cl = np.zeros((n_clips, n_layers))
    return Giants(
        usual=Usual((), "none"),
        pooled_cld=np.zeros((n_clips, n_layers, d_model), np.float32),
        n_frames_c=np.ones(n_clips),
        n_giant_cl=counts_cl,
        square_cl=counts_cl,
        square_ld=np.zeros((n_layers, d_model)),
        square_giant_cl=counts_cl,
        spans_n4=np.zeros((0, 4)),
    )


def test_probes_and_lasso_are_named_by_the_states_they_stand_on(sources: Path, tmp_path: Path) -> None:
    """With another fault switched the states are others, and so must be the artefacts made of them."""

    def made(stage: str, **faults: bool) -> set[str]:
        config = paper_config(
            sources, tmp_path / "store", faults=faults, encoders=[f"hubert={sources / 'random-hubert'}"]
        )
        job = open_job(config, Artefacts(config.store), Reporter())
        work = choose_encoders(config, job.artefacts)[0].at(job)
        rng = np.random.default_rng(0)
        n_clips, n_layers, d_model = len(job.corpus.clips), len(work.layers()), work.checkpoint.d_model
        pooled_cld = rng.normal(size=(n_clips, n_layers, d_model)).astype(np.float32)
        states = States(
            pooled_cld,
            pooled_cld,
            no_giants(n_clips, n_layers, d_model),
            pooled_cld,
            np.repeat(pooled_cld[:, None], 2, axis=1),
        )
        if stage == "probes":
            probe_layers(work, states)
        else:
            targets = Targets(rng.normal(size=(n_clips, 2)), ("factor",) * 2)
            with job.reporter.stage("lasso", 1, "representations") as done:
                dense_cd = pooled_cld[:, 1]
                lasso(job, done, dense_cd, targets, "x", seed=0, pooling=work.pooling, protocol=job.protocol)
        return {key for found, key in job.record.bundles if found == stage}

    for stage, fault in (
        ("probes", "encoders_in_training_mode"),
        ("probes", "pool_padding"),
        ("lasso", "pool_padding"),
    ):
        assert made(stage) == made(stage) and not made(stage) & made(stage, **{fault: False})


def test_a_corpus_without_files_to_choose_the_epoch_on_is_refused(tmp_path: Path, sources: Path) -> None:
    for singer in ("female1", "male2"):
        (tmp_path / "in" / "FULL" / singer / "scales" / "belt").mkdir(parents=True)
        rng = np.random.default_rng(len(singer))
        short = singer.replace("female", "f").replace("male", "m")
        path = tmp_path / "in" / "FULL" / singer / "scales" / "belt" / f"{short}_scales_belt_a.wav"
        sf.write(path, rng.normal(0, 0.1, 16_000), 16_000)
    for part, singer in (("train", "female1"), ("test", "male2")):
        (tmp_path / "in" / f"{part}_singers_technique.txt").write_text(singer)
    with pytest.raises(ConfigError, match="none for train"):
        run(paper_config(sources, tmp_path / "store", dataset="vocalset", root=tmp_path / "in"), command="few")
