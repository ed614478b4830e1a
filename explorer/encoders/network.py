"""Loading the right transformers class completely, the exact group norm, and stopping at the deepest wanted layer."""

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
from explorer.encoders.library import load_transformers
from explorer.encoders.registry import AST_FAMILY, HUBERT_FAMILY, MERT_FAMILY, WAVLM_FAMILY
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


class RowGroupNorm(nn.Module):
    """Group norm whose statistics are each row's own valid steps, so that padding changes nothing.

    transformers' GroupNorm of the first convolution takes them over the padded row. `valid_steps` is set before a
    forward pass with rows of unequal length, for the thread that runs it (None: all rows are whole); steps past a row's
    end come out as zero.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.norm = norm
        self._of_thread = threading.local()

    @property
    def valid_steps(self) -> tuple[int, ...] | None:
        return getattr(self._of_thread, "valid_steps", None)

    @valid_steps.setter
    def valid_steps(self, steps: tuple[int, ...] | None) -> None:
        self._of_thread.valid_steps = steps

    def forward(self, values_bct: torch.Tensor) -> torch.Tensor:
        valid_steps = self.valid_steps
        if valid_steps is None:
            return self.norm(values_bct)
        normed = torch.zeros_like(values_bct)
        for row, n_steps in enumerate(valid_steps):
            normed[row, :, :n_steps] = self.norm(values_bct[row : row + 1, :, :n_steps])[0]
        return normed


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
    if checkpoint.family != AST_FAMILY:
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

    config: as in config.json, `model_type` included. with_head: AST with its classification head, as on the hub.
    """
    load_transformers()
    from transformers import ASTForAudioClassification

    family = str(config["model_type"])
    model_class, model_config = _class_and_config(family, config, "own class")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = (ASTForAudioClassification if with_head and family == AST_FAMILY else model_class)(model_config)
        for name, parameter in network.named_parameters():
            std = next((std for part, std in _NOT_ZERO_WHEN_TRAINED.items() if part in name), None)
            if std is not None:
                nn.init.normal_(parameter, std=std)
        return network.eval()


def _class_and_config(family: str, values: Mapping[str, Any], loader: str) -> tuple[Any, Any]:
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
    )
    from transformers.activations import ACT2FN

    classes = {
        (AST_FAMILY, "own class"): (ASTModel, ASTConfig),
        (WAVLM_FAMILY, "own class"): (WavLMModel, WavLMConfig),
        (WAVLM_FAMILY, "paper"): (Wav2Vec2Model, Wav2Vec2Config),
        (HUBERT_FAMILY, "own class"): (HubertModel, HubertConfig),
        (MERT_FAMILY, "own class"): (HubertModel, HubertConfig),
    }
    model_class, config_class = classes[family, loader]
    checked = network_values(family, values)
    for key in ("hidden_act", "feat_extract_activation"):
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
        raise EncoderError(
            f"The checkpoint in {checkpoint.folder} holds {count(given, 'number')} for a network of "
            f"{whole(wanted)}, as its "
            "config.json describes it: the files are from different checkpoints, or not whole. Fetch it again."
        )


def _check_report(report: Mapping[str, Any], checkpoint: Checkpoint) -> None:
    """Every weight of the network came from the files, and nothing of the files was left over."""
    missing = sorted(report.get("missing_keys", ()))
    unused = _WAVLM_POSITION_BIAS if checkpoint.loader == "paper" else _OF_TRAINING
    unexpected = sorted(key for key in report.get("unexpected_keys", ()) if unused.fullmatch(key) is None)
    mismatched = sorted(str(key[0] if isinstance(key, tuple) else key) for key in report.get("mismatched_keys", ()))
    for what, names in (
        ("lacks weights that the network needs", missing),
        ("holds weights that the network has no place for", unexpected),
        ("holds weights of another shape", mismatched),
    ):
        if names:
            raise EncoderError(
                f"The checkpoint in {checkpoint.folder} {what}: {shown(names)}. "
                f"It is not a whole {checkpoint.family!r} encoder: fetch it again or choose another."
            )


def blocks(network: nn.Module) -> nn.ModuleList:
    """The network's transformer blocks, 1..L in the words of the layers."""
    holder = network.layers if hasattr(network, "layers") else network.encoder.layers  # type: ignore[union-attr]
    if not isinstance(holder, nn.ModuleList):
        raise EncoderError(f"{type(network).__name__} has no list of blocks.")
    return holder


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


@contextmanager
def valid_lengths(network: Any, lengths: Sequence[int] | None) -> Iterator[None]:
    """Tell the first convolution's group norm how many of each row's steps are sound, for one forward pass."""
    norms = [module for module in network.modules() if isinstance(module, RowGroupNorm)]
    if lengths is None or not norms:
        yield
        return
    conv = network.feature_extractor.conv_layers[0].conv
    norms[0].valid_steps = tuple((n - conv.kernel_size[0]) // conv.stride[0] + 1 for n in lengths)
    try:
        yield
    finally:
        norms[0].valid_steps = None


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
