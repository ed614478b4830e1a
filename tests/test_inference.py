"""explorer/inference: a new sound reads as precompute reads its clips, by the store's checkpoint or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import pytest

from explorer.audio import Waveform, load_waveform, write_preview
from explorer.encoders import load_encoder
from explorer.errors import AudioError, ConfigError, EncoderError, NotInStoreError
from explorer.inference import (
    Missing,
    Nearness,
    Place,
    clip_sound,
    find_place,
    listen,
    measure,
    own_encoder,
    places_of,
    with_predictions,
)
from explorer.inference.models import Models
from explorer.inference.requests import EncodeRequest, FindRequest
from explorer.playable import restored
from explorer.pooling import Pooling
from explorer.prediction import percentile_among, scaled, unranked
from explorer.queries.corpus import fetch_saes
from explorer.queries.live import fetch_encoder, fetch_live_features, fetch_original
from explorer.queries.nearness import fetch_nearest_clips, fetch_usual_cosines
from explorer.queries.search import fetch_codes
from explorer.queries.traces import _stored
from explorer.sae import feature_trace
from explorer.store import Store, open_store
from precompute.pipeline import run
from precompute.random_checkpoints import write_random_checkpoint
from tests.conftest import measured, tiny_config

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def other_two(tiny_sources: Path, tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the tiny corpus with the other two families."""
    folder = tmp_path_factory.mktemp("other_two")
    encoders = []
    for name in ("wavlm", "mert"):
        write_random_checkpoint(name, folder / name, size="small", seed=1)
        encoders.append(f"{name}={folder / name}")
    options = {"encoders": encoders, "sparsities": (0.95,), "seeds": (0,), "layers": "1", "epochs": 5}
    store = measured(tiny_store, folder / "store")
    run(tiny_config(tiny_sources, store, **options), command="two more encoders")
    return folder / "store"


def in_half_precision(states_td: np.ndarray) -> np.ndarray:
    """Frames as precompute keeps them until it makes traces: deviations from their exact mean in 16 bits."""
    mean_d = states_td.mean(axis=0, dtype=np.float64).astype(np.float32)
    return restored((states_td - mean_d).astype(np.float16), mean_d)


def references(store: Store) -> pd.DataFrame:
    saes = fetch_saes(store)
    return saes[saes["is_reference"].astype(bool)].drop_duplicates("encoder_id")


@pytest.mark.parametrize("which", ["tiny_store", "other_two"])
def test_an_original_reads_as_it_was_stored(which: str, request: pytest.FixtureRequest) -> None:
    store = open_store(request.getfixturevalue(which))
    encode = own_encoder(store, device="cpu")
    families = set()
    for sae in references(store).to_dict("records"):
        families.add(sae["encoder_name"])
        listed = store.query("SELECT * FROM listed_clips WHERE sae_id = ?", [sae["sae_id"]])
        codes = fetch_codes(store, sae)
        for index in listed["clip_index"].drop_duplicates().head(4):
            sound = clip_sound(store, int(index))
            assert sound.is_original, sound.note
            (heard,) = listen(store, sound.wave, [sae["sae_id"]], encode)
            assert np.allclose(heard.code_f, codes[index], rtol=1e-4, atol=1e-4 * codes[index].max())
            rows = listed[listed["clip_index"] == index].drop_duplicates("feature")
            found = heard.reading.preactivations_f[rows["feature"]]
            scale = np.abs(heard.reading.preactivations_f).max()
            assert np.allclose(found, rows["preactivation"], rtol=1e-4, atol=1e-4 * scale)
            for feature in rows["feature"].head(5):
                trace = _stored(store, sae["traces_file"], int(feature), [int(index)])[int(index)]
                mine = heard.reading.trace(int(feature))
                assert len(mine) == len(trace.values) and heard.reading.times_s[0] == pytest.approx(trace.t0_s)
                assert np.abs(mine - trace.values).max() <= 0.55 * trace.step + 1e-4 * np.abs(mine).max()
                kept = feature_trace(in_half_precision(heard.reading.states_td), heard.reading.sae, int(feature))
                assert np.abs(kept - trace.values).max() <= 0.5 * trace.step + 1e-4 * np.abs(kept).max()
    assert families == ({"ast", "hubert"} if which == "tiny_store" else {"wavlm", "mert"})
    store.close()


