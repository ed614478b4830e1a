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
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from explorer.errors import StoreError
from explorer.giants import UsualFrames
from explorer.sae_card import USUAL_FRAMES, Fact, model_card
from explorer.sae_kinds import what_it_is
from explorer.saelens import CARD, CONFIG, WEIGHTS, read_saelens, saelens_config
from explorer.store import FILES, POINTER, command
from explorer.tensors import NO_SUCH_NUMBERS, save_tensors
from explorer.text import count

WEIGHT_NAMES = ("W_enc", "b_enc", "W_dec", "b_dec")
_READ = "Sonoscope loads its own SAE files and SAELens's topk and standard SAEs."


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
        if self.w_enc_df.ndim != 2:
            raise StoreError(f"SAE weights do not fit together: W_enc has the shape {self.w_enc_df.shape}.")
        d_model, n_features = self.w_enc_df.shape
        shapes = (self.b_enc_f.shape, self.w_dec_fd.shape, self.b_dec_d.shape)
        if shapes != ((n_features,), (n_features, d_model), (d_model,)):
            raise StoreError(
                f"SAE weights do not fit together: W_enc {self.w_enc_df.shape}, b_enc, W_dec, b_dec {shapes}."
            )
        if not 1 <= self.k <= n_features:
            raise StoreError(f"k = {self.k} is not between 1 and the SAE's {count(n_features, 'feature')}.")
        if not all(np.isfinite(array).all() for array in (self.w_enc_df, self.b_enc_f, self.w_dec_fd, self.b_dec_d)):
            raise StoreError("The SAE's weights hold NaN or infinite numbers.")

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
    """Read a file that `SAE.save` wrote, or a SAELens folder (or its weights file) that ours can hold exactly.

    A SAELens "standard" SAE comes back with k the number of features: a plain ReLU. Raises StoreError that says what is
    there where it is damaged or none of these.
    """
    if path.is_dir():
        if not ((path / CONFIG).is_file() and (path / WEIGHTS).is_file()):
            raise StoreError(f"{path} {what_it_is(path)}. {_READ}")
        return _own(path / WEIGHTS) or _from_saelens(path)
    own = _own(path)
    if own is None and path.name == WEIGHTS and (path.parent / CONFIG).is_file():
        return _from_saelens(path.parent)
    if own is None:
        raise StoreError(f"{path} {what_it_is(path)}. {_READ}")
    return own


def _own(path: Path) -> SAE | None:
    """The SAE of a file that `SAE.save` wrote, None for another's. Raises StoreError where it cannot be read."""
    try:
        with safe_open(str(path), framework="np") as file:
            metadata = dict(file.metadata() or {})
            if metadata.get("architecture") != "topk" or not re.fullmatch("[0-9]{1,9}", metadata.get("k", "")):
                return None
            gone = [name for name in WEIGHT_NAMES if name not in file.keys()]  # noqa: SIM118 - it is no mapping
            if gone:
                raise StoreError(f"{path} lacks {', '.join(gone)}. {_mend(path)}".rstrip())
            w_enc, b_enc, w_dec, b_dec = (file.get_tensor(name) for name in WEIGHT_NAMES)
    except NO_SUCH_NUMBERS as error:
        raise StoreError(f"{path} cannot be read as an SAE: {error}. {_mend(path) or _READ}") from error
    except (SafetensorError, OSError) as error:
        raise StoreError(f"{path} {what_it_is(path)}. {_mend(path) or _READ}") from error
    if any(array.dtype.kind != "f" for array in (w_enc, b_enc, w_dec, b_dec)):
        raise StoreError(f"{path} holds weights that are no floating-point numbers. {_mend(path) or _READ}")
    return SAE(w_enc, b_enc, w_dec, b_dec, int(metadata["k"]), metadata)


def _mend(path: Path) -> str:
    """What to do about a damaged file that a store published; "" for any other file."""
    folder = path.resolve().parent.parent
    is_published = path.parent.name == FILES and (folder / POINTER).is_file()
    return f"Run {command(folder, 'verify')}, which names what is damaged." if is_published else ""


def _from_saelens(folder: Path) -> SAE:
    weights, k, metadata = read_saelens(folder)
    w_enc, b_enc, w_dec, b_dec = (weights[name] for name in WEIGHT_NAMES)
    return SAE(w_enc, b_enc, w_dec, b_dec, k, metadata)


def make_sae_id(**identity: object) -> str:
    """12 hex digits that name a dictionary: a hash of all that makes it what it is.

    That is encoder fingerprint, layer, level, pooling, n_features, k, method, seed and training clips.
    """
    text = json.dumps(identity, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def export_for_saelens(sae: SAE, folder: Path, facts: Mapping[str, Fact], usual: UsualFrames | None = None) -> None:
    """Write a folder that `sae_lens.SAE.load_from_disk` opens and `load_sae` reads: weights, cfg.json, and a card.

    facts: of `explorer.queries.sae_facts`; SAELens keeps them as metadata. usual: for an SAE on means without giant
    frames, what tells these. Raises OSError when it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sae.save(folder / WEIGHTS)
    config = saelens_config(
        d_model=sae.d_model,
        n_features=sae.n_features,
        k=sae.k,
        metadata={
            "model_name": facts["encoder_source"],
            "hook_name": f"hidden_states.{facts['layer']}",
            **sae.metadata,
            **facts,
        },
    )
    (folder / CONFIG).write_text(config, encoding="utf-8")
    if usual is not None:
        usual.save(folder / USUAL_FRAMES)
    (folder / CARD).write_text(model_card(facts), encoding="utf-8")
