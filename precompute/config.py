"""What a run is asked to do: one frozen dataclass, its checks, and the presets."""

from __future__ import annotations

import dataclasses
import math
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from explorer.encoders.loaders import LAST_LAYERS
from explorer.errors import ConfigError, nearest
from explorer.text import count, quantity
from precompute.option_types import checked
from precompute.options import (
    DATASETS,
    FAULTS,
    FEATURE_MAPS,
    GIANT_FRAMES,
    LASSO_MODES,
    LEFT_OUT,
    METHODS,
    OPTIONS,
    key_of_toml,
)

PAPER_SPARSITIES = (0.75, 0.80, 0.85, 0.90, 0.95, 0.99)


@dataclass(frozen=True)
class PaperFaults:
    """The published code's faults, each a switch: on in preset `paper`, off elsewhere. `options.FAULTS` says which."""

    wavlm_as_wav2vec2: bool = False
    encoders_in_training_mode: bool = False
    drop_vibrado: bool = False
    pool_padding: bool = False
    completeness_one_without_weights: bool = False
    last_batch_checkpoint: bool = False


@dataclass(frozen=True)
class RunConfig:
    """One run. Fields end in their units; the command line and a TOML file use the same names (see `options`)."""

    dataset: str
    root: Path
    store: Path
    encoders: tuple[str, ...]
    preset: str = "default"
    label: str | None = None
    group: str | None = None
    clip_s: float = 10.0
    layers: str = "best2"
    sparsities: tuple[float, ...] = PAPER_SPARSITIES
    reference_sparsity: float = 0.95
    n_features: int | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    seeds_everywhere: bool = False
    sae_per_fold: bool = False
    epochs: int = 100
    batch_size: int = 64
    learning_rate: float = 1e-3
    method: str = "sound"
    probe_c_grid: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0)
    lasso: str = "cv-reference"
    lasso_folds: int = 5
    lasso_alphas: int = 20
    lasso_eps: float = 1e-3
    lasso_permutations: int = 1000
    lasso_counts_codes: bool = False
    label_permutations: int = 100
    feature_map: str = "umap"
    maps_everywhere: bool = False
    dense_lasso_all_layers: bool = False
    n_top_clips: int = 12
    n_playable_clips: int = 300
    frame_cache_gb: float = 6.0
    shard_clips: int = 16
    device: str = "auto"
    last_layer: str = "block"
    giant_frames: str = LEFT_OUT
    n_workers: int = 0
    split_seed: int = 0
    strict: bool = False
    offline: bool = False
    faults: PaperFaults = PaperFaults()
    crop_s: float = 5.0
    n_crops: int = 8

    def __post_init__(self) -> None:
        _require("dataset", self.dataset in DATASETS, self.dataset)
        names = [encoder.split("=")[0] for encoder in self.encoders]
        _require("encoders", len(set(names)) == len(names) > 0, ", ".join(names) or "none")
        _require("clip_s", 0.5 <= self.clip_s <= 600, self.clip_s)
        for sparsity in self.sparsities:
            _require("sparsities", 0 < sparsity < 1, sparsity)
        _require("reference_sparsity", 0 < self.reference_sparsity < 1, self.reference_sparsity)
        for seed in self.seeds:
            _require("seeds", 0 <= seed < 2**32, seed)
        for c in self.probe_c_grid:
            _require("probe_c_grid", 0 < c < math.inf, c)
        for name in ("sparsities", "seeds", "probe_c_grid"):
            values = getattr(self, name)
            _require(name, len(set(values)) == len(values) > 0, ", ".join(f"{value:g}" for value in values) or "none")
        for name, option in OPTIONS.items():
            if option.least is not None:
                _require(name, option.least <= getattr(self, name) < 2**32, getattr(self, name))
        _require("learning_rate", 0 < self.learning_rate < math.inf, self.learning_rate)
        _require("lasso_eps", 0 < self.lasso_eps < 1, self.lasso_eps)
        _require("crop_s", 0 < self.crop_s < math.inf, self.crop_s)
        _require("n_features", self.n_features is None or 8 <= self.n_features <= 65536, self.n_features)
        _require("epochs", 1 <= self.epochs <= 100_000, self.epochs)
        _require("method", self.method in METHODS, self.method)
        _require("last_layer", self.last_layer in LAST_LAYERS, self.last_layer)
        _require("giant_frames", self.giant_frames in GIANT_FRAMES, self.giant_frames)
        _require("lasso", self.lasso in LASSO_MODES, self.lasso)
        _require("feature_map", self.feature_map in FEATURE_MAPS, self.feature_map)
        _require("frame_cache_gb", self.frame_cache_gb >= 0, self.frame_cache_gb)

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
        "label_permutations": 40,
        "feature_map": "pca",
    },
    "default": {},
    "rigorous": {
        "layers": "all",
        "seeds": (0, 1, 2, 3, 4),
        "seeds_everywhere": True,
        "sae_per_fold": True,
        "lasso": "cv-everywhere",
        "lasso_alphas": 50,
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
            f"sparsity {quantity(sparsity, 6)} with {count(n_features, 'feature')} means k = {k}; it must be "
            "between 1 and the model's "
            f"width less one ({d_model - 1}). Choose a higher --sparsities or fewer --n-features."
        )
    return k


def make_config(options: Mapping[str, Any]) -> RunConfig:
    """A RunConfig from option names and values: the preset's values first, then `options` over them.

    Raises ConfigError for an unknown name or value.
    """
    unknown = sorted(set(options) - set(OPTIONS))
    _check_known("option", unknown, OPTIONS)
    given = checked(RunConfig, {name: value for name, value in options.items() if value is not None})
    preset = given.get("preset") or "default"
    _require("preset", preset in PRESETS, preset)
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
    if not isinstance(given, Mapping):
        raise ConfigError(f"faults: {given!r} is not allowed; give a table [faults] of {', '.join(FAULTS)}.")
    _check_known("faults", sorted(set(given) - set(FAULTS)), FAULTS)
    for name, value in given.items():
        if not isinstance(value, bool):
            raise ConfigError(f"faults.{name}: {value!r} is not allowed; give true or false.")
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


def _plain_names(table: Mapping[str, Any]) -> dict[str, Any]:
    """The same table with underscores for dashes in its names, tables inside it too."""
    return {
        name.replace("-", "_"): _plain_names(value) if isinstance(value, Mapping) else value
        for name, value in table.items()
    }


def _require(name: str, condition: bool, value: object) -> None:
    """Raise ConfigError with what the option may be, unless `condition`."""
    if not condition:
        option = OPTIONS[name]
        near = nearest(str(value), option.names)
        raise ConfigError(f"{key_of_toml(name)}: {value!r} is not allowed; give {option.allowed}.{near}")


def _check_known(what: str, unknown: Sequence[str], known: Iterable[str]) -> None:
    if unknown:
        raise ConfigError(
            f"{what}: {', '.join(unknown)} is not allowed; there are {', '.join(sorted(known))}."
            f"{nearest(unknown[0], known)}"
        )