def test_a_table_of_features_is_the_code_beside_the_corpus(store: Store) -> None:
    sae = references(store).iloc[0]
    codes = fetch_codes(store, sae)
    index = int(np.argmax((codes > 0).sum(axis=1)))
    (heard,) = listen(store, clip_sound(store, index).wave, [sae["sae_id"]], own_encoder(store, device="cpu"))
    rows = heard.features
    assert rows["activation"].is_monotonic_decreasing and (rows["activation"] > 0).all()
    assert set(rows["feature"]) == set(np.flatnonzero(heard.code_f))
    for row in rows.head(8).to_dict("records"):
        below = 100 * np.mean(codes[:, row["feature"]] < 0.999 * row["activation"])
        above = 100 * np.mean(codes[:, row["feature"]] < 1.001 * row["activation"])
        assert below - 2 <= row["percentile"] <= above + 2
    near = fetch_nearest_clips(store, sae, heard.code_f, 3)
    assert near["clip_index"].iloc[0] == index and near["cosine"].iloc[0] == pytest.approx(1.0, abs=1e-4)
    assert index not in set(fetch_nearest_clips(store, sae, heard.code_f, 3, without=index)["clip_index"])


def test_the_whole_stretch_is_the_whole_sound_and_a_part_is_not(store: Store) -> None:
    sae = references(store).iloc[0]
    sound = clip_sound(store, 0).wave
    (heard,) = listen(store, sound, [sae["sae_id"]], own_encoder(store, device="cpu"))
    whole = heard.between(0.0, sound.duration_s)
    pd.testing.assert_frame_equal(whole, heard.features)
    part = heard.between(0.0, sound.duration_s / 4)
    assert list(part["activation"]) != list(whole["activation"])
    assert len(heard.between(1e-6, 2e-6))  # between two frames: the nearest


def test_probabilities_and_factors_are_the_stored_predictions(store: Store) -> None:
    sae = references(store).iloc[0]
    sae_id = sae["sae_id"]
    encode = own_encoder(store, device="cpu")
    said = store.query(
        "SELECT clip_index, predicted_class FROM probe_predictions JOIN probes USING (probe_id) "
        "WHERE representation_id = ? AND protocol = 'held-out' ORDER BY seed, probe_id, clip_index LIMIT 3",
        [sae_id],
    )
    stored = store.query(
        "SELECT p.*, m.knots FROM factor_predictions p "
        "JOIN lasso_models m USING (representation_id, protocol, factor_index) "
        "WHERE representation_id = ? AND protocol = 'held-out'",
        [sae_id],
    )
    ranked = stored["knots"].notna()  # predicted as normal scores
    stored.loc[ranked, "predicted"] = [
        float(unranked(row.predicted, np.asarray(row.knots, float))) for row in stored[ranked].itertuples()
    ]
    assert len(said) == 3 and len(stored)
    for index, label in said.itertuples(index=False):
        sound = clip_sound(store, int(index))
        (heard,) = listen(store, sound.wave, [sae_id], encode)
        probe = heard.probe
        assert probe is not None
        chances = probe.probabilities(heard.code_f)
        assert chances.sum() == pytest.approx(1.0) and probe.classes[int(chances.argmax())] == label
        logits = probe.terms(heard.code_f).sum(axis=1) + probe.intercept_k
        assert np.allclose(np.log(chances) - np.log(chances)[0], logits - logits[0])
        assert np.allclose(probe.contrast(heard.code_f, 1).sum(), (logits - probe.intercept_k)[1]
                           - (logits - probe.intercept_k).mean())  # fmt: skip
        table = with_predictions(measure(store, sound.wave), heard).set_index("factor_index")
        mine = stored[stored["clip_index"] == index].set_index("factor_index")
        assert np.allclose(table.loc[mine.index, "predicted"], mine["predicted"], rtol=1e-3, atol=1e-4)
        measured = store.query("SELECT factor_index, value FROM factor_values WHERE clip_index = ?", [int(index)])
        measured = measured.set_index("factor_index")["value"].reindex(table.index)
        assert np.allclose(table["value"], measured, rtol=1e-5, equal_nan=True)


