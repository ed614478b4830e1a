"""Sounds and spectrograms over HTTP, by clip id only: a path never comes from the address.

/audio/{clip_id}          the preview (FLAC), with Range, so that players seek without loading the whole file
/spectrogram/{clip_id}    its mel spectrogram (PNG), computed once and kept in memory
/contours/{clip_id}       its f0, formants and outline (JSON), measured when first asked for and kept in memory

A name may also be that of a sound a reader brought (`live_sounds`): answered from memory, and kept by no cache.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from threading import Lock

import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from explorer.audio import Waveform, load_waveform
from explorer.contours import Contours, clip_contours
from explorer.errors import NotInStoreError
from explorer.queries.corpus import fetch_preview
from explorer.store import Store
from explorer.ui.live_sounds import LiveSound, live_sound
from explorer.ui.routes import Handler, read_only, refusal
from explorer.ui.shelf import Shelf
from explorer.ui.spectrogram import height_of, mel_picture, picture_png

_CLIP_ID = re.compile(r"[0-9a-f]{6,64}")
_HEADERS = {"Cache-Control": "private, max-age=86400"}
_OWN_HEADERS = {"Cache-Control": "no-store"}
_RANGE = re.compile(r"bytes=([0-9]{1,15})-([0-9]{0,15})")
PICTURES_BYTES, CONTOURS_BYTES = 24 * 2**20, 12 * 2**20
_SMILE = Lock()  # openSMILE measures one sound at a time in a process


def clip_routes(get_store: Callable[[], Store]) -> list[Route]:
    """The routes, for the store that `get_store` returns at the time of each request."""

    def preview(clip_id: str) -> Path:
        if _CLIP_ID.fullmatch(clip_id) is None:
            raise NotInStoreError(f"{clip_id[:80]!r} is not a clip id: those are hexadecimal digits.")
        store = get_store()
        return store.file(fetch_preview(store, clip_id)[0])

    pictures, measured = Shelf[bytes](PICTURES_BYTES), Shelf[bytes](CONTOURS_BYTES)

    def picture(path: Path) -> bytes:
        return pictures.get(path, lambda: picture_png(mel_picture(load_waveform(path))))

    def contours(path: Path) -> bytes:
        return measured.get(path, lambda: measure(load_waveform(path)))

    def measure(wave: Waveform) -> bytes:
        with _SMILE:
            return contours_json(clip_contours(wave), wave.sample_rate_hz)

    def own_contours(sound: LiveSound) -> bytes:
        with _SMILE:
            return contours_json(sound.contours(), sound.wave.sample_rate_hz)

    async def audio(request: Request) -> Response:
        if sound := live_sound(request.path_params["clip_id"]):
            body = await run_in_threadpool(lambda: sound.flac)
            return _part(body, request.headers.get("range", ""))
        path = await run_in_threadpool(preview, request.path_params["clip_id"])
        return FileResponse(path, media_type="audio/flac", headers=_HEADERS)

    def made(of_own: Callable[[LiveSound], bytes], of_clip: Callable[[Path], bytes], kind: str) -> Handler:
        async def answer(request: Request) -> Response:
            if sound := live_sound(request.path_params["clip_id"]):
                return Response(await run_in_threadpool(of_own, sound), media_type=kind, headers=_OWN_HEADERS)
            path = await run_in_threadpool(preview, request.path_params["clip_id"])
            return Response(await run_in_threadpool(of_clip, path), media_type=kind, headers=_HEADERS)

        return answer

    return [
        read_only("/contours/{clip_id:path}", made(own_contours, contours, "application/json")),
        read_only("/audio/{clip_id:path}", audio),
        read_only("/spectrogram/{clip_id:path}", made(lambda sound: sound.picture, picture, "image/png")),
    ]


def _part(body: bytes, wanted: str) -> Response:
    """All of a sound, or the range of bytes that a player asks for to seek."""
    match = _RANGE.fullmatch(wanted)
    headers = {**_OWN_HEADERS, "Accept-Ranges": "bytes"}
    if match is None:
        return Response(body, media_type="audio/flac", headers=headers)
    first, last = int(match[1]), min(int(match[2] or len(body)), len(body) - 1)
    if first > last:
        return refusal("The sound has no such bytes.", 416, **{"Content-Range": f"bytes */{len(body)}"})
    headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
    return Response(body[first : last + 1], 206, media_type="audio/flac", headers=headers)


def contours_json(found: Contours, sample_rate_hz: int) -> bytes:
    """t0_s, hop_s; of f0 and formants `hz` and `height` in the picture (0 to 1), null where unvoiced; outline."""
    times_s = found.times_s
    return json.dumps(
        {
            "t0_s": float(times_s[0]) if times_s.size else 0.0,
            "hop_s": float(times_s[1] - times_s[0]) if times_s.size > 1 else 0.0,
            "lines": {
                name: {
                    "hz": _rounded(values, 1),
                    "height": _rounded(height_of(values, sample_rate_hz), 4),
                }
                for name, values in found.hz.items()
            },
            "outline": [_rounded(row, 4) for row in found.outline],
        },
        separators=(",", ":"),
    ).encode()


def _rounded(values: np.ndarray, digits: int) -> list[float | None]:
    return [round(float(value), digits) if np.isfinite(value) else None for value in values]
