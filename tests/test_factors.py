"""explorer/factors.py: openSMILE's own numbers, named and grouped, and undefined ones said to be undefined."""

from __future__ import annotations

import csv
import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import opensmile
import pytest
import soundfile as sf

from explorer.audio import Waveform, load_waveform
from explorer.factors import (
    FACTOR_GROUPS,
    FACTOR_NAMES,
    FACTORS,
    factor_row,
    functionals,
    functionals_of_clip,
    low_level_descriptors,
    missing_reasons,
    paper_group,
)

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("SONOSCOPE_SHARED", ROOT.parent / "shared"))
EXCERPTS = SHARED / "data" / "vocalset_excerpts"
RATE_HZ = 16_000


def voice(duration_s: float = 2.0, level: float = 0.2, rate_hz: int = RATE_HZ) -> np.ndarray:
    """A sung vowel of sorts: a gliding harmonic tone with a little noise, a pause in the middle."""
    rng = np.random.default_rng(0)
    times = np.arange(round(duration_s * rate_hz)) / rate_hz
    phase = 2 * np.pi * np.cumsum(180 + 40 * times + 6 * np.sin(2 * np.pi * 5 * times)) / rate_hz
    samples = sum(np.sin(k * phase) / k for k in range(1, 12)) + 0.02 * rng.normal(size=times.size)
    samples = samples * (np.abs(times - duration_s / 2) > 0.2)
    return (level * samples + 1e-4 * rng.normal(size=times.size)).astype(np.float32)


@pytest.fixture(scope="module")
def smile() -> opensmile.Smile:
    return opensmile.Smile(
        feature_set=opensmile.FeatureSet.eGeMAPSv02, feature_level=opensmile.FeatureLevel.Functionals
    )


def test_the_names_are_opensmiles_own_in_its_order(smile: opensmile.Smile) -> None:
    assert list(FACTOR_NAMES) == smile.feature_names
    assert len(set(FACTOR_NAMES)) == len({factor.display_name for factor in FACTORS}) == 88


def test_every_factor_says_what_it_is() -> None:
    for factor in FACTORS:
        assert factor.factor_group in FACTOR_GROUPS and factor.paper_group in FACTOR_GROUPS
        assert factor.description.endswith(".") and len(factor.display_name) <= 32
    by_name = {factor.name: factor for factor in FACTORS}
    for name, display_name, unit in (
        ("F0semitoneFrom27.5Hz_sma3nz_amean", "F0 mean", "st"),
        ("F0semitoneFrom27.5Hz_sma3nz_meanRisingSlope", "F0 rise", "st/s"),
        ("F0semitoneFrom27.5Hz_sma3nz_stddevNorm", "F0 variation", ""),
        ("loudness_sma3_percentile50.0", "loudness median", ""),
        ("loudness_sma3_meanFallingSlope", "loudness fall", "1/s"),
        ("F2frequency_sma3nz_amean", "F2 frequency mean", "Hz"),
        ("slopeUV0-500_sma3nz_amean", "slope 0–500 unvoiced mean", "dB/Hz"),
        ("HNRdBACF_sma3nz_amean", "HNR mean", "dB"),
        ("MeanVoicedSegmentLengthSec", "voiced length mean", "s"),
    ):
        assert (by_name[name].display_name, by_name[name].unit) == (display_name, unit)


def test_the_groups_follow_the_published_rule_and_the_better_one() -> None:
    paper = Counter(factor.paper_group for factor in FACTORS)
    better = Counter(factor.factor_group for factor in FACTORS)
    # Counted by hand from the names: 10 F0 + 4 H1, 3 formants x 6, 6 jitter/shimmer/HNR, 10 loudness + peaks + level,
    # 5 segments, the rest of the spectrum, 16 MFCC.
    assert paper == {
        "pitch": 14, "formants": 18, "quality": 6, "loudness": 12, "rhythm": 5, "spectral": 17, "mfcc": 16,
    }  # fmt: skip
    moved = {factor.name for factor in FACTORS if factor.factor_group != factor.paper_group}
    assert moved == {f"logRelF0-H1-{h}_sma3nz_{f}" for h in ("H2", "A3") for f in ("amean", "stddevNorm")}
    assert (better["pitch"], better["quality"]) == (10, 10)
    with pytest.raises(ValueError, match="No factor group"):
        paper_group("zcr")


