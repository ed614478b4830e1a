"""Everything about one encoder of a run: its states, layers, SAEs, their tables, traces and factors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pandas as pd

from precompute.artefacts import Bundle
from precompute.corpus_stage import playable_clips
from precompute.encode_stage import EncoderAtWork, States, encode_corpus, encode_training_crops
from precompute.fold_codes import FoldCodes
from precompute.fold_saes import train_per_fold
from precompute.frame_stage import (
    STATES_STAGE,
    drop_other_frames,
    encode_frames,
    keep_playable_states,
    playable_key,
)
from precompute.giant_stage import measure_the_other_way, probe_the_other_way
from precompute.job import HELD_OUT
from precompute.lasso_stage import lasso
from precompute.layer_choice import choose_layers
from precompute.match_stage import Dictionary, match_seeds
from precompute.planted_stage import Truth, find_planted
from precompute.probe_stage import dense_id, probe_layers
from precompute.reporting import log
from precompute.sae_stage import TrainedSAE, analyse, analysis_key, train_saes
from precompute.targets import Targets
from precompute.trace_stage import TRACE_STAGE, keep_traces, trace_key

MAX_CODES_BYTES = 2e9  # dense codes of SAEs that are in memory together


def process_encoder(
    work: EncoderAtWork, targets: Targets, truth: Truth | None, on_probed: Callable[[pd.DataFrame], object]
) -> tuple[list[Dictionary], pd.DataFrame]:
    """Everything about one encoder. Returns its reference dictionaries and the rows of `layer_choices`. truth: of a
    generated corpus. `on_probed` gets those rows once all layers are probed, before any SAE is trained.

    SAEs are analysed for as many layers at a time as MAX_CODES_BYTES of codes allow.
    """
    job, config = work.job, work.job.config
    states = encode_corpus(work)
    if config.is_paper:
        first_cld, crops_cnld = encode_training_crops(work)
        states = replace(states, first_cld=first_cld, crops_cnld=crops_cnld)
    layers, choices = choose_layers(work, probe_layers(work, states), states.giants)
    log.info("%s: layers %s get SAEs (%s)", work.encoder_id, ", ".join(map(str, layers)), choices["reason"].iloc[0])
    probe_the_other_way(work, states)
    on_probed(choices)
    trained = train_saes(work, states, layers)
    playable = playable_clips(job.corpus, config.n_playable_clips)
    encode_frames(work, _layers_without_traces(work, trained, playable))
    references = []
    for group in _groups_of_layers(trained, len(job.corpus.clips)):
        refits = train_per_fold(work, states, group)
        dictionaries = analyse_saes(work, states, group, refits)
        _predict_factors(work, states, group, dictionaries, targets, refits)
        measure_the_other_way(work, states, group, targets)
        match_seeds(job, dictionaries)
        references += [item for item in dictionaries if item.is_reference]
    if truth is not None:
        find_planted(work, truth, states, references)
    if config.dense_lasso_all_layers:
        _predict_from_dense(work, states, [layer for layer in work.layers() if layer not in layers], targets)
    keep_playable_states(work, layers, playable)
    drop_other_frames(work, layers)
    return references, choices


def _layers_without_traces(work: EncoderAtWork, trained: Sequence[TrainedSAE], playable: set[int]) -> list[int]:
    """The layers whose frames are still to be read: for an SAE's traces, or for the playable clips."""
    find = work.job.artefacts.find

    def is_missing(item: TrainedSAE) -> bool:
        traces, states = trace_key(work, analysis_key(work.job, item)), playable_key(work, item.layer, playable)
        return find(TRACE_STAGE, traces) is None or find(STATES_STAGE, states) is None

    return sorted({item.layer for item in trained if is_missing(item)})


def _groups_of_layers(trained: Sequence[TrainedSAE], n_clips: int) -> list[list[TrainedSAE]]:
    """The SAEs, all of a layer together, in groups whose dense codes fit in MAX_CODES_BYTES (at least one layer)."""
    groups: list[list[TrainedSAE]] = []
    n_bytes = 0
    for layer in sorted({item.layer for item in trained}):
        of_layer = [item for item in trained if item.layer == layer]
        n_new = 4 * n_clips * sum(item.n_features for item in of_layer)
        if not groups or n_bytes + n_new > MAX_CODES_BYTES:
            groups.append([])
            n_bytes = 0
        groups[-1] += of_layer
        n_bytes += n_new
    return groups


