"""What the clip player draws and plays: heights in the picture, contours, levels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from explorer.audio import Waveform
from explorer.contours import clip_contours
from explorer.store import Store
from explorer.ui.player import PlayerClip, matched_volumes
from explorer.ui.spectrogram import height_of, mel_picture


@pytest.mark.parametrize("hz", [110.0, 440.0, 2000.0, 6000.0])
def test_a_frequency_lies_at_its_height_in_the_picture(hz: float) -> None:
    rate = 24_000
    tone = Waveform(0.5 * np.sin(2 * np.pi * hz * np.arange(rate) / rate).astype(np.float32), rate)
    rows = mel_picture(tone).levels_db.mean(axis=1)
    assert float(height_of(np.array([hz]), rate)[0]) == pytest.approx((rows.argmax() + 0.5) / len(rows), abs=0.008)
    assert np.isnan(height_of(np.array([20.0, 11_000.0]), rate)).all()


def test_contours_follow_a_voice_and_say_nothing_of_noise() -> None:
    """A glide of a buzz from 200 to 400 Hz with a resonance at 1000 Hz; white noise is not voiced."""
    rate, n = 16_000, 24_000
    f0 = np.geomspace(200.0, 400.0, n)
    pulses = np.diff(np.floor(np.cumsum(f0) / rate), prepend=0.0)
    pole = 0.97 * np.exp(2j * np.pi * 1000 / rate)
    voice = lfilter([1.0], np.poly([pole, pole.conjugate()]).real, lfilter([1.0], [1.0, -0.9], pulses))
    found = clip_contours(Waveform((0.5 * voice / np.abs(voice).max()).astype(np.float32), rate))
    inside = (found.times_s > 0.2) & (found.times_s < 1.3) & np.isfinite(found.hz["f0"])
    said = np.interp(found.times_s[inside], np.arange(n) / rate, f0)
    assert inside.sum() > 80
    assert np.median(np.abs(12 * np.log2(found.hz["f0"][inside] / said))) < 0.5
    noise = clip_contours(Waveform(np.random.default_rng(0).normal(0, 0.1, n).astype(np.float32), rate))
    assert np.isfinite(noise.hz["f0"]).mean() < 0.1
    assert noise.outline.shape == (2, 400) and (noise.outline[0] <= noise.outline[1]).all()
    short = clip_contours(Waveform(np.ones(100, dtype=np.float32), rate))
    assert short.times_s.size == 0 and short.outline.shape == (2, 100)


def test_levels_are_matched_to_the_quietest_but_not_to_silence(store: Store) -> None:
    rows = store.query("SELECT clip_id, rms FROM clips WHERE rms > 0 ORDER BY rms")
    some = rows.iloc[[0, len(rows) // 2, -1]]
    clips = [PlayerClip(clip_id=str(clip_id), title="", duration_s=1.0) for clip_id in some["clip_id"]]
    volumes = np.array(matched_volumes(store, clips))
    heard = volumes * some["rms"].to_numpy()
    quietest = max(some["rms"].min(), some["rms"].max() / 10)
    np.testing.assert_allclose(heard, np.minimum(some["rms"], quietest), rtol=0.01)
    assert matched_volumes(store, [PlayerClip("ffffffffff", "not there", 1.0)]) == [1.0]
