"""What the Lasso predicts: the acoustic factors, then the corpus's own columns of numbers, then what was planted."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from explorer.factor_table import FACTORS
from explorer.measures import COLUMN, PLANTED, measure_name, numeric_columns
from precompute.datasets.singing.truth import PLANTED as PARAMETERS
from precompute.job import CorpusArrays, Job
from precompute.metrics import Floats

NAMES_STAGE = "names"
N_ACOUSTIC = len(FACTORS)
FACTOR = "factor"


@dataclass(frozen=True, eq=False)
class Targets:
    """values_cg: (c, g) numbers, NaN where undefined; g is the `factor_index` of a store's tables.

    families_g: FACTOR, COLUMN or PLANTED; p values are corrected within a family. A run's 88 factors are a fixed
    battery, and its columns what somebody asks: a further column must not change what is said of the factors.
    """

    values_cg: Floats
    families_g: tuple[str, ...]

    @property
    def acoustic(self) -> Targets:
        """The factors alone, as the published protocol has it."""
        return Targets(self.values_cg[:, :N_ACOUSTIC], self.families_g[:N_ACOUSTIC])

    @property
    def added(self) -> str:
        """A name for the values of what is no acoustic factor: '' for none."""
        more = np.ascontiguousarray(self.values_cg[:, N_ACOUSTIC:])
        families = ",".join(self.families_g[N_ACOUSTIC:])
        return hashlib.sha256(families.encode() + more.tobytes()).hexdigest() if more.size else ""


def make_targets(job: Job, factors_cg: Floats, planted: Mapping[str, Floats] | None) -> Targets:
    """factors_cg: (c, 88). planted: numbers by parameter; None where they are unknown, which leaves them NaN."""
    columns = columns_of(job.arrays)
    values, families = [factors_cg, *(column[:, None] for column in columns.values())], [FACTOR] * N_ACOUSTIC
    families += [COLUMN] * len(columns)
    if job.corpus.kind == "synthetic":
        unknown = np.full(len(factors_cg), np.nan)
        numbers = [(planted or {}).get(item.name, unknown) for item in PARAMETERS if item.kind == "number"]
        values += [number[:, None] for number in numbers]
        families += [PLANTED] * len(numbers)
    return Targets(np.concatenate(values, axis=1), tuple(families))


def columns_of(arrays: CorpusArrays) -> dict[str, Floats]:
    """The columns of the corpus that are measures."""
    attributes, labels = (
        {name: list(values) for name, values in of.items()} for of in (arrays.attributes, arrays.labels)
    )
    return numeric_columns(attributes, labels, list(arrays.groups_c), list(arrays.files_c), list(arrays.fold_all_c))


def keep_target_names(job: Job) -> None:
    """What the targets are called and described as: the table `factors`, in the order of `make_targets`."""
    rows = [dataclasses.asdict(factor) for factor in FACTORS]
    rows += [_row(COLUMN, name, name, "", "a column of the corpus.") for name in columns_of(job.arrays)]
    if job.corpus.kind == "synthetic":
        rows += [
            _row(PLANTED, item.name, f"planted {item.display_name}", item.unit, f"{item.description}, as planted.")
            for item in PARAMETERS
            if item.kind == "number"
        ]
    table = pd.DataFrame([{"factor_index": at, **row} for at, row in enumerate(rows)])
    with job.reporter.stage("names of factors", 0, "tables") as stage:
        job.keep_rows(stage, NAMES_STAGE, "factors", "factors", table)


def _row(kind: str, name: str, display_name: str, unit: str, description: str) -> dict[str, str]:
    return {
        "name": measure_name(kind, name),
        "display_name": display_name,
        "unit": unit,
        "factor_group": kind,
        "paper_group": "",
        "description": description[:1].upper() + description[1:],
    }