def analyse_saes(
    work: EncoderAtWork, states: States, trained: Sequence[TrainedSAE], refits: Mapping[str, FoldCodes]
) -> list[Dictionary]:
    """Tables, codes and traces of every SAE; their codes over the corpus, in the order of `trained`."""

    def analyse_one(item: TrainedSAE) -> tuple[Bundle, Dictionary]:
        sae = item.load()
        codes_cf = sae.encode(states.pooled_cld[:, item.layer]).dense()
        dictionary = Dictionary(
            item.sae_id,
            work.encoder_id,
            item.layer,
            item.sparsity,
            item.seed,
            item.is_reference,
            codes_cf,
            sae.w_dec_fd,
        )
        return analyse(work, item, states, stage, refits.get(item.sae_id)), dictionary

    reporter, n_workers = work.job.reporter, work.job.config.workers()
    bundles, dictionaries = [], []
    with (
        reporter.stage(f"analyse SAEs of {work.checkpoint.spec.name}", len(trained), "SAEs") as stage,
        ThreadPoolExecutor(n_workers) as pool,
    ):
        for bundle, dictionary in pool.map(analyse_one, trained):
            bundles.append(bundle)
            dictionaries.append(dictionary)
    layers = sorted({item.layer for item in trained})
    with reporter.stage(f"traces of {work.checkpoint.spec.name}", len(trained), "SAEs") as stage:
        for layer in layers:
            of_layer = [(item, bundle) for item, bundle in zip(trained, bundles, strict=True) if item.layer == layer]
            loaded = [(item.sae_id, item.load(), bundle) for item, bundle in of_layer]
            keep_traces(work, layer, loaded, states.giants.usual.layers[layer], stage)
    return dictionaries


def _predict_factors(
    work: EncoderAtWork,
    states: States,
    trained: list[TrainedSAE],
    dictionaries: list[Dictionary],
    targets: Targets,
    refits: Mapping[str, FoldCodes],
) -> None:
    """Lasso from dense states and from codes. Alphas are cross-validated at the reference sparsity, and taken from
    there for the other sparsities unless the run asks for them everywhere."""
    job, config = work.job, work.job.config
    layers = sorted({item.layer for item in trained})
    codes_of = {item.sae_id: item.codes_cf for item in dictionaries}
    _predict_from_dense(work, states, layers, targets)
    with job.reporter.stage(f"Lasso on {work.checkpoint.spec.name}", len(trained), "representations") as stage:
        for layer in layers:
            at_layer = sorted((item for item in trained if item.layer == layer), key=lambda item: not item.is_reference)
            reference: Bundle | None = None
            for item in at_layer:
                is_chosen_anew = (
                    item.is_reference or item.sparsity == config.reference or config.lasso == "cv-everywhere"
                )
                given = None if is_chosen_anew or job.protocol != HELD_OUT else reference
                bundle = lasso(
                    job,
                    stage,
                    codes_of[item.sae_id],
                    targets,
                    item.sae_id,
                    seed=item.seed,
                    pooling=work.pooled_as,
                    given=given,
                    protocol=job.protocol,
                    refits=refits.get(item.sae_id),
                )
                reference = bundle if item.is_reference else reference


def _predict_from_dense(work: EncoderAtWork, states: States, layers: Sequence[int], targets: Targets) -> None:
    """Lasso from the dense states of some layers."""
    job = work.job
    with job.reporter.stage(f"Lasso on {work.checkpoint.spec.name}", len(layers), "representations") as stage:
        for layer in layers:
            x_cd = states.pooled_cld[:, layer]
            name = dense_id(work.encoder_id, layer)
            lasso(job, stage, x_cd, targets, name, seed=0, pooling=work.pooled_as, protocol=job.protocol)
