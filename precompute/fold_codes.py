"""Codes by SAEs that never saw the fold that they are scored on, and how such SAEs reconstruct it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from explorer.sae import SAE, load_sae
from precompute.artefacts import Bundle
from precompute.feature_tables import group_errors
from precompute.job import Job
from precompute.metrics import Array, Components


@dataclass(frozen=True, eq=False)
class FoldCodes(Mapping[int, Array]):
    """By fold, the codes (c, f) of all clips by the SAE that saw none of the fold's groups; made when asked for."""

    bundle: Bundle
    states_cd: np.ndarray
    folds: tuple[int, ...]

    def sae(self, fold: int) -> SAE:
        """The SAE fitted without this fold."""
        return load_sae(self.bundle.path(refit_name(fold)))

    def __getitem__(self, fold: int) -> Array:
        return self.sae(int(fold)).encode(self.states_cd).dense()

    def __iter__(self) -> Iterator[int]:
        return iter(self.folds)

    def __len__(self) -> int:
        return len(self.folds)


def folds_of(job: Job) -> tuple[int, ...]:
    """The folds over all groups."""
    fold_c = job.arrays.fold_all_c
    return tuple(int(fold) for fold in np.unique(fold_c[fold_c >= 0]))


def refit_name(fold: int) -> str:
    """The file of the weights that were fitted without a fold."""
    return f"without-fold-{fold}.safetensors"


def fold_errors(job: Job, codes: FoldCodes, k: int) -> pd.DataFrame:
    """`sae_group_errors` over all groups: each clip's by the SAE, and the PCA, that saw no clip of its group."""
    fold_c, states = job.arrays.fold_all_c, codes.states_cd
    parts = []
    for fold in codes:
        fit, score = (fold_c >= 0) & (fold_c != fold), fold_c == fold
        if fit.sum() < 2:
            continue
        sae = codes.sae(fold)
        recon_cd = sae.decode(sae.encode(states[score]))
        parts.append(group_errors(Components.of(states[fit]), k, states[score], recon_cd, job.arrays.groups_c[score]))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
