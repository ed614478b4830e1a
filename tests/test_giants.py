"""Giant frames: what is one and what is not, and a run with a network that makes some."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from safetensors.numpy import load_file, save_file

from explorer.audio import Waveform
from explorer.encoders import load_encoder
from explorer.giant_words import giants_said
from explorer.giants import UsualFrames, mean_without, outside, spans_of, usual_part
from explorer.inference import clip_sound, listen, own_encoder, reader_of
from explorer.inference.occlusion import occlude
from explorer.queries.corpus import fetch_saes
from explorer.queries.giants import fetch_giant_effects, fetch_giant_spans, fetch_layer_frames, fetch_usual_frames
from explorer.queries.search import fetch_codes
from explorer.queries.traces import fetch_traces
from explorer.sae import load_sae
from explorer.store import Store, open_store
from explorer.ui.player import PlayerClip, PlayerTrace, player_data
from precompute.commands import export_sae, run_and_report
from precompute.random_checkpoints import write_random_checkpoint
from tests.conftest import measured, tiny_config

pytestmark = pytest.mark.slow

SHARE = 0.03  # of the frames of the tiny corpus in which the planted neuron fires
LAYER = 2


def frames(rng: np.random.Generator, n: int = 2000, d: int = 256) -> np.ndarray:
    return rng.normal(size=(n, d)).astype(np.float32)


@pytest.mark.parametrize("d", [48, 128, 768])
def test_noise_and_loud_frames_are_not_giant(d: int) -> None:
    """Far away in many dimensions is a rare sound; heavy tails are no giants either."""
    rng = np.random.default_rng(0)
    noise = frames(rng, d=d)
    loud = noise * np.where(np.arange(len(noise)) % 50 == 0, 8.0, 1.0)[:, None].astype(np.float32)
    tails = noise * rng.gamma(0.7, size=(len(noise), 1)).astype(np.float32)
    for states in (noise, loud, tails, np.zeros_like(noise)):
        assert not UsualFrames.of(states).is_giant(states).any()


@pytest.mark.parametrize(("dimensions", "found"), [((3,), True), ((3, 99), True), (tuple(range(20)), False)])
def test_far_along_one_or_two_dimensions_is_giant(dimensions: tuple[int, ...], found: bool) -> None:
    states = frames(np.random.default_rng(1))
    planted = np.arange(len(states)) % 40 == 7
    states[np.ix_(planted, dimensions)] += 200.0
    usual = UsualFrames.of(states)
    assert np.array_equal(usual.is_giant(states), planted & found)
    assert abs(usual.center_d).max() < 0.3  # the middle does not follow them


def test_a_frame_that_is_not_far_is_not_giant_however_it_points() -> None:
    states = frames(np.random.default_rng(2))
    states[5] = 0.0
    states[5, 7] = 30.0  # under 3 times the usual distance, 16
    assert not UsualFrames.of(states).is_giant(states).any()


def test_spans_cover_their_frames_and_nothing_else() -> None:
    times_s = np.linspace(0.0125, 1.9925, 100)
    out = np.zeros(100, bool)
    out[[0, 40, 41, 42, 99]] = True
    spans = spans_of(out, times_s)
    assert [tuple(np.round(span, 4)) for span in spans] == [(0.0025, 0.0225), (0.8025, 0.8625), (1.9825, 2.0025)]
    assert np.array_equal(outside(times_s, spans), ~out)
    assert spans_of(np.zeros(3, bool), times_s[:3]) == []
    values = np.where(out, 1e6, np.sin(times_s))
    assert usual_part(values, times_s, spans).max() <= 1.0
    assert usual_part(values, times_s, [(0.0, 9.0)]).size == 100  # nothing else is left


def test_a_mean_leaves_giants_out_unless_nothing_is_left() -> None:
    states = frames(np.random.default_rng(3), n=10)
    out = np.arange(10) < 3
    np.testing.assert_allclose(mean_without(states, out), states[3:].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(mean_without(states, np.ones(10, bool)), states.mean(axis=0), atol=1e-6)


def test_the_player_takes_no_scale_from_them(store: Store) -> None:
    values = np.array([0.0, 1.0, 900.0, 2.0], np.float32)
    trace = PlayerTrace("x", values, 0.1, 0.1, "#fff", giants=((0.25, 0.35),))
    clip_id = store.query("SELECT clip_id FROM clips LIMIT 1")["clip_id"].iloc[0]
    data = player_data(store, [PlayerClip(clip_id, "clip", 0.4, traces=(trace,))], 84)
    assert (data["low"], data["high"]) == (0.0, 2.0)
    assert data["clips"][0]["traces"][0]["giants"] == [[0.25, 0.35]]


def plant_a_giant(folder: Path, root: Path) -> None:
    """Make one neuron of block 2 of a Whisper fire in SHARE of the frames of a corpus, and write to dimension 5."""
    tensors = load_file(folder / "model.safetensors")
    name = next(key for key in tensors if key.endswith(f"encoder.layers.{LAYER - 1}.fc1.weight"))
    fc1 = name.removesuffix(".weight")
    fc2 = fc1.removesuffix("fc1") + "fc2"
    encoder = load_encoder(f"whisper={folder}", device="cpu")
    module = next(m for key, m in encoder._network.named_modules() if key.endswith(f"layers.{LAYER - 1}.fc1"))
    seen: list[np.ndarray] = []
    hook = module.register_forward_hook(lambda _, __, output: seen.append(output.detach().numpy()))
    from explorer.audio import load_waveform

    for path in sorted(root.rglob("*.wav"))[::4]:
        wave = load_waveform(path, sample_rate_hz=encoder.sample_rate_hz)
        encoder.hidden_states([wave], [LAYER])
        n = round(wave.duration_s * encoder.frame_rate_hz)
        seen[-1] = seen[-1].reshape(-1, seen[-1].shape[-1])[:n]
    hook.remove()
    fired = np.concatenate(seen)
    neuron = int(fired.std(axis=0).argmax())
    gain = 40.0 / fired[:, neuron].std()
    tensors[name][neuron] *= gain
    bias = tensors[f"{fc1}.bias"]
    bias[neuron] = bias[neuron] * gain - gain * np.quantile(fired[:, neuron], 1 - SHARE)
    tensors[f"{fc2}.weight"][:, neuron] = 0.0
    tensors[f"{fc2}.weight"][5, neuron] = 20.0
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.fixture(scope="module")
def checkpoint(tiny_sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_random_checkpoint("whisper", tmp_path_factory.mktemp("giant") / "whisper", size="small", seed=4)
    plant_a_giant(folder, tiny_sources / "singing")
    return folder


@pytest.fixture(scope="module")
def ran(
    tiny_sources: Path, tiny_store: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str]]:
    folder = measured(tiny_store, tmp_path_factory.mktemp("giant_store") / "store")
    options = {"sparsities": (0.9,), "seeds": (0,), "layers": "1,3", "epochs": 5}
    config = tiny_config(tiny_sources, folder, encoders=[f"whisper={checkpoint}"], **options)
    return folder, run_and_report(config)


@pytest.fixture(scope="module")
def giant_store(ran: tuple[Path, list[str]]) -> Store:
    return open_store(ran[0])


def test_they_are_found_from_their_layer_on(giant_store: Store, ran: tuple[Path, list[str]]) -> None:
    found = fetch_layer_frames(giant_store).set_index("layer")
    assert (found.loc[: LAYER - 1, "n_giant"] == 0).all()
    share = found.loc[LAYER, "n_giant"] / found.loc[LAYER, "n_frames"]
    assert 0.005 < share < 2 * SHARE
    assert found.loc[LAYER, "variance_share"] > 0.5 and found.loc[LAYER, "top_dimension"] == 5
    said = giants_said(found.reset_index())
    assert said.startswith("giant frames in layers 2 to 4: in layer") and "dimension 5 alone" in said
    assert any(said in line for line in ran[1])


def test_pooled_states_leave_them_out_and_live_agrees(giant_store: Store, checkpoint: Path) -> None:
    encode = own_encoder(giant_store, device="cpu", places=[f"whisper={checkpoint}"])
    sae = next(row for row in fetch_saes(giant_store).to_dict("records") if row["layer"] == 3)
    assert sae["pooling"] == "valid frames, without giant frames"
    codes = fetch_codes(giant_store, sae)
    spans = fetch_giant_spans(giant_store, sae["encoder_id"], 3, list(range(80)))
    usual = fetch_usual_frames(giant_store, sae["encoder_id"], 3)
    assert usual is not None and 10 < len(spans) <= 80
    n_moved = 0
    for index in sorted(spans)[:4]:
        (heard,) = listen(giant_store, clip_sound(giant_store, index).wave, [sae["sae_id"]], encode)
        np.testing.assert_allclose(heard.code_f, codes[index], rtol=1e-3, atol=1e-4)
        reading = heard.reading
        np.testing.assert_allclose(np.array(reading.giants), np.array(spans[index]), atol=1e-9)
        with_them = reading.states_td.mean(axis=0)
        n_moved += abs(with_them - mean_without(reading.states_td, reading.is_giant_t)).max() > 1.0
        feature = int(heard.code_f.argmax())
        kept = ~reading.is_giant_t
        assert reading.trace(feature)[kept].mean() == pytest.approx(reading.preactivations_f[feature], abs=1e-3)
        assert abs(reading.unseen(feature)) < 1e-3
        trace = fetch_traces(giant_store, sae, feature, [index]).get(index)
        if trace is not None:
            assert trace.giants == tuple(spans[index])
            assert trace.usual_values().mean() == pytest.approx(reading.preactivations_f[feature], abs=0.05)
    assert n_moved  # it would matter


def test_an_exported_sae_says_how_to_leave_them_out(
    giant_store: Store, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The card's own lines, run as they stand, give the stored code."""
    sae = next(row for row in fetch_saes(giant_store).to_dict("records") if row["layer"] == 3)
    export_sae(giant_store.folder, str(sae["sae_id"]), tmp_path / "out")
    index = min(fetch_giant_spans(giant_store, sae["encoder_id"], 3, list(range(80))))
    wave = clip_sound(giant_store, index).wave
    sf.write(tmp_path / "out" / "sound.wav", wave.samples, wave.sample_rate_hz, subtype="FLOAT")
    card = (tmp_path / "out" / "README.md").read_text()
    code = card.split("```python\n")[1].split("\ncodes =")[0].replace("from sae_lens import SAE\n", "")
    code = code.replace("my-encoder=FOLDER_OF_THE_CHECKPOINT", f"whisper={checkpoint}")
    monkeypatch.chdir(tmp_path / "out")
    found: dict[str, Any] = {}
    exec(code, found)  # noqa: S102
    assert found["giants"].any() and found["pooled"].shape == (1, 48)
    codes = load_sae(tmp_path / "out").encode(found["pooled"]).dense()[0]
    np.testing.assert_allclose(codes, fetch_codes(giant_store, sae)[index], rtol=1e-3, atol=1e-4)


