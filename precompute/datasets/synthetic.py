"""A small generated singing corpus, for the demo and for tests: no real voice, and it says so wherever it is shown.

A source-filter voice: a glottal pulse train with jitter and shimmer, aspiration noise, and five formants set by vowel
and length of the vocal tract. What makes a technique is what is known to make it: the rate and extent of the pitch
modulation, the open quotient of the pulse, irregular low pulses, noise. Each singer has a range, a tract, a habit.
"""

from __future__ import annotations

import os
import wave
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from explorer.errors import ConfigError, DatasetError
from precompute.datasets import vocalset
from precompute.datasets.base import Listing

RATE_HZ = 16_000
MARKER = "SYNTHETIC.txt"
NOTE = "generated singing, no real voice: its numbers show how the pages work and say nothing about singers"
EXERCISES = ("arpeggios", "long_tones", "scales")
VOWELS = ("a", "e", "i", "o", "u")
# Formant frequencies in Hz for a tract of 17.5 cm; Peterson and Barney (1952) for the first three, rounded.
_FORMANTS_HZ = {
    "a": (730, 1090, 2440, 3400, 4400),
    "e": (530, 1840, 2480, 3500, 4450),
    "i": (270, 2290, 3010, 3600, 4500),
    "o": (570, 840, 2410, 3300, 4350),
    "u": (300, 870, 2240, 3250, 4300),
}
_BANDWIDTHS_HZ = (80.0, 95.0, 130.0, 200.0, 280.0)
_STEPS = {"arpeggios": (0, 4, 7, 12, 7, 4, 0), "scales": (0, 2, 4, 5, 7, 5, 4, 2, 0), "long_tones": (0,)}


@dataclass(frozen=True)
class Technique:
    """How one technique differs from a straight tone."""

    modulation_hz: float = 0.0
    modulation_cents: float = 12.0
    is_square: bool = False  # trill: between two notes instead of around one
    tremor: float = 0.0  # depth of amplitude modulation at the same rate
    noise: float = 0.015
    open_quotient: float = 0.6
    jitter: float = 0.004
    shimmer: float = 0.03
    transpose: float = 1.0
    formant_1: float = 1.0


TECHNIQUES = {
    "belt": Technique(modulation_hz=5.0, open_quotient=0.38, noise=0.006, transpose=1.2, formant_1=1.25),
    "breathy": Technique(open_quotient=0.85, noise=0.14, shimmer=0.06),
    "straight": Technique(),
    "trill": Technique(modulation_hz=6.5, modulation_cents=100.0, is_square=True),
    "vibrato": Technique(modulation_hz=5.6, modulation_cents=70.0, tremor=0.12),
    "vocal_fry": Technique(jitter=0.09, shimmer=0.35, open_quotient=0.35, noise=0.03, transpose=0.28),
}


@dataclass(frozen=True)
class Singer:
    """One voice. `tract` is its length against 17.5 cm; habits scale the techniques' rate and extent."""

    name: str
    tonic_hz: float
    tract: float
    rate_habit: float
    extent_habit: float
    breath: float


