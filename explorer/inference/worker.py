"""The process that holds the models: one request at a time on stdin, one reply on stdout, both pickled.

Started by `model_process`, its only peer, and ends with it. Encoders stay loaded up to a bound of memory; the one not
used for longest leaves first.
"""

from __future__ import annotations

import os
import pickle
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from explorer.audio import Waveform
from explorer.errors import EncoderError, ExplorerError
from explorer.inference.checkpoints import Missing, Place, find_place

if TYPE_CHECKING:
    from explorer.encoders import Encoder
    from explorer.factors import FactorRow

MEMORY_VARIABLE = "SONOSCOPE_LIVE_MEMORY_GB"
DEFAULT_MEMORY_GB = 4.0
CPU = "cpu"


@dataclass(frozen=True, eq=False)
class EncodeRequest:
    """Frames of some layers. encoder: its row of `encoders`; places: where to look for its checkpoint."""

    encoder: Mapping[str, Any]
    places: tuple[str, ...]
    wave: Waveform
    layers: tuple[int, ...]
    device: str = "auto"


@dataclass(frozen=True, eq=False)
class Encoded:
    """frames: {layer: ((t, d), (t,) centres in s)}. load_s: 0.0 where it was warm. note: empty or a sentence."""

    frames: Mapping[int, tuple[np.ndarray, np.ndarray]]
    device: str
    load_s: float
    encode_s: float
    note: str


@dataclass(frozen=True, eq=False)
class FactorRequest:
    """openSMILE's 88 factors of a sound."""

    wave: Waveform


@dataclass(frozen=True)
class FindRequest:
    """Which of these encoders (rows of `encoders`) have their checkpoint on this machine."""

    encoders: tuple[Mapping[str, Any], ...]
    places: tuple[str, ...]


@dataclass(frozen=True)
class Failure:
    """A reply: a fault of ours. What a person can mend is replied as the ExplorerError itself."""

    message: str


Request = EncodeRequest | FactorRequest | FindRequest


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

    def answer(self, request: Request) -> Encoded | FactorRow | list[Place | Missing]:
        """What a request asks for. Raises ExplorerError."""
        if isinstance(request, EncodeRequest):
            return self.encode(request)
        if isinstance(request, FindRequest):
            return [self._place(encoder, request.places) for encoder in request.encoders]
        from explorer.factors import factor_row

        return factor_row(request.wave)

    def encode(self, request: EncodeRequest) -> Encoded:
        """The frames of a request; on the CPU, with a note, where the GPU's memory is full. Raises ExplorerError."""
        import torch

        try:
            return self._encode_on(request, request.device, "")
        except torch.OutOfMemoryError:
            self._encoders.clear()
            torch.cuda.empty_cache()
            return self._encode_on(request, CPU, "The GPU's memory is full: this was computed on the CPU.")

    def _encode_on(self, request: EncodeRequest, device: str, note: str) -> Encoded:
        started = time.perf_counter()
        encoder, is_warm = self._encoder(request, device)
        loaded = time.perf_counter()
        states = encoder.hidden_states([request.wave], request.layers)
        frames = {layer: (states[layer].values_td[0], states[layer].times_s[0]) for layer in request.layers}
        done = time.perf_counter()
        return Encoded(frames, str(encoder.device), 0.0 if is_warm else loaded - started, done - loaded, note)

    def _encoder(self, request: EncodeRequest, device: str) -> tuple[Encoder, bool]:
        from explorer.encoders import find_device, load_encoder

        key = (str(request.encoder["encoder_id"]), str(find_device(device)))
        if key in self._encoders:
            self._encoders.move_to_end(key)
            return self._encoders[key][0], True
        place = self._place(request.encoder, request.places)
        if isinstance(place, Missing):
            raise EncoderError(place.reason)
        loader: Any = place.loader
        encoder = load_encoder(place.assignment, device=device, loader=loader, offline=True)
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


def serve(requests: BinaryIO, replies: BinaryIO, answer: Callable[[Request], Any]) -> None:
    """Answer until the other side closes. A fault of ours is a reply too, so that the models stay warm."""
    while _serve_next(requests, replies, answer):
        pass


def _serve_next(requests: BinaryIO, replies: BinaryIO, answer: Callable[[Request], Any]) -> bool:
    """A function of its own: no reader's sound stays in memory until the next request."""
    try:
        request = pickle.load(requests)  # noqa: S301 - the parent process alone writes here
    except EOFError:
        return False
    try:
        reply = answer(request)
    except ExplorerError as error:
        reply = error
    except Exception as error:  # noqa: BLE001 - whatever it was, the parent shows it and the process lives on
        reply = Failure(f"{type(error).__name__}: {error}")
    pickle.dump(reply, replies)
    replies.flush()
    return True


def main() -> None:
    """Serve on stdin and stdout; what libraries print goes to stderr, so that it never mixes with replies."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    memory_gb = float(os.environ.get(MEMORY_VARIABLE) or DEFAULT_MEMORY_GB)
    serve(sys.stdin.buffer, replies, Models(memory_gb * 1e9).answer)


if __name__ == "__main__":
    # Under its own name, so that what it pickles is found by that name on the other side.
    from explorer.inference import worker

    worker.main()