def test_a_removed_feature_changes_the_logits_by_its_weight(store: Store) -> None:
    sae = references(store).iloc[0]
    (heard,) = listen(store, clip_sound(store, 0).wave, [sae["sae_id"]], own_encoder(store, device="cpu"))
    probe, code = heard.probe, heard.code_f
    assert probe is not None
    feature = int(heard.features["feature"].iloc[0])
    moved = probe.logits(code) - probe.logits(scaled(code, feature, 0.0))
    assert np.allclose(moved, probe.weights_kd[:, feature] * code[feature] / probe.scale_d[feature])
    assert np.array_equal(scaled(code, feature, 1.0), code.astype(float))


def test_percentiles() -> None:
    steps = np.linspace(1.0, 2.0, 101)
    assert percentile_among(0.0, 50, steps, 50) == 0.0
    assert percentile_among(0.5, 50, steps, 50) == 50.0
    assert percentile_among(1.5, 50, steps, 50) == pytest.approx(75.0)
    assert percentile_among(3.0, 50, steps, 50) == 100.0
    assert percentile_among(1.0, 10, None, 0) == 100.0
    assert np.isnan(percentile_among(1.0, 0, None, 0))


def test_how_far_from_the_corpus_a_sound_is(store: Store) -> None:
    sae = references(store).iloc[0]
    usual = fetch_usual_cosines(store, sae["sae_id"])["cosine"].to_numpy()
    codes, clips = fetch_codes(store, sae), store.query("SELECT * FROM clips ORDER BY clip_index")
    expected = []
    for index in np.flatnonzero(~clips["is_silent"] & (codes > 0).any(axis=1)):
        others = codes[(clips["group_id"] != clips["group_id"][index]) & (codes > 0).any(axis=1) & ~clips["is_silent"]]
        cosine = others @ codes[index] / np.linalg.norm(others, axis=1) / np.linalg.norm(codes[index])
        expected.append(cosine.max())
    assert np.allclose(usual, np.sort(expected), atol=1e-5) and len(usual) > 70
    near = pd.DataFrame({"cosine": [float(np.median(usual)), 0.1]})
    assert Nearness(near, usual).share_farther == pytest.approx(0.5, abs=0.02) and not Nearness(near, usual).is_far
    assert Nearness(near.assign(cosine=usual[0] / 2), usual).is_far
    nothing = Nearness(pd.DataFrame(), usual)
    assert nothing.cosine == 0.0 and nothing.is_far
    assert np.isnan(Nearness(near, np.empty(0)).share_farther) and not Nearness(near, np.empty(0)).is_far


