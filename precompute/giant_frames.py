"""The giant frames of a corpus: found where clips are encoded, kept shard by shard, told layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from explorer.giants import Span, UsualFrames, mean_without, spans_of, squares
from precompute.artefacts import Artefacts, Bundle, key_of
from precompute.shards import ClipSource, Shard

USUAL_STAGE, GIANTS_STAGE = "usual_frames", "giant_frames"
VERSION = 1
MOST_CLIPS, FEWEST_CLIPS, ONE_IN = 32, 8, 10  # of the training clips, those that say where frames usually lie
MOST_FRAMES = 4096  # of a layer, from which the medians are taken


@dataclass(frozen=True, eq=False)
class Usual:
    """Where the frames of every layer (0 is the first) usually lie, and the name under which what follows is kept."""

    layers: tuple[UsualFrames, ...]
    name: str

    def keep(self, bundle: Bundle) -> None:
        """Write it."""
        bundle.add_arrays(
            "usual",
            {
                "center_ld": np.stack([middle.center_d for middle in self.layers]),
                "median_distance_l": np.array([middle.median_distance for middle in self.layers]),
            },
        )

    @classmethod
    def kept(cls, bundle: Bundle) -> Usual:
        """What `keep` wrote."""
        arrays = bundle.arrays("usual")
        layers = zip(arrays["center_ld"], arrays["median_distance_l"], strict=True)
        return cls(tuple(UsualFrames(center_d, float(median)) for center_d, median in layers), bundle.folder.name)


def clips_looked_at(clips: Sequence[ClipSource]) -> list[ClipSource]:
    """The clips whose frames say where frames usually lie: a fixed part of the training clips, by their ids, so that
    it changes little when clips come in."""
    n = min(len(clips), MOST_CLIPS, max(FEWEST_CLIPS, -(-len(clips) // ONE_IN)))
    return sorted(clips, key=lambda clip: clip.clip_id)[:n]


def some_frames(values_td: np.ndarray, n: int) -> np.ndarray:
    """At most `n` frames of a clip, evenly apart."""
    return values_td if len(values_td) <= n else values_td[np.linspace(0, len(values_td) - 1, n).round().astype(int)]


@dataclass(frozen=True, eq=False)
class ClipGiants:
    """One clip, all layers: its mean without giant frames (l, d), how many there are (l,), the squares of all frames'
    distances from the middle by dimension (l, d) and of giant frames' (l,), and where they are."""

    pooled_ld: np.ndarray
    n_frames: int
    n_giant_l: np.ndarray
    square_ld: np.ndarray
    square_giant_l: np.ndarray
    spans: tuple[tuple[Span, ...], ...]


def giants_of(frames: Sequence[np.ndarray], times_s: np.ndarray, usual: Usual) -> ClipGiants:
    """Of one clip's frames (t, d) by layer, all layers in order."""
    pooled, n_giant, square_d, square_giant, spans = [], [], [], [], []
    for values_td, middle in zip(frames, usual.layers, strict=True):
        square_td = squares(values_td, middle.center_d)
        is_giant_t = middle.are_giant(square_td)
        pooled.append(mean_without(values_td, is_giant_t))
        n_giant.append(int(is_giant_t.sum()))
        square_d.append(square_td.sum(axis=0))
        square_giant.append(float(square_td[is_giant_t].sum()))
        spans.append(tuple(spans_of(is_giant_t, times_s)))
    return ClipGiants(
        np.stack(pooled), len(times_s), np.array(n_giant), np.stack(square_d), np.array(square_giant), tuple(spans)
    )


def usual_key(states_name: str, clips: Sequence[ClipSource]) -> str:
    """The name of where frames usually lie, by these clips."""
    return key_of(version=VERSION, encoder=states_name, clips=[clip.clip_id for clip in clips])


def giants_key(states_name: str, shard: Shard, usual_name: str) -> str:
    """The name of a shard's giant frames, among the frames that are usual by `usual_name`."""
    return key_of(version=VERSION, encoder=states_name, shard=shard.name, usual=usual_name)


