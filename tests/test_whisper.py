"""explorer/encoders: Whisper's spectrogram, windows, frames and states are those of transformers' own classes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForAudioClassification,
    WhisperForConditionalGeneration,
    WhisperModel,
)

from explorer.audio import Waveform
from explorer.encoders import Encoder, find_checkpoint, load_encoder
from explorer.encoders.group_norm import RowGroupNorm
from explorer.encoders.whisper_front_end import WhisperFrontEnd, log_mel
from explorer.errors import EncoderError
from precompute.checkpoint_folder import geometry, preprocessor_of, write_json
from precompute.random_checkpoints import write_random_checkpoint

RATE_HZ, WINDOW, STRIDE = 16_000, 480_000, 320
FRONT_END = WhisperFrontEnd(RATE_HZ, 80, 400, 160, WINDOW)
TOLERANCE = 1e-5


def noise(n_samples: int, level: float = 0.1, seed: int = 0) -> np.ndarray:
    """A gliding tone in noise."""
    rng, times = np.random.default_rng(seed), np.arange(n_samples) / RATE_HZ
    tone = np.sin(2 * np.pi * (200 + 90 * seed + 40 * times) * times)
    return (level * (tone + 0.4 * rng.normal(size=n_samples))).astype(np.float32)


def wave(n_samples: int, level: float = 0.1, seed: int = 0) -> Waveform:
    return Waveform(noise(n_samples, level, seed), RATE_HZ)


def relative(values: np.ndarray, expected: np.ndarray) -> float:
    assert values.shape == expected.shape
    return float(np.max(np.linalg.norm(values - expected, axis=-1) / np.linalg.norm(expected, axis=-1)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole checkpoint, as on the hub: encoder and decoder."""
    return write_random_checkpoint("whisper", tmp_path_factory.mktemp("whisper") / "whisper", size="small", seed=1)


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return load_encoder(f"whisper={folder}", device="cpu")


@pytest.fixture(scope="module")
def normed(folder: Path) -> Encoder:
    return load_encoder(f"whisper={folder}", device="cpu", loader="own class, last layer normed")


def library_states(folder: Path, samples: np.ndarray) -> list[np.ndarray]:
    """(1500, d) of one window at each layer, by transformers alone; the last is behind the final LayerNorm."""
    extractor = WhisperFeatureExtractor.from_pretrained(folder)
    features = extractor(samples, sampling_rate=RATE_HZ, return_tensors="pt")["input_features"]
    model = WhisperModel.from_pretrained(folder).eval().encoder
    with torch.inference_mode():
        return [state[0].numpy() for state in model(features, output_hidden_states=True).hidden_states]


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("level", [0.0, 1e-5, 0.1, 3.0])
def test_the_spectrogram_is_transformers_own(n_mels: int, level: float) -> None:
    extractor = WhisperFeatureExtractor(feature_size=n_mels)
    front_end = WhisperFrontEnd(RATE_HZ, n_mels, 400, 160, WINDOW)
    for n_samples in (1_600, 1_601, 12_345, 160_000, WINDOW - 401, WINDOW - 1, WINDOW):
        samples = noise(n_samples, level)
        expected = extractor(samples, sampling_rate=RATE_HZ, return_tensors="np")["input_features"][0]
        mine = log_mel(torch.from_numpy(samples), front_end).numpy()
        assert mine.shape == expected.shape == (n_mels, 3_000) and np.isfinite(mine).all()
        assert np.abs(mine - expected).max() <= TOLERANCE, n_samples


