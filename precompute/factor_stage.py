"""Factors and previews of the whole corpus, in parallel processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed

import numpy as np

from explorer.factors import FACTORS
from precompute.factor_worker import FACTOR_STAGE, factor_key, factor_shard
from precompute.job import Job
from precompute.shards import Shard


def make_factors(job: Job, *, meanwhile: Callable[[], None] = lambda: None) -> np.ndarray:
    """Factors and previews of every clip. Returns (clips, factors), NaN where undefined.

    `meanwhile` is called once while the processes are at work; when it raises, they are stopped.
    """
    total_s = sum(shard.duration_s for shard in job.shards)
    with job.reporter.stage("openSMILE factors and previews", total_s, "s of audio") as stage:
        todo: list[Shard] = []
        for shard in job.shards:
            if job.artefacts.find(FACTOR_STAGE, factor_key(shard)) is None:
                todo.append(shard)
            else:
                stage.reuse(shard.duration_s)
        _compute_factors(job, todo, stage.advance, meanwhile)
        values_cg = np.full((len(job.corpus.clips), len(FACTORS)), np.nan)
        for shard in job.shards:
            bundle = job.record.use(job.artefacts.get(FACTOR_STAGE, factor_key(shard)))
            rows = bundle.table("factor_values")
            position = {clip.clip_id: clip.clip_index for clip in shard.clips}
            at = rows["clip_id"].map(position).to_numpy(dtype=int)
            values_cg[at, rows["factor_index"].to_numpy(dtype=int)] = rows["value"].to_numpy(dtype=float)
    return values_cg


def _compute_factors(
    job: Job, todo: list[Shard], on_seconds: Callable[[float], None], meanwhile: Callable[[], None]
) -> None:
    if not todo:
        meanwhile()
        return
    n_workers = min(job.config.workers(), len(todo))
    with ProcessPoolExecutor(n_workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(factor_shard, job.artefacts, shard): shard for shard in todo}
        try:
            meanwhile()
            for future in as_completed(futures):
                future.result()
                on_seconds(futures[future].duration_s)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
