"""What is said of giant frames: a sentence behind an encoder's name, in the run's summary and on Layers alike."""

from __future__ import annotations

import pandas as pd

from explorer.text import count, percent

_NONE = "no layer has giant frames."


def giants_said(frames: pd.DataFrame) -> str:
    """The worst layer of one encoder's rows of `layer_frames`, in a sentence."""
    some = frames[frames["n_giant"] > 0]
    if some.empty:
        return _NONE
    worst = some.loc[some["variance_share"].idxmax()]
    layers = sorted(int(layer) for layer in some["layer"])
    where = f"layer {layers[0]}" if len(layers) == 1 else f"layers {_ranges(layers)}"
    share = worst["n_giant"] / worst["n_frames"]
    return (
        f"giant frames in {where}: in layer {worst['layer']}, {percent(share)} of the frames hold "
        f"{percent(worst['variance_share'])} of the variance, in {count(worst['n_clips_with'], 'clip')} of "
        f"{worst['n_clips']}; dimension {worst['top_dimension']} alone holds {percent(worst['top_dimension_share'])}."
    )


def _ranges(numbers: list[int]) -> str:
    """'3 to 6', or '1, 3 and 4' where some are missing between."""
    if numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return f"{', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"