def test_a_peak_is_never_sought_in_one(giant_store: Store, checkpoint: Path) -> None:
    encode = own_encoder(giant_store, device="cpu", places=[f"whisper={checkpoint}"])
    sae = next(row for row in fetch_saes(giant_store).to_dict("records") if row["layer"] == 3)
    index = min(fetch_giant_spans(giant_store, sae["encoder_id"], 3, list(range(80))))
    wave = clip_sound(giant_store, index).wave
    read = reader_of(giant_store, sae["sae_id"], encode)
    reading = read(wave)
    assert reading.is_giant_t.any()
    silenced: list[Waveform] = []

    def recorded(sound: Waveform):
        silenced.append(sound)
        return reading

    occlude(wave, reading, 0, recorded)
    is_silent = (silenced[0].samples == 0) & (wave.samples != 0)
    times_s = np.flatnonzero(is_silent) / wave.sample_rate_hz
    hop_s = reading.hop_s
    inside = [span for span in reading.giants if span[1] - span[0] > 2.5 * hop_s]
    for start_s, end_s in inside:  # the middle of a long run of them stays
        assert not ((times_s > start_s + hop_s) & (times_s < end_s - hop_s)).any()
    assert is_silent.any()


def test_what_they_change_is_measured_for_their_layers_alone(giant_store: Store) -> None:
    label = giant_store.query("SELECT value FROM meta WHERE key = 'label_name'")["value"].iloc[0]
    effects = fetch_giant_effects(giant_store, label, "all-groups").set_index("layer")
    assert list(effects.index) == [2, 3, 4] and not effects["pools_giants"].any()
    assert effects["accuracy"].notna().all() and effects["accuracy_other"].notna().all()
    assert effects.loc[3, ["r2", "r2_other", "fvu", "fvu_other"]].notna().all()
    assert effects.loc[[2, 4], ["r2", "fvu"]].isna().all(axis=None)
    saes = giant_store.query("SELECT layer, fvu_heldout_other FROM saes").set_index("layer")["fvu_heldout_other"]
    assert np.isnan(saes[1]) and saes[3] == pytest.approx(effects.loc[3, "fvu_other"])
    noted = giant_store.query("SELECT layer, severity, message FROM diagnostics WHERE code = 'giant frames'")
    assert set(noted["layer"]) == {3} and noted["message"].str.contains("pooled states leave them out").all()


def test_kept_they_are_in_the_mean_and_their_layers_are_passed_over(
    tiny_sources: Path, tiny_store: Path, checkpoint: Path, tmp_path: Path
) -> None:
    options = {"sparsities": (0.9,), "seeds": (0,), "epochs": 3, "giant_frames": "kept"}
    folder = measured(tiny_store, tmp_path / "store")
    run_and_report(tiny_config(tiny_sources, folder, encoders=[f"whisper={checkpoint}"], **options))
    store = open_store(folder)
    saes = fetch_saes(store)
    assert set(saes["pooling"]) == {"valid frames"}
    effects = fetch_giant_effects(store, None, "all-groups")
    assert effects["pools_giants"].all()
    noted = store.query("SELECT * FROM diagnostics WHERE code = 'giant frames'")
    assert set(noted["layer"]) == {layer for layer in saes["layer"] if layer >= LAYER}
    assert (noted["severity"] == "warning").all() and noted["message"].str.contains("follow them").all()
