"""explorer/audio.py with damaged, cut, hostile and awkward files: read to their end with a note, or refused by name."""

from __future__ import annotations

import csv
import os
import random
import struct
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from explorer.audio import (
    MIN_CLIP_S,
    SoundBytes,
    audio_info,
    load_waveform,
    scan_audio,
)
from explorer.errors import AudioError

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("SONOSCOPE_SHARED", ROOT.parent / "shared"))


def tone(n: int = 48_000, rate_hz: int = 48_000, hz: float = 440.0, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hz * np.arange(n) / rate_hz)).astype(np.float32)


def write(path: Path, samples: np.ndarray, rate_hz: int = 48_000, **how: str) -> Path:
    sf.write(path, samples, rate_hz, **({"subtype": "FLOAT"} if path.suffix == ".wav" and not how else how))
    return path


def wav_header(channels: int, rate_hz: int, size: int, data: bytes = bytes(1000)) -> bytes:
    block = channels * 2
    fmt = struct.pack("<IHHIIHH", 16, 1, channels, rate_hz, rate_hz * block % 2**32, block % 2**16, 16)
    riff = struct.pack("<I", min(36 + size, 2**32 - 1))
    return b"RIFF" + riff + b"WAVEfmt " + fmt + b"data" + struct.pack("<I", size) + data


@pytest.mark.parametrize("n", [0, 1, 10, 399, 401, 1599])
def test_too_short_a_file_is_refused_by_name(tmp_path: Path, n: int):
    with pytest.raises(AudioError, match=r"'a.wav'"):
        audio_info(write(tmp_path / "a.wav", tone(n), 16_000))
    assert audio_info(write(tmp_path / "b.wav", tone(1600), 16_000)).duration_s == MIN_CLIP_S


@pytest.mark.parametrize("form", ["WAV", "AIFF", "AU", "W64", "RF64", "MP3", "OGG"])
def test_a_file_that_ends_early_is_read_to_its_end_and_says_so(tmp_path: Path, form: str):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 96_000).astype(np.float32)
    whole = write(tmp_path / f"a.{form.lower()}", noise, format=form)
    (tmp_path / "half").write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    info = audio_info(tmp_path / "half")
    assert "cut short" in info.note
    assert 0.3 < info.n_samples / 96_000 < 0.65
    assert len(load_waveform(tmp_path / "half").samples) == info.n_samples


@pytest.mark.parametrize("damage", ["cut", "zeroed"])
def test_a_flac_that_is_damaged_inside_is_refused(tmp_path: Path, damage: str):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 96_000)
    data = bytearray(write(tmp_path / "a.flac", noise).read_bytes())
    half = len(data) // 2
    (tmp_path / "b.flac").write_bytes(data[:half] if damage == "cut" else data[:half] + bytes(64) + data[half + 64 :])
    with pytest.raises(AudioError, match=r"'b.flac' is damaged"):
        audio_info(tmp_path / "b.flac")


def test_sizes_that_a_streaming_writer_left_open(tmp_path: Path):
    data = (tone(48_000) * 32767).astype("<i2").tobytes()
    for size in (0xFFFFFFFF, 0x7FFFFFFF):
        (tmp_path / "a.wav").write_bytes(wav_header(1, 48_000, size, data))
        info = audio_info(tmp_path / "a.wav")
        assert (info.n_samples, info.note) == (48_000, "")
    (tmp_path / "b.wav").write_bytes(wav_header(1, 48_000, 0))  # 1000 bytes of zeros, shorter than a clip
    with pytest.raises(AudioError, match=r"'b.wav' is 0.0104 s long"):
        audio_info(tmp_path / "b.wav")
    (tmp_path / "b.wav").write_bytes(wav_header(1, 48_000, 0, b""))
    with pytest.raises(AudioError, match=r"'b.wav' holds no samples \(44 bytes"):
        audio_info(tmp_path / "b.wav")


def first_mp3_frame(data: bytes) -> int:
    """Where the second frame begins."""
    return data.index(data[:2], 4)