def write_synthetic_corpus(
    root: Path,
    *,
    n_singers: int = 12,
    clips_per_singer: int = 20,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a generated corpus in VocalSet's layout, 16 kHz 16-bit mono files of 2 to 3 s, and its two singer lists.

    The same arguments give the same samples. A folder that already holds this corpus is left as it is. Raises
    ConfigError for counts that make no corpus, DatasetError when the folder holds something else or cannot be written.
    """
    if not 2 <= n_singers <= 22 or clips_per_singer < 1:
        raise ConfigError(f"{n_singers} singers with {clips_per_singer} clips: 2 to 22 singers with at least 1 clip.")
    root = Path(root)
    stamp = f"{NOTE}\nn_singers={n_singers} clips_per_singer={clips_per_singer} seed={seed} version=1\n"
    marker = root / MARKER
    if marker.is_file():
        if marker.read_text(encoding="utf-8") == stamp:
            return
        raise DatasetError(f"{str(root)!r} holds another generated corpus. Give an empty folder.")
    if root.is_dir() and any(child.name not in ("FULL",) for child in root.iterdir() if not child.name.startswith(".")):
        raise DatasetError(f"{str(root)!r} is not empty. Give an empty folder.")
    singers = make_singers(n_singers, seed=seed)
    try:
        for place, singer in enumerate(singers):
            for number in range(clips_per_singer):
                _write_clip(root, singer, number, seed=seed)
                if progress is not None:
                    progress(place * clips_per_singer + number + 1, n_singers * clips_per_singer)
        test = [singer.name for place, singer in enumerate(singers) if (place + place // 4) % 4 == 3] or [
            singers[-1].name
        ]
        train = [singer.name for singer in singers if singer.name not in test]
        (root / "test_singers_technique.txt").write_text("\n".join(test) + "\n", encoding="utf-8")
        (root / "train_singers_technique.txt").write_text("\n".join(train) + "\n", encoding="utf-8")
        partial = root / f".{MARKER}.part"
        partial.write_text(stamp, encoding="utf-8")
        os.replace(partial, marker)
    except OSError as error:
        raise DatasetError(f"The generated corpus cannot be written to {str(root)!r}: {error.strerror}.") from error


def read(root: Path) -> Listing:
    """List a generated corpus with VocalSet's reader. Raises DatasetError when it is not there or not complete."""
    if not (root / MARKER).is_file():
        raise DatasetError(
            f"{str(root)!r} holds no finished generated corpus ({MARKER} is missing). "
            "`python -m precompute demo` makes one."
        )
    listing = vocalset.read(root)
    return Listing(
        listing.entries,
        listing.skipped,
        listing.label_name,
        listing.group_name,
        (NOTE, *listing.notes),
        is_synthetic=True,
    )


def make_singers(n_singers: int, *, seed: int) -> tuple[Singer, ...]:
    """Women and men in turn, each with a range, a tract and habits of their own."""
    rng = np.random.default_rng([seed, 1])
    singers = []
    for place in range(n_singers):
        is_female = place % 2 == 0
        singers.append(
            Singer(
                name=f"{'female' if is_female else 'male'}{place // 2 + 1}",
                tonic_hz=float((220.0 if is_female else 116.0) * 2 ** rng.uniform(-0.25, 0.25)),
                tract=float(rng.uniform(0.82, 0.90) if is_female else rng.uniform(0.96, 1.06)),
                rate_habit=float(rng.uniform(0.88, 1.12)),
                extent_habit=float(rng.uniform(0.75, 1.3)),
                breath=float(rng.uniform(0.6, 1.8)),
            )
        )
    return tuple(singers)


def sing(singer: Singer, technique: str, exercise: str, vowel: str, *, seed: int) -> np.ndarray:
    """One clip: float32 of shape (n,) at RATE_HZ, 2 to 3 s, peak 0.3 to 0.9."""
    from scipy.signal import lfilter

    rng = np.random.default_rng([seed, 2])
    how = TECHNIQUES[technique]
    n = round(RATE_HZ * rng.uniform(2.0, 3.0))
    f0_hz, tremor = _pitch(singer, how, exercise, n, rng)
    source = _pulses(f0_hz, how, rng)
    noise = rng.standard_normal(n) * how.noise * singer.breath
    sound = source * tremor + np.diff(noise, prepend=0.0) * (0.4 + 0.6 * np.abs(source) / np.abs(source).max())
    formants = np.array(_FORMANTS_HZ[vowel]) / singer.tract * rng.uniform(0.97, 1.03, 5)
    formants[0] *= how.formant_1
    for centre_hz, width_hz in zip(formants, _BANDWIDTHS_HZ, strict=True):
        if centre_hz < 0.48 * RATE_HZ:
            radius = np.exp(-np.pi * width_hz / RATE_HZ)
            poles = [1.0, -2.0 * radius * np.cos(2 * np.pi * centre_hz / RATE_HZ), radius**2]
            sound = lfilter([sum(poles)], poles, sound)
    edge = round(0.06 * RATE_HZ)
    fade = np.sin(np.linspace(0, np.pi / 2, edge)) ** 2
    sound[:edge] *= fade
    sound[-edge:] *= fade[::-1]
    return np.asarray(sound / np.abs(sound).max() * rng.uniform(0.3, 0.9), dtype=np.float32)


def _pitch(
    singer: Singer, how: Technique, exercise: str, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(fundamental frequency in Hz, amplitude) for each sample: notes with a glide, modulation, slow drift."""
    time_s = np.arange(n) / RATE_HZ
    steps = np.array(_STEPS[exercise], dtype=np.float64)
    notes = steps[np.minimum((time_s / time_s[-1] * len(steps)).astype(int), len(steps) - 1)]
    glide = round(0.05 * RATE_HZ)
    notes = np.convolve(np.pad(notes, (glide, glide), mode="edge"), np.ones(glide) / glide, mode="same")[glide:-glide]
    phase = 2 * np.pi * (how.modulation_hz * singer.rate_habit * time_s + rng.uniform())
    wave = np.tanh(4 * np.sin(phase)) if how.is_square else np.sin(phase)
    onset = np.clip(time_s / 0.35, 0.0, 1.0)
    cents = how.modulation_cents * singer.extent_habit * wave * onset
    drift = np.cumsum(rng.standard_normal(n)) * 0.02
    cents = cents + drift - np.linspace(drift[0], drift[-1], n)
    f0_hz = singer.tonic_hz * how.transpose * 2 ** (notes / 12 + cents / 1200)
    return f0_hz, 1.0 + how.tremor * np.sin(phase + 1.0) * onset


def _pulses(f0_hz: np.ndarray, how: Technique, rng: np.random.Generator) -> np.ndarray:
    """The derivative of Rosenberg's glottal pulse (1971, shape C), each period with its own length and strength."""
    n_periods = int(f0_hz.sum() / RATE_HZ) + 2
    # Jitter moves the phase at which a period ends; the phase stays monotonic because it is under half a period.
    cycle = np.cumsum(f0_hz) / RATE_HZ
    edges = np.arange(n_periods + 2) + np.clip(how.jitter * rng.standard_normal(n_periods + 2), -0.4, 0.4)
    period = np.clip(np.searchsorted(edges, cycle, side="right") - 1, 0, n_periods)
    within = (cycle - edges[period]) / (edges[period + 1] - edges[period])
    rise, fall = 0.67 * how.open_quotient, 0.33 * how.open_quotient
    opening = 0.5 * (1 - np.cos(np.pi * within / rise))
    closing = np.cos(0.5 * np.pi * (within - rise) / fall)
    flow = np.where(within < rise, opening, np.where(within < rise + fall, closing, 0.0))
    strength = np.clip(1 + how.shimmer * rng.standard_normal(n_periods + 1), 0.1, 2.0)
    return np.diff(flow * strength[period], prepend=0.0)


def _write_clip(root: Path, singer: Singer, number: int, *, seed: int) -> None:
    names = sorted(TECHNIQUES)
    technique, turn = names[number % len(names)], number // len(names)
    exercise, vowel = EXERCISES[(number + turn) % len(EXERCISES)], VOWELS[(number + 2 * turn) % len(VOWELS)]
    short = vocalset.short_singer(singer.name)
    take = "" if number < 30 else f"_{turn}"
    stem = f"{short}_{exercise.removesuffix('_tones')}{take}_{technique}_{vowel}"
    folder = root / "FULL" / singer.name / exercise / technique
    folder.mkdir(parents=True, exist_ok=True)
    samples = sing(singer, technique, exercise, vowel, seed=zlib.crc32(f"{seed} {stem} {number}".encode()))
    with wave.open(str(folder / f"{stem}.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(np.rint(samples * 32767).astype("<i2").tobytes())
