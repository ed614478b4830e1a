"""explorer/encoders: hidden states are right, in time, and the same alone, in a batch and cut short."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    ASTFeatureExtractor,
    ASTModel,
    HubertModel,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMModel,
)

from explorer.audio import Waveform
from explorer.encoders import Encoder, load_encoder
from explorer.encoders.front_ends import CHUNK_S, SpectrogramFrontEnd, WaveformFrontEnd
from explorer.errors import AudioError, ConfigError, EncoderError
from precompute.random_checkpoints import write_random_checkpoint

NAMES = ("ast", "wavlm", "hubert", "mert", "whisper")
LENGTHS_S = (1.0, 0.1, 1.3)
TOLERANCE = 1e-5


def sound(duration_s: float, rate_hz: int, seed: int = 0) -> Waveform:
    """A gliding tone in noise whose level and offset depend on the seed, so that statistics differ between clips."""
    rng = np.random.default_rng(seed)
    times = np.arange(round(duration_s * rate_hz)) / rate_hz
    tone = np.sin(2 * np.pi * (200 + 150 * seed + 300 * times) * times)
    samples = (0.02 + 0.1 * seed) * (tone + 0.3 * rng.normal(size=times.size)) + 0.01 * seed
    return Waveform(samples.astype(np.float32), rate_hz)


def relative(values: np.ndarray, expected: np.ndarray) -> float:
    """The error's norm over the expected values' norm; the worst frame's where there are frames."""
    assert values.shape == expected.shape
    return float(np.max(np.linalg.norm(values - expected, axis=-1) / np.linalg.norm(expected, axis=-1)))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("small")
    return {name: write_random_checkpoint(name, root / name, size="small", seed=1) for name in NAMES}


@pytest.fixture(scope="module")
def encoders(small: dict[str, Path]) -> dict[str, Encoder]:
    return {name: load_encoder(f"{name}={folder}", device="cpu") for name, folder in small.items()}


@pytest.fixture(scope="module", params=NAMES[:4])
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Encoder, Path]]:
    """A checkpoint of the published geometry, saved as on the hub, and the encoder loaded from it."""
    folder = write_random_checkpoint(request.param, tmp_path_factory.mktemp("real") / request.param)
    yield load_encoder(f"{request.param}={folder}", device="cpu"), folder
    shutil.rmtree(folder)


def library_states(name: str, folder: Path, wave: Waveform) -> list[np.ndarray]:
    """The states of one clip by transformers' own classes and extractors, (t, d) for each layer."""
    samples = wave.samples
    if name == "ast":
        inputs = ASTFeatureExtractor.from_pretrained(folder)(
            samples, sampling_rate=wave.sample_rate_hz, return_tensors="pt"
        )
        model = ASTModel.from_pretrained(folder)
    else:
        inputs = Wav2Vec2FeatureExtractor.from_pretrained(folder)(
            samples, sampling_rate=wave.sample_rate_hz, return_tensors="pt", return_attention_mask=False
        )
        model = {"wavlm": WavLMModel, "hubert": HubertModel, "mert": HubertModel}[name].from_pretrained(folder)
    with torch.inference_mode():
        states = model.eval()(inputs["input_values"], output_hidden_states=True).hidden_states
    return [state[0].numpy() for state in states]


@pytest.mark.slow
def test_a_clip_alone_and_in_a_padded_batch_are_the_same_at_the_real_geometry(real: tuple[Encoder, Path]) -> None:
    encoder, folder = real
    layers = range(encoder.n_layers + 1)
    assert (encoder.n_layers, encoder.d_model) == (12, 768)
    waves = [sound(length, encoder.sample_rate_hz, seed) for seed, length in enumerate(LENGTHS_S)]
    batch = encoder.hidden_states(waves, layers)
    singles = [encoder.hidden_states([wave], layers, all_tokens=True) for wave in waves]
    for index, alone in enumerate(singles):
        for layer in layers:
            assert relative(batch[layer].values_td[index], alone[layer].values_td[0]) < TOLERANCE, (index, layer)
            np.testing.assert_array_equal(batch[layer].times_s[index], alone[layer].times_s[0])
    expected = library_states(encoder.name, folder, waves[0])
    for layer in layers:
        tokens = expected[layer]
        all_tokens = singles[0][layer].all_tokens_mean_cd
        assert all_tokens is not None and relative(all_tokens[0], tokens.mean(axis=0)) < TOLERANCE
        frames = tokens[2:].reshape(12, 101, 768).mean(axis=0)[:9] if encoder.name == "ast" else tokens
        assert relative(singles[0][layer].values_td[0], frames) < TOLERANCE, layer


