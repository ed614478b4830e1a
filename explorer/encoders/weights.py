"""The weight files of a checkpoint: the names in them, which of those are the encoder's, and the encoder's tensors.

A checkpoint may hold more than an encoder: one that was fine-tuned keeps its encoder under a prefix (`hubert.`) and a
head beside it. The prefix is where the encoder's own weights lie, whatever it is called; what lies beside is left out
and named. What lies inside the encoder is never left out: a name there that the network lacks is another network.
"""

from __future__ import annotations

import json
import pickle
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from explorer.encoders.library import require
from explorer.encoders.registry import AST_FAMILY, WHISPER_FAMILY
from explorer.errors import EncoderError
from explorer.text import count

if TYPE_CHECKING:
    import torch

UNREADABLE = (OSError, RuntimeError, ValueError, KeyError, EOFError, TypeError, pickle.UnpicklingError, SafetensorError)
"""What reading a damaged weight file raises."""
_N_SHOWN = 6
_LFS = b"version https://git-lfs"
# Weights that every encoder of the family has, whichever release wrote the file, and no other part of a checkpoint: the
# first that is there says where the encoder lies, so that a lost one is named; and the parts of an encoder.
_ALWAYS = {
    AST_FAMILY: ("embeddings.cls_token", "embeddings.distillation_token"),
    WHISPER_FAMILY: ("conv1.weight", "conv2.weight", "conv1.bias", "conv2.bias"),
}
_ALWAYS_IN_WAVEFORM = ("feature_projection.projection.weight", "feature_projection.projection.bias")
_PARTS = {
    AST_FAMILY: frozenset(("embeddings", "encoder", "layers", "layernorm")),
    WHISPER_FAMILY: frozenset(("conv1", "conv2", "embed_positions", "layers", "layer_norm")),
}
_PARTS_OF_WAVEFORM = frozenset(("feature_extractor", "feature_projection", "encoder", "masked_spec_embed", "adapter"))
_PLAIN_DTYPES = frozenset(("float64", "float32", "float16", "bfloat16"))
_NOT_WEIGHTS = ("num_batches_tracked", "position_ids")


@dataclass(frozen=True)
class EncoderPart:
    """Where the encoder lies among a checkpoint's weights. left_out: the names beside it."""

    prefix: str
    left_out: tuple[str, ...]

    def said(self) -> str:
        """What was left out, in a sentence; "" where nothing was."""
        return f"Left out, as no part of the encoder: {shown(_stems(self.left_out))}." if self.left_out else ""


def encoder_part(names: Collection[str], family: str, where: Path) -> EncoderPart:
    """Find the encoder among weights by their names. Raises EncoderError where there are several encoders."""
    prefixes = next(filter(None, (_prefixes(names, one) for one in _ALWAYS.get(family, _ALWAYS_IN_WAVEFORM))), [])
    if len(prefixes) > 1:
        raise EncoderError(
            f"{where} holds {count(len(prefixes), 'encoder')}, under {', '.join(repr(prefix) for prefix in prefixes)}: "
            "save the one that is meant in a folder of its own."
        )
    prefix = prefixes[0] if prefixes else ""
    parts = _PARTS.get(family, _PARTS_OF_WAVEFORM)
    beside = (
        name for name in names if not name.startswith(prefix) or (not prefix and name.partition(".")[0] not in parts)
    )
    return EncoderPart(prefix, tuple(sorted(beside)))


def _prefixes(names: Collection[str], always: str) -> list[str]:
    return sorted(name[: -len(always)] for name in names if name == always or name.endswith(f".{always}"))


def shown(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - _N_SHOWN} more" if len(names) > _N_SHOWN else ""
    return ", ".join(names[:_N_SHOWN]) + more


def _stems(names: Iterable[str]) -> list[str]:
    """Modules instead of their weights: `lm_head (2 weights)`."""
    counts = Counter(name.rpartition(".")[0] or name for name in names)
    return [f"{stem} ({count(n, 'weight')})" if n > 1 else stem for stem, n in counts.items()]


def weight_names(files: Sequence[Path]) -> tuple[str, ...]:
    """The names of all weights, without reading these. Raises EncoderError for a file that is none."""
    names: list[str] = []
    for path in files:
        try:
            if path.suffix == ".safetensors":
                with safe_open(str(path), framework="np") as file:
                    names += file.keys()
            else:
                names += _unpickled(path)
        except UNREADABLE as error:
            raise _unreadable(path, error) from error
    return tuple(names)


def encoder_weights(files: Sequence[Path], family: str) -> dict[str, torch.Tensor]:
    """The encoder's weights by the names that they have in it. Raises EncoderError for damaged or quantised ones."""
    weights: dict[str, torch.Tensor] = {}
    for path in files:
        try:
            weights |= _from_safetensors(path) if path.suffix == ".safetensors" else _unpickled(path)
        except UNREADABLE as error:
            raise _unreadable(path, error) from error
    folder = files[0].parent
    part = encoder_part(weights, family, folder)
    gone = set(part.left_out)
    inside = {name.removeprefix(part.prefix): value for name, value in weights.items() if name not in gone}
    packed = sorted(
        f"{name} ({kind})"
        for name, value in inside.items()
        if (kind := str(value.dtype).removeprefix("torch.")) not in _PLAIN_DTYPES and not name.endswith(_NOT_WEIGHTS)
    )
    if packed:
        raise EncoderError(
            f"{folder} holds quantised weights: {shown(packed)}. Sonoscope computes in float32: give the checkpoint "
            "from before it was quantised."
        )
    return inside


def _from_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(path)


def _unpickled(path: Path) -> dict[str, Any]:
    """The tensors of a .bin; nothing but tensors is unpickled, so no code of the file runs."""
    torch = require("torch", "weights in .bin files")
    with path.open("rb") as file:
        is_archive = file.read(2) == b"PK"  # the older format cannot be mapped
    found = torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise ValueError("it holds other things than weights by name")
    return found


def _unreadable(path: Path, error: BaseException) -> EncoderError:
    try:
        with path.open("rb") as file:
            is_pointer = file.read(len(_LFS)) == _LFS
    except OSError:
        is_pointer = False
    if is_pointer:
        return EncoderError(
            f"{path} is the pointer that Git LFS left in place of the weights: run `git lfs pull` there."
        )
    if isinstance(error, pickle.UnpicklingError):
        return EncoderError(
            f"{path} cannot be loaded: it is damaged, or holds other things than weights, which Sonoscope never "
            "unpickles. Fetch the checkpoint again, as safetensors where there is a choice."
        )
    return EncoderError(f"{path} cannot be loaded: {first_line(error)} Fetch the checkpoint again.")


def first_line(error: BaseException) -> str:
    """An error's first line as a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".") + "."


def shard_files(index: Path) -> tuple[Path, ...]:
    """The files that an index of sharded weights names. Raises EncoderError for one that is no index, or lost files."""
    try:
        found = json.loads(index.read_text(encoding="utf-8-sig"))["weight_map"]
        names = sorted(set(found.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise EncoderError(f"{index} is no index of weights. Fetch the checkpoint again.") from error
    if not names or not all(isinstance(name, str) and name == Path(name).name for name in names):
        raise EncoderError(f"{index} names files that are no weights of this folder. Fetch the checkpoint again.")
    gone = [name for name in names if not (index.parent / name).is_file()]
    if gone:
        raise EncoderError(f"{index.parent} lacks the weights {', '.join(gone)}. Fetch the checkpoint again.")
    return tuple(index.parent / name for name in names)
