"""Which features of different dictionaries are active on the same clips: across encoders, layers and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from precompute.artefacts import Bundle, key_of
from precompute.job import Job
from precompute.matching import match_features
from precompute.reporting import Stage
from precompute.stability import stability

MATCH_STAGE, STABILITY_STAGE = "matches", "stability"
VERSION = 1
STABILITY_VERSION = 2
N_MATCHES = 3


@dataclass(frozen=True, eq=False)
class Dictionary:
    """One SAE's codes over the corpus, its decoder where it is at hand (None else), and what it belongs to."""

    sae_id: str
    encoder_id: str
    layer: int
    sparsity: float
    seed: int
    is_reference: bool
    codes_cf: np.ndarray
    w_dec_fd: np.ndarray | None = None


def match_references(job: Job, references: Sequence[Dictionary], earlier: Sequence[Dictionary] = ()) -> None:
    """Match every pair of reference dictionaries, in both directions.

    `earlier`: references of the store's other runs. One of an encoder and layer that this run has a reference of
    gives way to it.
    """
    places = {(item.encoder_id, item.layer) for item in references}
    everyone = [*references, *(item for item in earlier if (item.encoder_id, item.layer) not in places)]
    pairs = [(a, b) for a in everyone for b in everyone if a is not b]
    with job.reporter.stage("match features", len(pairs), "pairs") as stage:
        _match(job, pairs, "encoder", stage)


def match_seeds(job: Job, dictionaries: Sequence[Dictionary]) -> None:
    """Match the seeds of each dictionary with each other, and say how stable its features are over them."""
    families: dict[tuple[str, int, float], list[Dictionary]] = {}
    for item in dictionaries:
        families.setdefault((item.encoder_id, item.layer, item.sparsity), []).append(item)
    seeds = [members for members in families.values() if len(members) > 1]
    pairs = [(a, b) for members in seeds for a in members for b in members if a is not b]
    with job.reporter.stage("match features", len(pairs) + len(seeds), "pairs") as stage:
        _match(job, pairs, "seed", stage)
        for members in seeds:
            _stability(job, members, stage)


def _match(job: Job, pairs: Sequence[tuple[Dictionary, Dictionary]], kind: str, stage: Stage) -> None:
    for a, b in pairs:
        key = key_of(version=VERSION, a=a.sae_id, b=b.sae_id, kind=kind, corpus=job.corpus.corpus_id)
        job.keep(stage, MATCH_STAGE, key, partial(_add_matches, job, a, b, kind))


def _add_matches(job: Job, a: Dictionary, b: Dictionary, kind: str, bundle: Bundle) -> None:
    rows = _matches(job, a, b, 1 if kind == "seed" else N_MATCHES)
    bundle.add_table("feature_matches", rows.assign(sae_id=a.sae_id, other_sae_id=b.sae_id, kind=kind))


def _matches(job: Job, a: Dictionary, b: Dictionary, n: int) -> pd.DataFrame:
    found = match_features(a.codes_cf, b.codes_cf, job.fit_c, job.score_c, n_top=n)
    feature, rank = np.nonzero(found.other >= 0)
    return pd.DataFrame(
        {
            "feature": feature,
            "rank": rank,
            "other_feature": found.other[feature, rank],
            "r_train": found.r_train[feature, rank],
            "r_heldout": found.r_heldout[feature, rank],
        }
    )


def _stability(job: Job, members: Sequence[Dictionary], stage: Stage) -> None:
    key = key_of(version=STABILITY_VERSION, members=[item.sae_id for item in members], corpus=job.corpus.corpus_id)
    job.keep(stage, STABILITY_STAGE, key, partial(_add_stability, job, members))


def _add_stability(job: Job, members: Sequence[Dictionary], bundle: Bundle) -> None:
    codes, decoders = [item.codes_cf for item in members], [item.w_dec_fd for item in members]
    found = stability(codes, decoders, job.fit_c, job.score_c)
    frames = [
        pd.DataFrame(
            {
                "sae_id": item.sae_id,
                "feature": np.arange(len(one.r)),
                "stability": one.r,
                "stability_cosine": one.cosine,
                "n_returns": pd.array(one.n_returns, "Int64"),
                "stability_n_seeds": one.n_others,
            }
        )
        for item, one in zip(members, found, strict=True)
    ]
    bundle.add_table("feature_stability", pd.concat(frames, ignore_index=True))
    shares = [(item.sae_id, one.share, one.limit) for item, one in zip(members, found, strict=True)]
    bundle.add_table("sae_stability", pd.DataFrame(shares, columns=["sae_id", "share_returning", "returns_above_r"]))
