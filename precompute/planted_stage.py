"""What was planted in a generated corpus and what was found of it, as the store's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd

from precompute.artefacts import Bundle, key_of
from precompute.datasets.singing.truth import PLANTED, TABLE, read_truth
from precompute.encode_stage import EncoderAtWork, States
from precompute.factor_fit import NAN, LassoSettings
from precompute.job import Job
from precompute.manifest import sha256_of
from precompute.match_stage import Dictionary
from precompute.planted import How, Recovery, Split, from_all, from_design, from_one
from precompute.probe_result import is_known
from precompute.probe_stage import dense_id
from precompute.reporting import Stage
from precompute.targets import NAMES_STAGE

PLANTED_STAGE = "planted"
FACTORS_ID = "factors"
VERSION = 5
SETTINGS = LassoSettings(alphas=20, eps=1e-3, n_permutations=20, n_refits=20)  # whatever the preset
_WHOLE_S = 0.01  # a clip that ends so near its file's end is the whole file


@dataclass(frozen=True, eq=False)
class Truth:
    """The planted values of a run's clips: numbers (c,) NaN where undefined, words (c,) None where undefined.

    told: what technique and exercise alone say of every number, R2 (`from_design`).
    """

    numbers: Mapping[str, np.ndarray]
    words: Mapping[str, np.ndarray]
    told: Mapping[str, float]
    sha256: str


def read_planted(job: Job) -> Truth | None:
    """The truth of the run's corpus; None where there is none, or under preset `paper`, which has its own split."""
    path = job.corpus.root / TABLE
    if job.corpus.kind != "synthetic" or job.config.is_paper or not path.is_file():
        return None
    clips = job.corpus.clips
    whole = np.array([clip.start_s == 0 and clip.duration_s >= clip.file.info.duration_s - _WHOLE_S for clip in clips])
    table = read_truth(job.corpus.root).reindex([clip.file.relative for clip in clips])
    numbers = {
        item.name: np.where(whole, table[item.name].to_numpy(dtype=np.float64), np.nan)
        for item in PLANTED
        if item.kind == "number"
    }
    words: dict[str, np.ndarray] = {}
    for item in PLANTED:
        if item.kind == "category":
            values = table[item.name].to_numpy(dtype=object)
            known = whole & np.array([isinstance(value, str) for value in values])
            words[item.name] = np.array(np.where(known, values, None), dtype=object)
    cells_c = (table["technique"] + " " + table["exercise"]).to_numpy(dtype=object).astype(str)
    return Truth(numbers, words, from_design(numbers, cells_c, _split(job)), sha256_of(path))


def keep_planted(job: Job, truth: Truth, factors_cg: np.ndarray) -> Bundle:
    """What was planted, and how well openSMILE's factors recover it: what a score of an encoder is held against."""

    def make(bundle: Bundle) -> None:
        filled = np.where(np.isfinite(factors_cg), factors_cg, np.nanmean(factors_cg[job.arrays.train_c], axis=0))
        recovered = from_all(np.nan_to_num(filled), truth.numbers, truth.words, _split(job), _how(job))
        bundle.add_facts({"subject": "planted values"})
        bundle.add_table("planted_values", _values(truth))
        bundle.add_table("planted_scores", _scores(_rows(recovered, truth, kind="factors", id_=FACTORS_ID)))

    with job.reporter.stage("planted in factors", 1, "tables") as stage:
        names = pd.DataFrame([asdict(item) for item in PLANTED])
        job.keep_rows(stage, NAMES_STAGE, "planted parameters", "planted_parameters", names)
        return job.keep(stage, PLANTED_STAGE, _key(job, truth, representations=[FACTORS_ID]), make)


