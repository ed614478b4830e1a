"""A new sound through an encoder and its SAEs, as precompute reads its clips: for the app, a notebook, a command.

    from explorer.inference import listen, own_encoder
    heard = listen(store, load_waveform("mine.wav"), ["83727e512afd"], own_encoder(store))
    heard[0].features        # a table, strongest first

`python -m explorer.inference FILE --store DIR` prints the same as JSON.
"""

from explorer.inference.checkpoints import Missing, Place, find_place, places_of
from explorer.inference.corpus_clip import APPROXIMATE, ClipSound, clip_sound
from explorer.inference.listening import Heard, listen, measure, own_encoder
from explorer.inference.reading import Reading, read_sound, read_states

__all__ = [
    "APPROXIMATE", "ClipSound", "Heard", "Missing", "Place", "Reading", "clip_sound", "find_place", "listen", "measure",
    "own_encoder", "places_of", "read_sound", "read_states",
]  # fmt: skip
