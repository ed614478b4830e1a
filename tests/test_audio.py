"""explorer/audio.py: every sound is read rightly, or refused with a reason that names it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from explorer.audio import (
    PREVIEW_RATE_HZ,
    SoundBytes,
    Waveform,
    audio_info,
    flac_bytes,
    load_excerpt,
    load_waveform,
    resample,
    scan_audio,
    write_preview,
)
from explorer.errors import AudioError
from explorer.sound_checks import count_mpeg_samples

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("SONOSCOPE_SHARED", ROOT.parent / "shared"))
FORMATS = [  # extension, format, subtype, tolerance of a sample
    ("wav", "WAV", "PCM_U8", 0.01),
    ("wav", "WAV", "PCM_16", 1e-4),
    ("wav", "WAV", "PCM_24", 1e-6),
    ("wav", "WAV", "FLOAT", 0.0),
    ("wav", "WAV", "DOUBLE", 0.0),
    ("wav", "WAV", "ULAW", 0.02),
    ("wav", "WAVEX", "PCM_24", 1e-6),
    ("rf64", "RF64", "PCM_16", 1e-4),
    ("w64", "W64", "PCM_16", 1e-4),
    ("flac", "FLAC", "PCM_24", 1e-6),
    ("aiff", "AIFF", "PCM_16", 1e-4),
    ("au", "AU", "PCM_16", 1e-4),
    ("caf", "CAF", "PCM_16", 1e-4),
    ("ogg", "OGG", "VORBIS", 0.1),
    ("opus", "OGG", "OPUS", 0.05),
    ("mp3", "MP3", "MPEG_LAYER_III", 0.05),
]


def tone(n: int = 48_000, rate_hz: int = 48_000, hz: float = 440.0, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hz * np.arange(n) / rate_hz)).astype(np.float32)


def write(path: Path, samples: np.ndarray, rate_hz: int = 48_000, **how: str) -> Path:
    sf.write(path, samples, rate_hz, **({"subtype": "FLOAT"} if path.suffix == ".wav" and not how else how))
    return path


@pytest.mark.parametrize(("extension", "form", "subtype", "tolerance"), FORMATS)
def test_formats_give_their_samples_and_any_stretch_of_them(
    tmp_path: Path, extension: str, form: str, subtype: str, tolerance: float
):
    rng = np.random.default_rng(0)
    sound = tone(120_000, level=0.3) * np.linspace(0.2, 1, 120_000, dtype=np.float32)
    sound += (rng.standard_normal(120_000) * 0.01).astype(np.float32)
    path = write(tmp_path / f"a.{extension}", sound, format=form, subtype=subtype)
    info, whole = audio_info(path), load_waveform(path)
    assert (info.sample_rate_hz, info.n_channels, info.n_samples) == (48_000, 1, 120_000)
    assert info.encoding == f"{form}/{subtype}"
    assert info.note == ""
    assert whole.samples.dtype == np.float32
    settled = slice(24_000, -2_400)  # a lossy codec needs a moment
    assert np.abs(whole.samples - sound)[settled].max() <= tolerance
    for start in (0, 1, 999, 70_001, 110_000):
        part = load_waveform(path, start_s=start / 48_000, duration_s=5_000 / 48_000)
        assert len(part.samples) == 5_000
        np.testing.assert_allclose(part.samples, whole.samples[start : start + 5_000], atol=1e-6)


def test_the_last_page_of_an_ogg_is_read_from_the_right_sample(tmp_path: Path):
    """Near the end libsndfile's own seek is some samples off (its issue 885)."""
    rng = np.random.default_rng(1)
    sound = (np.repeat(rng.random(200) ** 4, 2205) * rng.standard_normal(441_000) * 0.2).astype(np.float32)
    path = write(tmp_path / "a.ogg", sound, 44_100)
    whole = load_waveform(path).samples
    for start in range(len(whole) - 20_000, len(whole) - 1000, 500):
        part = load_waveform(path, start_s=start / 44_100).samples
        np.testing.assert_array_equal(part, whole[start:])


