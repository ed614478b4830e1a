"""How large a generated store is, and the names that its tables share."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd

NOTE = (
    "nothing in this store was measured: every number and every sound was drawn at random to time the pages, and "
    "means nothing"
)
RUN_ID = "generated"
LABEL_NAME, GROUP_NAME = "technique", "singer"
LABELS = ("belt", "breathy", "inhaled", "lip_trill", "spoken", "straight", "trill", "trillo", "vibrato", "vocal_fry")
ATTRIBUTES = {"vowel": ("a", "e", "i", "o", "u"), "exercise": ("arpeggios", "long_tones", "scales")}
_ENCODERS = (("ast", "AST"), ("hubert", "HuBERT"), ("mert", "MERT"), ("wavlm", "WavLM"))


@dataclass(frozen=True)
class Scale:
    """Counts of everything; the layers are 0 .. n_layers - 1."""

    n_encoders: int = 4
    n_layers: int = 13
    sparsities: tuple[float, ...] = (0.75, 0.80, 0.85, 0.90, 0.95, 0.99)
    n_clips: int = 3600
    n_groups: int = 20
    n_features: int = 2048
    d_model: int = 768
    clip_s: float = 10.0
    frame_rate_hz: float = 50.0
    n_previews: int = 300
    n_playable: int = 300

    @property
    def n_points(self) -> int:
        """Frames of a clip."""
        return round(self.clip_s * self.frame_rate_hz)

    @property
    def reference(self) -> float:
        """The sparsity of the SAEs shown first."""
        return 0.95

    def k(self, sparsity: float) -> int:
        """How many features of a code are active."""
        return max(1, round((1 - sparsity) * self.n_features))


SCALES = {
    "full": Scale(),
    "small": Scale(
        n_encoders=2, n_layers=2, sparsities=(0.75, 0.95), n_clips=120, n_groups=10, n_features=64, d_model=24,
        clip_s=1.0, n_previews=4, n_playable=6,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """One SAE: which encoder, layer, level and sparsity it is of."""

    sae_id: str
    encoder_id: str
    layer: int
    level: str
    sparsity: float


def encoder_names(scale: Scale) -> list[tuple[str, str, str]]:
    """(encoder_id, name, display name) of each encoder."""
    return [(f"{name}-{_hex(name, 8)}", name, display) for name, display in _ENCODERS[: scale.n_encoders]]


def places(scale: Scale) -> list[Place]:
    """Every SAE, layer by layer: the clip level first, then the frame level. Their ids ascend, as rows are stored."""
    there = [
        (encoder_id, layer, level, sparsity)
        for level in ("clip", "frame")
        for layer in range(scale.n_layers)
        for sparsity in scale.sparsities
        for encoder_id, _, _ in encoder_names(scale)
    ]
    ids = sorted(_hex(str(place), 12) for place in there)
    return [Place(sae_id, *place) for sae_id, place in zip(ids, there, strict=True)]


def dense_id(encoder_id: str, layer: int) -> str:
    """The representation of a layer's pooled states."""
    return f"{encoder_id}.L{layer:02d}"


def representation_ids(scale: Scale) -> list[str]:
    """All representations: attributes, dense states, SAEs."""
    dense = [
        dense_id(encoder_id, layer) for encoder_id, _, _ in encoder_names(scale) for layer in range(scale.n_layers)
    ]
    return [*(f"attribute.{name}" for name in ATTRIBUTES), *dense, *(place.sae_id for place in places(scale))]


def clip_frame(scale: Scale) -> pd.DataFrame:
    """The rows of `clips`; their previews are shared, since there are fewer sounds than clips."""
    index = np.arange(scale.n_clips)
    rng = np.random.default_rng(1)
    group, label = index % scale.n_groups, rng.integers(0, len(LABELS), scale.n_clips)
    held_out = group >= round(0.8 * scale.n_groups)
    ids = [_hex(f"clip {i}", 10) for i in index]
    labels = [LABELS[i] for i in label]
    fold = pd.array(np.where(held_out, -1, index % 5), dtype="Int32")
    fold[held_out] = pd.NA
    return pd.DataFrame(
        {
            "clip_index": index, "clip_id": ids, "file_id": [f"f{i:05d}" for i in index], "start_s": 0.0,
            "duration_s": scale.clip_s, "title": [f"clip {i} · {name}" for i, name in zip(index, labels, strict=True)],
            "label": labels, "group_id": [f"group{i:02d}" for i in group],
            "split": np.where(held_out, "held-out", "train"), "paper_split": np.where(held_out, "test", "train"),
            "fold_all": fold, "fold_group": fold, "fold_random": fold, "peak": 0.5, "rms": 0.1, "is_silent": False,
            "is_playable": index < scale.n_playable,
            "preview": [f"files/{preview_name(i % scale.n_previews)}" for i in range(scale.n_clips)],
        }
    )  # fmt: skip


def preview_name(number: int) -> str:
    """The file name of one of the generated sounds."""
    return f"preview-{_hex(f'clip {number}', 10)}.flac"


def _hex(text: str, n_digits: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:n_digits]