def test_stopping_early_and_dropping_blocks_give_the_same_states(
    encoders: dict[str, Encoder], small: dict[str, Path]
) -> None:
    for name, encoder in encoders.items():
        waves = [sound(0.5, encoder.sample_rate_hz, 1), sound(0.8, encoder.sample_rate_hz, 2)]
        whole = encoder.hidden_states(waves, (4, 0, 2))
        assert sorted(whole) == [0, 2, 4]
        cut = load_encoder(f"{name}={small[name]}", device="cpu", max_layer=2)
        for layer in (0, 2):
            for other in (encoder.hidden_states(waves, (layer,)), cut.hidden_states(waves, (layer,))):
                for mine, all_layers in zip(other[layer].values_td, whole[layer].values_td, strict=True):
                    np.testing.assert_array_equal(mine, all_layers)
        assert (cut.n_layers, cut.encoder_id) == (4, encoder.encoder_id)
        with pytest.raises(EncoderError, match=r"allowed are 0 to 2 \(loaded up to 2 of 4\)"):
            cut.hidden_states(waves, (3,))


def test_blocks_past_the_deepest_wanted_layer_do_not_run(encoders: dict[str, Encoder]) -> None:
    encoder = encoders["hubert"]
    calls: list[int] = []
    blocks = encoder._network.encoder.layers
    handles = [
        block.register_forward_pre_hook(lambda _m, _a, n=number: calls.append(n))
        for number, block in enumerate(blocks, start=1)
    ]
    encoder.hidden_states([sound(0.4, 16_000)], (2,))
    for handle in handles:
        handle.remove()
    assert calls == [1, 2]


