"""The group norm of HuBERT's, WavLM's and MERT's first convolution, made exact for rows of unequal length."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


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
