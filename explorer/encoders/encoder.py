"""The one way from waveforms to hidden states."""

from __future__ import annotations

import hashlib
import threading
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from explorer.audio import Waveform
from explorer.encoders.checkpoint import Checkpoint, check_training_mode, find_checkpoint
from explorer.encoders.chunks import Chunk
from explorer.encoders.devices import find_device, full_precision
from explorer.encoders.front_ends import front_end_of
from explorer.encoders.group_norm import valid_lengths
from explorer.encoders.loaders import Loader, is_normed
from explorer.encoders.network import Recorder, blocks, final_norm, load_network, pack_linears
from explorer.encoders.states import FrameStates, TokenMean, add_tokens, joined
from explorer.errors import AudioError, ConfigError, EncoderError
from explorer.sound_checks import MIN_CLIP_S
from explorer.text import number

_BATCH_S = {"cpu": 20.5, "cuda": 330.0, "mps": 82.0}
"""Most seconds of (padded) sound in one forward pass, by device: what bounds memory however long the list is."""


@dataclass(frozen=True)
class _Job:
    """One chunk of one clip, waiting for its batch."""

    clip: int
    position: int
    chunk: Chunk
    draw: int = 0  # how often the same sound came before in the list

    @property
    def n_samples(self) -> int:
        return self.chunk.stop - self.chunk.start


@dataclass(frozen=True)
class _Result:
    """The states of one chunk: by layer (t, d) valid frames, and the sum and number of all tokens."""

    job: _Job
    frames: dict[int, np.ndarray]
    tokens: dict[int, TokenMean]


