"""Which layers get SAEs: the ones that a run names, or the best probed ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from explorer.encoders import ENCODERS, Checkpoint
from explorer.errors import ConfigError, nearest
from explorer.giants import MANY_VARIANCE
from explorer.text import number, percent
from explorer.verdicts import MARGINS
from precompute.encode_stage import EncoderAtWork
from precompute.giant_frames import Giants
from precompute.job import GROUP_FOLDS, RANDOM_FOLDS

RULES = ("best2", "all")
GIANTS_COST = MARGINS["best layer"].fails_below  # of balanced accuracy
FORMS = "best2, all, '6,12' or 'ast=6,12;hubert=3,12'"


def choose_layers(work: EncoderAtWork, probes: pd.DataFrame, giants: Giants) -> tuple[list[int], pd.DataFrame]:
    """The layers that get SAEs, and the rows of `layer_choices`. Held-out clips take no part in the choice.

    `best2`: the layer with the best balanced accuracy over folds by group inside the training part (folds by file where
    there are no folds by group), and the best of the other half of the network. A layer whose states are mostly giant
    frames, and pooled with them, has to be better by GIANTS_COST.
    Raises ConfigError as `named_layers` does.
    """
    layers, wish = work.layers(), work.job.config.layers
    named = named_layers(wish, work.checkpoint)
    scores, protocol = _choice_scores(work, probes)
    if named is not None:
        chosen, role, reason = named, "named", f"asked for: {wish}"
    elif wish == "all":
        chosen, role, reason = layers, "all", "asked for: all"
    else:
        is_swamped = giants.variance_share(work.job.fit_c) > MANY_VARIANCE
        if work.leaves_giants_out:
            is_swamped[:] = False
        chosen, role, reason = _best_two(layers, scores, is_swamped), "best2", f"balanced accuracy, {protocol}"
        passed_over = sorted(set(_best_two(layers, scores, np.zeros_like(is_swamped))) - set(chosen))
        if passed_over:
            reason += (
                f"; passed over for giant frames, which hold over {percent(MANY_VARIANCE)} of the variance, and not "
                f"better by {number(GIANTS_COST)}: layer {', '.join(map(str, passed_over))}"
            )
        if not np.isfinite(scores).any():
            reason = "no probe could be scored: the middle and the last layer"
    rows = [
        {
            "encoder_id": work.encoder_id,
            "layer": layer,
            "is_chosen": layer in chosen,
            "role": role,
            "score": scores[layer],
            "reason": reason,
            "run_id": work.job.run_id,
        }
        for layer in layers
    ]
    return chosen, pd.DataFrame(rows)


def _choice_scores(work: EncoderAtWork, probes: pd.DataFrame) -> tuple[np.ndarray, str]:
    label = work.job.corpus.label_name
    for protocol in (GROUP_FOLDS, RANDOM_FOLDS):
        rows = probes[(probes["protocol"] == protocol) & (probes["label_name"] == label)] if len(probes) else probes
        scores = np.full(len(work.layers()), np.nan)
        if len(rows):
            scores[rows["layer"].to_numpy(dtype=int)] = rows["balanced_accuracy"].to_numpy(dtype=float)
        if np.isfinite(scores).any():
            return scores, protocol
    return scores, GROUP_FOLDS


def _best_two(layers: Sequence[int], scores: np.ndarray, is_swamped: np.ndarray) -> list[int]:
    if not np.isfinite(scores).any():
        return sorted({layers[len(layers) // 2], layers[-1]})
    known = np.where(np.isfinite(scores), scores - np.where(is_swamped, GIANTS_COST, 0.0), -np.inf)
    best = int(np.argmax(known))
    half = len(layers) // 2
    other = [layer for layer in layers if (layer > half) != (best > half)]
    return sorted({best, max(other, key=lambda layer: (known[layer], -layer))})


def named_layers(wish: str, checkpoint: Checkpoint) -> list[int] | None:
    """The layers that a run names for this encoder, sorted; None where a rule chooses them.

    Raises ConfigError for a text that cannot be read, and for layers that the encoder does not have.
    """
    name, last = checkpoint.spec.name, checkpoint.n_layers
    if wish in RULES:
        return None
    text = wish
    if "=" in wish:
        parts = _by_encoder(wish)
        if name not in parts:
            example = f"{name}={max(1, last // 2)},{last}"
            raise ConfigError(f"layers: {wish!r} names no layers for {name}; add ';{example}' or use best2.")
        text = parts[name]
    chosen = _numbers(text, wish)
    wrong = [layer for layer in chosen if not 0 <= layer <= last]
    if wrong:
        raise ConfigError(f"layers: {name} has no layer {wrong[0]}; it has 0 to {last}.")
    return chosen


def _numbers(text: str, wish: str) -> list[int]:
    try:
        return sorted({int(item) for item in text.split(",")})
    except ValueError as error:
        raise ConfigError(f"layers: {wish!r} is not {FORMS}.") from error


def check_layer_names(wish: str, encoders: Sequence[str]) -> None:
    """Raise ConfigError when the layers cannot be read, or are of a name that is neither an encoder of the run nor one
    of the known ones (a list for all may be given to a run with one)."""
    if wish in RULES:
        return
    if "=" not in wish:
        _numbers(wish, wish)
        return
    parts = _by_encoder(wish)
    for text in parts.values():
        _numbers(text, wish)
    unknown = [name for name in parts if name not in encoders and name not in ENCODERS]
    if unknown:
        near = nearest(unknown[0], encoders)
        raise ConfigError(f"layers: {unknown[0]} is not an encoder of this run; those are {', '.join(encoders)}.{near}")


def _by_encoder(wish: str) -> dict[str, str]:
    pairs = [part.split("=", 1) for part in wish.split(";") if part.strip()]
    if any(len(pair) != 2 for pair in pairs):
        raise ConfigError(f"layers: {wish!r} is not {FORMS}.")
    return {name.strip(): text for name, text in pairs}
