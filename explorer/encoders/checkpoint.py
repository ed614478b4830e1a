"""A checkpoint on disk: its family, its configuration, its preprocessor and the hashes that identify it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from explorer.encoders import hub, whisper
from explorer.encoders.configuration import is_below_zero, layers_and_width, network_values, preprocessor_values
from explorer.encoders.loaders import Loader, is_normed, used_loader, uses_paper_class
from explorer.encoders.registry import (
    AST_FAMILY,
    FAMILIES,
    MERT_FAMILY,
    WHISPER_FAMILY,
    EncoderSpec,
    parse_encoder,
    spec_for,
)
from explorer.encoders.weights import encoder_part, shard_files, weight_names
from explorer.errors import EncoderError

MARKER = "sonoscope.json"
"""Beside a checkpoint, what the weights cannot say themselves, any of: is_trained, is_published, note, licence,
display_name, and teacher_carries (names of planted parameters, see Checkpoint)."""

# Written by tools, or about how to compute: without effect on the numbers, left out of the fingerprint.
_CONFIG_NOISE = frozenset(
    {"_attn_implementation", "_attn_implementation_autoset", "_attn_implementation_internal", "_name_or_path",
     "architectures", "attn_implementation", "auto_map", "dtype", "id2label", "label2id", "output_attentions",
     "output_hidden_states", "quantization_config", "return_dict", "torch_dtype", "torchscript", "transformers_version"}
)  # fmt: skip
_ADAPTER = "adapter_config.json"
_AST_PREPROCESSOR = {"mean": -4.2677393, "std": 4.5689974, "max_length": 1024, "num_mel_bins": 128}

# A MERT checkpoint is a HuBERT network only with these values (absent ones are MERT's own defaults).
_MERT_AS_HUBERT = {
    "feature_extractor_cqt": False,
    "deepnorm": False,
    "attention_relax": -1.0,
    "feat_proj_layer_norm": True,
    "do_stable_layer_norm": False,
    "conv_pos_batch_norm": False,
}


@dataclass(frozen=True)
class Checkpoint:
    """A found checkpoint, identified but not loaded.

    config: the parsed config.json. preprocessor: the values in use (the file's, else the family's defaults).
    preprocessor_sha256: of the file, None where there is none. revision: the commit, None for a plain folder.
    fingerprint: SHA-256 over the weights' hash, the preprocessor values, the configuration, the loader and the
    family. encoder_id: name and the fingerprint's first 8 digits. is_trained: None where nothing says. teacher_carries:
    planted parameters of generated corpora that its training targets were functions of.
    """

    spec: EncoderSpec
    family: str
    folder: Path
    source: str
    revision: str | None
    loader: Loader
    config: Mapping[str, Any]
    preprocessor: Mapping[str, Any]
    weight_files: tuple[Path, ...]
    weights_sha256: str
    preprocessor_sha256: str | None
    fingerprint: str
    is_trained: bool | None
    is_published: bool | None
    note: str
    teacher_carries: tuple[str, ...] = ()

    @property
    def encoder_id(self) -> str:
        return f"{self.spec.name}-{self.fingerprint[:8]}"

    @property
    def n_layers(self) -> int:
        return layers_and_width(self.family, self.config)[0]

    @property
    def d_model(self) -> int:
        return layers_and_width(self.family, self.config)[1]

    @property
    def sample_rate_hz(self) -> int:
        return int(self.preprocessor["sampling_rate"])

    @property
    def is_safetensors(self) -> bool:
        return self.weight_files[0].suffix == ".safetensors"


def find_checkpoint(
    name_or_assignment: str, *, revision: str | None = None, loader: Loader = "own class", offline: bool = False
) -> Checkpoint:
    """Find, check and hash the checkpoint behind `hubert` or `hubert=HUB_ID_OR_FOLDER`, without loading it.

    loader: see `Loader`; the checkpoint's is what of it the network has a part for (only WavLM knows "paper", only
    networks with a LayerNorm behind their last block know "last layer normed"). Raises EncoderError naming what is
    missing or not allowed.
    """
    choice = parse_encoder(name_or_assignment, revision=revision)
    if choice.folder is not None:
        folder, commit, source = choice.folder, None, choice.folder.resolve().name
    else:
        source = str(choice.hub_id)
        folder, commit = hub.fetch_checkpoint(source, choice.revision or "main", name=choice.name, offline=offline)
    config = _read_json(folder / hub.CONFIG)
    family = _checked_family(config, folder)
    preprocessor, preprocessor_file = _preprocessor(folder, family, config)
    spec = spec_for(choice, family, int(preprocessor["sampling_rate"]))
    used = used_loader(loader, family, config)
    weight_files = _weight_files(folder)
    part = encoder_part(weight_names(weight_files), family, folder)
    weights_sha256 = _sha256_of_files(weight_files)
    marker = _read_json(folder / MARKER) if (folder / MARKER).is_file() else {}
    is_trained, is_published = (_said(marker, name) for name in ("is_trained", "is_published"))
    licence, shown = str(marker.get("licence", spec.licence)), str(marker.get("display_name", spec.display_name))
    shown = f"{shown} (last layer normed)" if is_normed(used) else shown
    spec = dataclasses.replace(spec, licence=licence, display_name=shown)
    notes = [spec.note, str(marker.get("note", "")), part.said()]
    if (folder / _ADAPTER).is_file():
        notes.append(f"{_ADAPTER} is next to the weights: the adapter that it describes is not applied.")
    if preprocessor_file is None:
        notes.append(f"No preprocessor_config.json: the {FAMILIES[family].display_name} defaults are used.")
    if uses_paper_class(used):
        notes.append("Loaded with the Wav2Vec2 class, which drops WavLM's gated relative position bias.")
    if is_normed(used):
        notes.append("The last layer's state is the one behind the network's final LayerNorm.")
    return Checkpoint(
        spec=spec,
        family=family,
        folder=folder,
        source=source,
        revision=commit,
        loader=used,
        config=config,
        preprocessor=preprocessor,
        weight_files=weight_files,
        weights_sha256=weights_sha256,
        preprocessor_sha256=None if preprocessor_file is None else _sha256(preprocessor_file),
        fingerprint=_fingerprint(weights_sha256, preprocessor, config, used, family),
        is_trained=is_trained,
        is_published=is_published,
        note=" ".join(note for note in notes if note),
        teacher_carries=_carried(marker),
    )


def check_training_mode(checkpoint: Checkpoint) -> None:
    """Raise EncoderError for a family that nobody published in training mode: there is nothing to compare with."""
    if checkpoint.family == WHISPER_FAMILY:
        raise EncoderError(
            f"{checkpoint.spec.name} is a Whisper, which the published code does not run: there is no training mode to "
            "repeat. Leave it out, or set encoders_in_training_mode = false in the TOML table [faults]."
        )


def _carried(marker: Mapping[str, Any]) -> tuple[str, ...]:
    names = marker.get("teacher_carries", ())
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _said(marker: Mapping[str, Any], name: str) -> bool | None:
    value = marker.get(name)
    return value if isinstance(value, bool) else None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise EncoderError(
            f"{path.parent} holds no {path.name}: a checkpoint folder needs {hub.CONFIG} and one of "
            f"{', '.join(hub.SINGLE_WEIGHTS)}. Give the folder that holds them."
        ) from error
    except (OSError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, not JSON, or a number without end
        raise EncoderError(f"{path} cannot be read: {error}. Fetch the checkpoint again.") from error
    if not isinstance(values, dict):
        raise EncoderError(f"{path} is not a JSON object. Fetch the checkpoint again.")
    return values


def _checked_family(config: Mapping[str, Any], folder: Path) -> str:
    family = str(config.get("model_type"))
    if family not in FAMILIES:
        raise EncoderError(
            f"{folder} is a checkpoint of model_type {family!r}; allowed are {', '.join(FAMILIES)}. "
            "Choose a checkpoint of one of these families."
        )
    if family == MERT_FAMILY:
        _check_mert(config, folder)
    network_values(family, config, folder / hub.CONFIG)
    return family


def _check_mert(config: Mapping[str, Any], folder: Path) -> None:
    for key, wanted in _MERT_AS_HUBERT.items():
        value = config.get(key, wanted)
        is_right = is_below_zero(value) if key == "attention_relax" else value is wanted
        if not is_right:
            allowed = "a value below 0" if key == "attention_relax" else repr(wanted)
            raise EncoderError(
                f"{folder} is a MERT checkpoint with {key}={value!r}; Sonoscope loads MERT as the HuBERT network that "
                f"it is only with {allowed}, and never runs a checkpoint's own code. Use m-a-p/MERT-v1-95M."
            )


def _preprocessor(folder: Path, family: str, config: Mapping[str, Any]) -> tuple[dict[str, Any], Path | None]:
    """The preprocessor values in use and the file they are from (None: the family's defaults)."""
    defaults = FAMILIES[family]
    values: dict[str, Any] = {"sampling_rate": defaults.sample_rate_hz, "do_normalize": defaults.do_normalize}
    network = network_values(family, config)
    if family == AST_FAMILY:
        values |= _AST_PREPROCESSOR
        values |= {key: network[key] for key in ("max_length", "num_mel_bins") if key in network}
    if family == WHISPER_FAMILY:
        values = whisper.preprocessor_defaults(network)
    path = next((folder / name for name in hub.PREPROCESSORS if (folder / name).is_file()), None)
    if path is not None:
        found = _read_json(path)
        nested = found.get("feature_extractor")
        found = nested if isinstance(nested, dict) else found
        checked = preprocessor_values(family, {key: found[key] for key in values if key in found}, path)
        for key in ("max_length", "num_mel_bins"):
            if key in values and checked.get(key, values[key]) != values[key]:
                raise EncoderError(
                    f"{folder}: the preprocessor's {key} is {checked[key]}, the network's is {values[key]}. "
                    "Their files are from different checkpoints: fetch the checkpoint again."
                )
        values |= checked
    if family == WHISPER_FAMILY:
        whisper.check_fit(network, values, folder)
    return values, path


def _weight_files(folder: Path) -> tuple[Path, ...]:
    for single, index in zip(hub.SINGLE_WEIGHTS, hub.SHARDED_WEIGHTS, strict=True):
        if (folder / single).is_file():
            return (folder / single,)
        if (folder / index).is_file():
            return shard_files(folder / index)
    if (folder / _ADAPTER).is_file():
        raise EncoderError(
            f"{folder} holds an adapter and no whole weights: merge it into its model (`merge_and_unload` of peft), "
            "save that, and give the folder it was saved in."
        )
    raise EncoderError(
        f"{folder} holds no weights: none of {', '.join((*hub.SINGLE_WEIGHTS, *hub.SHARDED_WEIGHTS))}. "
        "Give the folder that holds them."
    )


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise EncoderError(f"{path} cannot be read: {error}. Check the folder's permissions.") from error


def _sha256_of_files(files: tuple[Path, ...]) -> str:
    """One file: its own SHA-256, as the hub shows it. Shards: the SHA-256 of theirs, in order."""
    digests = [_sha256(path) for path in files]
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _fingerprint(
    weights_sha256: str, preprocessor: Mapping[str, Any], config: Mapping[str, Any], loader: Loader, family: str
) -> str:
    geometry = {key: value for key, value in config.items() if key not in _CONFIG_NOISE}
    text = json.dumps([weights_sha256, preprocessor, geometry, loader, family], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
