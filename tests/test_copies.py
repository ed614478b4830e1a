"""precompute/datasets: recordings that are there more than once are known by their samples, near ones by a print."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from explorer.audio import Waveform, load_waveform, resample
from explorer.decoding import SoundBytes
from precompute.datasets import Corpus, read_corpus
from precompute.datasets.identity import Fingerprint, Listener
from precompute.datasets.near_copies import near_copies
from tests.test_datasets import reasons

RATE_HZ = 16_000


def noise(seed: int, seconds: float = 0.4) -> np.ndarray:
    return np.random.default_rng(seed).integers(-9000, 9000, round(seconds * RATE_HZ)).astype(np.int16)


def voice(seed: int, seconds: float = 3.0, hz: float = 200.0) -> np.ndarray:
    """Syllables of a harmonic tone with vibrato: takes of one voice differ only by their chance."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    bend = np.interp(t, np.arange(0, seconds + 0.2, 0.2), rng.normal(0, 0.03, len(np.arange(0, seconds + 0.2, 0.2))))
    phase = 2 * np.pi * np.cumsum(hz * (1 + bend + 0.01 * np.sin(2 * np.pi * 5.5 * t))) / RATE_HZ
    knots = np.arange(0, seconds + 0.15, 0.15)
    parts = [np.interp(t, knots, rng.uniform(0, 1, len(knots))) * np.sin(n * phase) / n for n in range(1, 12)]
    return (0.2 * np.sum(parts, axis=0) + rng.normal(0, 0.002, len(t))).astype(np.float32)


def sides(corpus: Corpus) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for clip in corpus.clips:
        found.setdefault(Path(clip.file.relative).stem, set()).add(clip.split)
    return found


def add_chunk(path: Path, copy: Path) -> None:
    copy.write_bytes(path.read_bytes() + b"LIST\4\0\0\0INFO")


TWINS: dict[str, Callable[[Path, np.ndarray], None]] = {
    "flac": lambda path, x: sf.write(path.with_suffix(".flac"), x, RATE_HZ, subtype="PCM_16"),
    "24 bits": lambda path, x: sf.write(path.with_suffix(".wave"), x, RATE_HZ, format="WAV", subtype="PCM_24"),
    "float": lambda path, x: sf.write(
        path.with_suffix(".w64"), (x / 32768).astype(np.float32), RATE_HZ, format="W64", subtype="FLOAT"
    ),
    "stereo": lambda path, x: sf.write(path.with_suffix(".aiff"), np.stack([x, x], axis=1), RATE_HZ),
    "header": lambda path, _: add_chunk(path, path.with_suffix(".wave")),
}


@pytest.mark.parametrize("kind", TWINS)
def test_one_recording_in_two_files_is_taken_once(tmp_path: Path, kind: str):
    for n in range(8):
        sf.write(tmp_path / f"{n}.wav", noise(n), RATE_HZ, subtype="PCM_16")
        TWINS[kind](tmp_path / f"{n}.wav", noise(n))
    corpus = read_corpus("folder", tmp_path)
    assert len(corpus.clips) == 8 and all(len(split) == 1 for split in sides(corpus).values())
    assert len(corpus.skipped) == 8 and {item.kind for item in corpus.skipped} == {"copy"} and not corpus.rejected
    assert "8 files with the same samples as another left out: '" in corpus.note


def test_a_copy_under_another_label_is_kept_on_the_same_side_and_named(tmp_path: Path):
    for n in range(8):
        for label in ("low", "high"):
            (tmp_path / label).mkdir(exist_ok=True)
            sf.write(tmp_path / label / f"{n}.wav", noise(n), RATE_HZ, subtype="PCM_16")
    corpus = read_corpus("folder", tmp_path)
    assert len(corpus.clips) == 16 and all(len(split) == 1 for split in sides(corpus).values())
    assert "8 recordings under more than one label: 'high/0.wav' (high) = 'low/0.wav' (low)" in corpus.note
    assert len(corpus.note) < 500


