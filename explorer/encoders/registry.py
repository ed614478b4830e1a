"""The five encoders by name, the families behind them, and how the user names another checkpoint of a family."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from explorer.errors import EncoderError, nearest

AST_FAMILY, WAVLM_FAMILY, HUBERT_FAMILY, MERT_FAMILY = "audio-spectrogram-transformer", "wavlm", "hubert", "mert_model"
WHISPER_FAMILY = "whisper"


@dataclass(frozen=True)
class EncoderSpec:
    """An encoder as people know it. `family` is transformers' model_type; a revision of "main" is not pinned."""

    name: str
    display_name: str
    family: str
    hub_id: str
    revision: str
    sample_rate_hz: int
    licence: str
    note: str = ""


@dataclass(frozen=True)
class FamilyDefaults:
    """What a checkpoint of the family is taken to want when its folder has no preprocessor_config.json."""

    display_name: str
    sample_rate_hz: int
    do_normalize: bool


FAMILIES: Mapping[str, FamilyDefaults] = MappingProxyType(
    {
        AST_FAMILY: FamilyDefaults("AST", 16_000, do_normalize=True),
        WAVLM_FAMILY: FamilyDefaults("WavLM", 16_000, do_normalize=False),
        HUBERT_FAMILY: FamilyDefaults("HuBERT", 16_000, do_normalize=True),
        MERT_FAMILY: FamilyDefaults("MERT", 24_000, do_normalize=True),
        WHISPER_FAMILY: FamilyDefaults("Whisper", 16_000, do_normalize=False),
    }
)

ENCODERS: Mapping[str, EncoderSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            EncoderSpec(
                name="ast",
                display_name="AST",
                family=AST_FAMILY,
                hub_id="MIT/ast-finetuned-audioset-10-10-0.4593",
                revision="main",
                sample_rate_hz=16_000,
                licence="BSD-3-Clause",
            ),
            EncoderSpec(
                name="wavlm",
                display_name="WavLM",
                family=WAVLM_FAMILY,
                hub_id="microsoft/wavlm-base-plus",
                revision="main",
                sample_rate_hz=16_000,
                licence="unclear: MIT or CC-BY-SA-3.0 (github.com/microsoft/unilm/issues/1757)",
            ),
            EncoderSpec(
                name="hubert",
                display_name="HuBERT",
                family=HUBERT_FAMILY,
                hub_id="facebook/hubert-base-ls960",
                revision="main",
                sample_rate_hz=16_000,
                licence="Apache-2.0",
            ),
            EncoderSpec(
                name="mert",
                display_name="MERT",
                family=MERT_FAMILY,
                hub_id="m-a-p/MERT-v1-95M",
                revision="12af15fef9d0ac838c3f475bfbbf26d2060dd4f5",
                sample_rate_hz=24_000,
                licence="CC-BY-NC-4.0",
            ),
            EncoderSpec(
                name="whisper",
                display_name="Whisper",
                family=WHISPER_FAMILY,
                hub_id="openai/whisper-base",
                revision="main",
                sample_rate_hz=16_000,
                licence="MIT (OpenAI's repository; the hub's card says Apache-2.0)",
            ),
        )
    }
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_REVISION = re.compile(r"[A-Za-z0-9][\w./-]*")


@dataclass(frozen=True)
class EncoderChoice:
    """What `--encoder` named: a short name and where the checkpoint is, a folder or a hub id (exactly one)."""

    name: str
    folder: Path | None
    hub_id: str | None
    revision: str | None


def parse_encoder(text: str, *, revision: str | None = None) -> EncoderChoice:
    """Read `hubert`, `hubert=HUB_ID`, `hubert=HUB_ID@REVISION` or `hubert=FOLDER`; the name is the user's own.

    A revision, in the text or as `revision`, pins a hub id to a commit, tag or branch; without one a known encoder's
    own pin is used. Raises EncoderError for a name, a place or a revision that cannot be meant.
    """
    name, equals, place = (part.strip() for part in text.partition("="))
    if not _NAME.fullmatch(name):
        raise EncoderError(
            f"{text!r} does not name an encoder: allowed is one of {', '.join(ENCODERS)}, or NAME=HUB_ID_OR_FOLDER "
            "with a name of letters, digits, - and _. Example: --encoder hubert=/path/to/folder"
        )
    if not equals:
        if name not in ENCODERS:
            raise EncoderError(
                f"There is no encoder {name!r}: known are {', '.join(ENCODERS)}.{nearest(name, ENCODERS)} "
                f"For another checkpoint say where it is: --encoder {name}=HUB_ID_OR_FOLDER"
            )
        spec = ENCODERS[name]
        return EncoderChoice(name, None, spec.hub_id, revision or spec.revision)
    folder = Path(place).expanduser()
    if place and folder.is_dir():
        return EncoderChoice(name, folder, None, None)
    place, at, asked = place.partition("@")
    is_hub_id = _HUB_ID.fullmatch(place) and (not at or _REVISION.fullmatch(asked))
    if folder.is_absolute() or place.startswith((".", "~")) or not is_hub_id:
        raise EncoderError(
            f"{place + at + asked!r} is no folder with a checkpoint, and no hub id either. Give a folder that holds "
            f"config.json, or a hub id with or without a revision: --encoder {name}=HUB_ID[@REVISION]"
        )
    known = ENCODERS.get(name)
    pinned = known.revision if known is not None and known.hub_id == place else "main"
    return EncoderChoice(name, None, place, asked or revision or pinned)


def spec_for(choice: EncoderChoice, family: str, sample_rate_hz: int) -> EncoderSpec:
    """The spec of a chosen checkpoint whose config.json says `family`.

    Raises EncoderError when the name is a known encoder's but the checkpoint is of another family.
    """
    known = ENCODERS.get(choice.name)
    if known is not None and known.family != family:
        raise EncoderError(
            f"{choice.name}={choice.folder or choice.hub_id} is a checkpoint of family {family!r}, not "
            f"{known.family!r}. Give it a name of its own: --encoder my-{FAMILIES[family].display_name.lower()}=..."
        )
    if known is not None and choice.hub_id == known.hub_id:
        return known
    place = choice.hub_id if choice.hub_id is not None else choice.folder.name if choice.folder is not None else ""
    return EncoderSpec(
        name=choice.name,
        display_name=known.display_name if known is not None else choice.name,
        family=family,
        hub_id=place,
        revision=choice.revision or "",
        sample_rate_hz=sample_rate_hz,
        licence="unknown: see the checkpoint's own card",
    )
