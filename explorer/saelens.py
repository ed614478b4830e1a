"""SAEs in SAELens's folders: `cfg.json` and `sae_weights.safetensors`, read where ours can hold them, and written.

Ours keeps the k largest of relu(pre) (explorer.sae). That is SAELens's "topk", and its "standard" (a plain ReLU) with k
the number of features. What else SAELens has (thresholds, gates, normalised inputs) is named and not read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, deserialize

from explorer.errors import StoreError

CONFIG, WEIGHTS, CARD = "cfg.json", "sae_weights.safetensors", "README.md"
METADATA_SINCE = "6.0.0"
"""The release whose layout we write: without one in the metadata, later releases throw all of them away."""
_NAMES = ("W_enc", "b_enc", "W_dec", "b_dec")
_READ = ("topk", "standard")
_DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16}


def read_saelens(folder: Path) -> tuple[dict[str, np.ndarray], int, dict[str, str]]:
    """(the four weights by SAELens's names, float32; k; metadata) of a SAELens folder, ready for `explorer.sae.SAE`.

    Raises StoreError that says what the folder holds where it is not one that our form can hold exactly.
    """
    config = _config(folder)
    architecture, k = _architecture(config, folder)
    arrays = _arrays(folder / WEIGHTS)
    extra = sorted(set(arrays) - set(_NAMES))
    gone = [name for name in _NAMES if name not in arrays]
    if extra or gone:
        what = f"lacks {', '.join(gone)}" if gone else f"holds {', '.join(extra)} as well"
        raise StoreError(f"{folder / WEIGHTS} is no whole SAELens {architecture} SAE: it {what}.")
    if [arrays[name].ndim for name in _NAMES] != [2, 1, 2, 1]:
        raise StoreError(f"{folder / WEIGHTS} holds weights of shapes that no SAE has.")
    w_enc, b_enc, w_dec, b_dec = (arrays[name].astype(np.float64) for name in _NAMES)
    if w_enc.shape != w_dec.T.shape or b_enc.shape != w_enc.shape[1:] or b_dec.shape != w_dec.shape[1:]:
        raise StoreError(f"{folder / WEIGHTS} holds weights that do not fit together.")
    if not config.get("apply_b_dec_to_input", True):
        b_enc = b_enc + b_dec @ w_enc  # ours takes b_dec off the input
    if config.get("rescale_acts_by_decoder_norm", False):
        norms = np.linalg.norm(w_dec, axis=1)
        if not (norms > 0).all():
            raise StoreError(f"{folder / WEIGHTS} scales by the lengths of decoder rows, and some have none.")
        w_enc, b_enc, w_dec = w_enc * norms, b_enc * norms, w_dec / norms[:, None]
    found = dict(zip(_NAMES, (w_enc, b_enc, w_dec, b_dec), strict=True))
    metadata = {str(key): str(value) for key, value in _said(config).items() if value is not None}
    return (
        {name: array.astype(np.float32) for name, array in found.items()},
        len(b_enc) if k is None else k,
        {**metadata, "read_from": f"SAELens {architecture}"},
    )


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"{path} cannot be read: a SAELens SAE is a folder with {CONFIG} and {WEIGHTS}.") from error
    if not isinstance(found, dict):
        raise StoreError(f"{path} is not a JSON object: a SAELens SAE is a folder with {CONFIG} and {WEIGHTS}.")
    return found


def _said(config: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = config.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def _architecture(config: Mapping[str, Any], folder: Path) -> tuple[str, int | None]:
    """("topk", k) or ("standard", None). Raises StoreError for what ours cannot hold."""
    architecture, k = config.get("architecture", "standard"), config.get("k")
    activation = config.get("activation_fn", config.get("activation_fn_str", "relu"))  # named so before SAELens 6
    if architecture == "standard" and activation == "topk":
        kwargs = config.get("activation_fn_kwargs")
        architecture, k = "topk", kwargs.get("k") if isinstance(kwargs, dict) else None
    elif architecture == "standard" and activation != "relu":
        architecture = f"standard ({_short(activation)})"
    if architecture not in _READ:
        raise StoreError(
            f"{folder} is a SAELens {_short(architecture)} SAE, which Sonoscope cannot load yet: it loads those of "
            f"architecture {' and '.join(_READ)}."
        )
    for key, plain in (
        ("normalize_activations", ("none", None, False)),
        ("reshape_activations", ("none", None)),
        ("finetuning_scaling_factor", (False, None)),
    ):
        if config.get(key) not in plain:
            raise StoreError(
                f"{folder} is a SAELens {architecture} SAE with {key}={_short(config[key])}, which Sonoscope cannot "
                "load yet: it loads those that take states as they are."
            )
    if architecture == "standard":
        return "standard", None
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise StoreError(f"{folder / CONFIG} gives no whole number for k, which a topk SAE needs.")
    return "topk", k


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 40 else f"{text[:37]}..."


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        parts = deserialize(path.read_bytes())
    except FileNotFoundError as error:
        raise StoreError(f"{path.parent} holds no {path.name}: a SAELens SAE is {CONFIG} and {WEIGHTS}.") from error
    except (OSError, SafetensorError) as error:
        raise StoreError(f"{path} cannot be read as safetensors: {error}. Fetch or save the SAE again.") from error
    arrays = {}
    for name, part in parts:
        if part["dtype"] not in _DTYPES:
            raise StoreError(f"{path} holds {name} as {part['dtype']}, which is no weight of an SAE.")
        values = np.frombuffer(part["data"], _DTYPES[part["dtype"]]).reshape(part["shape"])
        if part["dtype"] == "BF16":  # the upper half of a float32
            values = (values.astype(np.uint32) << 16).view(np.float32)
        arrays[str(name)] = values
    return arrays


def saelens_config(
    *, d_model: int, n_features: int, k: int, metadata: Mapping[str, str | int | float | bool | None]
) -> str:
    """The cfg.json of a SAE of ours; `metadata` is kept as it is by SAELens from 6.0 on."""
    config = {
        "architecture": "topk",
        "k": k,
        "d_in": d_model,
        "d_sae": n_features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "rescale_acts_by_decoder_norm": False,
        "metadata": {"sae_lens_version": METADATA_SINCE, "sae_lens_training_version": None, **metadata},
    }
    return json.dumps(config, indent=2)
