"""Small corpora of noise on disk, and states that have nothing to do with their sound: what the suite over stores runs.

The real pipeline reads, measures, encodes and publishes; only what the network gives is replaced, behind
`encode_corpus`, by numbers that are drawn.
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import soundfile as sf
from numpy.typing import NDArray

from precompute import encoder_run
from precompute.config import RunConfig, make_config
from precompute.encode_stage import EncoderAtWork, States
from precompute.random_checkpoints import write_random_checkpoint

RATE_HZ, SECONDS = 16_000, 0.5
WHITE, COLOURED, AS_THEY_ARE = "white", "coloured by group", "random weights"
SOUNDS = (WHITE, COLOURED, AS_THEY_ARE)
OF_CLIPS, OF_GROUPS, OF_BOTH, PERMUTED = "of clips", "of groups", "of both", "permuted within groups"
LABELS = (OF_CLIPS, OF_GROUPS, OF_BOTH, PERMUTED)
GROUP_SD = 2.0  # of what groups have in common, in SD of what clips differ by
ENCODED = ("factors", "frame_rates", "frames", "giant_frames", "pooled", "usual_frames")  # stages


@dataclass(frozen=True)
class Design:
    """A corpus and what replaces its states. has_reading: whether there is a number that differs from clip to clip
    (without one, clips of two labels are minimal pairs). strength: of what is planted, in SD of the states' noise along
    one direction each for label 'a', `reading` and the level of the sound; 0: nothing is.
    """

    n_groups: int
    per_group: int
    sound: str = WHITE
    labels: str = OF_CLIPS
    has_reading: bool = True
    encoders: tuple[str, ...] = ("hubert",)
    strength: float = 0.0
    seed: int = 0

    @property
    def size(self) -> str:
        return f"{self.n_groups} x {self.per_group}"

    def __str__(self) -> str:
        planted = f", planted {self.strength:g}" if self.strength else ""
        return f"{self.size}, {self.sound}, labels {self.labels}{planted}, seed {self.seed}"


@dataclass(frozen=True, eq=False)
class Columns:
    """Of every clip, groups one after the other: its file, group, level in dB (of the sound) and the columns."""

    file_c: list[str]
    group_c: NDArray[np.intp]
    level_c: NDArray[np.float64]
    label_c: NDArray[np.str_]
    reading_c: NDArray[np.int64]
    age_c: NDArray[np.int64]


def columns_of(design: Design) -> Columns:
    """The sound's levels are the same for every seed; the columns are drawn apart from them."""
    n = design.n_groups * design.per_group
    group = np.repeat(np.arange(design.n_groups), design.per_group)
    sound, rng = np.random.default_rng([n, design.n_groups]), np.random.default_rng([design.seed, n, 1])
    level = -25 + 4 * sound.standard_normal(design.n_groups)[group] + 4 * sound.standard_normal(n)
    return Columns(
        [f"g{g:02d}/{i:04d}.wav" for i, g in enumerate(group)],
        group,
        level,
        _labels(design, group, rng),
        rng.integers(0, 9, n),
        20 + rng.permutation(design.n_groups)[group] // 2,
    )


def _labels(design: Design, group: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.str_]:
    of_clips = rng.integers(0, 3, len(group))
    if design.labels == OF_GROUPS:
        codes = rng.permutation(np.arange(design.n_groups) % 3)[group]
    elif design.labels == OF_BOTH:
        codes = np.where(group % 3 == 0, 3, of_clips)
    elif design.labels == PERMUTED:
        codes = np.concatenate([rng.permutation(np.arange(design.per_group) % 3) for _ in range(design.n_groups)])
    else:
        codes = of_clips
    return np.array(list("abcd"))[codes]


def write_sounds(design: Design, root: Path) -> None:
    """Noise of another level, slope of its spectrum and resonance in every clip, and in every group."""
    columns = columns_of(design)
    rng = np.random.default_rng([len(columns.group_c), design.n_groups, 2])
    n = round(RATE_HZ * SECONDS)
    hertz = np.maximum(np.fft.rfftfreq(n, 1 / RATE_HZ), 20.0)
    slope_g, peak_g = rng.uniform(0, 1.5, design.n_groups), rng.uniform(7, 12, design.n_groups)
    for file, group, level_db in zip(columns.file_c, columns.group_c, columns.level_c, strict=True):
        slope, peak = slope_g[group] + rng.uniform(-0.5, 0.5), peak_g[group] + rng.uniform(-1, 1)
        gain = hertz**-slope * (1 + 8 * np.exp(-0.5 * ((np.log2(hertz) - peak) / 0.3) ** 2))
        samples = np.fft.irfft(gain * np.fft.rfft(rng.standard_normal(n)), n)
        samples *= 10 ** (level_db / 20) / np.sqrt(np.mean(samples**2))
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        sf.write(path, np.clip(samples, -1, 1).astype(np.float32), RATE_HZ)


