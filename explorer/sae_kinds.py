"""What a file or folder is that was given for an SAE and is none that Sonoscope reads: a clause for a sentence."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from explorer.saelens import CONFIG, WEIGHTS
from explorer.store.layout import POINTER

_LFS = b"version https://git-lfs"
_N_SHOWN = 3


def what_it_is(path: Path) -> str:
    """'is an empty folder' and the like, with what to give instead where that is known. Never raises."""
    try:
        return _folder(path) if path.is_dir() else _file(path)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"


def _folder(folder: Path) -> str:
    names = {child.name for child in folder.iterdir()}
    if not names:
        return "is an empty folder"
    if POINTER in names:
        return "is a store of Sonoscope: give an SAE that `export-sae` wrote, or one of its sae-*.safetensors"
    if "sae.safetensors" in names and CONFIG in names:
        return "is an SAE of sparsify (cfg.json and sae.safetensors)"
    if "ae.pt" in names:
        return "is an SAE of dictionary_learning (ae.pt, a pickle, which is never opened)"
    if CONFIG in names:
        return f"holds {CONFIG}, but not {WEIGHTS}: fetch the SAE again"
    model_type = _model_type(folder / "config.json")
    if model_type:
        return f"is a model ({model_type}), not an SAE: models are given with --encoder"
    below = sorted(path.parent for path in (*folder.glob(f"*/{CONFIG}"), *folder.glob(f"*/*/{CONFIG}")))
    if below:
        return f"holds SAEs in folders of their own: give one of them, such as {below[0].relative_to(folder)}"
    return f"holds no {CONFIG} and {WEIGHTS}, which are a SAELens SAE"


def _model_type(path: Path) -> str:
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return ""
    named = found.get("model_type") if isinstance(found, dict) else None
    return named[:40] if isinstance(named, str) else ""


def _file(path: Path) -> str:
    if not path.exists():
        return "is not there"
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        return "is an empty file (0 bytes)"
    if head.startswith(_LFS):
        return "is the pointer that Git LFS left in place of the weights: run `git lfs pull` there"
    if path.suffix in (".pt", ".pth", ".bin", ".ckpt", ".pkl"):
        return "is a pickle, which is never opened: save the weights as safetensors"
    if head.startswith(b"PK"):
        return "is an archive: unpack it"
    if path.suffix == ".json":
        return "is a description without weights: give the folder that holds both"
    try:
        with safe_open(str(path), framework="np") as tensors:
            names = sorted(tensors.keys())
    except (SafetensorError, OSError) as error:
        return f"cannot be read: it is no safetensors file, or a damaged one ({error})"
    if {"encoder.weight", "W_dec"} <= set(names):
        return "is an SAE of sparsify"
    shown = ", ".join(names[:_N_SHOWN]) + (f" and {len(names) - _N_SHOWN} more" if len(names) > _N_SHOWN else "")
    return f"holds tensors, but is no SAE that Sonoscope wrote: it names no k, and has {shown or 'none'}"
