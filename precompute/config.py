"""What a run is asked to do: one frozen dataclass, its checks, and the presets."""

from __future__ import annotations

import dataclasses
import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from explorer.errors import ConfigError
from precompute.option_types import checked

DATASETS = ("vocalset", "esc50", "folder", "synthetic")
PAPER_SPARSITIES = (0.75, 0.80, 0.85, 0.90, 0.95, 0.99)
_LEAST: Mapping[str, int] = {
    "batch_size": 1,
    "lasso_folds": 2,
    "lasso_alphas": 1,
    "lasso_permutations": 1,
    "label_permutations": 1,
    "n_top_clips": 1,
    "n_playable_clips": 0,
    "shard_clips": 1,
    "n_workers": 0,
    "split_seed": 0,
    "n_crops": 1,
}


@dataclass(frozen=True)
class PaperFaults:
    """The published code's faults, each a switch: on in preset `paper`, off elsewhere."""

    wavlm_as_wav2vec2: bool = False  # WavLM without its gated relative position bias
    encoders_in_training_mode: bool = False  # dropout while SAEs and probes train
    drop_vibrado: bool = False  # files in a folder named vibrado are lost
    pool_padding: bool = False  # zeros (and AST's special and padded tokens) are pooled as sound
    completeness_one_without_weights: bool = False
    last_batch_checkpoint: bool = False  # the SAE kept is the best on the last validation batch only