def test_the_order_of_the_clips_and_many_clips_change_nothing(encoders: dict[str, Encoder]) -> None:
    encoder = encoders["wavlm"]
    lengths = [0.3 + 0.37 * (index % 7) for index in range(40)]  # 57 s: several batches on a CPU
    waves = [sound(length, 16_000, seed % 5) for seed, length in enumerate(lengths)]
    forward = encoder.hidden_states(waves, (3,))[3]
    backward = encoder.hidden_states(waves[::-1], (3,))[3]
    assert [len(values) for values in forward.values_td] == [(len(w.samples) - 400) // 320 + 1 for w in waves]
    for values, other in zip(forward.values_td, backward.values_td[::-1], strict=True):
        assert relative(values, other) < TOLERANCE
    assert relative(encoder.pooled_states(waves, (3,))[3], forward.pooled()) < 1e-6


def test_padding_inside_a_batch_is_not_counted_and_zeros_of_the_caller_are(encoders: dict[str, Encoder]) -> None:
    for encoder in encoders.values():
        short = sound(0.7, encoder.sample_rate_hz, 3)
        zeros = np.zeros(encoder.sample_rate_hz, dtype=np.float32)
        padded = Waveform(np.concatenate([short.samples, zeros]), short.sample_rate_hz)
        states = encoder.hidden_states([short, padded], (2,), all_tokens=True)[2]
        assert len(states.values_td[0]) < len(states.values_td[1])
        assert states.all_tokens_mean_cd is not None
        pooled = states.pooled()
        assert relative(pooled[0], pooled[1]) > 1e-3
        if encoder.name not in ("ast", "whisper"):  # one token a frame, none special, none of silence
            np.testing.assert_allclose(states.all_tokens_mean_cd, pooled, rtol=1e-5, atol=1e-6)
        else:
            assert relative(states.all_tokens_mean_cd[0], pooled[0]) > 1e-3
        assert relative(encoder.pooled_states([padded], (2,), pooling="all tokens")[2][0],
                        states.all_tokens_mean_cd[1]) < TOLERANCE  # fmt: skip


def test_wavlm_keeps_its_position_bias_and_the_paper_loader_drops_it(small: dict[str, Path]) -> None:
    wave = sound(0.6, 16_000, 2)
    own = load_encoder(f"wavlm={small['wavlm']}")
    paper = load_encoder(f"wavlm={small['wavlm']}", loader="paper")
    assert "encoder.layers.0.attention.rel_attn_embed.weight" in own._network.state_dict()
    assert not any("rel_attn_embed" in key for key in paper._network.state_dict())
    assert (own.loader, paper.loader) == ("own class", "paper")
    assert own.encoder_id != paper.encoder_id and own.weights_sha256 == paper.weights_sha256
    states, faulty = own.hidden_states([wave], range(5)), paper.hidden_states([wave], range(5))
    assert relative(faulty[0].values_td[0], states[0].values_td[0]) < TOLERANCE
    assert relative(faulty[1].values_td[0], states[1].values_td[0]) > 1e-3
    library = Wav2Vec2Model.from_pretrained(small["wavlm"]).eval()
    with torch.inference_mode():
        expected = library(torch.from_numpy(wave.samples)[None], output_hidden_states=True).hidden_states[3][0].numpy()
    assert relative(faulty[3].values_td[0], expected) < TOLERANCE


def test_the_paper_loader_changes_no_other_family(small: dict[str, Path]) -> None:
    for name in ("ast", "hubert", "mert"):
        paper = load_encoder(f"{name}={small[name]}", loader="paper")
        assert paper.loader == "own class"
        assert paper.encoder_id == load_encoder(f"{name}={small[name]}").encoder_id


def test_training_mode_is_another_encoder_that_repeats_for_each_clip(small: dict[str, Path]) -> None:
    waves = [sound(1.0, 16_000, 1), sound(1.4, 16_000, 2)]
    eval_mode = load_encoder(f"hubert={small['hubert']}")
    training = load_encoder(f"hubert={small['hubert']}", training_mode=True, seed=42)
    before = str(np.random.get_state()), torch.random.get_rng_state()
    both = training.hidden_states(waves, (3,))[3]
    alone = training.hidden_states(waves[1:], (3,))[3]
    np.testing.assert_array_equal(both.values_td[1], alone.values_td[0])
    twice = [training.hidden_states([waves[0], waves[0]], (3,))[3].pooled() for _ in range(2)]
    assert relative(twice[0][:1], twice[0][1:]) > 1e-3  # the same sound twice in a list: two draws, which repeat
    np.testing.assert_array_equal(twice[0], twice[1])
    assert relative(both.pooled(), eval_mode.hidden_states(waves, (3,))[3].pooled()) > 1e-2
    other_seed = load_encoder(f"hubert={small['hubert']}", training_mode=True, seed=43)
    assert relative(other_seed.hidden_states(waves, (3,))[3].pooled(), both.pooled()) > 1e-3
    assert len({eval_mode.encoder_id, training.encoder_id, other_seed.encoder_id}) == 3
    assert str(np.random.get_state()) == before[0]
    assert torch.equal(torch.random.get_rng_state(), before[1])


def test_waveform_frames_are_where_the_formula_says(encoders: dict[str, Encoder]) -> None:
    network = encoders["hubert"]._network
    front_end = WaveformFrontEnd(16_000, False, 320, 400)
    for n_samples in (*range(1_600, 2_300, 17), 16_000, 80_000):
        expected = int(network._get_feat_extract_output_lengths(n_samples))
        assert sum(chunk.n_frames for chunk in front_end.chunks(n_samples)) == expected
    samples = torch.zeros(1, 4_000, requires_grad=True)
    values = samples[:, None]
    for layer in network.feature_extractor.conv_layers:  # without the norm, whose statistics see all samples
        values = torch.nn.functional.gelu(layer.conv(values) + 0.1)
    for frame in (0, 3, 10):
        (gradient,) = torch.autograd.grad(values[0, :, frame].sum(), samples, retain_graph=True)
        seen = gradient[0].nonzero()
        assert (int(seen.min()), int(seen.max())) == (320 * frame, 320 * frame + 399)
        assert front_end.times_s(11)[frame] == pytest.approx((320 * frame + 200) / 16_000)
    mert = encoders["mert"]
    assert (mert.sample_rate_hz, mert.frame_rate_hz) == (24_000, 75.0)
    assert mert.hidden_states([sound(0.5, 24_000)], (0,))[0].times_s[0][1] == pytest.approx((320 + 200) / 24_000)


def test_ast_columns_hear_an_impulse_where_and_only_where_their_times_say(encoders: dict[str, Encoder]) -> None:
    encoder = encoders["ast"]
    rng = np.random.default_rng(0)
    quiet = (1e-3 * rng.normal(size=3 * 16_000)).astype(np.float32)
    clicked = quiet.copy()
    first, last = 20_000, 20_031
    clicked[first : last + 1] += 0.5
    states = encoder.hidden_states([Waveform(quiet, 16_000), Waveform(clicked, 16_000)], (0,))[0]
    changed = np.abs(states.values_td[1] - states.values_td[0]).max(axis=1) > 1e-3
    starts = np.round((states.times_s[0] - 0.0875) * 16_000)
    expected = (starts <= last) & (starts + 2_800 > first)
    np.testing.assert_array_equal(changed, expected)
    assert expected.sum() == 2 and encoder.frame_rate_hz == 10.0


@pytest.mark.parametrize(("duration_s", "columns"), [(0.1, 1), (0.5, 4), (1.0, 9), (3.0, 29), (5.0, 49), (10.24, 101)])
def test_ast_counts_only_columns_without_padding(encoders: dict[str, Encoder], duration_s: float, columns: int) -> None:
    states = encoders["ast"].hidden_states([sound(duration_s, 16_000)], (1,))[1]
    assert states.values_td[0].shape == (columns, 48)


@pytest.mark.parametrize("name", ["wavlm", "hubert", "mert"])
def test_long_sound_is_cut_without_losing_a_frame(encoders: dict[str, Encoder], name: str) -> None:
    encoder = encoders[name]
    rate_hz = encoder.sample_rate_hz
    wave = sound(2 * CHUNK_S + 5.013, rate_hz, 1)
    states = encoder.hidden_states([wave], (0, 3))[3]
    n_frames = (len(wave.samples) - 400) // 320 + 1
    assert states.values_td[0].shape == (n_frames, 48)
    np.testing.assert_allclose(states.times_s[0], (320 * np.arange(n_frames) + 200) / rate_hz, rtol=1e-12)
    size = round(CHUNK_S * rate_hz / 320)
    if name == "wavlm":  # not normalised: a chunk is the same as that cut alone
        for first in (0, size):
            cut = Waveform(wave.samples[first * 320 : first * 320 + size * 320 + 80], rate_hz)
            alone = encoder.hidden_states([cut], (3,))[3].values_td[0]
            assert relative(states.values_td[0][first : first + size], alone) < TOLERANCE
    assert relative(encoder.pooled_states([wave], (3,))[3], states.pooled()) < 1e-6


def test_a_short_tail_joins_the_chunk_before_it() -> None:
    front_end = WaveformFrontEnd(16_000, False, 320, 400)
    for extra in range(0, 3_000, 7):
        n_samples = 1_000 * 320 + 80 + extra
        chunks = front_end.chunks(n_samples)
        assert sum(chunk.n_frames for chunk in chunks) == front_end.n_frames(n_samples)
        assert (chunks[0].start, chunks[-1].stop) == (0, n_samples)
        for chunk in chunks:
            assert front_end.n_frames(chunk.stop - chunk.start) == chunk.n_frames
            assert chunk.stop - chunk.start >= 1_600
        assert len(chunks) == (1 if 80 + extra < 1_600 else 2)


def test_ast_continues_past_its_window(encoders: dict[str, Encoder]) -> None:
    encoder = encoders["ast"]
    wave = sound(25.0, 16_000, 1)
    states = encoder.hidden_states([wave], (2,), all_tokens=True)[2]
    n_columns = ((25 * 16_000 - 400) // 160 + 1 - 16) // 10 + 1
    assert states.values_td[0].shape == (n_columns, 48)
    np.testing.assert_allclose(np.diff(states.times_s[0]), 0.1, rtol=1e-9)
    parts = [Waveform(wave.samples[start : start + 164_080], 16_000) for start in (0, 161_600, 323_200)]
    alone = encoder.hidden_states(parts, (2,), all_tokens=True)[2]
    assert relative(states.values_td[0], np.concatenate(alone.values_td)) < TOLERANCE
    assert alone.all_tokens_mean_cd is not None and states.all_tokens_mean_cd is not None
    assert relative(states.all_tokens_mean_cd[0], alone.all_tokens_mean_cd.mean(axis=0)) < TOLERANCE


def test_ast_chunks_cover_every_column_at_every_length() -> None:
    front_end = SpectrogramFrontEnd(16_000, True, 0.0, 1.0, 128, 1024, 16, 10, 10)
    for n_samples in range(1_600, 500_000, 1_237):
        chunks = front_end.chunks(n_samples)
        assert sum(chunk.n_frames for chunk in chunks) == front_end.valid_columns(n_samples)
        for chunk in chunks:
            assert front_end.valid_columns(chunk.stop - chunk.start) == chunk.n_frames
            assert chunk.stop - chunk.start <= 164_080 + 1_599
        assert chunks[-1].stop <= n_samples


def test_waveforms_that_do_not_fit_are_refused(encoders: dict[str, Encoder]) -> None:
    encoder = encoders["mert"]
    with pytest.raises(AudioError, match=r"Waveform 1 has 16000 Hz, mert takes 24000 Hz"):
        encoder.hidden_states([sound(1.0, 24_000), sound(1.0, 16_000)], (1,))
    with pytest.raises(AudioError, match=r"lasts 0.090 s; the shortest allowed is 0.1 s"):
        encoder.hidden_states([sound(0.09, 24_000)], (1,))
    with pytest.raises(AudioError, match="one channel"):
        encoder.hidden_states([Waveform(np.zeros((2, 24_000), dtype=np.float32), 24_000)], (1,))
    for layers in ((5,), (-1,), ()):
        with pytest.raises(EncoderError, match="allowed are 0 to 4"):
            encoder.hidden_states([sound(1.0, 24_000)], layers)
    with pytest.raises(ConfigError, match="allowed are 'valid frames' and 'all tokens'"):
        encoder.pooled_states([sound(1.0, 24_000)], (1,), pooling="mean")  # type: ignore[arg-type]


def test_no_clips_give_no_states(encoders: dict[str, Encoder]) -> None:
    encoder = encoders["hubert"]
    assert encoder.hidden_states([], (1,))[1].values_td == ()
    assert encoder.pooled_states([], (1,))[1].shape == (0, 48)


def test_silence_has_finite_states(encoders: dict[str, Encoder]) -> None:
    for encoder in encoders.values():
        silence = Waveform(np.zeros(encoder.sample_rate_hz, dtype=np.float32), encoder.sample_rate_hz)
        assert np.isfinite(encoder.hidden_states([silence], (4,))[4].pooled()).all()


def test_damaged_weights_are_noticed(small: dict[str, Path]) -> None:
    encoder = load_encoder(f"hubert={small['hubert']}")
    with torch.no_grad():
        encoder._network.encoder.layers[1].final_layer_norm.weight[0] = torch.nan
    encoder.hidden_states([sound(0.5, 16_000)], (1,))
    with pytest.raises(EncoderError, match="not finite at layer 2"):
        encoder.hidden_states([sound(0.5, 16_000)], (2,))


@pytest.mark.parametrize("name", NAMES)
def test_calls_from_several_threads_do_not_mix(encoders: dict[str, Encoder], name: str) -> None:
    """Single clips pass side by side, padded batches between them, each with layers of its own."""
    encoder = encoders[name]
    rate_hz = encoder.sample_rate_hz
    waves = [[sound(0.3 + 0.1 * k, rate_hz, k % 5), sound(0.9, rate_hz, k % 5)][: 1 + k % 2] for k in range(16)]
    expected = [encoder.hidden_states(batch, (k % 5,)) for k, batch in enumerate(waves)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda k: encoder.hidden_states(waves[k], (k % 5,)), range(16)))
    for k in range(16):
        assert sorted(found[k]) == [k % 5]
        np.testing.assert_allclose(found[k][k % 5].pooled(), expected[k][k % 5].pooled(), rtol=1e-5, atol=1e-6)


def test_devices(small: dict[str, Path]) -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert load_encoder(f"hubert={small['hubert']}").device.type == expected
    with pytest.raises(ConfigError, match="allowed are auto, cpu, cuda, mps"):
        load_encoder(f"hubert={small['hubert']}", device="tpu")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="Use --device cpu"):
            load_encoder(f"hubert={small['hubert']}", device="cuda")
