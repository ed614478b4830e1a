"""Which device to run on, and with which arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from explorer.encoders.library import require
from explorer.errors import ConfigError

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "mps")


def find_device(name: str) -> torch.device:
    """The device of this name; "auto" is CUDA where there is one, else CPU. Raises ConfigError for another."""
    torch = require("torch", "encoders")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind = name.split(":")[0]
    if kind not in DEVICES or kind == "auto":
        raise ConfigError(f"There is no device {name!r}: allowed are {', '.join(DEVICES)} and cuda:NUMBER.")
    is_there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}[kind]
    if not is_there:
        raise ConfigError(f"This machine has no {kind} device that PyTorch can use. Use --device cpu.")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"There is no device {name!r}: allowed are {', '.join(DEVICES)} and cuda:NUMBER.") from error
    n_devices = torch.cuda.device_count() if kind == "cuda" else 1
    if (device.index or 0) >= n_devices:
        raise ConfigError(f"There is no device {name!r}: this machine has {n_devices} of that kind, counted from 0.")
    return device


@contextmanager
def full_precision(device: torch.device, allow_tf32: bool) -> Iterator[None]:
    """Full float32 on CUDA unless TF32 is allowed (PyTorch's convolutions use TF32 by default)."""
    if device.type != "cuda":
        yield
        return
    import torch

    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = (matmul.allow_tf32, cudnn.allow_tf32)
    matmul.allow_tf32, cudnn.allow_tf32 = allow_tf32, allow_tf32
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