class Encoder:
    """A loaded foundation model. Make one with `load_encoder`.

    A clip's hidden states are the same alone, in any batch, and whatever other layers are asked for. Threads may share
    it: on a CPU their single clips pass side by side, elsewhere they wait for each other. MPS is written and untested.
    """

    def __init__(
        self, checkpoint: Checkpoint, network: nn.Module, device: torch.device, *, max_layer: int,
        training_mode: bool = False, seed: int = 42, allow_tf32: bool = False,
    ) -> None:  # fmt: skip
        self.checkpoint = checkpoint
        self.spec = checkpoint.spec
        self.name = checkpoint.spec.name
        self.family, self.source, self.revision = checkpoint.family, checkpoint.source, checkpoint.revision
        self.loader, self.licence = checkpoint.loader, checkpoint.spec.licence
        self.is_trained, self.note = checkpoint.is_trained, checkpoint.note
        self.weights_sha256 = checkpoint.weights_sha256
        self.preprocessor_sha256 = checkpoint.preprocessor_sha256
        self.fingerprint = checkpoint.fingerprint
        if training_mode:
            self.fingerprint = hashlib.sha256(f"{checkpoint.fingerprint} training mode {seed}".encode()).hexdigest()
            self.note = f"{self.note} In training mode: dropout, layer drop and masking (seed {seed}).".strip()
        self.encoder_id = f"{self.name}-{self.fingerprint[:8]}"
        self.n_layers, self.d_model, self.max_layer = checkpoint.n_layers, checkpoint.d_model, max_layer
        self.device, self.training_mode = device, training_mode
        self._front_end = front_end_of(checkpoint.family, network.config, checkpoint.preprocessor)
        self.sample_rate_hz: int = self._front_end.sample_rate_hz
        self.frame_rate_hz: float = self._front_end.frame_rate_hz
        self.window_samples: int | None = self._front_end.window_samples
        self._seed, self._allow_tf32 = seed, allow_tf32
        self._lock = threading.Lock()
        del blocks(network)[max(1, max_layer) :]
        self._network: Any = network.to(device).train(training_mode)
        if device.type == "cpu" and not training_mode:
            pack_linears(self._network)
        self._recorder = Recorder(self._network)
        self._final_norm = final_norm(self._network) if is_normed(checkpoint.loader) else None

    def hidden_states(
        self, waves: Sequence[Waveform], layers: Sequence[int], *, all_tokens: bool = False
    ) -> dict[int, FrameStates]:
        """The states of `layers` for each waveform, by layer; nothing deeper than the deepest is computed.

        Layer 0 is the embedding output, l the output of block l; of an encoder with the loader "last layer normed", the
        last is the state behind the final LayerNorm. Padding to a common length inside changes nothing.
        A waveform longer than the network's window is cut into chunks whose frames follow each other; it is
        normalised as a whole. all_tokens adds the mean over all output tokens (preset `paper`; zeros that the caller
        appended to a waveform are part of it and are never masked).

        Raises AudioError for a waveform of another sample rate, of more than one channel or shorter than 0.1 s, and
        EncoderError for a layer that there is not.
        """
        wanted = self._checked(waves, layers)
        frames: list[dict[int, dict[int, np.ndarray]]] = [{layer: {} for layer in wanted} for _ in waves]
        means: list[dict[int, TokenMean]] = [{} for _ in waves]
        for result in self._results(waves, wanted, all_tokens=all_tokens):
            for layer in wanted:
                frames[result.job.clip][layer][result.job.position] = result.frames[layer]
            add_tokens(means[result.job.clip], result.tokens)
        states = {}
        for layer in wanted:
            values = tuple(joined(by_layer[layer]) for by_layer in frames)
            states[layer] = FrameStates(
                layer=layer,
                values_td=values,
                times_s=tuple(self._front_end.times_s(len(value)) for value in values),
                all_tokens_mean_cd=self._stacked([mean[layer] for mean in means]) if all_tokens else None,
            )
        return states

    def first_window(self, wave: Waveform) -> Waveform:
        """What the network sees of a sound in its first pass: all of it, or AST's first 10.24 s, Whisper's 30 s."""
        return Waveform(wave.samples[: self.window_samples], wave.sample_rate_hz)

    def worked_s(self, duration_s: float) -> float:
        """Seconds that the network works on for a sound that lasts `duration_s`: whole windows for AST and Whisper."""
        n_samples = max(round(duration_s * self.sample_rate_hz), round(MIN_CLIP_S * self.sample_rate_hz))
        chunks = self._front_end.chunks(n_samples)
        return sum(self._front_end.seen_samples(chunk) for chunk in chunks) / self.sample_rate_hz

    def pooled_states(
        self, waves: Sequence[Waveform], layers: Sequence[int],
        *, pooling: Literal["valid frames", "all tokens"] = "valid frames",
    ) -> dict[int, np.ndarray]:  # fmt: skip
        """(c, d) float32 by layer: what `hidden_states` gives pooled, without keeping any frame in memory.

        Errors as `hidden_states`.
        """
        if pooling not in ("valid frames", "all tokens"):
            raise ConfigError(f"There is no pooling {pooling!r}: allowed are 'valid frames' and 'all tokens'.")
        wanted = self._checked(waves, layers)
        means: list[dict[int, TokenMean]] = [{} for _ in waves]
        for result in self._results(waves, wanted, all_tokens=pooling == "all tokens"):
            parts = result.tokens or {
                layer: TokenMean(values.sum(axis=0, dtype=np.float64), len(values))
                for layer, values in result.frames.items()
            }
            add_tokens(means[result.job.clip], parts)
        return {layer: self._stacked([mean[layer] for mean in means]) for layer in wanted}

    def _stacked(self, means: Sequence[TokenMean]) -> np.ndarray:
        return np.stack([mean.value() for mean in means]) if means else np.empty((0, self.d_model), np.float32)

    def _checked(self, waves: Sequence[Waveform], layers: Sequence[int]) -> tuple[int, ...]:
        wanted = tuple(sorted(set(layers)))
        bad = [layer for layer in wanted if not 0 <= layer <= self.max_layer]
        if bad or not wanted:
            raise EncoderError(
                f"{self.name} has no layer {', '.join(map(str, bad)) or '(none was asked for)'}: allowed are 0 to "
                f"{self.max_layer}" + (f" (loaded up to {self.max_layer} of {self.n_layers})."
                                       if self.max_layer < self.n_layers else ".")
            )  # fmt: skip
        for index, wave in enumerate(waves):
            if wave.samples.ndim != 1:
                raise AudioError(
                    f"Waveform {index} has the shape {wave.samples.shape}: an encoder takes one channel. "
                    "Read it with load_waveform, which mixes the channels."
                )
            if wave.sample_rate_hz != self.sample_rate_hz:
                raise AudioError(
                    f"Waveform {index} has {wave.sample_rate_hz} Hz, {self.name} takes {self.sample_rate_hz} Hz. "
                    f"Read it with load_waveform(path, sample_rate_hz={self.sample_rate_hz})."
                )
            if wave.samples.size < round(MIN_CLIP_S * wave.sample_rate_hz):
                raise AudioError(
                    f"Waveform {index} lasts {number(wave.samples.size / wave.sample_rate_hz, 3)} s; "
                    f"the shortest allowed is {MIN_CLIP_S} s. Leave this clip out."
                )
        return wanted

    def _results(self, waves: Sequence[Waveform], layers: tuple[int, ...], *, all_tokens: bool) -> Iterator[_Result]:
        """The chunks' states, batch by batch; clips of like length share a batch."""
        draws = _repeats(waves) if self.training_mode else [0] * len(waves)
        jobs = [
            _Job(clip, position, chunk, draws[clip])
            for clip, wave in enumerate(waves)
            for position, chunk in enumerate(self._front_end.chunks(wave.samples.size))
        ]
        levels = [self._front_end.level(wave.samples) for wave in waves]
        for batch in self._batches(sorted(jobs, key=lambda job: job.n_samples)):
            inputs = [
                self._front_end.network_input(waves[job.clip].samples, job.chunk, levels[job.clip]) for job in batch
            ]
            with self._turn(len(batch)), torch.inference_mode():
                states = self._forward(inputs, layers, batch)
                results = [self._result(job, row, states, all_tokens) for row, job in enumerate(batch)]
            yield from results

    def _turn(self, n_rows: int) -> AbstractContextManager[Any]:
        """Single clips on a CPU pass side by side; everything else one at a time: padded batches silence a warning of
        the whole process, training mode draws from its one generator, and a GPU's memory is planned for one batch."""
        passes_alone = n_rows > 1 or self.training_mode or self.device.type != "cpu"
        return self._lock if passes_alone else nullcontext()

    def _batches(self, jobs: Sequence[_Job]) -> Iterator[list[_Job]]:
        limit = _BATCH_S[self.device.type] * self.sample_rate_hz
        batch: list[_Job] = []
        for job in jobs:  # shortest first: the newest is the longest
            seen = self._front_end.seen_samples(job.chunk)
            if batch and (self.training_mode or (len(batch) + 1) * seen > limit):
                yield batch
                batch = []
            batch.append(job)
        if batch:
            yield batch

    def _forward(
        self, inputs: Sequence[torch.Tensor], layers: tuple[int, ...], batch: Sequence[_Job]
    ) -> dict[int, torch.Tensor]:
        """{layer: (b, tokens, d)} of one padded batch, checked to be finite."""
        lengths = [len(values) for values in inputs]
        is_ragged = len(set(lengths)) > 1
        padded = nn.utils.rnn.pad_sequence(list(inputs), batch_first=True).to(self.device)
        mask = None
        if is_ragged:
            steps = torch.arange(padded.shape[1])
            mask = (steps[None] < torch.tensor(lengths)[:, None]).long().to(self.device)
        with (
            valid_lengths(self._network, lengths if is_ragged else None),
            full_precision(self.device, self._allow_tf32),
            self._randomness(inputs, batch[0].draw),
            _mask_warning_silenced() if is_ragged else nullcontext(),
            self._recorder.recording(layers) as states,
        ):
            self._network(padded, attention_mask=mask) if is_ragged else self._network(padded)
        if self._final_norm is not None and self.n_layers in states:
            states[self.n_layers] = self._final_norm(states[self.n_layers])
        if not bool(torch.isfinite(states[max(layers)]).all()):  # what is not finite stays so in deeper layers
            first = next(layer for layer in layers if not bool(torch.isfinite(states[layer]).all()))
            clips = ", ".join(str(job.clip) for job in batch)
            raise EncoderError(
                f"{self.name} gives states that are not finite at layer {first} (waveforms {clips} of the list). "
                "Its weights are damaged, or the sound is not finite: check both."
            )
        return {layer: states[layer] for layer in layers}

    def _result(self, job: _Job, row: int, states: dict[int, torch.Tensor], all_tokens: bool) -> _Result:
        frames, tokens = {}, {}
        for layer, values in states.items():
            first, n_frames = job.chunk.n_skipped, job.chunk.n_frames
            of_chunk = self._front_end.frames(values[row : row + 1])[0, first : first + n_frames]
            frames[layer] = of_chunk.cpu().numpy().copy()
            if all_tokens:
                every = self._front_end.tokens(values[row], n_frames).cpu().numpy()
                tokens[layer] = TokenMean(every.sum(axis=0, dtype=np.float64), len(every))
        return _Result(job, frames, tokens)

    @contextmanager
    def _randomness(self, inputs: Sequence[torch.Tensor], draw: int) -> Iterator[None]:
        """Training mode draws dropout, layer drop and masks: seeded by the sound itself, so that a clip repeats, and
        by how often it came before, so that the same sound given n times is drawn n times."""
        if not self.training_mode:
            yield
            return
        digest = hashlib.sha256(f"{self._seed} {draw} ".encode() + inputs[0].numpy().tobytes()).digest()
        seed = int.from_bytes(digest[:4], "big")
        legacy_state = np.random.get_state()
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            np.random.seed(seed)  # transformers draws its masks from NumPy's own generator
            try:
                yield
            finally:
                np.random.set_state(legacy_state)