def test_a_preview_is_said_to_be_one(tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "moved"
    shutil.copytree(tiny_store, folder, ignore=shutil.ignore_patterns("artefacts"))
    store = open_store(folder)
    path = store.query("SELECT path FROM files JOIN clips USING (file_id) WHERE clip_index = 0").iloc[0, 0]
    other = tmp_path / "data" / path
    other.parent.mkdir(parents=True)
    write_preview(Waveform(np.ones(24_000, np.float32) / 2, 24_000), other)
    sound = clip_sound(store, 0, [str(tmp_path / "data")])
    assert sound.is_original  # the run's own root is there still
    facts = fetch_original(store, 0)
    for roots, why in (([str(tmp_path / "data")], "the original has changed"), ([], "the original is not available")):
        monkeypatch.setattr("explorer.inference.corpus_clip.fetch_original", lambda *_, r=roots: {**facts, "roots": r})
        kept = clip_sound(store, 0)
        assert not kept.is_original and kept.note == f"from the preview, approximate: {why}"
        assert np.array_equal(kept.wave.samples, load_waveform(store.file(facts["preview"])).samples)
    store.close()


def test_an_original_is_found_though_the_disk_spells_its_name_in_another_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_preview(Waveform(np.ones(24_000, np.float32) / 2, 24_000), made(tmp_path / "Zoe\u0301" / "u\u0308.flac"))
    facts = {
        "path": "Zo\u00e9/\u00fc.flac",
        "roots": [str(tmp_path)],
        "start_s": 0.0,
        "duration_s": 1.0,
        "preview": None,
    }
    digest = hashlib.sha256((tmp_path / "Zoe\u0301" / "u\u0308.flac").read_bytes()).hexdigest()
    monkeypatch.setattr("explorer.inference.corpus_clip.fetch_original", lambda *_: {**facts, "sha256": digest})
    assert clip_sound(cast("Store", None), 0).is_original


def made(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    return path


def test_only_the_same_checkpoint_is_taken(store: Store, tiny_sources: Path, tmp_path: Path) -> None:
    encoder = fetch_encoder(store, str(references(store).query("encoder_name == 'hubert'")["encoder_id"].iloc[0]))
    mine = f"hubert={tiny_sources / 'random-hubert'}"
    found = find_place(encoder, [mine])
    assert isinstance(found, Place) and found.assignment == mine
    write_random_checkpoint("hubert", tmp_path / "other", size="small", seed=7)
    refused = find_place(encoder, [f"hubert={tmp_path / 'other'}"])
    assert isinstance(refused, Missing) and "other weights" in refused.reason
    assert encoder["weights_sha256"][:12] in refused.reason and "--checkpoint hubert=DIR" in refused.reason
    assert isinstance(find_place(encoder, [f"hubert={tmp_path / 'other'}", mine]), Place)
    shutil.copytree(tiny_sources / "random-hubert", tmp_path / "changed")
    config = json.loads((tmp_path / "changed" / "config.json").read_text())
    (tmp_path / "changed" / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 1e-3}))
    refused = find_place(encoder, [f"hubert={tmp_path / 'changed'}"])
    assert isinstance(refused, Missing) and "another configuration" in refused.reason
    nowhere = find_place(encoder, [])
    assert isinstance(nowhere, Missing) and "not available" in nowhere.reason