@pytest.mark.parametrize(("inside", "name"), [("flac", "b.wav"), ("wav", "b.mp3"), ("mp3", "b.wav"), ("wav", "b.raw")])
def test_content_decides_not_the_name(tmp_path: Path, inside: str, name: str):
    path = write(tmp_path / f"a.{inside}", tone())
    path.rename(tmp_path / name)
    assert audio_info(tmp_path / name).encoding.startswith(inside.upper())
    assert len(load_waveform(tmp_path / name).samples) == 48_000


@pytest.mark.parametrize(
    "name", ["a b#%20&+.wav", "&amp;<b>.wav", "가야금_🎵.wav", "u\u0308.wav", "-dash.WAV", "it's;.wav"]
)
def test_any_name(tmp_path: Path, name: str):
    assert audio_info(write(tmp_path / name, tone())).n_samples == 48_000


def test_a_stretch_is_read_where_asked_and_ends_with_the_file(tmp_path: Path):
    path = write(tmp_path / "a.wav", np.arange(10_000, dtype=np.float32) / 10_000, 10_000)
    assert load_waveform(path, start_s=0.25, duration_s=0.1).samples[[0, -1]] == pytest.approx([0.25, 0.3499])
    assert len(load_waveform(path, start_s=0.9, duration_s=5.0).samples) == 1000
    assert load_waveform(path, start_s=0.5, sample_rate_hz=8000).duration_s == 0.5
    for start_s, duration_s in ((1.0, 0.1), (9.0, None), (-0.1, None), (float("nan"), None), (0.0, 0.0), (0.0, -1.0)):
        with pytest.raises(AudioError):
            load_waveform(path, start_s=start_s, duration_s=duration_s)


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 32_000, 44_100, 44_099, 48_000, 96_000, 192_000])
@pytest.mark.parametrize("target_hz", [16_000, 24_000])
def test_resampling_keeps_a_tone_in_time_and_level(rate_hz: int, target_hz: int):
    wave = resample(Waveform(tone(rate_hz // 2, rate_hz, 1000.0), rate_hz), target_hz)
    assert wave.sample_rate_hz == target_hz
    assert len(wave.samples) == -(-(rate_hz // 2) * target_hz // rate_hz)
    assert wave.samples.dtype == np.float32
    inner = slice(400, -400)
    expected = tone(len(wave.samples), target_hz, 1000.0)
    assert np.abs(wave.samples - expected)[inner].max() < 0.001


@pytest.mark.parametrize(("hz", "most_db"), [(8_300, -60), (9_000, -70), (15_000, -80), (21_000, -80)])
def test_resampling_lets_nothing_fold_back(hz: float, most_db: float):
    low = resample(Waveform(tone(44_100, 44_100, hz, level=1.0), 44_100), 16_000).samples[400:-400]
    assert 20 * np.log10(np.sqrt(np.mean(low**2) * 2)) < most_db


def test_resampling_to_the_same_rate_changes_nothing_and_to_an_absurd_one_is_refused():
    wave = Waveform(tone(), 48_000)
    assert resample(wave, 48_000) is wave
    for rate_hz in (0, 10, 10**9):
        with pytest.raises(AudioError, match=str(rate_hz)):
            resample(wave, rate_hz)


def test_channels_are_averaged(tmp_path: Path):
    left, right = tone(hz=300), tone(hz=700)
    wave = load_waveform(write(tmp_path / "a.wav", np.stack([left, right], axis=1)))
    np.testing.assert_allclose(wave.samples, (left + right) / 2, atol=1e-7)


def test_opposite_phase_is_heard_and_said(tmp_path: Path):
    path = write(tmp_path / "a.wav", np.stack([tone() * 0.9, -tone()], axis=1))
    np.testing.assert_array_equal(load_waveform(path).samples, -tone())
    info, (cut,) = scan_audio(path)
    assert "the channels cancel each other" in info.note
    assert cut.peak == pytest.approx(0.5, rel=1e-3)


def test_a_cut_is_the_same_wherever_it_is_read(tmp_path: Path):
    """Each cut decides for itself how its channels are mixed, in the scan as in the reading."""
    left = tone(96_000)
    right = np.concatenate([tone(48_000, hz=900), -tone(96_000)[48_000:]])
    path = write(tmp_path / "a.wav", np.stack([left, right], axis=1))
    info, cuts = scan_audio(path, clip_s=1.0)
    assert "in 1 of 2 cuts" in info.note
    np.testing.assert_allclose(load_waveform(path, duration_s=1.0).samples, ((left + right) / 2)[:48_000], atol=1e-7)
    np.testing.assert_array_equal(load_waveform(path, start_s=1.0).samples, left[48_000:])
    for cut in cuts:
        samples = load_waveform(path, start_s=cut.start_s, duration_s=cut.duration_s).samples
        assert cut.peak == np.abs(samples).max()
        assert cut.rms == pytest.approx(np.sqrt(np.mean(samples.astype(np.float64) ** 2)), rel=1e-9)


@pytest.mark.parametrize("n_channels", [2, 4, 6, 8])
def test_silent_channels_are_no_cancellation_and_are_said(tmp_path: Path, n_channels: int):
    sound = np.zeros((48_000, n_channels), dtype=np.float32)
    sound[:, 0] = tone()
    path = write(tmp_path / "a.wav", sound)
    note = audio_info(path).note
    assert f"of {n_channels} is silent" in note
    assert "cancel" not in note
    np.testing.assert_allclose(load_waveform(path).samples, tone() / n_channels, atol=1e-7)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("n_channels", [1, 2])
def test_a_sample_that_is_no_number_refuses_the_file_and_says_where(tmp_path: Path, bad: float, n_channels: int):
    sound = np.repeat(tone(100_000)[:, None], n_channels, axis=1)
    sound[84_000, n_channels - 1] = bad
    path = write(tmp_path / "a.wav", sound)
    with pytest.raises(AudioError, match=r"'a.wav' holds a sample of .* at 1\.750 s"):
        audio_info(path)
    with pytest.raises(AudioError, match=r"at 1\.750 s"):
        load_waveform(path, start_s=1.5)
    assert len(load_waveform(path, duration_s=1.5).samples) == 72_000


def test_over_full_scale_is_kept_and_said(tmp_path: Path):
    path = write(tmp_path / "a.wav", tone(level=4.2))
    assert np.abs(load_waveform(path).samples).max() == pytest.approx(4.2, rel=1e-3)
    assert "over full scale (peak 4.20)" in audio_info(path).note


def test_cuts_cover_the_file_and_a_sliver_is_left_out_with_a_note(tmp_path: Path):
    path = write(tmp_path / "a.wav", tone(48_000 * 2 + 2_000))
    info, cuts = scan_audio(path, clip_s=1.0)
    assert [(cut.start_s, cut.duration_s) for cut in cuts] == [(0.0, 1.0), (1.0, 1.0)]
    assert "the last 0.042 s" in info.note
    _, cuts = scan_audio(path, clip_s=0.7)
    assert [round(cut.start_s, 9) for cut in cuts] == [0.0, 0.7, 1.4]
    assert sum(cut.duration_s for cut in cuts) == pytest.approx(info.duration_s)
    assert audio_info(path).note == ""
    assert len(scan_audio(path)[1]) == 1


def test_silence_is_kept_and_flagged(tmp_path: Path):
    assert scan_audio(write(tmp_path / "a.wav", np.zeros(48_000)))[1][0].is_silent
    dither = np.random.default_rng(0).integers(-1, 2, 48_000) / 32768
    assert not scan_audio(write(tmp_path / "b.wav", dither))[1][0].is_silent


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 24_000])
def test_a_preview_of_16_bit_sound_is_that_sound(tmp_path: Path, rate_hz: int):
    pcm = np.random.default_rng(0).integers(-32768, 32768, rate_hz).astype(np.int16)
    sf.write(tmp_path / "a.wav", pcm, rate_hz, subtype="PCM_16")
    write_preview(load_waveform(tmp_path / "a.wav"), tmp_path / "p.flac")
    back, back_rate_hz = sf.read(tmp_path / "p.flac", dtype="int16")
    assert back_rate_hz == rate_hz
    np.testing.assert_array_equal(back, pcm)


def test_a_preview_is_lowered_aligned_and_complete(tmp_path: Path):
    sound = np.zeros(88_200, dtype=np.float32)
    sound[44_100] = 1.0
    write_preview(Waveform(sound, 44_100), tmp_path / "p.flac")
    info = sf.info(tmp_path / "p.flac")
    assert (info.samplerate, info.channels, info.subtype, info.frames) == (PREVIEW_RATE_HZ, 1, "PCM_16", 48_000)
    assert np.abs(sf.read(tmp_path / "p.flac")[0]).argmax() == 24_000
    assert [path.name for path in tmp_path.iterdir()] == ["p.flac"]


def test_a_loud_preview_is_scaled_and_never_wraps(tmp_path: Path):
    sound = tone(24_000, 24_000, 100, level=4.2)
    write_preview(Waveform(sound, 24_000), tmp_path / "p.flac")
    back = sf.read(tmp_path / "p.flac", dtype="float32")[0]
    np.testing.assert_allclose(back, sound * (32767 / 32768 / np.abs(sound).max()), atol=2 / 32768)


def test_a_preview_that_cannot_be_written_says_so_and_leaves_nothing(tmp_path: Path):
    with pytest.raises(AudioError, match=r"p\.flac"):
        write_preview(Waveform(tone(), 48_000), tmp_path / "nowhere" / "p.flac")
    (tmp_path / "p.flac").mkdir()
    with pytest.raises(AudioError, match=r"p\.flac"):
        write_preview(Waveform(tone(), 48_000), tmp_path / "p.flac")
    assert [path.name for path in tmp_path.iterdir()] == ["p.flac"]


def test_importing_it_is_light():
    code = "import sys, explorer.audio; print([m for m in ('torch', 'scipy', 'av', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("suffix", "form", "subtype"), [
    (".wav", "WAV", "PCM_24"), (".flac", "FLAC", "PCM_16"), (".ogg", "OGG", "VORBIS"), (".opus", "OGG", "OPUS"),
    (".mp3", "MP3", "MPEG_LAYER_III"), (".aiff", "AIFF", "PCM_16"),
])  # fmt: skip
def test_sound_in_memory_reads_as_the_file_does(tmp_path: Path, suffix: str, form: str, subtype: str) -> None:
    path = tmp_path / f"tone{suffix}"
    rate_hz = 48_000 if suffix == ".opus" else 44_100
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate_hz) / rate_hz)
    sf.write(path, np.stack([tone, 0.3 * tone], axis=1), rate_hz, format=form, subtype=subtype)
    sound = SoundBytes(path.name, path.read_bytes())
    path_info, path_cuts = scan_audio(path, clip_s=0.4)
    assert scan_audio(sound, clip_s=0.4) == (path_info, path_cuts)
    for start_s in (0.0, 0.3):
        from_file = load_waveform(path, start_s=start_s, sample_rate_hz=16_000)
        assert np.array_equal(load_waveform(sound, start_s=start_s, sample_rate_hz=16_000).samples, from_file.samples)