@dataclass(frozen=True)
class RunConfig:
    """One run. Fields end in their units; the command line and a TOML file use the same names."""

    dataset: str
    root: Path
    store: Path
    encoders: tuple[str, ...]
    preset: str = "default"
    label: str | None = None  # metadata column to use as label; None: the data set's own
    group: str | None = None
    clip_s: float = 10.0
    layers: str = "best2"  # best2 | all | "6,12" | "ast=6,12;hubert=3"
    sparsities: tuple[float, ...] = PAPER_SPARSITIES
    reference_sparsity: float = 0.95
    n_features: int | None = None  # None: 2048 at width 768, else round(8/3 x width)
    seeds: tuple[int, ...] = (0, 1, 2)
    seeds_everywhere: bool = False  # False: the extra seeds at the reference sparsity only
    epochs: int = 100
    batch_size: int = 64
    learning_rate: float = 1e-3
    method: str = "sound"  # sound | paper
    probe_c_grid: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0)
    lasso: str = "cv-reference"  # cv-everywhere | cv-reference
    lasso_folds: int = 5
    lasso_alphas: int = 20
    lasso_eps: float = 1e-3  # the lowest alpha tried, as a share of the highest
    lasso_permutations: int = 5
    lasso_counts_codes: bool = True  # how many codes reach 90 % of the best held-out R2 along the path
    label_permutations: int = 100
    feature_map: str = "umap"  # umap | pca
    maps_everywhere: bool = False
    dense_lasso_all_layers: bool = False
    n_top_clips: int = 12
    n_playable_clips: int = 300
    frame_cache_gb: float = 6.0
    shard_clips: int = 16
    device: str = "auto"
    n_workers: int = 0  # 0: as many as there are cores
    split_seed: int = 0
    strict: bool = False
    offline: bool = False
    faults: PaperFaults = PaperFaults()
    crop_s: float = 5.0  # preset paper: seconds of a training crop
    n_crops: int = 8  # preset paper: fixed seeded crops a clip

    def __post_init__(self) -> None:
        _check(self.dataset in DATASETS, "dataset", self.dataset, f"one of {', '.join(DATASETS)}")
        _check(bool(self.encoders), "encoder", "none", "at least one, such as --encoder hubert")
        names = [encoder.split("=")[0] for encoder in self.encoders]
        _check(
            len(set(names)) == len(names), "encoder", ", ".join(names), "each name once; write NAME=FOLDER to rename"
        )
        _check(0.5 <= self.clip_s <= 600, "clip-s", self.clip_s, "seconds between 0.5 and 600")
        _check(bool(self.sparsities), "sparsities", "none", "at least one between 0 and 1")
        for sparsity in (*self.sparsities, self.reference_sparsity):
            _check(0 < sparsity < 1, "sparsity", sparsity, "a share between 0 and 1, such as 0.95")
        _check_once("sparsities", self.sparsities)
        _check(bool(self.seeds), "seeds", "none", "at least one whole number")
        for seed in self.seeds:
            _check(0 <= seed < 2**32, "seeds", seed, "whole numbers from 0 on")
        _check_once("seeds", self.seeds)
        _check(bool(self.probe_c_grid), "probe-c-grid", "none", "at least one number above 0")
        for c in self.probe_c_grid:
            _check(0 < c < math.inf, "probe-c-grid", c, "numbers above 0")
        for name, least in _LEAST.items():
            value = getattr(self, name)
            _check(value >= least, name.replace("_", "-"), value, f"{least} or more")
        _check(0 < self.learning_rate < math.inf, "learning-rate", self.learning_rate, "a number above 0")
        _check(0 < self.lasso_eps < 1, "lasso-eps", self.lasso_eps, "a share between 0 and 1")
        _check(0 < self.crop_s < math.inf, "crop-s", self.crop_s, "seconds above 0")
        _check(self.n_features is None or 8 <= self.n_features <= 65536, "n-features", self.n_features, "8 to 65536")
        _check(1 <= self.epochs <= 100_000, "epochs", self.epochs, "1 to 100000")
        _check(self.method in ("sound", "paper"), "method", self.method, "sound or paper")
        _check(self.lasso in ("cv-everywhere", "cv-reference"), "lasso", self.lasso, "cv-everywhere or cv-reference")
        _check(self.feature_map in ("umap", "pca"), "feature-map", self.feature_map, "umap or pca")
        _check(self.frame_cache_gb >= 0, "frame-cache-gb", self.frame_cache_gb, "0 or more gigabytes")

    @property
    def is_paper(self) -> bool:
        """Whether this run follows the published protocol."""
        return self.method == "paper"

    @property
    def reference(self) -> float:
        """The sparsity shown first: the reference one if the run has it, else the nearest that it has."""
        return min(self.sparsities, key=lambda sparsity: (abs(sparsity - self.reference_sparsity), sparsity))

    def workers(self) -> int:
        """How many processes the parallel stages use."""
        return self.n_workers or os.cpu_count() or 1

    def seeds_at(self, sparsity: float) -> tuple[int, ...]:
        """The seeds trained at one sparsity: all at the reference one, the first elsewhere (or all everywhere)."""
        return self.seeds if self.seeds_everywhere or sparsity == self.reference else self.seeds[:1]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            name: str(value) if isinstance(value, Path) else value for name, value in dataclasses.asdict(self).items()
        }


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "quick": {
        "sparsities": (0.75, 0.95, 0.99),
        "seeds": (0,),
        "epochs": 30,
        "probe_c_grid": (0.01,),
        "lasso_folds": 2,
        "lasso_alphas": 5,
        "lasso_eps": 0.1,
        "lasso_permutations": 1,
        "lasso_counts_codes": False,
        "label_permutations": 40,
        "feature_map": "pca",
    },
    "default": {},
    "rigorous": {
        "layers": "all",
        "seeds": (0, 1, 2, 3, 4),
        "seeds_everywhere": True,
        "lasso": "cv-everywhere",
        "lasso_alphas": 50,
        "lasso_permutations": 20,
        "label_permutations": 500,
        "maps_everywhere": True,
        "dense_lasso_all_layers": True,
    },
    "paper": {
        "method": "paper",
        "clip_s": 600.0,
        "seeds": (42,),
        "epochs": 100,
        "batch_size": 16,
        "layers": "ast=6,12;wavlm=1,12;mert=4,7;hubert=3,12",
        "lasso_permutations": 5,
        "faults": PaperFaults(True, True, True, True, True, True),
    },
}

PRESET_NOTES: Mapping[str, str] = {
    "quick": "a first look: three sparsities, one seed, a PCA map",
    "default": "six sparsities, three seeds and cross-validated Lasso at 95 %, a UMAP map",
    "rigorous": "every layer, five seeds and cross-validated Lasso at every sparsity (hours to days)",
    "paper": "the published protocol with its faults as named switches (VocalSet; needs a store of its own)",
}


