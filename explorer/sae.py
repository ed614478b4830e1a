"""The sparse autoencoder: encode, decode, trace, save, load. Training lives in precompute.train_sae.

    pre   = (x - b_dec) @ W_enc + b_enc
    code  = the k largest entries of relu(pre), zero elsewhere                      (Gao et al., arXiv 2406.04093)
    recon = code @ W_dec + b_dec

Centring and scaling of the input are folded into these weights, so x is a raw hidden state and the map is affine: the
mean of `pre` over the pooled frames is the `pre` of the pooled state. The names and shapes are SAELens's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from explorer.errors import StoreError
from explorer.tensors import save_tensors

WEIGHT_NAMES = ("W_enc", "b_enc", "W_dec", "b_dec")


@dataclass(frozen=True)
class Codes:
    """Sparse codes of n states: the activations and which features they belong to, strongest first."""

    values_nk: np.ndarray  # float32, >= 0; 0 where fewer than k pre-activations are positive
    indices_nk: np.ndarray  # int32
    n_features: int

    def dense(self) -> np.ndarray:
        """The same codes as (n, n_features) float32."""
        dense_nf = np.zeros((len(self.values_nk), self.n_features), dtype=np.float32)
        np.put_along_axis(dense_nf, self.indices_nk.astype(np.int64), self.values_nk, axis=1)
        return dense_nf

    def kth_values(self) -> np.ndarray:
        """(n,) the smallest of the k largest rectified pre-activations: what a feature must reach to be active."""
        return self.values_nk[:, -1]


@dataclass(frozen=True)
class SAE:
    """A TopK sparse autoencoder with `n_features` features on states of width `d_model`."""

    w_enc_df: np.ndarray
    b_enc_f: np.ndarray
    w_dec_fd: np.ndarray
    b_dec_d: np.ndarray
    k: int
    metadata: Mapping[str, str]

    def __post_init__(self) -> None:
        d_model, n_features = self.w_enc_df.shape
        shapes = (self.b_enc_f.shape, self.w_dec_fd.shape, self.b_dec_d.shape)
        if shapes != ((n_features,), (n_features, d_model), (d_model,)):
            raise StoreError(
                f"SAE weights do not fit together: W_enc {self.w_enc_df.shape}, b_enc, W_dec, b_dec {shapes}."
            )
        if not 1 <= self.k <= n_features:
            raise StoreError(f"k = {self.k} is not between 1 and the {n_features} features of the SAE.")

    @property
    def d_model(self) -> int:
        return self.w_enc_df.shape[0]

    @property
    def n_features(self) -> int:
        return self.w_enc_df.shape[1]

    def preactivations(self, states_nd: np.ndarray) -> np.ndarray:
        """(n, f) float32 pre-activations, before rectification and top-k."""
        return (states_nd.astype(np.float32) - self.b_dec_d) @ self.w_enc_df + self.b_enc_f

    def encode(self, states_nd: np.ndarray) -> Codes:
        """The codes of n states (n, d)."""
        return top_k_codes(self.preactivations(states_nd), self.k)

    def decode(self, codes: Codes) -> np.ndarray:
        """(n, d) float32 reconstructions."""
        return codes.dense() @ self.w_dec_fd + self.b_dec_d

    def save(self, path: Path) -> None:
        """Write weights and metadata as one safetensors file. Raises OSError when it cannot be written."""
        arrays = (self.w_enc_df, self.b_enc_f, self.w_dec_fd, self.b_dec_d)
        tensors = {name: a.astype(np.float32, copy=False) for name, a in zip(WEIGHT_NAMES, arrays, strict=True)}
        save_tensors(path, tensors, {**self.metadata, "k": str(self.k), "architecture": "topk"})


def top_k_codes(pre_nf: np.ndarray, k: int) -> Codes:
    """The k largest rectified entries of each row, strongest first; ties go to the lower index."""
    n_features = pre_nf.shape[1]
    rectified = np.maximum(pre_nf, 0.0, dtype=np.float32)
    candidates = (
        np.argpartition(-rectified, k - 1, axis=1)[:, :k]
        if k < n_features
        else np.tile(np.arange(n_features), (len(pre_nf), 1))
    )
    candidates.sort(axis=1)
    values = np.take_along_axis(rectified, candidates, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return Codes(
        np.take_along_axis(values, order, axis=1),
        np.take_along_axis(candidates, order, axis=1).astype(np.int32),
        n_features,
    )


def feature_trace(states_td: np.ndarray, sae: SAE, feature: int) -> np.ndarray:
    """(t,) the pre-activation of one feature at each frame; its mean is the pre-activation of the mean state."""
    return (states_td.astype(np.float32) - sae.b_dec_d) @ sae.w_enc_df[:, feature] + sae.b_enc_f[feature]


def load_sae(path: Path) -> SAE:
    """Read a file that `SAE.save` wrote. Raises StoreError when it is damaged or not one."""
    try:
        with safe_open(str(path), framework="np") as file:
            metadata = dict(file.metadata() or {})
            w_enc, b_enc, w_dec, b_dec = (file.get_tensor(name) for name in WEIGHT_NAMES)
    except (SafetensorError, OSError) as error:
        raise StoreError(f"{path} is not an SAE of Sonoscope: {error}. Run `python -m precompute verify`.") from error
    if "k" not in metadata:
        raise StoreError(f"{path} names no k. Run `python -m precompute verify` on its store.")
    return SAE(w_enc, b_enc, w_dec, b_dec, int(metadata["k"]), metadata)


def make_sae_id(**identity: object) -> str:
    """12 hex digits that name a dictionary: a hash of all that makes it what it is.

    That is encoder fingerprint, layer, level, pooling, n_features, k, method, seed and training clips.
    """
    text = json.dumps(identity, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def export_for_saelens(sae: SAE, folder: Path) -> None:
    """Write `cfg.json` and `sae_weights.safetensors` so that `sae_lens.SAE.load_from_disk(folder)` opens the SAE."""
    folder.mkdir(parents=True, exist_ok=True)
    sae.save(folder / "sae_weights.safetensors")
    config = {
        "architecture": "topk",
        "k": sae.k,
        "d_in": sae.d_model,
        "d_sae": sae.n_features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "rescale_acts_by_decoder_norm": False,
        "metadata": dict(sae.metadata),
    }
    (folder / "cfg.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
