"""The encoders that stay loaded, and what they answer: in the worker process, a notebook or a command."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from explorer.audio import Excerpt, Waveform, load_excerpt
from explorer.encoders.library import require
from explorer.errors import EncoderError
from explorer.inference.checkpoints import Missing, Place, find_place
from explorer.inference.requests import (
    DecodeRequest,
    Encoded,
    EncodeRequest,
    FindRequest,
    LayerStates,
    Request,
    WarmRequest,
)

if TYPE_CHECKING:
    from explorer.encoders import Encoder
    from explorer.factors import FactorRow

CPU = "cpu"


class Models:
    """The loaded encoders, at most `memory_bytes` of weights of them (but always the one in use)."""

    def __init__(self, memory_bytes: float) -> None:
        self._memory_bytes = memory_bytes
        self._encoders: OrderedDict[tuple[str, str], tuple[Encoder, int]] = OrderedDict()
        self._places: dict[tuple[str, tuple[str, ...]], Place | Missing] = {}

    @property
    def warm(self) -> list[str]:
        """Ids of the loaded encoders, the one used last at the end."""
        return [encoder_id for encoder_id, _ in self._encoders]

    def answer(self, request: Request) -> Encoded | Excerpt | FactorRow | list[Place | Missing] | None:
        """What a request asks for. Raises ExplorerError."""
        if isinstance(request, DecodeRequest):
            return load_excerpt(request.sound, start_s=request.start_s, duration_s=request.duration_s)
        if isinstance(request, EncodeRequest):
            return self.encode(request)
        if isinstance(request, FindRequest):
            return [self._place(encoder, request.places) for encoder in request.encoders]
        if isinstance(request, WarmRequest):
            self.warm_up(request)
            return None
        from explorer.factors import factor_row

        return factor_row(request.wave)

    def warm_up(self, request: WarmRequest) -> None:
        """Load encoders, and openSMILE, before a sound is there. What is not at hand is told with the sound."""
        torch = require("torch", "encoders")
        from explorer.factors import functionals

        for encoder in request.encoders:
            if isinstance(self._place(encoder, request.places), Place):
                with suppress(torch.OutOfMemoryError):
                    self._encoder(encoder, request.places, request.device)
        functionals(Waveform(np.zeros(16_000, np.float32), 16_000))

    def encode(self, request: EncodeRequest) -> Encoded:
        """The states of a request; on the CPU, with a note, where the GPU's memory is full. Raises ExplorerError."""
        torch = require("torch", "encoders")
        with suppress(torch.OutOfMemoryError):
            return self._encode_on(request, request.device, "")
        self._encoders.clear()  # behind the block: inside it the error still holds what filled the memory
        torch.cuda.empty_cache()
        return self._encode_on(request, CPU, "The GPU's memory is full: this was computed on the CPU.")

    def _encode_on(self, request: EncodeRequest, device: str, note: str) -> Encoded:
        started = time.perf_counter()
        encoder, is_warm = self._encoder(request.encoder, request.places, device)
        loaded = time.perf_counter()
        pooling = request.pooling
        wave = encoder.first_window(request.wave) if pooling.first_window else request.wave
        found = encoder.hidden_states([wave], request.layers, all_tokens=pooling.all_tokens)
        states = {
            layer: LayerStates(one.values_td[0], one.times_s[0], one.pooled(all_tokens=pooling.all_tokens)[0])
            for layer, one in found.items()
        }
        done = time.perf_counter()
        return Encoded(states, str(encoder.device), 0.0 if is_warm else loaded - started, done - loaded, note)

    def _encoder(self, row: Mapping[str, Any], places: tuple[str, ...], device: str) -> tuple[Encoder, bool]:
        """A loaded encoder, and whether it was there before."""
        from explorer.encoders import find_device, load_encoder

        key = (str(row["encoder_id"]), str(find_device(device)))
        if key in self._encoders:
            self._encoders.move_to_end(key)
            return self._encoders[key][0], True
        place = self._place(row, places)
        if isinstance(place, Missing):
            raise EncoderError(place.reason)
        loader: Any = place.loader
        encoder = load_encoder(place.assignment, device=device, loader=loader, offline=True)
        if encoder.fingerprint != row["fingerprint"]:
            self._places.clear()
            raise EncoderError(f"The checkpoint in {place.folder} changed while it was in use. Try again.")
        self._encoders[key] = encoder, sum(path.stat().st_size for path in encoder.checkpoint.weight_files)
        while len(self._encoders) > 1 and sum(size for _, size in self._encoders.values()) > self._memory_bytes:
            self._encoders.popitem(last=False)
        return encoder, False

    def _place(self, encoder: Mapping[str, Any], places: Sequence[str]) -> Place | Missing:
        key = (str(encoder["encoder_id"]), tuple(places))
        known = self._places.get(key)
        if not isinstance(known, Place) or not known.folder.is_dir():  # what is missing may have been put there since
            known = self._places[key] = find_place(encoder, places)
        return known