def keep_giants(artefacts: Artefacts, key: str, clips: Sequence[ClipGiants]) -> None:
    """Write a whole shard."""
    rows = [
        (at, layer, start_s, end_s)
        for at, clip in enumerate(clips)
        for layer, of_layer in enumerate(clip.spans)
        for start_s, end_s in of_layer
    ]
    with artefacts.writing(GIANTS_STAGE, key) as bundle:
        bundle.add_arrays(
            "giants",
            {
                "pooled_cld": np.stack([clip.pooled_ld for clip in clips]),
                "n_frames_c": np.array([clip.n_frames for clip in clips]),
                "n_giant_cl": np.stack([clip.n_giant_l for clip in clips]),
                "square_cl": np.stack([clip.square_ld.sum(axis=1) for clip in clips]),
                "square_ld": np.sum([clip.square_ld for clip in clips], axis=0),
                "square_giant_cl": np.stack([clip.square_giant_l for clip in clips]),
                "spans_n4": np.array(rows, np.float64).reshape(-1, 4),
            },
        )


@dataclass(frozen=True, eq=False)
class Giants:
    """All clips of the corpus: as ClipGiants, with a clip axis; spans_n4: clip, layer, start and end in s."""

    usual: Usual
    pooled_cld: np.ndarray
    n_frames_c: np.ndarray
    n_giant_cl: np.ndarray
    square_cl: np.ndarray
    square_ld: np.ndarray
    square_giant_cl: np.ndarray
    spans_n4: np.ndarray

    def layers(self) -> list[int]:
        """The layers that have giant frames."""
        return [int(layer) for layer in np.flatnonzero(self.n_giant_cl.any(axis=0))]

    def variance_share(self, clips_c: np.ndarray) -> np.ndarray:
        """(l,) the share of the frames' squared distances from the middle that giant frames hold, over some clips."""
        whole = self.square_cl[clips_c].sum(axis=0)
        return self.square_giant_cl[clips_c].sum(axis=0) / np.where(whole > 0, whole, 1.0)


def load_giants(artefacts: Artefacts, states_name: str, shards: Sequence[Shard], usual: Usual) -> Giants:
    """The giant frames of the whole corpus, in clip order."""
    parts = [artefacts.get(GIANTS_STAGE, giants_key(states_name, s, usual.name)).arrays("giants") for s in shards]
    starts = np.cumsum([0, *(len(part["n_frames_c"]) for part in parts)])
    for part, start in zip(parts, starts, strict=False):
        part["spans_n4"][:, 0] += start
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name != "square_ld"}
    return Giants(usual, **joined, square_ld=np.sum([part["square_ld"] for part in parts], axis=0))


def add_frame_tables(bundle: Bundle, encoder_id: str, giants: Giants, train_c: np.ndarray) -> None:
    """`layer_frames` (a row a layer) and `giant_spans` (a row a run of giant frames in a clip)."""
    whole_ld = giants.square_ld / np.maximum(giants.square_ld.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    everyone = np.ones(len(train_c), bool)
    rows = pd.DataFrame(
        {
            "encoder_id": encoder_id,
            "layer": np.arange(len(giants.usual.layers)),
            "n_frames": int(giants.n_frames_c.sum()),
            "n_giant": giants.n_giant_cl.sum(axis=0),
            "n_clips": len(giants.n_frames_c),
            "n_clips_with": (giants.n_giant_cl > 0).sum(axis=0),
            "variance_share": giants.variance_share(everyone),
            "variance_share_train": giants.variance_share(train_c),
            "top_dimension": whole_ld.argmax(axis=1),
            "top_dimension_share": whole_ld.max(axis=1),
            "median_distance": [middle.median_distance for middle in giants.usual.layers],
            "center": [middle.center_d.astype("f4") for middle in giants.usual.layers],
        }
    )
    bundle.add_facts({"subject": encoder_id})
    bundle.add_table("layer_frames", rows)
    if len(giants.spans_n4):
        clip, layer, start_s, end_s = giants.spans_n4.T
        spans = {"clip_index": clip.astype(int), "layer": layer.astype(int), "start_s": start_s, "end_s": end_s}
        bundle.add_table("giant_spans", pd.DataFrame({"encoder_id": encoder_id, **spans}))