@pytest.mark.parametrize(("rate_hz", "n_fft", "hop"), [(16_000, 512, 200), (24_000, 402, 240), (48_000, 1_200, 480)])
def test_the_spectrogram_follows_the_preprocessor(rate_hz: int, n_fft: int, hop: int) -> None:
    extractor = WhisperFeatureExtractor(sampling_rate=rate_hz, n_fft=n_fft, hop_length=hop, chunk_length=2)
    front_end = WhisperFrontEnd(rate_hz, 80, n_fft, hop, 2 * rate_hz)
    for n_samples in (rate_hz // 10, 2 * rate_hz):
        samples = noise(n_samples)
        expected = extractor(samples, sampling_rate=rate_hz, return_tensors="np")["input_features"][0]
        assert np.abs(log_mel(torch.from_numpy(samples), front_end).numpy() - expected).max() <= TOLERANCE


def test_states_are_transformers_own_alone_and_in_a_list(encoder: Encoder, normed: Encoder, folder: Path) -> None:
    lengths = (16_000, 1_600, 23_456, WINDOW, WINDOW + 1_600, 2 * WINDOW + 70_001)
    waves = [wave(n_samples, seed=seed) for seed, n_samples in enumerate(lengths)]
    layers = range(encoder.n_layers + 1)
    in_a_list = encoder.hidden_states(waves, layers, all_tokens=True)
    last = normed.hidden_states(waves, layers)[encoder.n_layers]
    for index, one in enumerate(waves):
        alone = encoder.hidden_states([one], layers)
        starts = range(0, len(one.samples), WINDOW)
        windows = [library_states(folder, one.samples[start : start + WINDOW]) for start in starts]
        n_frames = -(-len(one.samples) // STRIDE)
        for layer in layers:
            expected = np.concatenate([window[layer] for window in windows])[:n_frames]
            if layer < encoder.n_layers:
                assert relative(alone[layer].values_td[0], expected) < TOLERANCE, (index, layer)
            else:
                assert relative(last.values_td[index], expected) < TOLERANCE, index
                assert relative(alone[layer].values_td[0], expected) > 1e-2  # before that norm
            assert relative(in_a_list[layer].values_td[index], alone[layer].values_td[0]) < TOLERANCE
        assert relative(encoder.pooled_states([one], (2,))[2], alone[2].pooled()) < 1e-6
        all_tokens = in_a_list[2].all_tokens_mean_cd
        assert all_tokens is not None
        assert relative(all_tokens[index], np.concatenate([window[2] for window in windows]).mean(axis=0)) < TOLERANCE


def test_zeros_after_a_sound_are_attended_to_as_in_training_and_not_pooled(encoder: Encoder) -> None:
    short = wave(16_000)
    padded = Waveform(np.pad(short.samples, (0, 16_000)), RATE_HZ)
    states = encoder.hidden_states([short, padded], (3,))[3]
    assert [len(values) for values in states.values_td] == [50, 100]
    np.testing.assert_array_equal(states.values_td[0], states.values_td[1][:50])


def test_a_frame_hears_a_click_where_and_only_where_its_time_says(encoder: Encoder) -> None:
    quiet = (1e-2 * np.random.default_rng(0).normal(size=WINDOW)).astype(np.float32)
    first, last = 20_010, 20_041
    clicked = quiet.copy()
    clicked[first : last + 1] += 0.5
    states = encoder.hidden_states([Waveform(quiet, RATE_HZ), Waveform(clicked, RATE_HZ)], (0,))[0]
    change = np.abs(states.values_td[1] - states.values_td[0]).max(axis=1)
    centres = np.round(states.times_s[0] * RATE_HZ)
    np.testing.assert_array_equal(centres, STRIDE * np.arange(1_500))
    np.testing.assert_array_equal(change > 1e-4, (centres + 519 >= first) & (centres - 519 <= last))
    assert encoder.frame_rate_hz == 50.0
    middle = float((change * states.times_s[0]).sum() / change.sum())
    assert abs(middle - (first + last) / 2 / RATE_HZ) < 0.5 / encoder.frame_rate_hz


def test_windows_hold_every_frame_once_at_every_length() -> None:
    for n_samples in (*range(1_600, 2_000, 7), *range(WINDOW - 700, WINDOW + 2_500, 13), 3 * WINDOW, 3 * WINDOW + 1):
        chunks = FRONT_END.chunks(n_samples)
        n_frames = sum(chunk.n_frames for chunk in chunks)
        assert n_frames == FRONT_END.n_frames(n_samples) == len(FRONT_END.times_s(n_frames))
        times = FRONT_END.times_s(n_frames)
        assert times[-1] * RATE_HZ < n_samples <= times[-1] * RATE_HZ + STRIDE
        expected = 0
        for chunk in chunks:
            assert chunk.start + STRIDE * chunk.n_skipped == STRIDE * expected
            assert chunk.n_skipped + chunk.n_frames <= 1_500 and chunk.stop - chunk.start <= WINDOW
            expected += chunk.n_frames
            assert chunk.stop - chunk.start >= 1_600  # no window that is silent but for its beginning
        assert chunks[-1].stop == n_samples and FRONT_END.seen_samples(chunks[0]) == WINDOW


def test_a_short_tail_is_heard_with_what_is_before_it(encoder: Encoder, folder: Path) -> None:
    sound = wave(WINDOW + 801)
    states = encoder.hidden_states([sound], (3,))[3]
    assert states.values_td[0].shape == (1_503, 48)
    begin = 3 * STRIDE
    expected = library_states(folder, sound.samples[begin:])[3][1_497:]
    assert relative(states.values_td[0][1_500:], expected) < TOLERANCE
    assert relative(states.values_td[0][:1_500], library_states(folder, sound.samples[:WINDOW])[3]) < TOLERANCE


def test_nothing_of_ragged_batches_runs(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[tuple[int, ...], dict[str, Any]]] = []
    network = encoder._network
    assert not any(isinstance(module, RowGroupNorm) for module in network.modules())
    handle = network.register_forward_pre_hook(
        lambda _m, args, kwargs: seen.append((tuple(args[0].shape), kwargs)), with_kwargs=True
    )
    monkeypatch.setitem(encoder.__class__._batches.__globals__["_BATCH_S"], "cpu", 100.0)
    together = encoder.hidden_states([wave(16_000), wave(20_000, seed=1), wave(90_000, seed=2)], (2,))[2]
    handle.remove()
    assert seen == [((3, 80, 3_000), {})]
    alone = encoder.hidden_states([wave(20_000, seed=1)], (2,))[2]
    assert relative(together.values_td[1], alone.values_td[0]) < TOLERANCE


def test_128_bands_and_a_half_precision_checkpoint_are_read(folder: Path, tmp_path: Path, encoder: Encoder) -> None:
    config = {**geometry("whisper", "small"), "num_mel_bins": 128}
    large = tmp_path / "large"
    WhisperModel(WhisperConfig(**config)).save_pretrained(large)
    write_json(large / "preprocessor_config.json", preprocessor_of("whisper", config))
    loaded = load_encoder(f"mine={large}", device="cpu")
    sound = wave(30_000)
    expected = library_states(large, sound.samples)
    assert relative(loaded.hidden_states([sound], (2,))[2].values_td[0], expected[2][:94]) < TOLERANCE
    half = Path(shutil.copytree(folder, tmp_path / "half"))
    weights = load_file(half / "model.safetensors")
    save_file({key: value.half() for key, value in weights.items()}, half / "model.safetensors", {"format": "pt"})
    mine = load_encoder(f"mine={half}", device="cpu")
    assert all(value.dtype == torch.float32 for value in mine._network.state_dict().values())
    states = [one.hidden_states([sound], (3,))[3].values_td[0] for one in (mine, encoder)]
    assert 0 < relative(*states) < 0.02


CLASSES = (WhisperForConditionalGeneration, WhisperModel, WhisperForAudioClassification)


@pytest.mark.parametrize("network_class", CLASSES)
def test_whole_checkpoints_give_their_encoder_and_name_what_was_left_out(
    folder: Path, tmp_path: Path, encoder: Encoder, network_class: Any
) -> None:
    network_class.from_pretrained(folder).save_pretrained(tmp_path / "saved")
    shutil.copy(folder / "preprocessor_config.json", tmp_path / "saved")
    loaded = load_encoder(f"mine={tmp_path / 'saved'}", device="cpu")
    assert "Left out, as no part of the encoder: " in loaded.note
    assert ("classifier" if network_class is WhisperForAudioClassification else "decoder.layers.0") in loaded.note
    mine, expected = loaded._network.state_dict(), encoder._network.state_dict()
    assert mine.keys() == expected.keys() and all(torch.equal(value, expected[key]) for key, value in mine.items())
    assert (loaded.n_layers, loaded.d_model) == (4, 48)


@pytest.mark.parametrize("prefix", ["model.encoder.", "encoder.", "", "module.model.encoder."])
@pytest.mark.parametrize(
    "gone",
    ["conv1.weight", "conv1.bias", "conv2.weight", "embed_positions.weight", "layers.2.fc1.bias", "layer_norm.weight",
     "layers.0.self_attn.k_proj.weight"],
)  # fmt: skip
def test_a_lost_tensor_is_named_and_an_encoder_alone_loads(
    folder: Path, tmp_path: Path, encoder: Encoder, prefix: str, gone: str
) -> None:
    place = Path(shutil.copytree(folder, tmp_path / "whisper"))
    inside = {
        prefix + key.removeprefix("model.encoder."): value
        for key, value in load_file(place / "model.safetensors").items()
        if key.startswith("model.encoder.")
    }
    save_file(inside, place / "model.safetensors", {"format": "pt"})
    assert "Left out" not in find_checkpoint(f"mine={place}").note
    mine = load_encoder(f"mine={place}", device="cpu").hidden_states([wave(9_000)], (4,))[4].values_td[0]
    np.testing.assert_array_equal(mine, encoder.hidden_states([wave(9_000)], (4,))[4].values_td[0])
    del inside[prefix + gone]
    save_file(inside, place / "model.safetensors", {"format": "pt"})
    with pytest.raises(EncoderError, match=f"lacks weights that the network needs: {gone}. It is not a whole"):
        load_encoder(f"mine={place}", device="cpu")


@pytest.mark.parametrize(
    ("file", "values", "says"),
    [
        ("config.json", {"num_mel_bins": 128}, "feature_size is 80, the network's num_mel_bins is 128"),
        ("preprocessor_config.json", {"feature_size": 128}, "feature_size is 128, the network's num_mel_bins is 80"),
        ("preprocessor_config.json", {"chunk_length": 15}, r"makes 1,?500 of the 3,000 steps that the network takes"),
        ("preprocessor_config.json", {"hop_length": 161}, "of the 3,000 steps that the network takes"),
        ("config.json", {"max_source_positions": 750}, r"makes 3,?000 of the 1,500 steps that the network takes"),
        ("preprocessor_config.json", {"sampling_rate": 8_000}, "allowed is a whole number of Hz from 16000 to 192000"),
        ("preprocessor_config.json", {"dither": 1e-4}, "dither: 0.0001, but allowed is 0: noise"),
        ("preprocessor_config.json", {"padding_value": 1.0}, "padding_value: 1.0, but allowed is 0"),
        ("preprocessor_config.json", {"padding_side": "left"}, "padding_side: 'left', but allowed is 'right'"),
        ("preprocessor_config.json", {"n_fft": 10**9}, "n_fft: 1000000000, but allowed is an even whole"),
        ("preprocessor_config.json", {"n_fft": 401}, "n_fft: 401, but allowed is an even whole number"),
        ("config.json", {"encoder_layers": "6"}, "encoder_layers: '6', but allowed is a whole number"),
        ("config.json", {"encoder_attention_heads": 5}, "encoder_attention_heads: 5, but allowed is a divisor of d_mo"),
        ("config.json", {"activation_function": "relu17"}, "activation_function: 'relu17', which transformers does no"),
        ("config.json", {"encoder_layers": 3}, r"no place for: layers\.3"),
        ("config.json", {"encoder_layers": 5}, r"lacks weights that the network needs: layers\.4"),
    ],
)
def test_files_that_do_not_fit_each_other_give_one_sentence(
    folder: Path, tmp_path: Path, file: str, values: dict[str, Any], says: str
) -> None:
    place = Path(shutil.copytree(folder, tmp_path / "whisper"))
    write_json(place / file, json.loads((place / file).read_text()) | values)
    with pytest.raises(EncoderError, match=says) as caught:
        load_encoder(f"mine={place}", device="cpu")
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_preprocessor_has_whispers_own(folder: Path, tmp_path: Path) -> None:
    place = Path(shutil.copytree(folder, tmp_path / "whisper"))
    with_file = find_checkpoint(f"mine={place}")
    (place / "preprocessor_config.json").unlink()
    without = find_checkpoint(f"mine={place}")
    assert without.fingerprint == with_file.fingerprint and "the Whisper defaults are used" in without.note


def test_training_mode_is_refused(folder: Path) -> None:
    with pytest.raises(EncoderError, match="is a Whisper, which the published code does not run"):
        load_encoder(f"whisper={folder}", device="cpu", training_mode=True)


def test_the_network_works_on_whole_windows(encoder: Encoder) -> None:
    assert [encoder.worked_s(seconds) for seconds in (0.1, 1.0, 29.0, 30.0, 30.02, 65.0)] == [30, 30, 30, 30, 60, 90]
