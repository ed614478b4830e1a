"""The door of the server, before Streamlit's own routes, sockets and files: whom it answers, and how.

Requests under a name that is not this server's, or from a page of another site, get one line of text. Every answer
forbids guessing its type, frames of other sites (but those that are named), and referrers to other sites.
"""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from explorer.errors import ExplorerError
from explorer.ui.context import named_frame_ancestors
from explorer.ui.hosts import VARIABLE, Hosts, host_name, origin_name
from explorer.ui.routes import refusal, trouble

FRAMES_VARIABLE = "SONOSCOPE_FRAME_ANCESTORS"
_SOURCE = re.compile(r"\*|https?:|(https?://)?(\*\.)?[A-Za-z0-9_.-]+(:([0-9]{1,5}|\*))?")
_SHOWN = re.compile(r"[a-z0-9._:-]{1,253}")


class Guard:
    """Middleware of the whole server. hosts: the names it answers to; frame_ancestors: sites that may frame the app."""

    def __init__(self, app: ASGIApp, hosts: Hosts, frame_ancestors: tuple[str, ...] = ()) -> None:
        self._app, self._hosts = app, hosts
        self._headers = _headers(frame_ancestors)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it here."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return

        has_started = False

        async def answer(message: Message) -> None:
            nonlocal has_started
            has_started = True
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        refused = self._refused(Headers(scope=scope))
        if refused is None:
            try:
                await self._app(_under_one_name(scope), receive, answer)
            except Exception:
                if scope["type"] == "http" and not has_started:
                    await trouble()(scope, receive, answer)
                raise
        elif scope["type"] == "http" or "websocket.http.response" in scope.get("extensions", {}):
            await refused(scope, receive, answer)
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _refused(self, headers: Headers) -> Response | None:
        """The answer to a request that is not meant for this server; None for one that is."""
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or host_name(hosts[0]) is None:
            return refusal("The request names no host, or not one.", 400)
        if not self._hosts.has(hosts[0]):
            return refusal(self._words("does not accept the name", host_name(hosts[0]) or ""), 403)
        if len(origins) > 1 or (origins and not self._hosts.has_origin(origins[0], hosts[0])):
            name = origin_name(origins[0]) or origins[0]
            return refusal(self._words("takes no requests from pages of", name), 403)
        return None

    def _words(self, what: str, name: str) -> str:
        if not _SHOWN.fullmatch(name):
            return f"This server {what} {name[:80]!a}. It accepts {self._hosts.words}."
        return (
            f"This server {what} {name}. It accepts {self._hosts.words}. If this name is yours, start the app with "
            f"{VARIABLE}={name}, or with `streamlit run app.py -- --host {name}`."
        )


def _under_one_name(scope: Scope) -> Scope:
    """The scope of a socket with the page's own host as its Host: a proxy may have put another one there, for which
    Streamlit would refuse it. Both are names of this server."""
    headers = Headers(scope=scope)
    origin = headers.get("origin")
    if scope["type"] != "websocket" or origin is None:
        return scope
    kept = [(name, value) for name, value in scope["headers"] if name != b"host"]
    return {**scope, "headers": [*kept, (b"host", urlsplit(origin).netloc.encode("ascii"))]}


def frame_ancestors_of_server() -> tuple[str, ...]:
    """The sites that may show the app in a frame, of SONOSCOPE_FRAME_ANCESTORS and `--frame-ancestor`.

    Raises ExplorerError for what is no site.
    """
    asked = [name for name in re.split(r"[,\s]+", os.environ.get(FRAMES_VARIABLE, "")) if name]
    asked += named_frame_ancestors()
    for name in asked:
        if not _SOURCE.fullmatch(name):
            raise ExplorerError(
                f"{FRAMES_VARIABLE} or --frame-ancestor names {name!r}, which is no site. Give addresses such as "
                "https://lab.example.org, without a path."
            )
    return tuple(asked)


def _headers(frame_ancestors: tuple[str, ...]) -> dict[str, str]:
    headers = {
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Content-Security-Policy": " ".join(("frame-ancestors 'self'", *frame_ancestors)),
    }
    return headers if frame_ancestors else {**headers, "X-Frame-Options": "SAMEORIGIN"}
