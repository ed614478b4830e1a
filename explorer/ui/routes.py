"""What the app's own routes have in common: read only, errors as one line of text, the same below a base path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import streamlit as st
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from explorer.errors import ExplorerError, NotInStoreError

Handler = Callable[[Request], Awaitable[Response]]
READ = ("GET", "HEAD")
_METHODS = (*READ, "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
MARK = "X-Sonoscope"  # on an error of ours, so that address.js tells it from a proxy's


def read_only(path: str, handler: Handler) -> Route:
    """A route that answers reading requests; others 405, what is not there 404, what cannot be read 500, in a line."""

    async def answer(request: Request) -> Response:
        if request.method not in READ:
            return refusal(f"This address can only be read, not {request.method}.", 405, Allow=", ".join(READ))
        try:
            return await handler(request)
        except NotInStoreError as error:
            return refusal(str(error), 404, mark="not-in-store")
        except ExplorerError as error:
            return refusal(str(error), 500)

    return Route(path, answer, methods=_METHODS)


def refusal(text: str, status: int, *, mark: str = "refused", **headers: str) -> Response:
    """One line of text with a status of 4xx or 5xx, kept by no cache."""
    return PlainTextResponse(f"{text}\n", status, {MARK: mark, "Cache-Control": "no-store", **headers})


def below_base(routes: Iterable[Route]) -> list[Route]:
    """The routes at the root, and once more below `server.baseUrlPath` where the server has one.

    A proxy may take the path away or leave it: the app answers to both.
    """
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    found = list(routes)
    below = [Route(f"/{base}{route.path}", route.endpoint, methods=_METHODS) for route in found if base]
    return [*found, *below]


def trouble() -> Response:
    """The answer where a request ended in a fault of ours; the log has its traceback."""
    return refusal("The server failed at this request. Its log says more.", 500)
