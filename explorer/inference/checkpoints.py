"""Where the checkpoint of a store's encoder lies on this machine, and whether it is the same one.

Looked at in this order: places named for this run (`--checkpoint NAME=DIR`), SONOSCOPE_CHECKPOINTS (such places,
separated as in PATH), places that runs on this machine used before, those that the store's own runs used, the local
Hugging Face cache. Nothing is fetched. The fingerprint must be the store's: it is over weights, preprocessor values,
configuration and loader, and SAEs mean nothing on other states.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from explorer.errors import ConfigError, EncoderError
from explorer.queries.live import fetch_places
from explorer.recent import listed_in, remembered_places
from explorer.store import Store

VARIABLE = "SONOSCOPE_CHECKPOINTS"


@dataclass(frozen=True)
class Place:
    """A checkpoint that is the store's: `assignment` is what `load_encoder` takes. folder: where it lies."""

    encoder_id: str
    assignment: str
    folder: Path
    loader: str


@dataclass(frozen=True)
class Missing:
    """No checkpoint is the store's: `reason` says where was looked, what was found there, and what to do."""

    encoder_id: str
    reason: str


def parse_places(texts: Sequence[str]) -> list[str]:
    """Checked 'NAME=DIR' texts. Raises ConfigError for one without a name, or whose folder is not there."""
    for text in texts:
        name, _, folder = text.partition("=")
        if not name.strip() or not folder.strip():
            raise ConfigError(
                f"{text!r} names no checkpoint: write NAME=DIR, such as hubert=/models/hubert-base-ls960."
            )
        if not _is_there(folder):
            raise ConfigError(f"There is no folder {folder!r} (from {text!r}). Give the folder that holds config.json.")
    return list(texts)


def places_of(store: Store, named: Sequence[str] = ()) -> list[str]:
    """All places to look at, in order: 'NAME=DIR' or 'NAME=HUB_ID'. `named`: those of this run, which must be there."""
    everything = [*parse_places(named), *parse_places(listed_in(VARIABLE)), *remembered_places(), *fetch_places(store)]
    return list(dict.fromkeys(everything))


def find_place(encoder: Mapping[str, Any], places: Sequence[str]) -> Place | Missing:
    """The first place whose checkpoint is this row of `encoders`; loads nothing, but reads weights to hash them."""
    from explorer.encoders import find_checkpoint

    looked = []
    for place in _candidates(encoder, places):
        try:
            found = find_checkpoint(place, revision=_revision(encoder, place), loader=encoder["loader"], offline=True)
        except EncoderError as error:
            looked.append(f"{place}: {error}")
            continue
        if found.fingerprint == encoder["fingerprint"]:
            name = place.partition("=")[0]  # its folder and not its name on the hub, which may mean another revision
            return Place(str(encoder["encoder_id"]), f"{name}={found.folder}", found.folder, str(encoder["loader"]))
        looked.append(f"{place}: {_difference(encoder, found)}")
    return Missing(str(encoder["encoder_id"]), _advice(encoder, looked))


def _candidates(encoder: Mapping[str, Any], places: Sequence[str]) -> list[str]:
    """Folders that are there, under the encoder's name, then the hub's name of it where it came from the hub."""
    name = str(encoder["name"])
    folders = [
        f"{name}={folder}"
        for text in places
        for given, _, folder in [text.partition("=")]
        if given == name and _is_there(folder)
    ]
    from_hub = [f"{name}={encoder['source']}"] if encoder["revision"] else []
    return list(dict.fromkeys([*folders, *from_hub]))


def _revision(encoder: Mapping[str, Any], place: str) -> str | None:
    return None if _is_there(place.partition("=")[2]) else str(encoder["revision"])


def _is_there(folder: str) -> bool:
    """Whether it is a folder; os.path, since pathlib raises where one above it may not be entered."""
    return os.path.isdir(os.path.expanduser(folder))


def _difference(encoder: Mapping[str, Any], found: Any) -> str:
    if found.family != encoder["family"]:
        return f"a checkpoint of family {found.family}, not {encoder['family']}"
    if found.weights_sha256 != encoder["weights_sha256"]:
        return (
            f"other weights (SHA-256 {found.weights_sha256[:12]}…, this store was made with "
            f"{str(encoder['weights_sha256'])[:12]}…)"
        )
    return "the same weights, but another configuration, preprocessor or way of running them"


def _advice(encoder: Mapping[str, Any], looked: Sequence[str]) -> str:
    name, shown = encoder["name"], encoder["display_name"]
    where = " ".join(f"Looked at {line}." if not line.endswith(".") else f"Looked at {line}" for line in looked)
    hub = f" or fetch it on a machine with a network (`hf download {encoder['source']}`)" if encoder["revision"] else ""
    return (
        f"The checkpoint of {shown} is not available. {where} Name the folder that holds it with --checkpoint "
        f"{name}=DIR "
        f"or {VARIABLE}={name}=DIR{hub}."
    ).replace("  ", " ")
