"""Generated singing as files: in VocalSet's layout, with the truth beside it."""

from __future__ import annotations

import os
import wave
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from explorer.errors import DatasetError
from precompute.datasets import vocalset
from precompute.datasets.singing.exercises import melody
from precompute.datasets.singing.parts import Cell, Part
from precompute.datasets.singing.performance import modulation_cents, perform
from precompute.datasets.singing.recording import Recording, draw_recording, recorded
from precompute.datasets.singing.seeds import generator
from precompute.datasets.singing.singers import Singer, make_singer
from precompute.datasets.singing.style import PARAMETERS, Style, draw_style
from precompute.datasets.singing.truth import CONTOUR_HOP_S, write_truth
from precompute.datasets.singing.voice import CONTROL_HZ, RATE_HZ, Controls, render
from precompute.datasets.singing.workers import mapped

MARKER = "SYNTHETIC.txt"
NOTE = "generated singing, no real voice: what is in every clip is known, and no number here is about real singers"
_Rows = tuple[dict[str, object], dict[str, object]]  # of truth.csv and of its contours
CORPUS_VERSION = 3
_MODULATED_CENTS = 25.0  # from here on a clip has a vibrato or trill whose rate can be asked for
_SOUNDING = 0.3  # of the gate
_SESSION_DB, _CLIP_DB = 4.0, 0.5  # gains of a corpus recorded in one session a singer


@dataclass(frozen=True)
class Clip:
    """One generated clip: the samples, float32 (n,) at RATE_HZ, and everything it was made from."""

    samples: np.ndarray
    singer: Singer
    style: Style
    degree: float
    recording: Recording
    controls: Controls


def sing(cell: Cell, *, seed: int, is_lifelike: bool = False) -> Clip:
    """One clip of a corpus. The same cell, seed and kind of part give the same samples, whatever else is made."""
    singer = make_singer(cell.singer, PARAMETERS, generator(seed, "singer", cell.singer), tract_is_by_range=is_lifelike)
    take = generator(seed, "take", cell.relative)
    style, degree = draw_style(
        singer, cell.technique, way=generator(seed, "way", cell.singer, cell.technique), take=take
    )
    room = generator(seed, "recording", cell.relative)
    gain_db = (-5.0, 5.0)
    if is_lifelike:
        session_db = float(generator(seed, "session", cell.singer).uniform(-_SESSION_DB, _SESSION_DB))
        gain_db = (session_db - _CLIP_DB, session_db + _CLIP_DB)
    recording = draw_recording(room, gain_db=gain_db)
    notes = melody(cell.exercise, cell.vowel or "", take, song=cell.song)
    controls = perform(singer, style, notes, recording.sung_s, take)
    return Clip(recorded(render(controls, take), recording, room), singer, style, degree, recording, controls)


def write_corpus(
    root: Path,
    part: Part,
    *,
    seed: int = 0,
    n_workers: int = 1,
    progress: Callable[[int, int], object] | None = None,
) -> None:
    """Write a generated corpus: FULL, the two singer lists, truth.csv and truth_contours.parquet, 16-bit mono files.

    The same part and seed give the same bytes. A folder that already holds this corpus is left as it is, one that was
    interrupted is finished. Raises DatasetError when the folder holds something else or cannot be written.
    """
    root = Path(root)
    stamp = f"{NOTE}\npart={part.name} n_clips={len(part.cells)} seed={seed} version={CORPUS_VERSION}\n"
    marker = root / MARKER
    if marker.is_file():
        if marker.read_text(encoding="utf-8") == stamp:
            return
        raise DatasetError(f"{str(root)!r} holds another generated corpus. Remove that folder, or give an empty one.")
    unfinished = root / f".{MARKER}.part"
    is_own = unfinished.is_file() and unfinished.read_text(encoding="utf-8") == stamp
    if root.is_dir() and any(root.iterdir()) and not is_own:
        raise DatasetError(f"{str(root)!r} is not empty. Give an empty folder.")
    try:
        root.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(stamp, encoding="utf-8")
        for folder in sorted({(root / cell.relative).parent for cell in part.cells}):
            folder.mkdir(parents=True, exist_ok=True)
        write = partial(_write_clip, root, seed=seed, is_lifelike=part.is_lifelike)
        rows, contours = [], []
        for row, curves in mapped(write, part.cells, n_workers):
            rows.append(row)
            contours.append(curves)
            if progress is not None:
                progress(len(rows), len(part.cells))
        write_truth(root, rows, contours)
        train = [singer for singer in part.singers if singer not in part.test_singers]
        for split, names in (("train", train), ("test", part.test_singers)):
            (root / vocalset.SINGER_LISTS[split]).write_text("\n".join(names) + "\n", encoding="utf-8")
        os.replace(unfinished, marker)
    except OSError as error:
        raise DatasetError(f"The generated corpus cannot be written to {str(root)!r}: {error.strerror}.") from error


def _write_clip(root: Path, cell: Cell, *, seed: int, is_lifelike: bool) -> _Rows:
    clip = sing(cell, seed=seed, is_lifelike=is_lifelike)
    with wave.open(str(root / cell.relative), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(np.rint(clip.samples * 32767).astype("<i2").tobytes())
    return {**_row(cell, clip), "seed": seed}, _contours(cell, clip)


def _row(cell: Cell, clip: Clip) -> dict[str, object]:
    """A clip's row of truth.csv: the planted parameters first, then everything else it was made from."""
    controls, style = clip.controls, clip.style
    sounds = controls.gate > _SOUNDING
    cents = modulation_cents(style)
    is_modulated = cents >= _MODULATED_CENTS and style.speech < 0.5
    formants_hz = np.median(controls.formants_hz[sounds], axis=0)
    return {
        "file": cell.relative,
        "singer": cell.singer,
        "technique": cell.technique,
        "exercise": cell.exercise,
        "vowel": cell.vowel,
        "song": cell.song,
        "f0_st": 12 * np.log2(np.median(controls.f0_hz[sounds]) / 27.5),
        "vibrato_rate_hz": style.modulation_hz if is_modulated else None,
        "vibrato_extent_cents": cents,
        "breathiness_db": np.median((controls.noise_db - controls.level_db)[sounds]),
        "tract_cm": controls.tract_cm,
        "effort_db": np.median(controls.level_db[sounds]),
        "degree": clip.degree,
        "tonic_hz": clip.singer.tonic_hz,
        **{f"style_{name}": value for name, value in asdict(style).items()},
        **{f"f{number}_hz": value for number, value in enumerate(formants_hz[:3], start=1)},
        **asdict(clip.recording),
    }


def _contours(cell: Cell, clip: Clip) -> dict[str, object]:
    """A clip's row of truth_contours.parquet: from the file's start, NaN where nothing is sung."""
    controls, recording = clip.controls, clip.recording
    at = np.arange(0.0, recording.duration_s, CONTOUR_HOP_S) - recording.lead_s
    points = np.arange(len(controls.f0_hz)) / CONTROL_HZ
    curves = {
        "f0_hz": np.where(controls.gate > _SOUNDING, controls.f0_hz, np.nan),
        "level_db": controls.level_db,
        "noise_db": controls.noise_db,
        "gate": controls.gate,
        "rd": controls.rd,
        **{f"f{number + 1}_hz": controls.formants_hz[:, number] for number in range(3)},
    }
    return {
        "file": cell.relative,
        **{
            name: np.interp(at, points, values, left=np.nan, right=np.nan).astype(np.float32)
            for name, values in curves.items()
        },
    }
