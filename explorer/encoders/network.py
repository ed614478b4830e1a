"""Loading the right transformers class completely, and stopping at the deepest wanted layer."""

from __future__ import annotations

import re
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from explorer.encoders.checkpoint import Checkpoint
from explorer.encoders.configuration import network_values
from explorer.encoders.group_norm import RowGroupNorm
from explorer.encoders.library import load_transformers
from explorer.encoders.loaders import Loader, uses_paper_class
from explorer.encoders.registry import AST_FAMILY, HUBERT_FAMILY, MERT_FAMILY, WAVLM_FAMILY, WHISPER_FAMILY
from explorer.encoders.weights import encoder_weights, first_line, shown
from explorer.errors import EncoderError
from explorer.text import count, whole

_WAVLM_POSITION_BIAS = re.compile(
    r"masked_spec_embed|encoder\.layers\.\d+\.attention\.(gru_rel_pos_const|gru_rel_pos_linear\.(weight|bias)|rel_attn_embed\.weight)"
)
_OF_TRAINING = re.compile("masked_spec_embed")  # what hides frames; a network that is set not to be masked has none
_CANNOT_BUILD = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, AssertionError, RuntimeError,
    NotImplementedError,
)  # fmt: skip
"""What transformers raises for values that do not go together."""
_MOST_TOO_LARGE = 1.5  # a network that wants more weights than this times the files' is of another configuration
# transformers starts these at or near zero, where they would not show in an untrained network's states.
_NOT_ZERO_WHEN_TRAINED = {
    "embeddings.cls_token": 0.02,
    "embeddings.distillation_token": 0.02,
    "embeddings.position_embeddings": 0.02,
    "rel_attn_embed": 1.0,
}


class _DeepEnough(Exception):
    """Not an error: a hook ends a forward pass once the deepest wanted state is known."""


def load_network(checkpoint: Checkpoint) -> nn.Module:
    """The checkpoint's network in float32 and eval mode, with every weight from its files.

    Raises EncoderError with the names when weights are missing, unexpected, or of another shape.
    """
    load_transformers()
    from transformers.utils import logging as transformers_logging

    model_class, config = _class_and_config(checkpoint.family, checkpoint.config, checkpoint.loader)
    weights = encoder_weights(checkpoint.weight_files, checkpoint.family)
    _check_size(model_class, config, weights, checkpoint)
    verbosity = transformers_logging.get_verbosity()
    shows_progress = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with torch.random.fork_rng(devices=[]):  # building a network draws weights that the files then replace
            network, report = model_class.from_pretrained(
                None,
                config=config,
                state_dict=weights,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,  # they are named by _check_report
                output_loading_info=True,
            )
    except _CANNOT_BUILD as error:
        raise EncoderError(
            f"The checkpoint in {checkpoint.folder} cannot be loaded: {first_line(error)} Fetch it again."
        ) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
        if shows_progress:
            transformers_logging.enable_progress_bar()
    _check_report(report, checkpoint)
    network = network.eval().requires_grad_(False)
    if hasattr(network, "feature_extractor"):  # the networks of waveforms
        network.feature_extractor._requires_grad = False
        position = network.encoder.pos_conv_embed.conv
        if parametrize.is_parametrized(position, "weight"):  # weight norm: the same product in every pass
            parametrize.remove_parametrizations(position, "weight")
        if network.config.feat_extract_norm == "group":
            first = network.feature_extractor.conv_layers[0]
            first.layer_norm = RowGroupNorm(first.layer_norm)
    return network


