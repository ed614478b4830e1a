"""The model card of an exported SAE: what it is, how to use it, and what its licence follows from.

All that a store says is data here: it is escaped in the front matter (YAML) and in the text (Markdown), and a line of
code holds nothing of it but numbers and checked names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from explorer.errors import EncoderError
from explorer.pooling import WITHOUT_GIANTS
from explorer.text import count, is_defined, length_words, number

Fact = str | int | float | bool | None
USUAL_FRAMES = "usual_frames.safetensors"  # beside the card of an SAE on means without giant frames
_HUB_LICENCES = {"apache-2.0", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-sa-3.0", "cc0-1.0", "mit"}
_NON_COMMERCIAL = re.compile(r"(?<![a-z])nc(?![a-z])", re.IGNORECASE)
_SIGNS = re.compile(r"([\\`*_{}\[\]()#+!|~$<>&])")


def model_card(facts: Mapping[str, Fact]) -> str:
    """README.md for the Hugging Face hub. facts: of `explorer.queries.sae_facts`; None where unknown."""
    return "\n\n".join((_front_matter(facts), _about(facts), _use(facts), _licence(facts))) + "\n"


def _front_matter(facts: Mapping[str, Fact]) -> str:
    licence = str(facts["encoder_licence"] or "")
    known = licence.lower() if licence.lower() in _HUB_LICENCES else "other"
    lines = ["---", "library_name: saelens", f"license: {known}"]
    if known == "other":
        lines.append(f"license_name: {json.dumps(licence or 'unknown')}")
    if facts["hub_id"]:
        lines.append(f"base_model: {json.dumps(facts['hub_id'])}")
    return "\n".join([*lines, "tags:", "- sparse-autoencoder", "- audio", "- sonoscope", "---"])


def _about(facts: Mapping[str, Fact]) -> str:
    name = _plain(facts["encoder_display_name"])
    length = length_words(facts["n_epochs_trained"], facts["n_epochs"], facts["epochs_reason"])
    rows = {
        "Encoder": f"{name} ({_plain(facts['encoder_source'])})",
        "Revision": _plain(facts["encoder_revision"] or "a folder, not a revision of the hub"),
        "SHA-256 of the encoder's weights": _plain(facts["encoder_weights_sha256"]),
        "Layer": f"{facts['layer']} of {facts['n_layers']} (0 is the embedding output, n the output of block n)",
        "Encoder run as": _plain(facts["encoder_loader"]),
        "Input": f"{_plain(facts['level'])} states, pooling: {_plain(facts['pooling'])}, d = {facts['d_in']}",
        "Sample rate": f"{facts['sample_rate_hz']} Hz, mono",
        "Features": f"{facts['n_features']}, {facts['n_dead']} of them dead (active on no training clip)",
        "k": f"{facts['k']}: the k largest of relu(pre) are kept (TopK)",
        "Method": f"{_plain(facts['method'])}, seed {facts['seed']}",
        "Length of the training": _plain(length or count(facts["n_epochs"], "epoch")),
        "Trained on": f"{count(facts['n_training_clips'], 'clip')} of {_plain(facts['corpus'])}",
        "FVU on held-out clips": number(facts["fvu_heldout"], 3),
        "Licence of the encoder's weights": _plain(facts["encoder_licence"] or "unknown"),
        "sae_id in Sonoscope": _plain(facts["sae_id"]),
    }
    table = "\n".join(f"| {label} | {value} |" for label, value in rows.items())
    lines = [
        f"# Sparse autoencoder on layer {facts['layer']} of {name}",
        f"A TopK sparse autoencoder of {count(facts['n_features'], 'feature')} on hidden states of the audio "
        f"model {name}, "
        "trained with Sonoscope and written in SAELens's layout. Centring and scaling are folded into the weights: it "
        "takes raw hidden states.",
    ]
    if facts["is_trained"] is False:
        lines.append("**The encoder has random weights:** what this SAE shows is what an untrained network shows.")
    if facts["is_published"] is False:
        lines.append("**The encoder is not the published model of that name:** it was made elsewhere.")
    return "\n\n".join([*lines, f"| | |\n|---|---|\n{table}"])


def _use(facts: Mapping[str, Fact]) -> str:
    layer = int(facts["layer"] or 0)
    imports, pooled = "", "pooled = states.pooled()"
    if WITHOUT_GIANTS in str(facts["pooling"]):
        imports = "from explorer.giants import UsualFrames, mean_without\n"
        pooled = f"""frames = states.values_td[0]
giants = UsualFrames.load("{USUAL_FRAMES}").is_giant(frames)  # few frames far from all others: not in the mean
pooled = mean_without(frames, giants)[None]"""
    code = f"""import torch
from sae_lens import SAE
from explorer.audio import load_waveform
from explorer.encoders import load_encoder
{imports}encoder = load_encoder({json.dumps(_assignment(facts))}{_loader(facts)})
wave = load_waveform("sound.wav", sample_rate_hz={int(facts["sample_rate_hz"] or 0)})
states = encoder.hidden_states([wave], [{layer}])[{layer}]
{pooled}
codes = SAE.load_from_disk(".").encode(torch.from_numpy(pooled))"""
    return (
        "## How to use it\n\nWith Sonoscope (which loads the encoder as here) and `pip install sae-lens`, "
        f"in the folder of this card:\n\n```python\n{code}\n```\n\nWithout SAELens, "
        f'`explorer.sae.load_sae(Path("."))` reads the same folder.'
    )


def _assignment(facts: Mapping[str, Fact]) -> str:
    """What `load_encoder` takes, if the store's words for it are a name and a hub id; else words to replace."""
    from explorer.encoders.registry import parse_encoder

    text = f"{facts['encoder_name']}={facts['hub_id']}"
    revision = facts["encoder_revision"]
    try:
        choice = parse_encoder(f"{text}@{revision}" if revision else text)
    except EncoderError:
        return "my-encoder=FOLDER_OF_THE_CHECKPOINT"
    is_of_the_hub = facts["hub_id"] and choice.hub_id == facts["hub_id"]
    return f"{text}@{revision}" if is_of_the_hub and revision else "my-encoder=FOLDER_OF_THE_CHECKPOINT"


def _loader(facts: Mapping[str, Fact]) -> str:
    """The argument that runs the encoder as the store's was, where it is not the usual one."""
    from explorer.encoders.loaders import LOADERS

    loader = facts["encoder_loader"]
    return f", loader={json.dumps(loader)}" if loader in LOADERS[1:] else ""


def _licence(facts: Mapping[str, Fact]) -> str:
    licence = facts["encoder_licence"]
    lines = [
        "## Licence",
        "These weights were fitted to activations of an encoder whose weights are under: "
        f"{_plain(licence or 'unknown')}. Its terms may apply to what is "
        "derived from it: read them before you share or use this SAE.",
    ]
    if licence and _NON_COMMERCIAL.search(str(licence)):
        lines.append("**That licence allows non-commercial use only: so should this SAE be used and shared.**")
    return "\n\n".join(lines)


def _plain(value: object) -> str:
    """A value on one line, with every sign that Markdown reads escaped."""
    if not is_defined(value):
        return "unknown"
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in str(value)).split())
    return re.sub(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?=@)", "\u2060", _SIGNS.sub(r"\\\1", line))