def write_table(design: Design, root: Path) -> None:
    """metadata.csv: file, group, label; reading (of clips, where the design has it) and age (of groups)."""
    columns = columns_of(design)
    table = {"file": columns.file_c, "group": [f"g{g:02d}" for g in columns.group_c], "label": columns.label_c}
    if design.has_reading:
        table["reading"] = columns.reading_c
    pd.DataFrame({**table, "age": columns.age_c}).to_csv(root / "metadata.csv", index=False)


def states_of(design: Design, encoder_id: str, layer: int, n_dims: int) -> NDArray[np.float32]:
    """(c, d) Gaussian states of one layer, drawn apart from every other, and what is planted in them."""
    columns, rng = columns_of(design), _generator(design, encoder_id, layer)
    planted = np.stack([columns.label_c == "a", columns.reading_c, columns.level_c], axis=1).astype(float)
    states = sample_states(design, columns.group_c, n_dims, rng)
    if design.strength:
        directions = np.linalg.qr(rng.standard_normal((n_dims, 3)))[0].T
        states += design.strength * ((planted - planted.mean(axis=0)) / planted.std(axis=0)) @ directions
    return states.astype(np.float32)


def sample_states(
    design: Design, group_c: NDArray[np.intp], n_dims: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """(c, d) states of clips of these groups (0 to n - 1), without anything planted."""
    states = rng.standard_normal((len(group_c), n_dims))
    if design.sound == COLOURED:
        states += GROUP_SD * rng.standard_normal((int(group_c.max()) + 1, n_dims))[group_c]
    return states


def _generator(design: Design, encoder_id: str, layer: int) -> np.random.Generator:
    return np.random.default_rng([design.seed, zlib.crc32(encoder_id.encode()), layer, design.n_groups])


@contextmanager
def states_replaced(design: Design) -> Iterator[None]:
    """Within, runs get the design's states for what their encoders give."""
    encode = encoder_run.encode_corpus

    def drawn(work: EncoderAtWork) -> States:
        states = encode(work)
        if design.sound == AS_THEY_ARE:
            return states
        n_dims = states.pooled_cld.shape[2]
        layers = [states_of(design, work.encoder_id, layer, n_dims) for layer in work.layers()]
        pooled_cld = np.stack(layers, axis=1)
        return replace(states, pooled_cld=pooled_cld, other_cld=pooled_cld)

    with patch.object(encoder_run, "encode_corpus", drawn):
        yield


class Workshop:
    """A folder of sounds, checkpoints and what was encoded of them once, so that a further store is quick."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def checkpoint(self, name: str) -> Path:
        folder = self.folder / "checkpoints" / name
        if not (folder / "config.json").is_file():
            write_random_checkpoint(name, folder, size="small", seed=0)
        return folder

    def config(self, design: Design, store: Path) -> RunConfig:
        """The run of one store; its corpus is written where it is not there yet, its table anew."""
        root = self.folder / f"sounds-{design.n_groups}-{design.per_group}"
        if not root.is_dir():
            write_sounds(design, root)
        write_table(design, root)
        return make_config(
            {
                "dataset": "folder",
                "root": root,
                "store": store,
                "encoders": [f"{name}={self.checkpoint(name)}" for name in design.encoders],
                "preset": "quick",
                "sparsities": (0.9, 0.95),
                "seeds": (0,),
                "epochs": 10,
                "label_permutations": 60,
                "lasso_permutations": 200,
                "n_top_clips": 3,
                "n_playable_clips": 4,
                "n_workers": 1,
                "device": "cpu",
            }
        )

    def lend(self, design: Design, store: Path) -> None:
        """Give a new store what an earlier one of the same sounds and encoders encoded."""
        kept = self._kept(design)
        if kept.is_dir():
            shutil.copytree(kept, store / "artefacts", copy_function=_linked)

    def take(self, design: Design, store: Path) -> None:
        """Keep what this store encoded for the next one of the same sounds and encoders."""
        kept = self._kept(design)
        if not kept.is_dir():
            for stage in ENCODED:
                if (store / "artefacts" / stage).is_dir():
                    shutil.copytree(store / "artefacts" / stage, kept / stage)

    def _kept(self, design: Design) -> Path:
        return self.folder / f"encoded-{design.n_groups}-{design.per_group}-{'-'.join(design.encoders)}"


def _linked(source: str, target: str) -> str:
    Path(target).hardlink_to(source)
    return target
