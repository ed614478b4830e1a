"""Checkpoints with random weights in the real classes and file layouts: for tests, and to hold trained ones against.

They show that the whole way works; what they say about sound is what an untrained network says. Each carries a marker,
so that every number made with one can be shown as untrained.
"""

from __future__ import annotations

from pathlib import Path

from explorer.encoders import ENCODERS, MERT_FAMILY, untrained_network
from explorer.errors import ConfigError
from precompute.checkpoint_folder import Size, geometry, save_checkpoint


def write_random_checkpoint(name: str, folder: Path | str, *, size: Size = "base", seed: int = 0) -> Path:
    """Write an untrained checkpoint of encoder `name` (one of ENCODERS) into `folder` and return the folder.

    size "base" is the published geometry (12 layers, width 768: about 380 MB; Whisper 6 layers, width 512), "demo" that
    of the trained encoders of the demo (6 layers, width 128), "small" has 4 layers of width 48; all behind the same
    strides. AST is saved with its classification head, Whisper with a decoder, and MERT as a .bin with its own
    model_type and `auto_map`, as on the hub. config.json comes last: a folder that has one is complete. Raises
    ConfigError for another name or size.
    """
    if name not in ENCODERS or size not in ("base", "demo", "small"):
        raise ConfigError(
            f"No random checkpoint {name!r} of size {size!r}: allowed are {', '.join(ENCODERS)} and base, demo, small."
        )
    family = ENCODERS[name].family
    config = geometry(family, size)
    network = untrained_network(config, seed=seed, with_head=True)
    folder = Path(folder)
    marker = {"is_trained": False, "note": f"Untrained: random weights (seed {seed}) in a {size} {name} network."}
    save_checkpoint(folder, config, network, marker, as_bin=family == MERT_FAMILY)
    return folder