def find_planted(work: EncoderAtWork, truth: Truth, states: States, references: Sequence[Dictionary]) -> Bundle:
    """How well every layer of one encoder, and its reference SAEs, recover what was planted."""
    job = work.job
    key = _key(
        job,
        truth,
        representations=[work.encoder_id, work.pooled_as, *(item.sae_id for item in references)],
        carried=work.checkpoint.teacher_carries,
    )
    n_tables = len(work.layers()) + len(references)
    with job.reporter.stage(f"planted in {work.checkpoint.spec.name}", n_tables, "tables") as stage:

        def make(bundle: Bundle) -> None:
            rows = _recovered_rows(work, truth, states, references, stage)
            bundle.add_facts({"subject": f"planted {work.encoder_id}"})
            bundle.add_table("planted_scores", _scores(rows))

        return job.keep(stage, PLANTED_STAGE, key, make, n=n_tables, amount=0)


def _recovered_rows(
    work: EncoderAtWork, truth: Truth, states: States, references: Sequence[Dictionary], stage: Stage
) -> list[dict[str, object]]:
    job = work.job
    given = truth.numbers, truth.words, _split(job)
    rows: list[dict[str, object]] = []
    for layer in work.layers():
        recovered = from_all(states.pooled_cld[:, layer], *given, _how(job))
        rows += _rows(recovered, truth, kind="dense", id_=dense_id(work.encoder_id, layer), layer=layer)
        stage.advance()
    for item in references:
        recovered = from_all(item.codes_cf, *given, _how(job))
        rows += _rows(recovered, truth, kind="lasso", id_=item.sae_id, layer=item.layer)
        single = from_one(item.codes_cf, *given, n_permutations=SETTINGS.n_permutations, seed=item.seed)
        rows += _rows(single, truth, kind="feature", id_=item.sae_id, layer=item.layer)
        stage.advance()
    for row in rows:
        row["encoder_id"] = work.encoder_id
        row["in_teacher"] = row["parameter"] in work.checkpoint.teacher_carries
    return rows


def _key(job: Job, truth: Truth, *, representations: Sequence[str], carried: Sequence[str] = ()) -> str:
    return key_of(
        version=VERSION,
        corpus=job.corpus.corpus_id,
        truth=truth.sha256,
        representations=representations,
        carried=carried,
        settings=asdict(SETTINGS),
        c_grid=job.config.probe_c_grid,
    )


def _split(job: Job) -> Split:
    arrays = job.arrays
    return Split(arrays.groups_c, arrays.train_c, arrays.heldout_c, arrays.fold_group_c, arrays.fold_all_c)


def _how(job: Job) -> How:
    return How(SETTINGS, job.config.probe_c_grid, job.config.workers())


def _rows(
    found: Sequence[Recovery], truth: Truth, *, kind: str, id_: str, layer: int | None = None
) -> list[dict[str, object]]:
    names = ("parameter", "score", "score_kind", "n_train", "n_clips", "n_groups", "feature", "direction", "n_weights")
    return [
        {
            "encoder_id": None,
            "layer": layer,
            "representation_id": id_,
            "kind": kind,
            **{name: getattr(item, name) for name in names},
            "control": item.control,
            "told": item.told,
            "is_found": item.is_found,
            "is_beyond": item.is_beyond,
            "in_teacher": False,
            "reason": item.reason,
        }
        for item in (replace(item, told=truth.told.get(item.parameter, NAN)) for item in found)
    ]


def _scores(rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    whole = dict.fromkeys(("layer", "feature", "n_weights"), "Int64")
    text = dict.fromkeys(("encoder_id", "direction", "reason"), "string")
    return pd.DataFrame(rows).astype({**whole, **text})


def _values(truth: Truth) -> pd.DataFrame:
    parts = []
    for name, values_c in truth.numbers.items():
        rows = np.flatnonzero(np.isfinite(values_c))
        parts.append(pd.DataFrame({"clip_index": rows, "parameter": name, "value": values_c[rows]}))
    for name, words_c in truth.words.items():
        rows = np.flatnonzero(is_known(words_c))
        parts.append(pd.DataFrame({"clip_index": rows, "parameter": name, "word": words_c[rows].astype(str)}))
    return pd.concat(parts, ignore_index=True).astype({"word": "string"})