def test_of_a_hub_cache_the_stores_revision_is_taken(
    store: Store, tiny_sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = fetch_encoder(store, str(references(store).query("encoder_name == 'hubert'")["encoder_id"].iloc[0]))
    from_hub = {**row, "source": "somebody/hubert", "revision": "a" * 40}
    cache = tmp_path / "hub" / "models--somebody--hubert"
    shutil.copytree(tiny_sources / "random-hubert", cache / "snapshots" / ("a" * 40))
    write_random_checkpoint("hubert", cache / "snapshots" / ("b" * 40), size="small", seed=9)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("b" * 40)  # what the name alone means today
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    found = find_place(from_hub, [])
    assert isinstance(found, Place) and found.folder.name == "a" * 40
    sound = Waveform((0.1 * np.random.default_rng(0).standard_normal(16_000)).astype(np.float32), 16_000)
    reply = Models(1e9).encode(EncodeRequest(from_hub, (), sound, (2,), Pooling(), "cpu"))
    own = load_encoder(f"hubert={tiny_sources / 'random-hubert'}", device="cpu").hidden_states([sound], (2,))[2]
    assert np.allclose(reply.states[2].values_td, own.values_td[0], atol=1e-5)


def test_weights_that_change_while_they_are_in_use_are_refused(
    store: Store, tiny_sources: Path, tmp_path: Path
) -> None:
    row = fetch_encoder(store, str(references(store).query("encoder_name == 'hubert'")["encoder_id"].iloc[0]))
    shutil.copytree(tiny_sources / "random-hubert", tmp_path / "mine")
    models, places = Models(1e9), (f"hubert={tmp_path / 'mine'}",)
    assert models.answer(FindRequest((row,), places)) == [find_place(row, places)]
    shutil.rmtree(tmp_path / "mine")
    write_random_checkpoint("hubert", tmp_path / "mine", size="small", seed=9)
    sound = Waveform(np.ones(16_000, np.float32) / 9, 16_000)
    with pytest.raises(EncoderError, match="changed while it was in use"):
        models.encode(EncodeRequest(row, places, sound, (2,), Pooling(), "cpu"))
    with pytest.raises(EncoderError, match="other weights"):
        models.encode(EncodeRequest(row, places, sound, (2,), Pooling(), "cpu"))


def test_a_feature_that_no_clip_of_the_corpus_has_is_above_all_of_them(store: Store) -> None:
    dead = store.query(
        "SELECT f.sae_id, f.feature FROM features f ANTI JOIN feature_histograms h USING (sae_id, feature) LIMIT 1"
    )
    assert len(dead)
    known = fetch_live_features(store, str(dead["sae_id"].iloc[0])).set_index("feature")
    row = known.loc[dead["feature"].iloc[0]]
    assert row["n_zero"] == 80 and percentile_among(0.1, row["n_zero"], row["quantiles"], row["n_active"]) == 100.0


def test_places_in_order(store: Store, tiny_sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (f"hubert={tiny_sources / name}" for name in ("random-hubert", "random-ast"))
    monkeypatch.setenv("SONOSCOPE_CHECKPOINTS", two)
    assert places_of(store, [one])[:2] == [one, two]
    with pytest.raises(ConfigError, match="NAME=DIR"):
        places_of(store, ["nothing"])
    with pytest.raises(ConfigError, match="no folder"):
        places_of(store, ["hubert=/nowhere/at/all"])


def test_what_cannot_be_heard_is_said(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sae_id = str(references(store)["sae_id"].iloc[0])
    encode = own_encoder(store, device="cpu")
    with pytest.raises(AudioError, match="silent"):
        listen(store, Waveform(np.zeros(16_000, np.float32), 16_000), [sae_id], encode)
    with pytest.raises(AudioError, match="up to 60 s"):
        listen(store, Waveform(np.ones(16_000 * 61, np.float32), 16_000), [sae_id], encode)
    with pytest.raises(AudioError, match=r"lasts 0\.010 s; at least 0\.1 s"):
        listen(store, Waveform(np.ones(160, np.float32), 16_000), [sae_id], encode)
    with pytest.raises(NotInStoreError, match="nosuchsae"):
        listen(store, Waveform(np.ones(16_000, np.float32), 16_000), ["nosuchsae"], encode)
    monkeypatch.setattr("explorer.inference.listening.places_of", lambda *_: [])
    with pytest.raises(EncoderError, match="not available"):
        listen(store, Waveform(np.ones(16_000, np.float32), 16_000), [sae_id], own_encoder(store))


def test_the_command_prints_what_the_function_finds(store: Store, tiny_store: Path, tmp_path: Path) -> None:
    wave = clip_sound(store, 0).wave
    write_preview(wave, tmp_path / "mine.flac")
    sae_id = str(references(store)["sae_id"].iloc[0])
    command = [sys.executable, "-m", "explorer.inference", str(tmp_path / "mine.flac"), "--store", str(tiny_store)]
    done = subprocess.run(
        [*command, "--sae", sae_id, "--device", "cpu"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    printed = json.loads(done.stdout)
    again = load_waveform(tmp_path / "mine.flac")
    (heard,) = listen(store, again, [sae_id], own_encoder(store, device="cpu"))
    assert [row["feature"] for row in printed["saes"][0]["features"]] == list(heard.features["feature"].head(20))
    assert heard.probe is not None
    assert list(printed["saes"][0]["label_probabilities"]) == list(heard.probe.classes)
    assert len(printed["factors"]) == 88
    near = fetch_nearest_clips(store, heard.sae, heard.code_f, 4)
    assert [row["clip_id"] for row in printed["saes"][0]["nearest_clips"]] == list(near["clip_id"])
    assert 0 <= printed["saes"][0]["share_of_clips_farther_from_the_others"] <= 1
    (tmp_path / "not.wav").write_text("nothing")
    refused = subprocess.run(
        [*command[:3], str(tmp_path / "not.wav"), *command[4:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1 and "'not.wav' cannot be read as sound" in refused.stderr and not refused.stdout


def test_a_read_encoder_is_the_stores(store: Store, tiny_sources: Path) -> None:
    encoder = load_encoder(f"hubert={tiny_sources / 'random-hubert'}", device="cpu")
    assert encoder.encoder_id in set(store.query("SELECT encoder_id FROM encoders")["encoder_id"])