def test_sound_in_memory_that_is_none_is_refused_by_its_name() -> None:
    for data in (b"", b"not a sound at all" * 99, b"RIFF\xff\xff\xff\xffWAVEfmt "):
        with pytest.raises(AudioError, match=r"'mine\.wav'"):
            scan_audio(SoundBytes("mine.wav", data))


def test_flac_in_memory_is_the_preview(tmp_path: Path) -> None:
    wave = Waveform(np.sin(np.arange(30_000) / 9).astype(np.float32), 44_100)
    write_preview(wave, tmp_path / "p.flac")
    assert flac_bytes(wave) == (tmp_path / "p.flac").read_bytes()


def test_a_file_too_long_for_one_clip_is_described_all_the_same(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("explorer.audio.MAX_LOAD_SAMPLES", 30_000)
    buffer = io.BytesIO()
    sf.write(buffer, np.full(200_000, 0.1, np.float32), 16_000, format="FLAC", subtype="PCM_16")
    sound = SoundBytes("long.flac", buffer.getvalue())
    info = audio_info(sound)
    assert info.n_samples == 200_000 and info.note == ""
    with pytest.raises(AudioError, match="would give a clip of 12 s"):
        scan_audio(sound)
    assert len(scan_audio(sound, clip_s=1.0)[1]) == 13


@pytest.mark.parametrize(
    ("form", "subtype", "rate_hz"),
    [("WAV", "GSM610", 8000), ("WAV", "GSM610", 16_000), ("W64", "GSM610", 8000), ("WAV", "G721_32", 8000),
     ("AU", "G723_24", 8000), ("WAV", "NMS_ADPCM_32", 16_000), ("AIFF", "DWVW_16", 16_000), ("XI", "DPCM_16", 16_000),
     ("VOC", "PCM_16", 16_000), ("WAV", "IMA_ADPCM", 22_050),
     ("MP3", "MPEG_LAYER_III", 22_050), ("OGG", "VORBIS", 22_050)],
)  # fmt: skip
def test_a_decoder_that_cannot_seek_is_read_through(tmp_path: Path, form: str, subtype: str, rate_hz: int):
    """soundfile seeks after each block that it reads: some decoders refuse, an MP3's next frames come out wrong."""
    rng = np.random.default_rng(0)
    sound = (tone(80_000, rate_hz) * 0.5 + rng.normal(0, 0.05, 80_000)).astype(np.float32)
    path = tmp_path / "a.wav"
    sf.write(path, np.tile(sound, 1 if form == "XI" else 8), rate_hz, format=form, subtype=subtype)
    whole = load_waveform(path)
    info, cuts = scan_audio(path, clip_s=3.0)
    assert info.n_samples == len(whole.samples) and "cut short" not in info.note
    if form == "MP3":
        assert np.abs(whole.samples - sf.read(path, dtype="float32")[0]).max() < 1e-6
    for cut in cuts:
        part = load_waveform(path, start_s=cut.start_s, duration_s=cut.duration_s).samples
        assert np.abs(part - whole.between(cut.start_s, cut.start_s + cut.duration_s).samples).max() < 1e-6


def long_silence(n_s: int, rate_hz: int, n_channels: int) -> SoundBytes:
    buffer = io.BytesIO()
    with sf.SoundFile(buffer, "w", rate_hz, n_channels, "PCM_16", format="FLAC") as file:
        for _ in range(n_s):
            file.write(np.zeros((rate_hz, n_channels), np.int16))
    return SoundBytes("silence.flac", buffer.getvalue())


def test_an_excerpt_decodes_no_more_than_it_gives(monkeypatch: pytest.MonkeyPatch):
    sound = long_silence(60, 48_000, 4)
    decoded = 0
    read = sf.SoundFile.read

    def counted(*given: Any, **how: Any) -> np.ndarray:
        nonlocal decoded
        block_tc: np.ndarray = read(*given, **how)
        decoded += len(block_tc)
        return block_tc

    monkeypatch.setattr(sf.SoundFile, "read", counted)
    excerpt = load_excerpt(sound, start_s=20.0, duration_s=2.0)
    assert (excerpt.wave.duration_s, excerpt.whole_s) == (2.0, 60.0) and decoded == 96_000
    assert load_excerpt(sound, start_s=59.0, duration_s=2.0).wave.duration_s == 1.0


def test_an_excerpt_is_the_stretch_and_says_what_is_true_of_it(tmp_path: Path):
    sound = np.stack([tone(96_000), -tone(96_000)], axis=1)
    path = write(tmp_path / "a.wav", sound)
    excerpt = load_excerpt(path, start_s=0.5, duration_s=1.0)
    assert np.array_equal(excerpt.wave.samples, load_waveform(path, start_s=0.5, duration_s=1.0).samples)
    assert excerpt.note == "the channels cancel each other: the loudest is taken" and excerpt.whole_s == 2.0
    (tmp_path / "cut.flac").write_bytes(path.read_bytes()[:400_000])
    cut = load_excerpt(tmp_path / "cut.flac", duration_s=60.0)
    assert "cut short" in cut.note and cut.whole_s == cut.wave.duration_s < 1.1


def test_an_excerpt_that_takes_too_long_is_given_up(tmp_path: Path):
    sound = long_silence(30, 48_000, 8)
    with pytest.raises(AudioError, match=r"'silence.flac' takes too long to decode\. Cut it"):
        load_excerpt(sound, duration_s=30.0, limit_s=0.0)


def test_walking_through_an_mp3_has_an_end():
    """Each byte of the rest looks like the start of a frame and is none."""
    head = io.BytesIO()
    sf.write(head, tone(48_000), 48_000, format="MP3")
    started_s = time.perf_counter()
    count = count_mpeg_samples(io.BytesIO(head.getvalue() + b"\xff" * 5_000_000))
    assert count is not None and count.n_samples >= 48_000
    assert time.perf_counter() - started_s < 1.0
