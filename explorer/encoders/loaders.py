"""How a checkpoint is run, in words that a store keeps: with which class, and what counts as the last layer's state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from explorer.encoders.registry import AST_FAMILY, HUBERT_FAMILY, WAVLM_FAMILY, WHISPER_FAMILY
from explorer.errors import EncoderError

Loader = Literal["own class", "paper", "own class, last layer normed", "paper, last layer normed"]
"""The class ("paper": WavLM by the Wav2Vec2 class, the published code's fault); and, where it says so, that the last
layer's state is the one behind the network's final LayerNorm and not the last block's own output."""

LOADERS: tuple[Loader, ...] = get_args(Loader)
LAST_LAYERS = ("block", "normed")
_OWN, _PAPER, _OWN_NORMED, _PAPER_NORMED = LOADERS


def loader_for(*, is_paper: bool = False, last_layer: str = "block") -> Loader:
    """The words for a class and for one of LAST_LAYERS."""
    if last_layer == "normed":
        return _PAPER_NORMED if is_paper else _OWN_NORMED
    return _PAPER if is_paper else _OWN


def uses_paper_class(loader: Loader) -> bool:
    """Whether WavLM is run by the Wav2Vec2 class."""
    return loader in (_PAPER, _PAPER_NORMED)


def is_normed(loader: Loader) -> bool:
    """Whether the last layer's state is the one behind the final LayerNorm."""
    return loader in (_OWN_NORMED, _PAPER_NORMED)


def used_loader(asked: str, family: str, config: Mapping[str, Any]) -> Loader:
    """What of the asked loader this network has a part for. Raises EncoderError for words that are no loader."""
    if asked not in LOADERS:
        raise EncoderError(
            f"There is no loader {asked!r}: allowed are {', '.join(map(repr, LOADERS[:-1]))} and {LOADERS[-1]!r}."
        )
    loader = LOADERS[LOADERS.index(asked)]
    return loader_for(
        is_paper=uses_paper_class(loader) and family == WAVLM_FAMILY,
        last_layer="normed" if is_normed(loader) and has_final_norm(family, config) else "block",
    )


def has_final_norm(family: str, config: Mapping[str, Any]) -> bool:
    """Whether a LayerNorm follows the last block: where blocks end without one (AST, Whisper, HuBERT and WavLM with
    do_stable_layer_norm). Elsewhere each block ends with its own."""
    if family in (HUBERT_FAMILY, WAVLM_FAMILY):
        return bool(config.get("do_stable_layer_norm", False))
    return family in (AST_FAMILY, WHISPER_FAMILY)