def load_encoder(
    name_or_assignment: str, *, revision: str | None = None, device: str = "auto", max_layer: int | None = None,
    loader: Loader = "own class", offline: bool = False, training_mode: bool = False, seed: int = 42,
    allow_tf32: bool = False,
) -> Encoder:  # fmt: skip
    """Load `hubert`, `hubert=HUB_ID` or `hubert=FOLDER`; the family is read from the checkpoint's config.json.

    device: "auto" (CUDA where there is one, else CPU), "cpu", "cuda", "cuda:1", or "mps" (written, untested).
    max_layer: drop deeper blocks, for memory. offline: never ask the hub. allow_tf32: quicker and coarser on CUDA.
    loader "own class, last layer normed": the last layer's state is the one behind the network's final LayerNorm.
    Two faults of the published code, for preset `paper` only: loader "paper" (WavLM with the Wav2Vec2 class) and
    training_mode (dropout, layer drop and masking on, drawn from `seed` and the sound).

    Raises EncoderError when the checkpoint is not found, not whole, or of a family that is not allowed; ConfigError
    for a device that there is not.
    """
    target = find_device(device)
    checkpoint = find_checkpoint(name_or_assignment, revision=revision, loader=loader, offline=offline)
    if training_mode:
        check_training_mode(checkpoint)
    deepest = checkpoint.n_layers if max_layer is None else max_layer
    if not 0 <= deepest <= checkpoint.n_layers:
        raise EncoderError(f"{name_or_assignment} has layers 0 to {checkpoint.n_layers}: max_layer={max_layer}.")
    return Encoder(
        checkpoint, load_network(checkpoint), target, max_layer=deepest, training_mode=training_mode, seed=seed,
        allow_tf32=allow_tf32,
    )  # fmt: skip


@contextmanager
def _mask_warning_silenced() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask", UserWarning)
        yield


def _repeats(waves: Sequence[Waveform]) -> list[int]:
    """For each waveform, how many of those before it hold the same samples."""
    seen: Counter[bytes] = Counter()
    counts = []
    for wave in waves:
        sound = wave.samples.tobytes()
        counts.append(seen[sound])
        seen[sound] += 1
    return counts