def test_an_mp3_is_never_cut_where_its_first_frame_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """libsndfile believes the first frame (Xing) or guesses from its bit rate, and drops what lies behind."""
    monkeypatch.setitem(sys.modules, "av", None)
    rng = np.random.default_rng(0)
    sound = np.concatenate([tone(480_000) * 0.01, rng.uniform(-0.5, 0.5, 480_000)])
    sf.write(tmp_path / "vbr.mp3", sound, 48_000, bitrate_mode="VARIABLE", compression_level=0.2)
    vbr = (tmp_path / "vbr.mp3").read_bytes()
    assert audio_info(tmp_path / "vbr.mp3").n_samples == 960_000
    for name, data in (("twice.mp3", vbr + vbr), ("unsaid.mp3", vbr[first_mp3_frame(vbr) :])):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(AudioError, match=f"{name}.*more sound than its first frame states.*requirements-extra"):
            audio_info(tmp_path / name)
    sf.write(tmp_path / "cbr.mp3", sound, 48_000, bitrate_mode="CONSTANT", compression_level=0.5)
    cbr = (tmp_path / "cbr.mp3").read_bytes()
    (tmp_path / "cbr_unsaid.mp3").write_bytes(cbr[first_mp3_frame(cbr) :])
    info = audio_info(tmp_path / "cbr_unsaid.mp3")
    assert info.note == ""
    assert abs(info.n_samples - 960_000) < 5_000


