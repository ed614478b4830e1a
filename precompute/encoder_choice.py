"""The encoders of a run, found and checked with all that depends on them before a single recording is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from explorer.encoders import (
    Checkpoint,
    check_training_mode,
    find_checkpoint,
    find_device,
    has_final_norm,
    parse_encoder,
)
from explorer.errors import ConfigError
from precompute.artefacts import Artefacts
from precompute.config import RunConfig
from precompute.encode_stage import ENCODER_STAGE, EncoderAtWork, loader_of
from precompute.job import Job
from precompute.layer_choice import check_layer_names, named_layers
from precompute.places import check_root
from precompute.reporting import log
from precompute.run_records import load_runs
from precompute.sae_stage import planned


@dataclass(frozen=True)
class Choice:
    """An encoder as the run names it, and the checkpoint that was found for it."""

    text: str
    checkpoint: Checkpoint

    def at(self, job: Job) -> EncoderAtWork:
        """The same, as a job works with it."""
        return EncoderAtWork(job, self.text, self.checkpoint)


def choose_encoders(config: RunConfig, artefacts: Artefacts) -> list[Choice]:
    """Every encoder that the run names, in its order. Reads no recording and writes nothing.

    What costs nothing to check comes first, then folders, then whether the recordings are there, and what may have to
    be fetched last. Raises EncoderError for a name that is none and a checkpoint that is not there or not whole.
    Raises DatasetError where there are no recordings. Raises ConfigError for a device that is not there, for layers
    that a checkpoint does not have, for a sparsity that its width cannot hold, and for a checkpoint that has another
    name already, in this run or in the store: an SAE belongs to a checkpoint, and would be shown under one.
    """
    find_device(config.device)
    named = {text: parse_encoder(text) for text in config.encoders}
    check_layer_names(config.layers, [choice.name for choice in named.values()])
    found = {text: _choose(config, text) for text, choice in named.items() if choice.folder is not None}
    check_root(config.root)
    found |= {text: _choose(config, text) for text, choice in named.items() if choice.folder is None}
    choices = [found[text] for text in config.encoders]
    _check_named_once(choices, artefacts)
    return choices


def _choose(config: RunConfig, text: str) -> Choice:
    checkpoint = find_checkpoint(text, loader=loader_of(config), offline=config.offline)
    if config.last_layer == "normed" and not has_final_norm(checkpoint.family, checkpoint.config):
        log.info("%s has no LayerNorm behind its last block: last-layer changes nothing there", checkpoint.spec.name)
    if config.is_paper and config.faults.encoders_in_training_mode:
        check_training_mode(checkpoint)
    planned(config, checkpoint.d_model)
    named_layers(config.layers, checkpoint)
    return Choice(text, checkpoint)


def _check_named_once(choices: Sequence[Choice], artefacts: Artefacts) -> None:
    known = dict(_recorded(artefacts))
    for choice in choices:
        checkpoint = choice.checkpoint
        name = checkpoint.spec.name
        other = known.setdefault(checkpoint.fingerprint, name)
        if other != name:
            raise ConfigError(
                f"{name} and {other} are one checkpoint ({checkpoint.source}, fingerprint "
                f"{checkpoint.fingerprint[:8]}). Name it once: --encoder {other}=..."
            )


def _recorded(artefacts: Artefacts) -> Iterator[tuple[str, str]]:
    """(fingerprint, name) of the encoders of the store's runs."""
    for record in load_runs(artefacts):
        for stage, key in record["bundles"]:
            bundle = artefacts.find(stage, key) if stage == ENCODER_STAGE else None
            if bundle is not None:
                rows = bundle.table("encoders")
                yield from zip(rows["fingerprint"], rows["name"], strict=True)
