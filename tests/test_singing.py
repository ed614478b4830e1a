"""The generated voice against what it was told to do: pulse, formants, pitch, modulation, noise, gain."""

from __future__ import annotations

import dataclasses
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from explorer.errors import ConfigError, DatasetError
from precompute.datasets import vocalset
from precompute.datasets.singing import glottis, tract
from precompute.datasets.singing.corpus import sing, write_corpus
from precompute.datasets.singing.exercises import melody
from precompute.datasets.singing.free import free_clip
from precompute.datasets.singing.parts import SINGERS, Cell, crossed, vocalset_shaped
from precompute.datasets.singing.performance import modulation_cents
from precompute.datasets.singing.recording import Recording, draw_recording, recorded
from precompute.datasets.singing.seeds import generator
from precompute.datasets.singing.singers import make_singer
from precompute.datasets.singing.style import PARAMETERS, TECHNIQUES, draw_style
from precompute.datasets.singing.truth import CONTOUR_HOP_S, TABLE, read_contours, read_truth
from precompute.datasets.singing.voice import CONTROL_HZ, RATE_HZ, Controls, render

PHASES = np.arange(4096) / 4096


def controls(duration_s: float = 2.0, **changed: Any) -> Controls:
    """A steady modal voice on an a at 220 Hz."""
    n = round(duration_s * CONTROL_HZ)
    steady: dict[str, Any] = {
        "f0_hz": np.full(n, 220.0),
        "rd": np.full(n, 1.0),
        "level_db": np.zeros(n),
        "noise_db": np.full(n, -80.0),
        "gate": np.ones(n),
        "tilt_db": np.zeros(n),
        "formants_hz": np.tile(tract.formants_of("a", 17.5), (n, 1)),
        "tract_cm": 17.5,
        "jitter": 0.0,
        "shimmer_db": 0.0,
        "subharmonic": 0.0,
    }
    return Controls(**{**steady, **changed})


def voice(seed: int = 0, **changed: Any) -> np.ndarray:
    return render(controls(**changed), np.random.default_rng(seed))