def test_m4a_names_the_extra_that_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "av", None)
    for name, head in (("a.m4a", b"\0\0\0\x1cftypM4A "), ("a.aac", b"\xff\xf1P@+\xbf\xfc\xde")):
        (tmp_path / name).write_bytes(head + bytes(500))
        with pytest.raises(AudioError, match=rf"'{name}'.*requirements-extra\.txt") as caught:
            audio_info(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_m4a_and_unsaid_lengths_are_read_with_the_extra(tmp_path: Path):
    av = pytest.importorskip("av", reason="the optional package av is not installed")
    sound = tone(48_000)
    with av.open(str(tmp_path / "a.m4a"), "w") as container:
        stream = container.add_stream("aac", rate=48_000, layout="mono")
        for start in range(0, 48_000, 1024):
            frame = av.AudioFrame.from_ndarray(sound[None, start : start + 1024].copy(), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 48_000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    info = audio_info(tmp_path / "a.m4a")
    whole = load_waveform(tmp_path / "a.m4a").samples
    assert (info.n_samples, info.encoding, info.note) == (48_000, "MP4/AAC", "")
    assert np.abs(whole[24_000:40_000] - sound[24_000:40_000]).max() < 0.05
    part = load_waveform(tmp_path / "a.m4a", start_s=0.25, duration_s=0.1).samples
    np.testing.assert_array_equal(part, whole[12_000 : 12_000 + 4800])
    in_memory = SoundBytes("mine.m4a", (tmp_path / "a.m4a").read_bytes())
    assert audio_info(in_memory) == info and np.array_equal(load_waveform(in_memory).samples, whole)
    (tmp_path / "unsaid.flac").write_bytes(flac_claiming(tmp_path, 0))
    assert audio_info(tmp_path / "unsaid.flac").n_samples == 48_000


def flac_claiming(folder: Path, n_samples: int) -> bytes:
    """A FLAC of 48,000 samples whose header claims another number (36 bits from byte 21 on)."""
    data = bytearray(write(folder / "honest.flac", tone()).read_bytes())
    data[21] = data[21] & 0xF0 | n_samples >> 32
    data[22:26] = struct.pack(">I", n_samples & 0xFFFFFFFF)
    return bytes(data)


HOSTILE: dict[str, Callable[[Path], bytes]] = {
    "1000 channels": lambda _: wav_header(1000, 44_100, 2_000_000, bytes(2_000_000)),
    "9 channels": lambda _: wav_header(9, 44_100, 1800, bytes(1800)),
    "0 channels": lambda _: wav_header(0, 44_100, 1000),
    "2000000000 Hz": lambda _: wav_header(1, 2_000_000_000, 1000),
    "1 Hz": lambda _: wav_header(1, 1, 1000),
    "4 GB claimed, 62 samples there": lambda _: wav_header(8, 192_000, 4_000_000_000),
    "54 hours claimed": lambda folder: flac_claiming(folder, 2**33),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_headers_are_refused(tmp_path: Path, name: str):
    (tmp_path / "h.wav").write_bytes(HOSTILE[name](tmp_path))
    with pytest.raises(AudioError, match=r"'h.wav'"):
        audio_info(tmp_path / "h.wav")
    if not name.startswith("4 GB"):
        with pytest.raises(AudioError, match=r"'h.wav'"):
            load_waveform(tmp_path / "h.wav", sample_rate_hz=16_000)


def test_hostile_headers_and_long_silence_take_no_memory(tmp_path: Path):
    """Measured from outside, since libsndfile's own memory is not Python's. 15 minutes of silence are a small FLAC."""
    resource = pytest.importorskip("resource", reason="needs getrusage")
    assert resource
    for place, make in enumerate(HOSTILE.values()):
        (tmp_path / f"{place}.wav").write_bytes(make(tmp_path))
    with sf.SoundFile(tmp_path / "long.flac", "w", 16_000, 8, "PCM_16") as file:
        for _ in range(15):
            file.write(np.zeros((16_000 * 60, 8), dtype=np.int16))
    script = """
        import resource, sys
        from pathlib import Path
        from explorer.audio import load_waveform, scan_audio
        from explorer.errors import AudioError
        def peak_mb():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        before = peak_mb()
        for path in sorted(Path(sys.argv[1]).glob("*.*")):
            try:
                scan_audio(path, clip_s=10.0)
                load_waveform(path, start_s=800.0, duration_s=10.0)
            except AudioError:
                pass
        print(peak_mb() - before)
    """
    run = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 60  # the long one alone is 460 MB as float32


def test_a_file_is_never_decoded_behind_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write(tmp_path / "a.wav", tone(150_000))
    monkeypatch.setattr("explorer.audio.MAX_FILE_S", 2.0)
    with pytest.raises(AudioError, match="hours"):
        audio_info(path)
    monkeypatch.setattr("explorer.audio.MAX_LOAD_SAMPLES", 100_000)
    with pytest.raises(AudioError, match="Read it in parts"):
        load_waveform(path)
    monkeypatch.setattr("explorer.audio.MAX_FILE_S", 7200.0)
    with pytest.raises(AudioError, match="shorter clips"):
        scan_audio(path)


@pytest.mark.parametrize("extension", ["wav", "flac", "mp3", "ogg", "aiff"])
def test_random_damage_is_read_or_refused_but_never_crashes(tmp_path: Path, extension: str):
    good = write(tmp_path / f"good.{extension}", np.random.default_rng(0).uniform(-0.5, 0.5, 20_000)).read_bytes()
    rng = random.Random(0)
    for _ in range(40):
        data = bytearray(good[: rng.choice((len(good), rng.randrange(len(good))))])
        for _ in range(rng.randrange(1, 12)):
            if data:
                data[rng.choice((rng.randrange(len(data)), rng.randrange(min(64, len(data)))))] = rng.randrange(256)
        (tmp_path / "x.bin").write_bytes(data)
        try:
            info = audio_info(tmp_path / "x.bin")
            samples = load_waveform(tmp_path / "x.bin").samples
        except AudioError as error:
            assert "x.bin" in str(error)
        else:
            assert len(samples) == info.n_samples
            assert np.isfinite(samples).all()


def test_what_is_no_file_is_refused_by_name(tmp_path: Path):
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "empty.wav").touch()
    (tmp_path / "folder.wav").mkdir()
    for name in ("text.wav", "empty.wav", "folder.wav", "gone.wav"):
        with pytest.raises(AudioError, match=name):
            load_waveform(tmp_path / name)


@pytest.mark.shared_data
def test_the_awkward_recordings(monkeypatch: pytest.MonkeyPatch):
    """`expect` holds, with two departures: 50 ms is refused, because no factor is defined there, and a WAV that says 0
    bytes is read to its end."""
    folder = SHARED / "data" / "awkward"
    if not folder.is_dir():
        pytest.skip(f"the development recordings are not in {folder}")
    with open(folder / "metadata.csv", encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    for row in rows:
        if row["expect"] == "skip":
            continue
        try:
            info = audio_info(folder / row["file"])
        except AudioError as error:
            assert row["expect"] != "ok" or row["file"] == "lengths/frames_800.wav", f"{row['file']}: {error}"
            assert repr(Path(row["file"]).name)[1:-1] in str(error)
            continue
        assert row["expect"] in ("ok", "ok_or_clear_error"), row["file"]
        if int(row["frames"] or 0):
            expected = (int(row["sample_rate"]), int(row["channels"]), int(row["frames"]), row["encoding"])
            assert (info.sample_rate_hz, info.n_channels, info.n_samples, info.encoding) == expected
        if row["file"].startswith(("damaged/cut", "damaged/data_cut")):
            assert "cut short" in info.note, row["file"]


def unsized(path: Path, tail: bytes = b"") -> Path:
    """A WAV whose writer never came back to say how much sound follows: 0 bytes."""
    data = bytearray(write(path, tone()).read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = bytes(4)
    path.write_bytes(bytes(data) + tail)
    return path


@pytest.mark.parametrize("in_memory", [False, True])
def test_a_wav_that_says_no_sound_follows_is_read_to_its_end(tmp_path: Path, in_memory: bool):
    path = unsized(tmp_path / "recorder.wav")
    source = SoundBytes(path.name, path.read_bytes()) if in_memory else path
    info = audio_info(source)
    assert (info.n_samples, info.note) == (48_000, "its header says that no sound follows: read to its end")
    whole = load_waveform(source).samples
    np.testing.assert_allclose(whole, tone(), atol=1e-4)
    part = load_waveform(source, start_s=0.25, duration_s=0.5).samples
    np.testing.assert_array_equal(part, whole[12_000:36_000])


def test_a_wav_without_sound_is_none_though_chunks_follow(tmp_path: Path):
    path = tmp_path / "empty.wav"
    head = bytearray(write(path, tone()).read_bytes())
    at = head.index(b"data") + 8
    path.write_bytes(bytes(head[: at - 4]) + bytes(4) + b"LIST" + struct.pack("<I", 4) + b"INFO")
    with pytest.raises(AudioError, match="holds no samples"):
        audio_info(path)


@pytest.mark.parametrize("front", ["cut", "zeros", "noise"])
@pytest.mark.parametrize("in_memory", [False, True])
def test_an_mp3_without_its_start_is_read_from_its_first_whole_frame(tmp_path: Path, front: str, in_memory: bool):
    whole = write(tmp_path / "whole.mp3", tone(4 * 48_000), format="MP3").read_bytes()
    noise = np.random.default_rng(0).bytes(5_001)
    path = tmp_path / "part.mp3"
    path.write_bytes({"cut": whole[5_001:], "zeros": bytes(5_001) + whole, "noise": noise + whole}[front])
    source = SoundBytes(path.name, path.read_bytes()) if in_memory else path
    info = audio_info(source)
    assert info.note.startswith("its start is damaged or cut off: read from its first whole frame, ")
    assert (info.duration_s < 3.9) == (front == "cut") and info.duration_s > 2.5
    all_of_it = load_waveform(source).samples
    assert len(all_of_it) == info.n_samples and abs(float(np.abs(all_of_it[9_600:]).max()) - 0.5) < 0.05
    part = load_waveform(source, start_s=1.5, duration_s=0.5).samples
    np.testing.assert_allclose(part, all_of_it[72_000:96_000], atol=1e-4)


def test_a_pointer_of_git_lfs_is_called_so(tmp_path: Path):
    path = tmp_path / "a.wav"
    path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 12345\n")
    with pytest.raises(AudioError, match=r"pointer that Git LFS left in its place\. Run `git lfs pull` there"):
        audio_info(path)
