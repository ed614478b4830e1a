"""A new sound through an encoder and its SAEs, as precompute reads its clips: for the app, a notebook, a command.

    from explorer.audio import load_waveform
    from explorer.inference import listen, own_encoder
    from explorer.queries.corpus import fetch_saes
    from explorer.store import open_store

    store = open_store("demo_store")
    sae_id = fetch_saes(store)["sae_id"][0]
    (heard,) = listen(store, load_waveform("mine.wav"), [sae_id], own_encoder(store))
    heard.features           # a table, strongest first

`python -m explorer.inference FILE --store DIR` prints the same as JSON.
"""

from explorer.inference.checkpoints import Missing, Place, find_place, places_of
from explorer.inference.corpus_clip import APPROXIMATE, ClipSound, clip_sound
from explorer.inference.listening import (
    MAX_LIVE_S,
    Heard,
    beside_corpus,
    check_sound,
    encode_by,
    listen,
    measure,
    own_encoder,
    reader_of,
    with_predictions,
)
from explorer.inference.nearness import Nearness, nearness_of
from explorer.inference.occlusion import Occlusion, occlude
from explorer.inference.reading import Reading, read_states

__all__ = [
    "APPROXIMATE", "MAX_LIVE_S", "ClipSound", "Heard", "Missing", "Nearness", "Occlusion", "Place", "Reading",
    "beside_corpus", "check_sound", "clip_sound", "encode_by", "find_place", "listen", "measure", "nearness_of",
    "occlude", "own_encoder", "places_of", "read_states", "reader_of", "with_predictions",
]  # fmt: skip
