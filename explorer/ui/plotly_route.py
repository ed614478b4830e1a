"""Plotly's own script over HTTP: the part of it that our figures use, a quarter of the whole, kept beside this module.

Streamlit brings all of plotly (4.7 MB, maps and 3-D included), which a browser needs five times as long
to read. tools/plotly_bundle.sh makes ours.
"""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from explorer.ui.routes import read_only

PLOTLY_VERSION = "4.1.1"
PLOTLY_SCRIPT = Path(__file__).parent / "vendor" / f"plotly-plane-{PLOTLY_VERSION}.min.js"
PLOTLY_ADDRESS = f"/scripts/{PLOTLY_SCRIPT.name}"
_HEADERS = {
    "Cache-Control": "public, max-age=31536000, immutable",  # the version is in the address
    "Content-Encoding": "gzip",
}


def plotly_route() -> Route:
    """The route of PLOTLY_ADDRESS."""

    async def script(_: Request) -> Response:
        return Response(await run_in_threadpool(_compressed), media_type="text/javascript", headers=_HEADERS)

    return read_only(PLOTLY_ADDRESS, script)


@cache
def _compressed() -> bytes:
    return gzip.compress(PLOTLY_SCRIPT.read_bytes())
