"""explorer/inference/occlusion.py: where a feature listens."""

from __future__ import annotations

import numpy as np
import pytest

from explorer.audio import Waveform
from explorer.inference import listen, own_encoder, reader_of
from explorer.inference.occlusion import Occlusion, occlude, peak_mask, silenced
from explorer.inference.reading import Reading, read_states
from explorer.sae import SAE
from explorer.store import Store
from tests.test_live import a_reference


def of_energy(wave: Waveform) -> Reading:
    """An 'encoder' of one number a frame of 20 ms, its energy, and an SAE of one feature that passes it on."""
    frames = wave.samples[: len(wave.samples) // 320 * 320].reshape(-1, 320)
    states = np.square(frames, dtype=np.float64).mean(axis=1).astype(np.float32)[:, None]
    one = np.ones((1, 1), np.float32)
    sae = SAE(one, np.zeros(1, np.float32), one, np.zeros(1, np.float32), 1, {})
    return read_states(states, 0.01 + 0.02 * np.arange(len(states)), sae)


def test_where_a_feature_listens() -> None:
    samples = np.full(16_000, 0.1, np.float32)
    samples[8_000:9_600] = 0.9
    burst = Waveform(samples, 16_000)
    found = occlude(burst, of_energy(burst), 0, of_energy)
    assert found.falls_most and found.share == pytest.approx(0.1, abs=0.01)
    assert found.without_peak < 0.2 * found.whole
    rng = np.random.default_rng(0)
    everywhere = Waveform(rng.choice([-0.3, 0.3], 16_000).astype(np.float32), 16_000)
    assert not occlude(everywhere, of_energy(everywhere), 0, of_energy).falls_most
    mask = peak_mask(np.array([0, 3, 1]), np.array([0.1, 0.3, 0.5]), 0.2, 6, 10)
    assert list(mask) == [False, False, True, True, False, False]
    quiet = silenced(burst, np.arange(16_000) < 100)
    assert not quiet.samples[:100].any() and np.array_equal(quiet.samples[300:], burst.samples[300:])


def test_what_rises_without_its_peak_is_not_said_to_need_it() -> None:
    assert Occlusion(0.59, 0.50, (0.70, 0.77), 0.1).falls_most
    assert not Occlusion(0.59, 0.64, (0.70, 0.77), 0.1).falls_most
    assert not Occlusion(0.59, 0.50, (0.40, 0.77), 0.1).falls_most


def test_a_sound_that_is_silent_but_for_its_peak_can_be_tested(store: Store) -> None:
    sae_id = a_reference(store)
    samples = np.zeros(32_000, np.float32)
    samples[8_000:9_600] = 0.3 * np.sin(np.arange(1_600) / 3)
    burst = Waveform(samples, 16_000)
    encode = own_encoder(store, device="cpu")
    (heard,) = listen(store, burst, [sae_id], encode)
    for feature in heard.features["feature"].head(3):
        found = occlude(burst, heard.reading, int(feature), reader_of(store, sae_id, encode))
        assert len(found.without_other) == 19 and np.isfinite([found.without_peak, *found.without_other]).all()


def test_silence_is_tried_only_where_the_network_listens() -> None:
    """A network that hears the first second of three: silence behind it would be a control that changes nothing."""
    rng = np.random.default_rng(1)
    sound = Waveform(rng.choice([-0.3, 0.3], 48_000).astype(np.float32), 16_000)
    silenced_at: list[np.ndarray] = []

    def first_second(wave: Waveform) -> Reading:
        silenced_at.append(np.flatnonzero(wave.samples == 0))
        return of_energy(Waveform(wave.samples[:16_000], 16_000))

    whole = first_second(sound)
    occlude(sound, whole, 0, first_second)
    assert whole.heard_s == pytest.approx(1.0) and len(silenced_at) == 21
    assert all(1_500 < len(at) < 1_700 and at.max() < 16_000 for at in silenced_at[1:])