def n_features_for(d_model: int, n_features: int | None = None) -> int:
    """How many features an SAE has: 2048 at width 768, else round(8/3 x width), unless the run says otherwise."""
    if n_features is not None:
        return n_features
    return 2048 if d_model == 768 else round(8 / 3 * d_model)


def k_for(sparsity: float, n_features: int, d_model: int, *, paper: bool = False) -> int:
    """The most features a code may have. Raises ConfigError when it is under 1 or not under the width.

    `paper` keeps the published rule int((1 - sparsity) * n_features), which floors what rounding keeps.
    """
    k = int((1 - sparsity) * n_features) if paper else round((1 - sparsity) * n_features)
    if k < 1 or k >= d_model:
        raise ConfigError(
            f"sparsity {sparsity:g} with {n_features} features means k = {k}; it must lie between 1 and the model's "
            f"width less one ({d_model - 1}). Choose a higher --sparsities or fewer --n-features."
        )
    return k


def make_config(options: Mapping[str, Any]) -> RunConfig:
    """A RunConfig from option names and values: the preset's values first, then `options` over them.

    Raises ConfigError for an unknown name or value.
    """
    known = {item.name for item in dataclasses.fields(RunConfig)}
    unknown = sorted(set(options) - known)
    _check(not unknown, "option", ", ".join(unknown), f"one of {', '.join(sorted(known))}")
    given = checked(RunConfig, {name: value for name, value in options.items() if value is not None})
    preset = given.get("preset") or "default"
    _check(preset in PRESETS, "preset", preset, f"one of {', '.join(PRESETS)}")
    values: dict[str, Any] = {**PRESETS[preset], **given, "preset": preset}
    for name in ("root", "store"):
        if name not in values:
            raise ConfigError(f"--{name} is missing: give --{name} DIR.")
        values[name] = Path(values[name]).expanduser()
    for name in ("encoders", "sparsities", "seeds", "probe_c_grid"):
        if name in values:
            values[name] = tuple(values[name])
    if "faults" in given:
        values["faults"] = _switched(PRESETS[preset].get("faults", PaperFaults()), given["faults"])
    missing = [f"--{name.removesuffix('s')}" for name in ("dataset", "encoders") if not values.get(name)]
    if missing:
        raise ConfigError(f"{' and '.join(missing)} is missing. See `python -m precompute run --help`.")
    return RunConfig(**values)


def _switched(faults: PaperFaults, given: object) -> PaperFaults:
    """The preset's faults with those that are named in `given` switched; the others stay as the preset has them."""
    if isinstance(given, PaperFaults):
        return given
    known = [item.name for item in dataclasses.fields(PaperFaults)]
    if not isinstance(given, Mapping):
        raise ConfigError(f"faults: {given!r} is not allowed; give a table [faults] of {', '.join(known)}.")
    unknown = sorted(set(given) - set(known))
    _check(not unknown, "faults", ", ".join(unknown), f"some of {', '.join(known)}")
    for name, value in given.items():
        _check(isinstance(value, bool), f"faults.{name}", value, "true or false")
    return dataclasses.replace(faults, **given)


def read_toml(path: Path) -> dict[str, Any]:
    """The options in a TOML file, names with dashes or underscores. Raises ConfigError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return _plain_names(tomllib.load(file))
    except OSError as error:
        raise ConfigError(f"The configuration {path} cannot be read: {error}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"The configuration {path} is not TOML: {error}.") from error


def _check_once(name: str, values: tuple[object, ...]) -> None:
    twice = [value for value in values if values.count(value) > 1]
    _check(not twice, name, twice[:1], "each value once")


def _plain_names(table: Mapping[str, Any]) -> dict[str, Any]:
    """The same table with underscores for dashes in its names, tables inside it too."""
    return {
        name.replace("-", "_"): _plain_names(value) if isinstance(value, Mapping) else value
        for name, value in table.items()
    }


def _check(condition: bool, name: str, value: object, allowed: str) -> None:
    if not condition:
        raise ConfigError(f"{name}: {value!r} is not allowed; give {allowed}.")
