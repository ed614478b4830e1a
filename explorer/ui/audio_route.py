"""Sounds and spectrograms over HTTP, by clip id only: a path never comes from the address.

/audio/{clip_id}          the preview (FLAC), with Range, so that players seek without loading the whole file
/spectrogram/{clip_id}    its mel spectrogram (PNG), computed once and kept in memory
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import lru_cache
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from explorer.audio import load_waveform
from explorer.errors import ExplorerError, NotInStoreError
from explorer.queries.corpus import fetch_preview
from explorer.store import Store
from explorer.ui.spectrogram import mel_picture, picture_png

_CLIP_ID = re.compile(r"[0-9a-f]{6,64}")
_HEADERS = {"Cache-Control": "private, max-age=86400", "X-Content-Type-Options": "nosniff"}
N_PICTURES_KEPT = 600


def clip_routes(get_store: Callable[[], Store]) -> list[Route]:
    """The routes, for the store that `get_store` returns at the time of each request."""

    def preview(clip_id: str) -> Path:
        if _CLIP_ID.fullmatch(clip_id) is None:
            raise NotInStoreError(f"{clip_id[:80]!r} is not a clip id: those are hexadecimal digits.")
        store = get_store()
        return store.file(fetch_preview(store, clip_id)[0])

    @lru_cache(maxsize=N_PICTURES_KEPT)
    def picture(path: Path) -> bytes:
        return picture_png(mel_picture(load_waveform(path)))

    async def audio(request: Request) -> Response:
        path = await run_in_threadpool(preview, request.path_params["clip_id"])
        return FileResponse(path, media_type="audio/flac", headers=_HEADERS)

    async def spectrogram(request: Request) -> Response:
        path = await run_in_threadpool(preview, request.path_params["clip_id"])
        body = await run_in_threadpool(picture, path)
        return Response(body, media_type="image/png", headers=_HEADERS)

    return [
        Route("/audio/{clip_id}", _readable(audio)),
        Route("/spectrogram/{clip_id}", _readable(spectrogram)),
    ]


def _readable(handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """The handler with errors as one line of text: 404 for what is not there, 500 for what cannot be read."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except NotInStoreError as error:
            return PlainTextResponse(str(error), status_code=404)
        except ExplorerError as error:
            return PlainTextResponse(str(error), status_code=500)

    return answer