def spectrum(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(Hz, power) of the steady middle."""
    middle = samples[RATE_HZ // 2 : RATE_HZ // 2 + RATE_HZ] * np.hanning(RATE_HZ)
    return np.fft.rfftfreq(RATE_HZ, 1 / RATE_HZ), np.abs(np.fft.rfft(middle)) ** 2


def level_db(samples: np.ndarray, low_hz: float, high_hz: float) -> float:
    hz, power = spectrum(samples)
    return float(10 * np.log10(power[(hz >= low_hz) & (hz < high_hz)].sum()))


@pytest.mark.parametrize("rd", [0.3, 0.8, 1.5, 2.7])
def test_a_pulse_closes_at_minus_one_and_returns_to_where_it_began(rd: float):
    pulse = glottis.lf_pulse(rd, PHASES)
    assert pulse.min() == pytest.approx(-1.0, abs=0.01)
    assert abs(pulse.mean()) < 1e-3
    assert pulse[0] == pytest.approx(0.0, abs=1e-6)


def test_a_pressed_pulse_is_shorter_and_brighter_than_an_abducted_one():
    """Fant (1995): the open phase lengthens with Rd, the first harmonic grows against the second."""
    pulses = {rd: glottis.lf_pulse(rd, PHASES) for rd in (0.5, 1.0, 2.0)}
    ends = [PHASES[pulse.argmin()] for pulse in pulses.values()]
    assert ends == sorted(ends) and ends[0] < ends[-1] - 0.2
    h1_h2 = [20 * np.log10(abs(np.fft.rfft(pulse)[1]) / abs(np.fft.rfft(pulse)[2])) for pulse in pulses.values()]
    assert h1_h2 == sorted(h1_h2) and h1_h2[-1] - h1_h2[0] > 6


def test_tables_give_the_pulse_and_nothing_above_the_nyquist_frequency():
    n = 20_000
    phase = (np.arange(n) * 100.0 / RATE_HZ) % 1.0
    made = glottis.pulses(phase, np.full(n, 100.0), np.full(n, 1.0), RATE_HZ)
    exact = glottis.lf_pulse(1.0, phase)
    assert np.corrcoef(made, exact)[0, 1] > 0.99
    f0_hz = 1234.0
    phase = (np.arange(RATE_HZ) * f0_hz / RATE_HZ) % 1.0
    power = np.abs(np.fft.rfft(glottis.pulses(phase, np.full(RATE_HZ, f0_hz), np.full(RATE_HZ, 0.5), RATE_HZ))) ** 2
    hz = np.arange(len(power))
    near = np.min(np.abs(hz[:, None] - f0_hz * np.arange(1, 10)), axis=1) < 3
    assert power[~near].sum() < 1e-6 * power.sum()


def test_harmonics_are_where_f0_says_and_peaks_where_formants_are():
    hz, power = spectrum(voice(f0_hz=np.full(1000, 100.0)))
    assert hz[power[:150].argmax()] == pytest.approx(100.0, abs=1.0)
    envelope = np.array([power[round(100 * k) - 5 : round(100 * k) + 6].max() for k in range(1, 40)])
    for formant in tract.formants_of("a", 17.5)[:3]:
        k = round(formant / 100)  # the harmonic nearest to the formant, place k - 1
        assert abs(int(envelope[k - 3 : k + 2].argmax()) - 2) <= 1, formant


def test_a_longer_tract_lowers_every_formant_by_its_share():
    for vowel in tract.VOWELS:
        ratio = tract.formants_of(vowel, 14.0) / tract.formants_of(vowel, 17.5)
        np.testing.assert_allclose(ratio, 17.5 / 14.0)


def test_a_filter_that_does_nothing_gives_the_sound_back():
    samples = np.random.default_rng(0).standard_normal(10_000).astype(np.float32)
    n_frames = len(tract.frame_times_s(len(samples), RATE_HZ))
    same = tract.filtered(samples, np.ones((n_frames, 1025), dtype=np.complex64))
    np.testing.assert_allclose(same, samples, atol=1e-5)


def test_effort_is_level_and_noise_is_between_the_harmonics():
    assert level_db(voice(level_db=np.full(1000, 12.0)), 50, 8000) - level_db(voice(), 50, 8000) == pytest.approx(
        12, abs=0.1
    )
    assert level_db(voice(noise_db=np.full(1000, -15.0)), 3000, 8000) > level_db(voice(), 3000, 8000) + 3
    assert level_db(voice(tilt_db=np.full(1000, -6.0)), 3000, 8000) < level_db(voice(), 3000, 8000) - 6


def test_jitter_shimmer_and_subharmonics_are_there_when_asked_for():
    def between(**changed: Any) -> float:
        hz, power = spectrum(voice(**changed))
        between_harmonics = (np.abs(hz % 220.0 - 110.0) < 20) & (hz < 3000)
        return float(10 * np.log10(power[between_harmonics].sum() / power[hz < 3000].sum()))

    clean = between()
    assert between(jitter=0.03) > clean + 10
    assert between(shimmer_db=1.0) > clean + 10
    assert between(subharmonic=0.6) > clean + 20


def test_vibrato_has_its_rate_and_extent():
    """Read from the voice's own contour: the pitch of one long note, its median taken away."""
    cell = Cell("female1", "vibrato", "long_tones", "a")
    clip = sing(cell, seed=0)
    f0_hz = clip.controls.f0_hz
    last = f0_hz[-round(0.7 * CONTROL_HZ) : -round(0.15 * CONTROL_HZ)]
    cents = 1200 * np.log2(last / np.median(last))
    planted = modulation_cents(clip.style)
    assert np.sqrt(2) * cents.std() == pytest.approx(planted, rel=0.35)
    crossings = np.flatnonzero(np.diff(np.signbit(cents - cents.mean()))) / CONTROL_HZ
    rate = 0.5 / np.diff(crossings).mean()
    assert rate == pytest.approx(clip.style.modulation_hz, rel=0.25)


def test_techniques_differ_where_they_should():
    def styles(technique: str) -> list[dict[str, float]]:
        drawn = []
        for name in SINGERS:
            singer = make_singer(name, PARAMETERS, generator(1, "singer", name))
            ways = generator(1, "way", name, technique), generator(1, "take", name, technique)
            drawn.append(dataclasses.asdict(draw_style(singer, technique, way=ways[0], take=ways[1])[0]))
        return drawn

    def mean(technique: str, name: str) -> float:
        return float(np.mean([style[name] for style in styles(technique)]))

    assert mean("belt", "effort_db") > mean("straight", "effort_db") + 1.5 > mean("breathy", "effort_db") + 4
    assert mean("breathy", "noise_db") > mean("straight", "noise_db") + 4
    assert mean("vibrato", "modulation_oct") > mean("straight", "modulation_oct") + 1.5
    assert mean("trill", "squareness") > 0.4
    assert 15 < mean("lip_trill", "strokes_hz") < 30 and mean("lip_trill", "strokes") > 0.5
    assert mean("spoken", "speech") > 0.8 and mean("spoken", "pitch_st") < -3
    assert mean("vocal_fry", "subharmonic") > mean("straight", "subharmonic") + 0.1


def test_a_recording_is_silence_noise_and_gain_and_knows_no_voice():
    recording = Recording(duration_s=2.0, lead_s=0.2, tail_s=0.1, gain_db=0.0, noise_floor_db=-60.0)
    sung = voice(duration_s=recording.sung_s)
    quiet, loud = (
        recorded(sung, dataclasses.replace(recording, gain_db=gain), np.random.default_rng(1)) for gain in (-6.0, 0.0)
    )
    assert len(quiet) == 2 * RATE_HZ
    np.testing.assert_allclose(loud, quiet * 10 ** (6 / 20), rtol=1e-5)
    lead = loud[: round(0.19 * RATE_HZ)]
    assert 20 * np.log10(lead.std()) == pytest.approx(-60.0, abs=2.0)
    assert np.abs(recorded(sung * 1000, recording, np.random.default_rng(1))).max() < 1.0


def test_every_clip_is_the_same_again_whatever_else_is_made():
    cell = Cell("male2", "trillo", "scales", "o")
    first = sing(cell, seed=3)
    sing(Cell("male2", "belt", "scales", "o"), seed=3)
    np.testing.assert_array_equal(first.samples, sing(cell, seed=3).samples)
    assert not np.array_equal(first.samples, sing(cell, seed=4).samples)
    np.testing.assert_array_equal(free_clip(7, 2.5), free_clip(7, 2.5))
    assert free_clip(7, 2.5).shape == (60_000,) and free_clip(7, 2.5).dtype == np.float32
    assert np.isfinite(free_clip(8, 2.5)).all() and np.abs(free_clip(8, 2.5)).max() < 1.0


def test_the_crossed_part_has_every_minimal_pair():
    part = crossed()
    assert len(part.cells) == len({cell.relative for cell in part.cells}) == 1200
    assert len(part.singers) == 20 and len(part.test_singers) == 8
    by_context: dict[tuple[str, str, str | None], set[str]] = {}
    for cell in part.cells:
        by_context.setdefault((cell.singer, cell.exercise, cell.vowel), set()).add(cell.technique)
    assert all(found == set(TECHNIQUES) for found in by_context.values())
    assert Counter(cell.vowel for cell in part.cells) == dict.fromkeys(tract.VOWELS, 240)
    whole = crossed(exercises=vocalset.EXERCISES, n_vowels=5)
    assert len({cell.relative for cell in whole.cells}) == 20 * 10 * 4 * 5
    wrongs: tuple[dict[str, Any], ...] = (
        {"n_singers": 1},
        {"n_vowels": 6},
        {"techniques": ("growl",)},
        {"exercises": ()},
    )
    for wrong in wrongs:
        with pytest.raises(ConfigError, match=r"give|allowed"):
            crossed(**wrong)


def test_the_other_part_has_vocalsets_own_cells():
    part = vocalset_shaped()
    assert len(part.singers) == 20 and set(part.test_singers) == vocalset.TEST_SINGERS
    train = Counter(cell.technique for cell in part.cells if cell.singer not in part.test_singers)
    assert train == {
        "belt": 150, "breathy": 150, "inhaled": 75, "lip_trill": 150, "spoken": 15, "straight": 270, "trill": 75,
        "trillo": 75, "vibrato": 195, "vocal_fry": 150,
    }  # fmt: skip
    exercises = {name: {cell.exercise for cell in part.cells if cell.technique == name} for name in TECHNIQUES}
    assert all(exercises[name] == {"long_tones"} for name in ("inhaled", "trill", "trillo"))
    assert exercises["spoken"] == {"excerpts"}


def test_nothing_of_the_recording_tells_the_technique():
    """Probes on gain, duration, noise floor, silences and seed are at chance: 0.1, with a deviation of 0.009."""
    cells = crossed().cells
    rooms = [dataclasses.astuple(draw_recording(generator(0, "recording", cell.relative))) for cell in cells]
    for cell in cells[:10]:  # every technique: what is probed below is what is sung
        assert dataclasses.astuple(sing(cell, seed=0).recording) == rooms[cells.index(cell)]
    seeds = [zlib.crc32(cell.relative.encode()) / 2**32 for cell in cells]
    x = np.column_stack([np.array(rooms), seeds])
    names, singers = np.array([cell.technique for cell in cells]), np.array([cell.singer for cell in cells])
    for probe in (make_pipeline(StandardScaler(), LogisticRegression()), RandomForestClassifier(100, random_state=0)):
        said = cross_val_predict(probe, x, names, groups=singers, cv=GroupKFold(5))
        assert np.mean(said == names) < 0.1 + 3.5 * 0.009


def test_the_truth_says_what_was_sung(tmp_path: Path):
    part = crossed(n_singers=2, techniques=("straight", "vibrato"), exercises=("long_tones",), n_vowels=1)
    write_corpus(tmp_path / "in", part)
    truth = read_truth(tmp_path / "in")
    assert list(truth.index) == sorted(cell.relative for cell in part.cells)
    row = truth.loc["FULL/female1/long_tones/vibrato/f1_long_vibrato_a.wav"]
    clip = sing(Cell("female1", "vibrato", "long_tones", "a"), seed=0)
    assert row["gain_db"] == pytest.approx(clip.recording.gain_db, rel=1e-4)
    assert row["vibrato_rate_hz"] == pytest.approx(clip.style.modulation_hz, rel=1e-4)
    contours = read_contours(tmp_path / "in", str(row.name))
    assert len({len(values) for values in contours.values()}) == 1
    assert len(contours["f0_hz"]) == pytest.approx(row["duration_s"] / CONTOUR_HOP_S, abs=1)
    sung = 12 * np.log2(np.nanmedian(contours["f0_hz"]) / 27.5)
    assert sung == pytest.approx(row["f0_st"], abs=0.1)
    (tmp_path / "in" / TABLE).write_text("file,singer\n")
    with pytest.raises(DatasetError, match="no column"):
        read_truth(tmp_path / "in")


@pytest.mark.parametrize("singer", ["female1", "female4", "male2", "male9"])
def test_a_straight_tone_has_the_pitch_that_the_contour_says(singer: str):
    """Measured in the recording by autocorrelation, frame by frame, against the contour: within half a semitone."""
    clip = sing(Cell(singer, "straight", "long_tones", "a"), seed=0)
    n = round(0.06 * RATE_HZ)
    apart = []
    for at_s in np.arange(0.4, clip.recording.sung_s - 0.4, 0.1):
        said = float(np.interp(at_s, np.arange(len(clip.controls.f0_hz)) / CONTROL_HZ, clip.controls.f0_hz))
        start = round((clip.recording.lead_s + at_s) * RATE_HZ) - n // 2
        frame = clip.samples[start : start + n].astype(np.float64)
        products = np.correlate(frame, frame, "full")[n - 1 :] / np.arange(n, 0, -1)
        shortest, longest = round(RATE_HZ / (said * 1.6)), round(RATE_HZ / (said * 0.6))
        lag = shortest + int(products[shortest:longest].argmax())
        apart.append(12 * np.log2(RATE_HZ / lag / said))
    assert len(apart) > 5 and np.median(np.abs(apart)) < 0.5


def test_how_high_someone_sings_does_not_tell_the_tract_in_the_crossed_part_and_does_in_the_lifelike_one():
    cells = [Cell(name, "straight", "long_tones", "a") for name in SINGERS]
    r = {}
    for is_lifelike in (False, True):
        drawn = [
            make_singer(cell.singer, PARAMETERS, generator(seed, "singer", cell.singer), tract_is_by_range=is_lifelike)
            for seed in range(20)
            for cell in cells
        ]
        r[is_lifelike] = np.corrcoef([np.log(item.tonic_hz) for item in drawn], [item.tract_cm for item in drawn])[0, 1]
    assert abs(r[False]) < 0.15  # of 400 independent pairs: three deviations
    assert r[True] < -0.6
    assert sing(cells[0], seed=0).singer.tract_cm != sing(cells[0], seed=0, is_lifelike=True).singer.tract_cm


def test_an_exercise_is_sung_on_its_vowel_and_a_song_on_its_words():
    rng = np.random.default_rng(0)
    assert {note.vowel for note in melody("scales", "i", rng)} == {"i"}
    assert {note.vowel for note in melody("excerpts", "", rng, song="dona")} == {"o", "a", "i"}
    notes = melody("arpeggios", "a", rng)
    assert notes[0].start == 0.0 and notes[-1].end == pytest.approx(1.0)
    assert [note.step for note in notes] == [0, 4, 7, 12, 7, 4, 0]
