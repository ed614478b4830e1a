"""The truth beside a generated corpus: what was planted in each clip, as numbers and as contours in time.

`truth.csv` has a row for each file: the words (singer, technique, exercise, vowel) and every number that the clip was
made from, an empty cell where a parameter has no meaning (the vibrato rate of a straight tone).
`truth_contours.parquet` has what moves within the clip: lists of values, CONTOUR_HOP_S apart from the file's start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from explorer.errors import DatasetError
from explorer.text import count

if TYPE_CHECKING:
    import pandas as pd

TABLE, CONTOURS = "truth.csv", "truth_contours.parquet"
CONTOUR_HOP_S = 0.01
WORDS = ("file", "singer", "technique", "exercise", "vowel")  # the columns of truth.csv that are text


@dataclass(frozen=True)
class Parameter:
    """Something that was planted. kind: 'number' or 'category'.

    is_nuisance: drawn independently of everything else, and of the recording, not of the voice.
    """

    name: str
    display_name: str
    unit: str
    kind: str
    description: str
    is_nuisance: bool = False


# The parameters whose recovery is measured. truth.csv has more columns; they document a clip and are not scored.
PLANTED: tuple[Parameter, ...] = (
    Parameter("f0_st", "pitch", "semitones re 27.5 Hz", "number", "median f0 while the voice sounds"),
    Parameter("vibrato_rate_hz", "vibrato rate", "Hz", "number", "of the pitch modulation, where there is one"),
    Parameter("vibrato_extent_cents", "vibrato extent", "cents", "number", "amplitude of the pitch modulation"),
    Parameter("breathiness_db", "breathiness", "dB", "number", "aspiration noise against the pulses, at the source"),
    Parameter("tract_cm", "tract length", "cm", "number", "which scales all formants"),
    Parameter("vowel", "vowel", "", "category", "a, e, i, o, u: the targets of the formants"),
    Parameter("effort_db", "vocal effort", "dB", "number", "level of the source; its spectrum flattens with it"),
    Parameter("gain_db", "recording gain", "dB", "number", "of the whole recording, at random", is_nuisance=True),
)  # fmt: skip


def write_truth(root: Path, rows: Iterable[Mapping[str, object]], contours: Iterable[Mapping[str, object]]) -> None:
    """Write both files. Every row has `file`, its path relative to `root` with '/'; so has every set of contours."""
    import pandas as pd

    pd.DataFrame(list(rows)).to_csv(root / TABLE, index=False, float_format="%.6g", lineterminator="\n")
    pd.DataFrame(list(contours)).to_parquet(root / CONTOURS, index=False)


def read_truth(root: Path) -> pd.DataFrame:
    """The table of a generated corpus, indexed by `file`: words as text, everything else as float, NaN where undefined.

    Raises DatasetError when it is missing or not readable.
    """
    import pandas as pd

    path = root / TABLE
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(WORDS, "str"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"The truth of the generated corpus, {path}, cannot be read: {error}.") from error
    missing = sorted({*WORDS, *(parameter.name for parameter in PLANTED)} - set(table.columns))
    if missing:
        raise DatasetError(f"{path} has no column {', '.join(missing)}: it is not complete. Generate the corpus again.")
    return table.set_index("file").sort_index()


def read_contours(root: Path, file: str) -> dict[str, np.ndarray]:
    """The contours of one file by name, float arrays of one length, CONTOUR_HOP_S apart, NaN where undefined."""
    import pandas as pd

    table = pd.read_parquet(root / CONTOURS, filters=[("file", "==", file)])
    if len(table) != 1:
        raise DatasetError(f"{root / CONTOURS} has {count(len(table), 'row')} for {file!r}; it should have one.")
    return {name: np.asarray(table[name].iloc[0], dtype=np.float64) for name in table.columns if name != "file"}
