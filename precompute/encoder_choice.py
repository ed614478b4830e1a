"""The encoders of a run, found and checked before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator

from explorer.errors import ConfigError
from precompute.artefacts import Artefacts
from precompute.encode_stage import ENCODER_STAGE, EncoderAtWork, open_encoder
from precompute.job import Job
from precompute.publish import load_runs
from precompute.sae_stage import planned


def open_encoders(job: Job) -> list[EncoderAtWork]:
    """Every encoder that the run names, in its order.

    Raises EncoderError for a checkpoint that is not there or not whole, ConfigError for a sparsity that its width
    cannot hold, and for a checkpoint that has another name already, in this run or in the store: an SAE belongs to a
    checkpoint, and would be shown under one of the names only.
    """
    works = [open_encoder(job, name) for name in job.config.encoders]
    known = dict(_recorded(job.artefacts))
    for work in works:
        name = work.checkpoint.spec.name
        other = known.setdefault(work.fingerprint, name)
        if other != name:
            raise ConfigError(
                f"{name} and {other} are one checkpoint ({work.checkpoint.source}, fingerprint "
                f"{work.fingerprint[:8]}). Name it once: --encoder {other}=..."
            )
        planned(job, work.checkpoint.d_model)
    return works


def _recorded(artefacts: Artefacts) -> Iterator[tuple[str, str]]:
    """(fingerprint, name) of the encoders of the store's runs."""
    for record in load_runs(artefacts):
        for stage, key in record["bundles"]:
            bundle = artefacts.find(stage, key) if stage == ENCODER_STAGE else None
            if bundle is not None:
                rows = bundle.table("encoders")
                yield from zip(rows["fingerprint"], rows["name"], strict=True)
