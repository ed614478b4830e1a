"""What giant frames change: the same measures where clips are pooled the other way, with them or without.

For layers that have some, and nothing else: probes of the pooled states, the Lasso from them, and how an SAE
reconstructs them that was trained on the states as the run pools them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd

from explorer.pooling import OTHER_KINDS
from precompute.artefacts import Bundle, key_of
from precompute.encode_stage import EncoderAtWork, States
from precompute.lasso_stage import lasso
from precompute.metrics import fvu
from precompute.probe_stage import add_probe_tables, add_representation, dense_id, probe_representation
from precompute.sae_stage import TrainedSAE
from precompute.targets import Targets

OTHER_PROBES_STAGE, OTHER_FVU_STAGE = "giant_probes", "giant_fvu"
VERSION = 1


def other_id(work: EncoderAtWork, layer: int) -> str:
    """The representation_id of a layer's states, pooled the other way."""
    return f"{dense_id(work.encoder_id, layer)}.{'with' if work.leaves_giants_out else 'without'}-giants"


def probe_the_other_way(work: EncoderAtWork, states: States) -> None:
    """Probe the layers with giant frames, pooled the other way."""
    layers = states.giants.layers()
    if not layers:
        return
    with work.job.reporter.stage(f"giant frames of {work.checkpoint.spec.name}", len(layers), "layers") as stage:
        for layer in layers:
            make = partial(_add_probes, work, states.other_cld[:, layer], layer)
            work.job.keep(stage, OTHER_PROBES_STAGE, _key(work, other_id(work, layer)), make)


def measure_the_other_way(work: EncoderAtWork, states: States, trained: Sequence[TrainedSAE], targets: Targets) -> None:
    """The Lasso from such a layer's states, pooled the other way, and how its SAEs reconstruct them."""
    trained = [item for item in trained if item.layer in states.giants.layers()]
    layers = sorted({item.layer for item in trained})
    n = len(trained) + len(layers)
    if not n:
        return
    job = work.job
    with job.reporter.stage(f"giant frames of {work.checkpoint.spec.name}", n, "representations") as stage:
        for layer in layers:
            other_cd, name = states.other_cld[:, layer], other_id(work, layer)
            lasso(job, stage, other_cd, targets, name, seed=0, pooling=work.pooled_as, protocol=job.protocol)
        for item in trained:
            make = partial(_add_fvu, work, item, states.other_cld[:, item.layer])
            job.keep(stage, OTHER_FVU_STAGE, _key(work, item.sae_id), make)


def _key(work: EncoderAtWork, subject: str) -> str:
    job, config = work.job, work.job.config
    return key_of(
        version=VERSION,
        subject=subject,
        corpus=job.corpus.corpus_id,
        labels=list(job.arrays.labels),
        c_grid=config.probe_c_grid,
        pooling=work.pooled_as,
        usual=work.usual_name,
        seed=config.seeds[0],
    )


def _add_probes(work: EncoderAtWork, other_cd: np.ndarray, layer: int, bundle: Bundle) -> None:
    name = other_id(work, layer)
    bundle.add_facts({"subject": name})
    results = probe_representation(work.job, other_cd, seed=work.job.config.seeds[0])
    add_probe_tables(bundle, name, results, is_codes=False)
    kind = OTHER_KINDS[not work.leaves_giants_out]
    add_representation(bundle, name, kind, work.encoder_id, layer, work.checkpoint.d_model)


def _add_fvu(work: EncoderAtWork, item: TrainedSAE, other_cd: np.ndarray, bundle: Bundle) -> None:
    job, sae = work.job, item.load()
    recon_cd = sae.decode(sae.encode(other_cd))
    mean_d = other_cd[job.fit_c].mean(axis=0, dtype=np.float64)
    train, heldout = (
        fvu(other_cd[rows], recon_cd[rows], mean_d) if rows.any() else np.nan for rows in (job.fit_c, job.score_c)
    )
    row = {"sae_id": item.sae_id, "fvu_train_other": train, "fvu_heldout_other": heldout}
    bundle.add_facts({"subject": item.sae_id})
    bundle.add_table("sae_giants", pd.DataFrame([row]))