def untrained_network(config: Mapping[str, Any], *, seed: int, with_head: bool = False) -> Any:
    """A network of the real class with random weights, for tests and the demo; a transformers model.

    config: as in config.json, `model_type` included. with_head: as on the hub, AST with its classification head and
    Whisper with its decoder.
    """
    load_transformers()
    from transformers import ASTForAudioClassification, WhisperConfig, WhisperForConditionalGeneration

    family = str(config["model_type"])
    model_class, model_config = _class_and_config(family, config, "own class")
    if with_head and family == AST_FAMILY:
        model_class = ASTForAudioClassification
    if with_head and family == WHISPER_FAMILY:
        model_class, model_config = WhisperForConditionalGeneration, WhisperConfig(**config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = model_class(model_config)
        for name, parameter in network.named_parameters():
            std = next((std for part, std in _NOT_ZERO_WHEN_TRAINED.items() if part in name), None)
            if std is not None:
                nn.init.normal_(parameter, std=std)
        return network.eval()


def _class_and_config(family: str, values: Mapping[str, Any], loader: Loader) -> tuple[Any, Any]:
    """The class comes from the family alone, the configuration from its values: no code of a checkpoint runs."""
    load_transformers()
    from huggingface_hub.errors import StrictDataclassError
    from transformers import (
        ASTConfig,
        ASTModel,
        HubertConfig,
        HubertModel,
        Wav2Vec2Config,
        Wav2Vec2Model,
        WavLMConfig,
        WavLMModel,
        WhisperConfig,
    )
    from transformers.activations import ACT2FN
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    classes = {
        AST_FAMILY: (ASTModel, ASTConfig),
        WAVLM_FAMILY: (Wav2Vec2Model, Wav2Vec2Config) if uses_paper_class(loader) else (WavLMModel, WavLMConfig),
        HUBERT_FAMILY: (HubertModel, HubertConfig),
        MERT_FAMILY: (HubertModel, HubertConfig),
        WHISPER_FAMILY: (WhisperEncoder, WhisperConfig),
    }
    model_class, config_class = classes[family]
    checked = network_values(family, values)
    for key in ("hidden_act", "feat_extract_activation", "activation_function"):
        if checked.get(key, "gelu") not in ACT2FN:
            raise EncoderError(
                f"The checkpoint's config.json says {key}: {checked[key]!r}, which transformers does not know. "
                "Correct the file or fetch the checkpoint again."
            )
    try:
        config = config_class(**checked)
    except (*_CANNOT_BUILD, StrictDataclassError) as error:
        raise EncoderError(f"The checkpoint's config.json is not allowed: {first_line(error)}") from error
    return model_class, config


def _check_size(model_class: Any, config: Any, weights: Mapping[str, torch.Tensor], checkpoint: Checkpoint) -> None:
    """Whether the network is about as large as the weights, before memory is taken for it."""
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            network = model_class(config)
    except _CANNOT_BUILD as error:
        raise EncoderError(
            f"{checkpoint.folder}: config.json describes no {checkpoint.family!r} network: {first_line(error)} "
            "Fetch the checkpoint again."
        ) from error
    wanted, given = (sum(t.numel() for t in tensors) for tensors in (network.parameters(), weights.values()))
    if wanted > _MOST_TOO_LARGE * given:
        needed = [name for name in network.state_dict() if "parametrizations" not in name]
        gone = [name for name in needed if name not in weights]
        if 0 < len(gone) < len(needed):
            raise _unlike(checkpoint, "lacks weights that the network needs", gone)
        raise EncoderError(
            f"The checkpoint in {checkpoint.folder} holds {count(given, 'number')} for a network of "
            f"{whole(wanted)}, as its "
            "config.json describes it: the files are from different checkpoints, or not whole. Fetch it again."
        )


def _check_report(report: Mapping[str, Any], checkpoint: Checkpoint) -> None:
    """Every weight of the network came from the files, and nothing of the files was left over."""
    missing = sorted(report.get("missing_keys", ()))
    unused = _WAVLM_POSITION_BIAS if uses_paper_class(checkpoint.loader) else _OF_TRAINING
    unexpected = sorted(key for key in report.get("unexpected_keys", ()) if unused.fullmatch(key) is None)
    mismatched = sorted(str(key[0] if isinstance(key, tuple) else key) for key in report.get("mismatched_keys", ()))
    for what, names in (
        ("lacks weights that the network needs", missing),
        ("holds weights that the network has no place for", unexpected),
        ("holds weights of another shape", mismatched),
    ):
        if names:
            raise _unlike(checkpoint, what, names)


def _unlike(checkpoint: Checkpoint, what: str, names: Sequence[str]) -> EncoderError:
    return EncoderError(
        f"The checkpoint in {checkpoint.folder} {what}: {shown(names)}. "
        f"It is not a whole {checkpoint.family!r} encoder: fetch it again or choose another."
    )


def blocks(network: nn.Module) -> nn.ModuleList:
    """The network's transformer blocks, 1..L in the words of the layers."""
    holder = network.layers if hasattr(network, "layers") else network.encoder.layers  # type: ignore[union-attr]
    if not isinstance(holder, nn.ModuleList):
        raise EncoderError(f"{type(network).__name__} has no list of blocks.")
    return holder


def final_norm(network: nn.Module) -> nn.Module:
    """The LayerNorm behind the last block, of a network that has one (see `loaders.has_final_norm`)."""
    holder: Any = network if hasattr(network, "layers") else network.encoder
    norm: nn.Module = holder.layernorm if hasattr(holder, "layernorm") else holder.layer_norm
    return norm


class Recorder:
    """Takes the states of a network's layers out of its forward passes; each thread records its own passes.

    Layer 0 is the first block's input, layer l the output of block l. A block that layer drop skipped (training mode)
    leaves its state as the one before it.
    """

    def __init__(self, network: nn.Module) -> None:
        self._of_thread = threading.local()
        for number, module in enumerate(blocks(network), start=1):
            module.register_forward_pre_hook(self._before)  # every block: layer drop may skip the first
            module.register_forward_hook(partial(self._after, number))

    @contextmanager
    def recording(self, layers: Collection[int]) -> Iterator[dict[int, torch.Tensor]]:
        """Record `layers` (at least one) of the one forward pass inside the block, which ends at the deepest."""
        states: dict[int, torch.Tensor] = {}
        deepest = max(layers)
        self._of_thread.states, self._of_thread.deepest = states, deepest
        try:
            yield states
        except _DeepEnough:
            pass
        finally:
            self._of_thread.states = None
        for layer in range(1, deepest + 1):
            states.setdefault(layer, states[layer - 1])

    def _before(self, _module: nn.Module, args: tuple[Any, ...]) -> None:
        states = getattr(self._of_thread, "states", None)
        if states is not None:
            states.setdefault(0, args[0])
            if self._of_thread.deepest == 0:
                raise _DeepEnough

    def _after(self, layer: int, _module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        states = getattr(self._of_thread, "states", None)
        if states is not None:
            states[layer] = output[0] if isinstance(output, tuple) else output
            if layer == self._of_thread.deepest:
                raise _DeepEnough


class PackedLinear(nn.Linear):
    """A linear layer whose weight oneDNN has laid out in advance: the same sums, often a quarter faster."""

    packed: torch.Tensor

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise(input, self.packed, self.bias, "none", [], "")


def pack_linears(network: nn.Module) -> None:
    """Make the network's linear layers `PackedLinear`, in place; for inference in float32 on a CPU with oneDNN only."""
    if not torch.backends.mkldnn.is_available():
        return
    for module in network.modules():
        if type(module) is nn.Linear:
            module.__class__ = PackedLinear
            module.packed = torch.ops.mkldnn._reorder_linear_weight(module.weight.detach())
