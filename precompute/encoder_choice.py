"""The encoders of a run, found and checked before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator

from explorer.encoders import find_device
from explorer.errors import ConfigError
from precompute.artefacts import Artefacts
from precompute.encode_stage import ENCODER_STAGE, EncoderAtWork, open_encoder
from precompute.job import Job
from precompute.layer_choice import check_layer_names, named_layers
from precompute.run_records import load_runs
from precompute.sae_stage import planned


def open_encoders(job: Job) -> list[EncoderAtWork]:
    """Every encoder that the run names, in its order.

    Raises EncoderError for a checkpoint that is not there or not whole. Raises ConfigError for a device that is not
    there, for layers that a checkpoint does not have, for a sparsity that its width cannot hold, and for one that has
    another name already, in this run or in the store: an SAE belongs to a checkpoint, and would be shown under one.
    """
    find_device(job.config.device)
    works = [open_encoder(job, name) for name in job.config.encoders]
    check_layer_names(job.config.layers, [work.checkpoint.spec.name for work in works])
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
        named_layers(work)
    return works


def _recorded(artefacts: Artefacts) -> Iterator[tuple[str, str]]:
    """(fingerprint, name) of the encoders of the store's runs."""
    for record in load_runs(artefacts):
        for stage, key in record["bundles"]:
            bundle = artefacts.find(stage, key) if stage == ENCODER_STAGE else None
            if bundle is not None:
                rows = bundle.table("encoders")
                yield from zip(rows["fingerprint"], rows["name"], strict=True)
