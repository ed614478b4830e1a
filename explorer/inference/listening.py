"""The one function that reads a new sound: the page, a notebook and the command call it, each with its own encoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from explorer.audio import MIN_CLIP_S, SILENT_RMS, Waveform, resample
from explorer.errors import AudioError, NotInStoreError
from explorer.giants import UsualFrames
from explorer.inference.checkpoints import places_of
from explorer.inference.models import Models
from explorer.inference.reading import Reading, read_states
from explorer.inference.requests import Encoded, EncodeRequest, LayerStates
from explorer.measures import are_acoustic
from explorer.pooling import Pooling
from explorer.prediction import FactorModels, LabelProbe, percentile_among
from explorer.queries.corpus import resolve_sae
from explorer.queries.giants import fetch_usual_frames
from explorer.queries.live import (
    fetch_encoder,
    fetch_factor_models,
    fetch_factor_spread,
    fetch_label_probe,
    fetch_live_features,
)
from explorer.sae import SAE, load_sae
from explorer.store import Store
from explorer.text import number, quantity

if TYPE_CHECKING:
    from explorer.factors import FactorRow

MAX_LIVE_S = 60.0
NOT_MEASURED = "not measured"
States = Mapping[int, LayerStates]
Encode = Callable[[Mapping[str, Any], Waveform, Sequence[int], Pooling], States]
"""(row of `encoders`, sound at that encoder's rate, layers, pooling) -> states by layer."""


@dataclass(frozen=True, eq=False)
class Heard:
    """A sound as one SAE sees it, against the corpus.

    sae: its row of `fetch_saes`. features: a row a feature that is active, strongest first: feature, label, activation,
    preactivation, percentile (the share of corpus clips, in %, that activate it less), density (%), is_dense,
    max_value, preactivation_mean. known: `fetch_live_features` of this SAE. probe, models: None where the store has
    none on these codes.
    """

    sae: Mapping[str, Any]
    reading: Reading
    features: pd.DataFrame
    known: pd.DataFrame
    probe: LabelProbe | None
    models: FactorModels | None

    @property
    def code_f(self) -> np.ndarray:
        """(f,) the activations."""
        return self.reading.codes.dense()[0]

    @property
    def pooling(self) -> Pooling:
        """What the code is of."""
        return _pass(self.sae)[1]

    def between(self, start_s: float, end_s: float) -> pd.DataFrame:
        """`features` for a stretch of the sound."""
        return _features(self.known, self.reading.between(start_s, end_s))


def check_sound(wave: Waveform, name: str = "The sound") -> None:
    """Raise AudioError, with what to do, for a sound that is silent, too short or over MAX_LIVE_S."""
    if wave.duration_s > MAX_LIVE_S:
        raise AudioError(
            f"{name} lasts {number(wave.duration_s, 1)} s; up to {quantity(MAX_LIVE_S)} s are analysed. "
            "Choose a part of it."
        )
    if wave.duration_s < MIN_CLIP_S:
        raise AudioError(f"{name} lasts {number(wave.duration_s, 3)} s; at least {quantity(MIN_CLIP_S)} s are needed.")
    if wave.rms < SILENT_RMS:
        raise AudioError(f"{name} is silent: there is nothing to analyse.")


def listen(store: Store, wave: Waveform, sae_ids: Sequence[str], encode: Encode) -> list[Heard]:
    """Read one sound (any rate, up to MAX_LIVE_S) with SAEs of a store. In the order of `sae_ids`.

    An encoder passes once for all its SAEs that pool its states alike. Raises AudioError for a sound that cannot be
    read, NotInStoreError for an SAE that is not there or does not code whole clips, and what `encode` raises.
    """
    check_sound(wave)
    saes = [_readable(resolve_sae(store, sae_id)) for sae_id in sae_ids]
    layers: dict[tuple[str, Pooling], set[int]] = {}
    for sae in saes:
        layers.setdefault(_pass(sae), set()).add(int(sae["layer"]))
    states: dict[tuple[str, Pooling], States] = {}
    for (encoder_id, pooling), wanted in layers.items():
        encoder = fetch_encoder(store, encoder_id)
        at_its_rate = resample(wave, int(encoder["sample_rate_hz"]))
        states[encoder_id, pooling] = encode(encoder, at_its_rate, sorted(wanted), pooling)
    return [_heard(store, sae, states[_pass(sae)][int(sae["layer"])]) for sae in saes]


def reader_of(store: Store, sae_id: str, encode: Encode) -> Callable[[Waveform], Reading]:
    """A function that reads sounds with one SAE and looks at nothing else; silence too, for tests that make some.

    Raises NotInStoreError as `listen` does.
    """
    sae = _readable(resolve_sae(store, sae_id))
    encoder_id, pooling = _pass(sae)
    encoder, weights, layer = (
        fetch_encoder(store, encoder_id),
        load_sae(store.file(sae["weights_file"])),
        int(sae["layer"]),
    )

    usual = fetch_usual_frames(store, encoder_id, layer)

    def read(wave: Waveform) -> Reading:
        states = encode(encoder, resample(wave, int(encoder["sample_rate_hz"])), [layer], pooling)[layer]
        return _read(states, weights, pooling, usual)

    return read


def measure(store: Store, wave: Waveform) -> pd.DataFrame:
    """The acoustic factors of a sound, by openSMILE at the sound's own rate, beside the corpus: see `beside_corpus`."""
    from explorer.factors import factor_row

    return beside_corpus(store, factor_row(wave))


def beside_corpus(store: Store, row: FactorRow) -> pd.DataFrame:
    """`fetch_factor_spread`, with value (NaN where undefined) and reason (why it is, else None) of one sound.

    What is no acoustic factor has no value: a new sound comes without the corpus's columns.
    """
    table = fetch_factor_spread(store)
    n_more = int((~are_acoustic(table)).sum())
    return table.assign(
        value=[*row.values, *([np.nan] * n_more)],
        reason=[*row.reasons, *([NOT_MEASURED] * n_more)],
    )


def with_predictions(table: pd.DataFrame, heard: Heard) -> pd.DataFrame:
    """A table of `measure` with `predicted` (from the code, by its Lasso models), `r2` (held out), `is_predicted`
    (whether that holds on unseen groups) and `is_tested` (whether it can be told); NaN and False for none."""
    models = heard.models
    if models is None:
        return table.assign(predicted=np.nan, r2=np.nan, is_predicted=False, is_tested=False)
    found = pd.DataFrame(
        {
            "factor_index": models.factor_index_m,
            "predicted": models.predict(heard.code_f),
            "r2": models.r2_m,
            "is_predicted": models.is_predicted_m,
            "is_tested": models.is_tested_m,
        }
    )
    rows = table.merge(found, on="factor_index", how="left")
    return rows.assign(**{name: rows[name].eq(True) for name in ("is_predicted", "is_tested")})


def own_encoder(store: Store, *, places: Sequence[str] = (), device: str = "auto") -> Encode:
    """Encode in this process, with checkpoints found as `find_place` does; each is loaded once and kept.

    places: 'NAME=DIR' to look at first. The function raises EncoderError where a checkpoint is not at hand.
    """
    return encode_by(Models(math.inf).encode, tuple(places_of(store, places)), device=device)


def encode_by(
    ask: Callable[[EncodeRequest], Encoded],
    places: tuple[str, ...],
    *,
    device: str = "auto",
    note: Callable[[str, Encoded], object] = lambda *_: None,
) -> Encode:
    """Encode by what answers requests: `Models` of this process, or the worker's. `note` is told of each reply, with
    the encoder's name."""

    def encode(encoder: Mapping[str, Any], wave: Waveform, layers: Sequence[int], pooling: Pooling) -> States:
        reply = ask(EncodeRequest(encoder, places, wave, tuple(layers), pooling, device))
        note(str(encoder["display_name"]), reply)
        return reply.states

    return encode


def _readable(sae: dict[str, Any]) -> dict[str, Any]:
    if sae["level"] != "clip":
        raise NotInStoreError(
            f"SAE {sae['sae_id']} codes {sae['level']}s; a new sound is read with SAEs of whole clips. Choose another."
        )
    if not sae["weights_file"]:
        raise NotInStoreError(
            f"The store holds no weights of SAE {sae['sae_id']}, only its scores: it cannot analyse new sounds."
        )
    return sae


def _pass(sae: Mapping[str, Any]) -> tuple[str, Pooling]:
    """SAEs with the same are read from one pass of the encoder."""
    return str(sae["encoder_id"]), Pooling.named(str(sae["pooling"]))


def _heard(store: Store, sae: dict[str, Any], states: LayerStates) -> Heard:
    sae_id = str(sae["sae_id"])
    weights = load_sae(store.file(sae["weights_file"]))
    encoder_id, pooling = _pass(sae)
    reading = _read(states, weights, pooling, fetch_usual_frames(store, encoder_id, int(sae["layer"])))
    known = fetch_live_features(store, sae_id)
    probe, models = fetch_label_probe(store, sae_id), fetch_factor_models(store, sae_id)
    return Heard(sae, reading, _features(known, reading), known, probe, models)


def _read(states: LayerStates, weights: SAE, pooling: Pooling, usual: UsualFrames | None) -> Reading:
    """Whoever encodes pools all frames: which of them are giant is known here, to who holds the store."""
    pooled_d = None if pooling.without_giants else states.pooled_d
    return read_states(
        states.values_td, states.times_s, weights, pooled_d, usual=usual, is_without_giants=pooling.without_giants
    )


def _features(known: pd.DataFrame, reading: Reading) -> pd.DataFrame:
    """The active features, strongest first, each beside the corpus."""
    codes = reading.codes
    active = codes.values_nk[0] > 0
    at, values = codes.indices_nk[0][active], codes.values_nk[0][active].astype(float)
    rows = known.set_index("feature").loc[at].reset_index()
    percentiles = [
        percentile_among(value, int(row["n_zero"]), row["quantiles"], int(row["n_active"]))
        for value, row in zip(values, rows.to_dict("records"), strict=True)
    ]
    rows = rows.assign(activation=values, preactivation=reading.preactivations_f[at], percentile=percentiles)
    return rows.drop(columns=["n_zero", "n_active", "quantiles"])
