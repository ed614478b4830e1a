"""A run with Whisper, its last layer normed: in the store, on Live, in the forecast, and where it is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import precompute.plan
from explorer.errors import ConfigError, EncoderError
from explorer.inference import clip_sound, listen, own_encoder
from explorer.queries.corpus import fetch_encoders, fetch_saes
from explorer.queries.sae_facts import fetch_sae_facts
from explorer.queries.search import fetch_codes
from explorer.sae_card import model_card
from explorer.store import open_store
from precompute.artefacts import Artefacts
from precompute.encoder_choice import choose_encoders
from precompute.pipeline import open_job, run
from precompute.random_checkpoints import write_random_checkpoint
from precompute.reporting import Reporter, Stage
from tests.conftest import measured, tiny_config

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_checkpoint("whisper", tmp_path_factory.mktemp("whisper") / "whisper", size="small", seed=4)


@pytest.fixture(scope="module")
def heard_by_whisper(
    tiny_sources: Path, tiny_store: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The tiny corpus through Whisper and AST, both with the last layer behind its norm."""
    store = measured(tiny_store, tmp_path_factory.mktemp("whisper_store") / "store")
    encoders = [f"whisper={checkpoint}", f"ast={tiny_sources / 'random-ast'}"]
    options = {"encoders": encoders, "sparsities": (0.95,), "seeds": (0,), "layers": "4", "epochs": 5}
    run(tiny_config(tiny_sources, store, last_layer="normed", **options), command="whisper")
    return store


def test_live_reads_a_corpus_clip_as_it_was_stored(heard_by_whisper: Path) -> None:
    store = open_store(heard_by_whisper)
    encoders = fetch_encoders(store).set_index("name")
    assert encoders.loc["whisper", "display_name"] == "Whisper (last layer normed)"
    assert set(encoders["loader"]) == {"own class, last layer normed"}
    assert (encoders.loc["whisper", "frame_rate_hz"], encoders.loc["whisper", "n_layers"]) == (50.0, 4)
    saes = fetch_saes(store)
    assert set(saes["encoder_name"]) == {"whisper", "ast"}
    encode = own_encoder(store, device="cpu")
    for sae in saes.to_dict("records"):
        codes = fetch_codes(store, sae)
        for index in (0, 17, 41):
            sound = clip_sound(store, index)
            (heard,) = listen(store, sound.wave, [sae["sae_id"]], encode)
            assert np.allclose(heard.code_f, codes[index], rtol=1e-4, atol=1e-4 * codes[index].max())
            if sae["encoder_name"] == "whisper":
                times = heard.reading.times_s
                np.testing.assert_allclose(times, 0.02 * np.arange(len(times)))
                assert len(times) == -(-len(sound.wave.samples) * 50 // sound.wave.sample_rate_hz)
    store.close()


def test_the_command_reads_a_sound(heard_by_whisper: Path, tiny_sources: Path) -> None:
    sound = next((tiny_sources / "singing").rglob("*.wav"))
    result = subprocess.run(
        [sys.executable, "-m", "explorer.inference", str(sound), "--store", str(heard_by_whisper), "--no-factors"],
        capture_output=True, text=True, cwd=ROOT, timeout=120, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert {one["encoder"].partition("-")[0] for one in answer["saes"]} == {"whisper", "ast"}
    assert all(one["n_active"] > 0 for one in answer["saes"])


def test_a_card_loads_the_encoder_as_the_store_did(heard_by_whisper: Path) -> None:
    store = open_store(heard_by_whisper)
    sae_id = str(fetch_saes(store)["sae_id"].iloc[0])
    card = model_card(fetch_sae_facts(store, sae_id)[1])
    store.close()
    assert 'load_encoder("my-encoder=FOLDER_OF_THE_CHECKPOINT", loader="own class, last layer normed")' in card
    assert "| Encoder run as | own class, last layer normed |" in card


def test_the_forecast_counts_whole_windows(
    tiny_sources: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """80 clips under 30 s are 80 windows, as is the one that is timed, however short the clips are."""
    config = tiny_config(tiny_sources, tmp_path / "store", encoders=[f"whisper={checkpoint}"], layers="1")
    job = open_job(config, Artefacts(config.store, tmp_path / "scratch"), Reporter())
    work = choose_encoders(config, job.artefacts)[0].at(job)
    work.network()
    ticks = iter((0.0, 1.0))
    monkeypatch.setattr(precompute.plan, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    assert precompute.plan._encode_seconds(work, job) == pytest.approx(len(job.corpus.clips))


def test_what_is_left_is_said_by_the_work_and_not_by_the_unit_shown(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO", "precompute")
    stage = Stage("encode", 100.0, "s of audio", started=0.0)
    stage.expect(60.0)
    stage._last = -100.0
    clock = iter((20.0, 30.0))
    monkeypatch.setattr("precompute.reporting.time.monotonic", lambda: next(clock))
    stage.advance(2.0, work=10.0)
    assert "encode: 2 of 100 s of audio" in caplog.text and "left" not in caplog.text  # nothing was measured yet
    stage.advance(3.0, work=20.0)
    assert "encode: 5 of 100 s of audio, 15 s left" in caplog.text


def test_preset_paper_says_what_it_does_not_do_with_whisper(
    tiny_sources: Path, checkpoint: Path, tmp_path: Path
) -> None:
    def choose(**options: object) -> None:
        paper = {"encoders": [f"whisper={checkpoint}"], "preset": "paper", "seeds": (42,), **options}
        config = tiny_config(tiny_sources, tmp_path / "store", **paper)
        choose_encoders(config, Artefacts(config.store))

    with pytest.raises(ConfigError, match=r"names no layers for whisper; add ';whisper=2,4' or use best2"):
        choose(faults={"encoders_in_training_mode": False})
    with pytest.raises(EncoderError, match="is a Whisper, which the published code does not run"):
        choose(layers="whisper=2,4")
    choose(layers="whisper=2,4", faults={"encoders_in_training_mode": False})