def test_functionals_are_opensmiles_numbers_at_every_rate(smile: opensmile.Smile) -> None:
    for rate_hz in (8_000, 16_000, 22_050, 44_100, 96_000):
        samples = voice(1.5, rate_hz=rate_hz)
        values = functionals(Waveform(samples, rate_hz))
        assert values.shape == (88,) and values.dtype == np.float64
        expected = smile.process_signal(samples, rate_hz).to_numpy()[0]
        np.testing.assert_array_equal(values, expected)


@pytest.mark.shared_data
def test_the_excerpts_equal_the_reference() -> None:
    if not (EXCERPTS / "egemaps_reference.csv").is_file():
        pytest.skip(f"no development recordings in {EXCERPTS}: set SONOSCOPE_SHARED")
    with (EXCERPTS / "egemaps_reference.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 10
    for row in rows:
        expected = np.array([float(row[name]) for name in FACTOR_NAMES])
        values = functionals(load_waveform(EXCERPTS / row["file"]))
        np.testing.assert_allclose(values, expected, rtol=1e-5, atol=0.0, err_msg=row["file"])


def test_full_scale_samples_do_not_wrap(smile: opensmile.Smile) -> None:
    clipped = np.clip(voice(level=3.0), -1.0, 1.0).astype(np.float32)
    assert (clipped == 1.0).mean() > 0.05
    values = functionals(Waveform(clipped, RATE_HZ))
    below = functionals(Waveform(np.minimum(clipped, np.float32(1 - 2**-14)), RATE_HZ))
    np.testing.assert_allclose(values, below, rtol=0.02, atol=0.05)
    wrapped = smile.process_signal(clipped, RATE_HZ).to_numpy()[0]
    assert (np.abs(wrapped - values) > 0.05 * np.abs(values) + 0.05).sum() > 20
    louder = functionals(Waveform((clipped * 4).astype(np.float32), RATE_HZ))
    assert louder[-1] <= 0.0  # sound level over full scale


def test_the_shortest_sounds() -> None:
    for n_samples, is_defined in ((959, False), (960, True), (1_600, True)):
        row = factor_row(Waveform(voice()[:n_samples], RATE_HZ))
        assert np.isfinite(row.raw).any() == is_defined
        if not is_defined:
            assert np.isnan(row.values).all() and set(row.reasons) == {"shorter than 60 ms"}


def test_silence_has_no_factor() -> None:
    silence = Waveform(np.zeros(RATE_HZ, dtype=np.float32), RATE_HZ)
    row = factor_row(silence)
    assert np.isfinite(row.raw).all() and np.isnan(row.values).all()
    assert set(row.reasons) == {"silent clip"}
    assert set(factor_row(Waveform(voice(), RATE_HZ), is_silent=True).reasons) == {"silent clip"}
    assert None in factor_row(silence, is_silent=False).reasons


def test_a_click_too_rare_to_be_heard_has_no_factor() -> None:
    """openSMILE gives it a level; the clip is flagged as silent, and its factors must not say otherwise."""
    samples = np.zeros(RATE_HZ, dtype=np.float32)
    samples[RATE_HZ // 2] = 1e-3
    assert set(factor_row(Waveform(samples, RATE_HZ)).reasons) == {"silent clip"}
    samples[RATE_HZ // 2] = 1e-2
    assert None in factor_row(Waveform(samples, RATE_HZ)).reasons


def test_noise_has_no_voiced_factor_and_keeps_the_others() -> None:
    rng = np.random.default_rng(0)
    row = factor_row(Waveform((0.05 * rng.normal(size=RATE_HZ)).astype(np.float32), RATE_HZ))
    reasons = dict(zip(FACTOR_NAMES, row.reasons, strict=True))
    values = dict(zip(FACTOR_NAMES, row.values, strict=True))
    for name in FACTOR_NAMES:
        if "UV" in name or "sma3nz" not in name:
            expected = "no voiced segment" if name in (
                "MeanVoicedSegmentLengthSec", "StddevVoicedSegmentLengthSec") else None  # fmt: skip
        else:
            expected = "no voiced frame"
        assert reasons[name] == expected, name
        assert np.isnan(values[name]) == (expected is not None)
    assert values["VoicedSegmentsPerSec"] == 0.0  # a count of none is a measurement


def test_a_voice_with_a_pause_has_every_factor_and_a_steady_one_no_unvoiced_frame() -> None:
    row = factor_row(Waveform(voice(), RATE_HZ))
    assert row.reasons == (None,) * 88
    np.testing.assert_array_equal(row.values, row.raw)
    steady = factor_row(Waveform(voice()[: round(0.7 * RATE_HZ)], RATE_HZ))
    reasons = dict(zip(FACTOR_NAMES, steady.reasons, strict=True))
    assert reasons["alphaRatioUV_sma3nz_amean"] == "no unvoiced frame"
    assert reasons["MeanUnvoicedSegmentLength"] == "no unvoiced segment"
    assert reasons["F0semitoneFrom27.5Hz_sma3nz_amean"] is None


def test_missing_parts_are_read_from_the_values() -> None:
    raw = functionals(Waveform(voice(), RATE_HZ))
    index = {name: i for i, name in enumerate(FACTOR_NAMES)}
    raw[index["loudness_sma3_meanRisingSlope"]] = raw[index["loudness_sma3_stddevRisingSlope"]] = 0.0
    raw[index["F1amplitudeLogRelF0_sma3nz_amean"]] = -201.0
    raw[index["jitterLocal_sma3nz_amean"]] = 0.0
    raw[index["mfcc1_sma3_amean"]] = np.inf
    reasons = missing_reasons(raw)
    assert {FACTOR_NAMES[i]: reason for i, reason in enumerate(reasons) if reason is not None} == {
        "loudness_sma3_meanRisingSlope": "no rising part",
        "loudness_sma3_stddevRisingSlope": "no rising part",
        "F1amplitudeLogRelF0_sma3nz_amean": "zero in every voiced frame",
        "F1amplitudeLogRelF0_sma3nz_stddevNorm": "zero in every voiced frame",
        "jitterLocal_sma3nz_amean": "zero in every voiced frame",
        "jitterLocal_sma3nz_stddevNorm": "zero in every voiced frame",
        "mfcc1_sma3_amean": "no finite value",
    }
    with pytest.raises(ValueError, match=r"not \(3,\)"):
        missing_reasons(np.zeros(3))


def test_factors_of_a_cut_in_worker_processes(tmp_path: Path) -> None:
    path = tmp_path / "voice.wav"
    sf.write(path, voice(3.0), RATE_HZ, subtype="FLOAT")
    cuts = [(path, 0.0, 1.0), (path, 1.0, 1.0), (path, 2.0, None)]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        rows = list(pool.map(functionals_of_clip, *zip(*cuts, strict=True)))
    samples = voice(3.0)
    for row, start in zip(rows, (0, 1, 2), strict=True):
        expected = functionals(Waveform(samples[start * RATE_HZ : (start + 1) * RATE_HZ], RATE_HZ))
        np.testing.assert_array_equal(row.raw, expected)


def test_low_level_descriptors_follow_the_pitch_in_time() -> None:
    times = np.arange(2 * RATE_HZ) / RATE_HZ
    frequency = np.where(times < 1.0, 220.0, 440.0)
    phase = 2 * np.pi * np.cumsum(frequency) / RATE_HZ
    harmonics = np.stack([np.sin(k * phase) / k for k in range(1, 6)])
    samples = (0.2 * harmonics.sum(axis=0)).astype(np.float32)
    times_s, values_td, names = low_level_descriptors(Waveform(samples, RATE_HZ))
    assert values_td.shape == (len(times_s), 25) and len(names) == 25
    np.testing.assert_allclose(np.diff(times_s), 0.01)
    assert times_s[0] == pytest.approx(0.01) and times_s[-1] < 2.0
    pitch = values_td[:, names.index("F0semitoneFrom27.5Hz_sma3nz")]
    low, high = (times_s > 0.2) & (times_s < 0.9), (times_s > 1.1) & (times_s < 1.8)
    assert np.median(pitch[low]) == pytest.approx(36.0, abs=0.2)
    assert np.median(pitch[high]) == pytest.approx(48.0, abs=0.2)
    jump = times_s[np.argmax(pitch > 42.0)]
    assert abs(jump - 1.0) < 0.03
    short = low_level_descriptors(Waveform(samples[:900], RATE_HZ))
    assert short.values_td.shape == (0, 25) and short.times_s.shape == (0,) and short.names == names