def test_a_copy_in_another_group_is_refused(tmp_path: Path):
    for n in range(8):
        sf.write(tmp_path / f"{n}.wav", noise(n // 2), RATE_HZ, subtype="PCM_16")
    rows = "".join(f"{n}.wav,{'pq'[n % 2]}\n" for n in range(8))
    (tmp_path / "metadata.csv").write_text(f"file,group\n{rows}")
    corpus = read_corpus("folder", tmp_path)
    assert [file.relative for file in corpus.files] == ["0.wav", "2.wav", "4.wav", "6.wav"]
    assert reasons(corpus)["1.wav"] == ("rejected", "the same recording as '0.wav', which is in the group 'p'")
    assert "4 files refused as a copy of a file of another group" in corpus.note


def test_a_copy_without_a_label_gives_way_to_the_one_with(tmp_path: Path):
    for name in ("a.wav", "b.wav"):
        sf.write(tmp_path / name, noise(1), RATE_HZ, subtype="PCM_16")
    (tmp_path / "metadata.csv").write_text("file,label\nb.wav,x\n")
    corpus = read_corpus("folder", tmp_path)
    assert [(clip.file.relative, clip.label) for clip in corpus.clips] == [("b.wav", "x")]


def test_silence_and_opposite_channels_are_no_copies(tmp_path: Path):
    for n in range(3):
        sf.write(tmp_path / f"silent{n}.wav", np.zeros(8000, np.int16), RATE_HZ)
        sf.write(tmp_path / f"phase{n}.wav", np.stack([noise(n), -noise(n)], axis=1), RATE_HZ)
    corpus = read_corpus("folder", tmp_path)
    assert len(corpus.clips) == 6 and "same samples" not in corpus.note


def fingerprint(samples: np.ndarray, rate_hz: int = RATE_HZ) -> Fingerprint:
    listener = Listener()
    for start in range(0, len(samples), 7000):
        part = samples[start : start + 7000]
        listener.add(part[:, None], part, rate_hz)
    return listener.fingerprint()


def coded(samples: np.ndarray, form: str, subtype: str) -> np.ndarray:
    buffer = io.BytesIO()
    sf.write(buffer, samples, RATE_HZ, format=form, subtype=subtype)
    return load_waveform(SoundBytes("coded", buffer.getvalue())).samples


@pytest.mark.parametrize("kind", ["gain", "mp3", "vorbis", "opus", "trimmed", "padded", "8 kHz", "22 kHz"])
def test_a_near_copy_is_found_and_another_take_is_not(kind: str):
    takes = [voice(seed) for seed in range(12)]
    changed, rate_hz = takes[5], RATE_HZ
    if kind in ("8 kHz", "22 kHz"):
        rate_hz = 8000 if kind == "8 kHz" else 22_050
        changed = resample(Waveform(changed, RATE_HZ), rate_hz).samples
    else:
        changed = {
            "gain": lambda x: x * 0.1,
            "mp3": lambda x: coded(x, "MP3", "MPEG_LAYER_III"),
            "vorbis": lambda x: coded(x, "OGG", "VORBIS"),
            "opus": lambda x: coded(x, "OGG", "OPUS"),
            "trimmed": lambda x: x[2500:-1000],
            "padded": lambda x: np.concatenate([np.zeros(3000, np.float32), x]),
        }[kind](changed)
    prints = [*map(fingerprint, takes), fingerprint(changed, rate_hz)]
    assert near_copies(prints) == [(5, 12)]


def test_near_copies_are_named_and_those_on_both_sides_first(tmp_path: Path):
    for n in range(8):
        sf.write(tmp_path / f"{n}.wav", voice(n), RATE_HZ, subtype="PCM_16")
        sf.write(tmp_path / f"{n} quiet.flac", voice(n) * 0.3, RATE_HZ, subtype="PCM_16")
    corpus = read_corpus("folder", tmp_path)
    n_crossing = sum(
        len({clip.split for clip in corpus.clips if clip.file.relative[0] == str(n)}) > 1 for n in range(8)
    )
    assert "8 files nearly the same as another" in corpus.note and n_crossing
    assert f"{n_crossing} of them on the other side of the split" in corpus.note and len(corpus.clips) == 16


def test_three_thousand_recordings_take_no_time_for_each_pair():
    rng = np.random.default_rng(0)
    prints = [
        Fingerprint(rng.integers(0, 2**16, 300).astype(np.uint16), np.ones(300, bool), tuple(range(20, 180, 20)))
        for _ in range(3000)
    ]
    prints.append(prints[7])
    started_s = time.process_time()
    assert near_copies(prints) == [(7, 3000)]
    assert time.process_time() - started_s < 10.0
