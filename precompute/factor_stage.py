"""Factors and previews of the whole corpus, in parallel processes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from explorer.factors import FACTORS
from precompute.artefacts import Artefacts
from precompute.factor_worker import FACTOR_STAGE, factor_key, factor_shard
from precompute.job import Job
from precompute.processes import at_work
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
                stage.found(len(shard.clips), amount=shard.duration_s, name=factor_key(shard))
        if todo:
            artefacts = Artefacts(job.artefacts.store, job.artefacts.scratch)  # without what this process checked
            with at_work(partial(factor_shard, artefacts), todo, job.config.workers()) as results:
                meanwhile()
                for shard, _ in zip(todo, results, strict=True):
                    stage.made(len(shard.clips), amount=shard.duration_s, name=factor_key(shard))
        else:
            meanwhile()
        values_cg = np.full((len(job.corpus.clips), len(FACTORS)), np.nan)
        for shard in job.shards:
            bundle = job.record.use(job.artefacts.get(FACTOR_STAGE, factor_key(shard)))
            rows = bundle.table("factor_values")
            position = {clip.clip_id: clip.clip_index for clip in shard.clips}
            at = rows["clip_id"].map(position).to_numpy(dtype=int)
            values_cg[at, rows["factor_index"].to_numpy(dtype=int)] = rows["value"].to_numpy(dtype=float)
    return values_cg
