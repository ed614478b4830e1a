"""The clip player: a list of clips, each a mel spectrogram with traces over it, played by one sound at a time.

A Streamlit v2 component; its script and style sheet are plain files beside this one. Sounds and pictures come from
the routes of `audio_route` by clip id. Nothing a data set says reaches the page as markup: the script writes text only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from explorer.giants import Span, usual_part
from explorer.store import Store

QUIETEST_DB = 20.0


@dataclass(frozen=True)
class PlayerTrace:
    """A line over a clip: point i lies at t0_s + i * hop_s seconds; `baseline` is drawn as a level line.

    With a `mark` ('A') the clip gets a legend of its lines, and its peak, which is the first line's, is named by it.
    giants: (start, end) in s of giant frames: drawn faint, and no peak, nor the scale, is sought there.
    """

    name: str
    values: NDArray[np.float32]
    t0_s: float
    hop_s: float
    color: str
    baseline: float | None = None
    mark: str = ""
    dashed: bool = False
    giants: tuple[Span, ...] = ()

    def usual_values(self) -> np.ndarray:
        """The finite values outside giant frames."""
        return usual_part(self.values, self.t0_s + self.hop_s * np.arange(len(self.values)), self.giants)


@dataclass(frozen=True)
class PlayerClip:
    """One clip of the player. `value` is the number at its right, `value_max` the length of its bar (both optional)."""

    clip_id: str
    title: str
    duration_s: float
    detail: str = ""
    note: str = ""
    value: float | None = None
    value_max: float | None = None
    traces: tuple[PlayerTrace, ...] = field(default=())
    rank: int | None = None


FRAME = '<div class="views"></div><div class="players"></div><p class="giants" hidden></p>'


def player_script() -> str:
    """The module that draws into FRAME: its default export gets Streamlit's component at each run."""
    scripts = ("address.js", "player_drawing.js", "player_clip.js", "player.js")
    return "\n".join(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in scripts)


@cache
def _renderer() -> Any:
    style = Path(__file__).with_name("player.css").read_text(encoding="utf-8")
    return st.components.v2.component("sonoscope_player", html=FRAME, css=style, js=player_script())


def player(
    store: Store,
    clips: Sequence[PlayerClip],
    key: str,
    *,
    height_px: int = 84,
    scale: tuple[float, float] | None = None,
    can_open: bool = True,
    can_mark: bool = False,
    marked: tuple[float, float] | None = None,
) -> dict[str, Any] | None:
    """Draw the clips. Returns {'action': 'open', 'clip_id': ...} in the run after a reader clicked a title, else None.

    Without `can_open` titles are not for clicking. With `can_mark` it also returns {'action': 'mark', 'clip_id': ...,
    'range': [from, to] in s, or None} after a reader marked a part by dragging, or took the mark away;
    `marked` is the part that is marked already.

    All traces share one vertical scale: `scale` (lowest, highest value) or, without it, that of these clips. Playing,
    seeking and looping never run the script again.
    """
    data = {**player_data(store, clips, height_px, scale), "can_open": can_open, "can_mark": can_mark, "marked": marked}
    result = _renderer()(key=key, data=data, on_event_change=lambda: None)
    event = result.get("event")
    return dict(event) if event else None


def player_data(
    store: Store, clips: Sequence[PlayerClip], height_px: int, scale: tuple[float, float] | None = None
) -> dict[str, Any]:
    """What the script gets: the clips and the one vertical scale of all their lines; NaN becomes None.

    Baselines always lie within the scale.
    """
    ends = [*scale] if scale is not None else []
    for trace in (trace for clip in clips for trace in clip.traces):
        finite = trace.usual_values() if scale is None else trace.values[:0]
        ends += [float(finite.min()), float(finite.max())] if finite.size else []
        ends += [] if trace.baseline is None else [float(trace.baseline)]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    return {
        "generation": store.generation,
        "height_px": height_px,
        "low": low,
        "high": high if high > low else low + 1.0,
        "clips": [_clip_data(clip, volume) for clip, volume in zip(clips, matched_volumes(store, clips), strict=True)],
    }


def matched_volumes(store: Store, clips: Sequence[PlayerClip]) -> list[float]:
    """How far each clip is turned down (0 to 1) so that all sound as loud as the quietest, by root mean square.

    A clip over QUIETEST_DB below the loudest does not pull the others down further.
    """
    rows = store.query(
        "SELECT clip_id, rms FROM clips WHERE clip_id IN (SELECT unnest(?::TEXT[]))", [[clip.clip_id for clip in clips]]
    )
    rms = dict(zip(rows["clip_id"], rows["rms"], strict=True))
    levels = np.nan_to_num([float(rms.get(clip.clip_id, 0.0)) for clip in clips])
    if not levels.any():
        return [1.0] * len(clips)
    target = max(float(levels[levels > 0].min()), float(levels.max()) * 10 ** (-QUIETEST_DB / 20))
    return [round(min(1.0, target / level), 4) if level > 0 else 1.0 for level in levels]


def _clip_data(clip: PlayerClip, volume: float) -> dict[str, Any]:
    return {
        "clip_id": clip.clip_id,
        "volume": volume,
        "title": clip.title,
        "duration_s": float(clip.duration_s),
        "detail": clip.detail,
        "note": clip.note,
        "value": clip.value,
        "value_max": clip.value_max,
        "rank": clip.rank,
        "traces": [
            {
                "name": trace.name,
                "values": [round(float(v), 5) if np.isfinite(v) else None for v in trace.values],
                "t0_s": float(trace.t0_s),
                "hop_s": float(trace.hop_s),
                "color": trace.color,
                "baseline": trace.baseline,
                "mark": trace.mark,
                "dashed": trace.dashed,
                "giants": [[round(start_s, 4), round(end_s, 4)] for start_s, end_s in trace.giants],
            }
            for trace in clip.traces
        ],
    }
