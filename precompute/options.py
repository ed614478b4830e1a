"""Every option of a run, said once: what it does, what it may be, and where it stands in help and documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from explorer.encoders.loaders import LAST_LAYERS

DATASETS = ("vocalset", "esc50", "folder", "synthetic")
PRESETS = ("quick", "default", "rigorous", "paper")
METHODS = ("sound", "paper")
LASSO_MODES = ("cv-everywhere", "cv-reference")
FEATURE_MAPS = ("umap", "pca")
KEPT, LEFT_OUT = "kept", "left-out"
GIANT_FRAMES = (KEPT, LEFT_OUT)

PLACES, MODELS, DEPTH, MEASURES, HOW, PAPER = (
    "what to read and where to write",
    "models",
    "how deep to go",
    "measures and lists",
    "how to run",
    "preset paper",
)
GROUPS = (PLACES, MODELS, DEPTH, MEASURES, HOW, PAPER)


@dataclass(frozen=True)
class Option:
    """One option. `allowed` completes 'give ...' in an error; `default` is said where the value alone says too little.

    `least`: the smallest whole number that is allowed, where that is all there is to check.
    """

    group: str
    help: str
    allowed: str
    default: str = ""
    metavar: str | None = None
    least: int | None = None
    names: tuple[str, ...] = ()  # where it is one of these


def _at_least(group: str, help_: str, least: int, default: str = "") -> Option:
    return Option(group, help_, f"a whole number, {least} or more", default, "N", least)


def _one_of(group: str, help_: str, names: tuple[str, ...]) -> Option:
    return Option(group, help_, f"{', '.join(names[:-1])} or {names[-1]}", names=names)


_SWITCH = "true or false"

OPTIONS: Mapping[str, Option] = {
    "dataset": _one_of(PLACES, "how the recordings are laid out (see: list datasets)", DATASETS),
    "root": Option(PLACES, "folder of the recordings", "a folder", metavar="DIR"),
    "store": Option(PLACES, "folder of the store; made when it is not there", "a folder", metavar="DIR"),
    "label": Option(
        PLACES,
        "metadata column to predict",
        "a column of the data set",
        default="the data set's own",
        metavar="COLUMN",
    ),
    "group": Option(
        PLACES,
        "metadata column that never crosses a split, such as singer; 'folder' and 'file' are columns too",
        "a column of the data set",
        default="the data set's own",
        metavar="COLUMN",
    ),
    "clip_s": Option(
        PLACES,
        "longest clip in seconds; longer files are cut",
        "seconds between 0.5 and 600",
        metavar="SECONDS",
    ),
    "split_seed": _at_least(PLACES, "another draw of the held-out groups and of the folds", 0),
    "encoders": Option(
        MODELS,
        "ast, wavlm, hubert, mert, whisper, or any name with a hub id or folder of those model types; a commit, tag or "
        "branch after @ pins a hub id; repeatable",
        "at least one, each name once, such as --encoder hubert",
        metavar="NAME[=HUB_ID[@REVISION]|FOLDER]",
    ),
    "device": Option(
        MODELS,
        "where the encoders run",
        "auto, cpu, cuda, cuda:NUMBER or mps",
        default="auto: CUDA where there is one, else the CPU",
    ),
    "last_layer": _one_of(
        MODELS,
        "the last layer's state: block, its block's output, as of every other layer; normed, behind the network's "
        "final LayerNorm, as most papers count it. AST, Whisper and large HuBERT and WavLM have one; elsewhere nothing "
        "changes",
        LAST_LAYERS,
    ),
    "giant_frames": _one_of(
        MODELS,
        "left-out: a clip's state is the mean of its frames without the giant ones (few, far from all others along one "
        "dimension, as large models have them); kept: of all its frames, as always in preset paper",
        GIANT_FRAMES,
    ),
    "offline": Option(MODELS, "never ask the hub", _SWITCH),
    "preset": _one_of(DEPTH, "a set of values to begin with; other options win (see: list presets)", PRESETS),
    "layers": Option(
        DEPTH,
        "which layers get SAEs; best2: the best probed one and the best of the other half",
        "best2, all, '6,12', or 'ast=6,12;hubert=3,12'",
    ),
    "sparsities": Option(
        DEPTH,
        "one SAE for each: the share of features that are silent on a clip",
        "one or more shares between 0 and 1, each once, such as 0.75,0.95",
        metavar="LIST",
    ),
    "reference_sparsity": Option(
        DEPTH,
        "the sparsity that is shown first and gets every seed; the nearest one where the run has no such SAE",
        "a share between 0 and 1, such as 0.95",
        metavar="SHARE",
    ),
    "n_features": Option(
        DEPTH,
        "features an SAE has",
        "a whole number from 8 to 65536",
        default="2048 at width 768, else 8/3 x width",
        metavar="N",
    ),
    "seeds": Option(
        DEPTH,
        "starts of the training; the first is the one shown, the others say how stable its features are",
        "one or more whole numbers from 0 on, each once, such as 0,1,2",
        metavar="LIST",
    ),
    "seeds_everywhere": Option(DEPTH, "train every seed at every sparsity, not at the reference one alone", _SWITCH),
    "sae_per_fold": Option(
        DEPTH,
        "refit the SAEs of the first seed without each fold of groups, so that scores over all groups stand on codes "
        "that never saw the group; as many more trainings as there are folds (at most 8)",
        _SWITCH,
    ),
    "epochs": Option(
        DEPTH,
        "most passes of an SAE's training over the clips; fewer where there are fewer training clips than features and "
        "training groups kept apart are reconstructed better then",
        "a whole number from 1 to 100000",
        metavar="N",
    ),
    "batch_size": _at_least(DEPTH, "clips in one step of an SAE's training", 1),
    "learning_rate": Option(DEPTH, "of an SAE's training", "a number above 0", metavar="X"),
    "method": _one_of(
        DEPTH,
        "how SAEs and probes are trained and split: this project's way, or the published one (for preset paper)",
        METHODS,
    ),
    "probe_c_grid": Option(
        MEASURES,
        "inverse strengths of a probe's penalty, one chosen by folds of training groups",
        "one or more numbers above 0, each once, such as 0.01,0.1,1",
        metavar="LIST",
    ),
    "lasso": _one_of(
        MEASURES,
        "where Lasso's alpha is chosen by cross-validation: for every SAE, or for the reference one only (the "
        "others take its alphas)",
        LASSO_MODES,
    ),
    "lasso_folds": _at_least(MEASURES, "folds of training groups that choose Lasso's alpha", 2),
    "lasso_alphas": _at_least(MEASURES, "how many alphas are tried", 1),
    "lasso_eps": Option(
        MEASURES,
        "the lowest alpha tried, as a share of the highest",
        "a share between 0 and 1",
        metavar="SHARE",
    ),
    "lasso_permutations": _at_least(
        MEASURES,
        "times that measured factors are exchanged to see what chance reaches (preset paper: fits to shuffled factors)",
        1,
    ),
    "lasso_counts_codes": Option(
        MEASURES,
        "count how many codes reach 90 % of the best R2 also where alpha is not searched for, which costs that search",
        _SWITCH,
    ),
    "label_permutations": _at_least(
        MEASURES, "permutations of the labels that show what the best feature reaches by chance", 1
    ),
    "feature_map": _one_of(MEASURES, "how features are laid out on the map", FEATURE_MAPS),
    "maps_everywhere": Option(MEASURES, "a map for every SAE, not for the reference ones alone", _SWITCH),
    "dense_lasso_all_layers": Option(
        MEASURES, "predict factors from the dense states of every layer, not of those with SAEs alone", _SWITCH
    ),
    "n_top_clips": _at_least(MEASURES, "strongest clips that are listed for each feature", 1),
    "n_playable_clips": _at_least(
        MEASURES, "clips for which states are kept, so that any feature's trace can be drawn", 0
    ),
    "frame_cache_gb": Option(
        HOW, "disk that the first pass may use to spare a second one", "0 or more gigabytes", metavar="GB"
    ),
    "shard_clips": _at_least(
        HOW, "clips that are encoded and kept together: what a stopped run repeats at most, and a GPU's batch", 1
    ),
    "n_workers": _at_least(
        HOW, "processes and threads for the parallel stages", 0, default="0: as many as there are cores"
    ),
    "strict": Option(HOW, "a file that cannot be read is an error", _SWITCH),
    "faults": Option(
        PAPER, "the published code's faults, each a switch in the TOML table [faults]", "a table of switches"
    ),
    "crop_s": Option(PAPER, "seconds of a training crop", "seconds above 0", metavar="SECONDS"),
    "n_crops": _at_least(PAPER, "fixed, seeded training crops a clip", 1),
}

FAULTS: Mapping[str, str] = {
    "wavlm_as_wav2vec2": "WavLM without its gated relative position bias",
    "encoders_in_training_mode": "dropout while SAEs and probes train",
    "drop_vibrado": "files in a folder named vibrado are lost",
    "pool_padding": "zeros (and AST's special and padded tokens) are pooled as sound",
    "completeness_one_without_weights": "a factor that no code predicts counts as completely explained",
    "last_batch_checkpoint": "the SAE kept is the best on the last validation batch only",
}


def flag_of(name: str) -> str:
    """The option's flag on the command line."""
    return "--" + key_of_toml(name)


def key_of_toml(name: str) -> str:
    """The option's key in a TOML file."""
    return "encoder" if name == "encoders" else name.replace("_", "-")
