"""SAEs refitted without each fold of groups, so that scores over all groups stand on codes that never saw the group.

A feature of one fit has no counterpart in the next, so labels stay with the SAE that is shown; what is scored by fold
alone is refitted: the probe on codes, R2 of factors, and reconstruction.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import torch

from precompute.artefacts import Bundle, key_of
from precompute.encode_stage import EncoderAtWork, States
from precompute.fold_codes import FoldCodes, folds_of, refit_name
from precompute.sae_stage import TrainedSAE, device_of, n_epochs_of, train_settings
from precompute.train_sae import train_sound

FOLD_STAGE = "fold_saes"
VERSION = 1


def train_per_fold(work: EncoderAtWork, states: States, trained: Sequence[TrainedSAE]) -> dict[str, FoldCodes]:
    """By sae_id, the refits of each SAE of the first seed; nothing where the run does not ask for them, or where there
    are fewer than two folds."""
    job = work.job
    folds = folds_of(job)
    wanted = [item for item in trained if item.seed == job.config.seeds[0]]
    if not job.config.sae_per_fold or job.config.is_paper or len(folds) < 2 or not wanted:
        return {}
    is_cuda = device_of(job.config).startswith("cuda")
    with (
        job.reporter.stage(f"refit SAEs by fold on {work.checkpoint.spec.name}", len(wanted), "SAEs") as stage,
        ThreadPoolExecutor(1 if is_cuda else job.config.workers()) as pool,
    ):

        def refit(item: TrainedSAE) -> FoldCodes:
            key = key_of(
                version=VERSION, sae=item.sae_id, corpus=job.corpus.corpus_id, epochs=n_epochs_of(item, job.config)
            )
            bundle = job.keep(stage, FOLD_STAGE, key, partial(_add_refits, work, states, item))
            return FoldCodes(bundle, states.pooled_cld[:, item.layer], folds)

        return {item.sae_id: codes for item, codes in zip(wanted, pool.map(refit, wanted), strict=True)}


def _add_refits(work: EncoderAtWork, states: States, item: TrainedSAE, bundle: Bundle) -> None:
    """As the SAE was trained, for as many epochs, on the clips of all other folds."""
    torch.set_num_threads(1)
    job = work.job
    fold_c = job.arrays.fold_all_c
    settings = replace(train_settings(work, item.sparsity, item.seed), epochs=n_epochs_of(item, job.config))
    for fold in folds_of(job):
        rows = (fold_c >= 0) & (fold_c != fold)
        sae, _ = train_sound(states.pooled_cld[rows, item.layer], settings, device_of(job.config))
        sae.save(bundle.path(refit_name(fold)))
