"""Fetching a checkpoint from the Hugging Face hub, or finding it in the local cache. Nothing is fetched at import."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from pathlib import Path

from explorer.encoders.library import require
from explorer.errors import EncoderError

CONFIG = "config.json"
PREPROCESSORS = ("preprocessor_config.json", "processor_config.json")
SINGLE_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
SHARDED_WEIGHTS = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_TIMEOUT_S = 5.0


def fetch_checkpoint(hub_id: str, revision: str, *, name: str, offline: bool = False) -> tuple[Path, str]:
    """The local folder of a hub checkpoint and the commit it is of; fetched only when the cache does not hold it.

    A revision that is a full commit hash is taken from the cache without asking the hub. Raises EncoderError, with
    what to do offline, when the checkpoint is neither cached nor reachable.
    """
    require("huggingface_hub", "checkpoints of the hub")
    is_commit = len(revision) == 40
    if offline or is_commit:
        folder = _cached(hub_id, revision)
        if folder is not None:
            return folder, folder.name
    if not offline and _hub_answers():
        return _downloaded(hub_id, revision, name)
    folder = None if offline or is_commit else _cached(hub_id, revision)
    if folder is None:
        why = "offline was asked for" if offline else "the hub cannot be reached"
        raise EncoderError(
            f"{hub_id} (revision {revision}) is not in the local Hugging Face cache and {why}. {_advice(name, hub_id)}"
        )
    return folder, folder.name


def _advice(name: str, hub_id: str) -> str:
    return (
        f"Offline, give a folder that holds the checkpoint: --encoder {name}=/path/to/folder; or fetch it on a machine "
        f"with a network (`hf download {hub_id}`), copy that machine's Hugging Face cache here, point HF_HOME to it "
        "and set HF_HUB_OFFLINE=1."
    )


def _hub_answers() -> bool:
    """One short request, so that a missing network is noticed in seconds and not after the hub client's retries."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    request = urllib.request.Request(constants.ENDPOINT, method="HEAD")  # noqa: S310 - the hub's own address
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S):  # noqa: S310
            return True
    except urllib.error.HTTPError:
        return True  # it answered
    except urllib.error.URLError as error:
        return isinstance(error.reason, ssl.SSLError)  # the hub client has certificates of its own: let it try
    except OSError:
        return False


def _cached(hub_id: str, revision: str) -> Path | None:
    """The snapshot folder in the cache, if it holds a configuration and weights."""
    from huggingface_hub import try_to_load_from_cache

    found = [
        path
        for filename in (CONFIG, *SINGLE_WEIGHTS, *SHARDED_WEIGHTS)
        if isinstance(path := try_to_load_from_cache(hub_id, filename, revision=revision), str)
    ]
    if len(found) < 2 or Path(found[0]).name != CONFIG:
        return None
    return Path(found[0]).parent


def _downloaded(hub_id: str, revision: str, name: str) -> tuple[Path, str]:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        HTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        info = HfApi().model_info(hub_id, revision=revision, timeout=_TIMEOUT_S)
        present = {sibling.rfilename for sibling in info.siblings or ()}
        weights = _weight_patterns(present)
        if CONFIG not in present or not weights:
            raise EncoderError(
                f"{hub_id} at revision {revision} holds no {CONFIG} with weights ({', '.join(SINGLE_WEIGHTS)}). "
                "Choose another checkpoint or revision."
            )
        folder = snapshot_download(  # by the revision's own name, so that the cache knows it offline
            hub_id, revision=revision, allow_patterns=[CONFIG, *PREPROCESSORS, *weights], etag_timeout=_TIMEOUT_S
        )
    except GatedRepoError as error:
        raise EncoderError(
            f"{hub_id} wants its terms accepted first. Accept them on its page, then `hf auth login`."
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        raise EncoderError(
            f"The hub has no model {hub_id!r} at revision {revision!r}. Check the spelling, or give a folder: "
            f"--encoder {name}=/path/to/folder"
        ) from error
    except (HTTPError, OSError) as error:  # HTTPError: the client's own, refusals and broken connections alike
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise EncoderError(f"{hub_id} could not be fetched: {reason} {_advice(name, hub_id)}") from error
    return Path(folder), Path(folder).name


def _weight_patterns(present: set[str]) -> list[str]:
    """The files of one set of weights, safetensors first; never two sets."""
    for single, index in zip(SINGLE_WEIGHTS, SHARDED_WEIGHTS, strict=True):
        if single in present:
            return [single]
        if index in present:
            stem, suffix = single.rsplit(".", 1)
            return [index, f"{stem}-*.{suffix}"]
    return []
