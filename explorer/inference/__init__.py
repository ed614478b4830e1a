"""A new sound through an encoder and its SAEs, as precompute reads its clips: for the app, a notebook, a command.

    from explorer.inference import listen, own_encoder
    heard = listen(store, load_waveform("mine.wav"), ["83727e512afd"], own_encoder(store))
    heard[0].features        # a table, strongest first

`python -m explorer.inference FILE --store DIR` prints the same as JSON.
"""

from explorer.inference.checkpoints import Missing, Place, find_place, places_of
from explorer.inference.corpus_clip import APPROXIMATE, ClipSound, clip_sound
from explorer.inference.listening import (
    MAX_LIVE_S,
    Heard,
    beside_corpus,
    encode_by,
    listen,
    measure,
    own_encoder,
    reader_of,
    with_predictions,
)
from explorer.inference.occlusion import Occlusion, occlude
from explorer.inference.reading import Reading, read_states

__all__ = [
    "APPROXIMATE", "MAX_LIVE_S", "ClipSound", "Heard", "Missing", "Occlusion", "Place", "Reading", "beside_corpus",
    "clip_sound", "encode_by", "find_place", "listen", "measure", "occlude", "own_encoder", "places_of",
    "read_states", "reader_of", "with_predictions",
]  # fmt: skip
