"""What makes the app work below whatever path a proxy shows it under, which only the browser knows.

Redirects are relative, since an absolute one loses a path that the proxy has taken away. And the app's root gets its
closing slash in the browser: without it Streamlit's scripts, which the page names relative to itself, are not found.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import streamlit as st
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEAD = b"<head>"
_SLASH = (
    b'<script>if(!location.pathname.endsWith("/"))history.replaceState(history.state,"",'
    b'location.pathname+"/"+location.search+location.hash)</script>'
)


class BelowAnyPath:
    """Middleware: relative redirects, and the script that closes the root's address with a slash."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        base = str(st.get_option("server.baseUrlPath") or "").strip("/")
        self._roots = {"", "/", f"/{base}", f"/{base}/"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and mend its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = scope.get("raw_path", scope["path"].encode()).decode("latin-1").partition("?")[0]
        is_root = scope["method"] == "GET" and asked in self._roots

        async def redirected(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if location := headers.get("location"):
                    headers["location"] = relative(asked, location, Headers(scope=scope).get("host", ""))
            await send(message)

        if not is_root:
            await self._app(scope, receive, redirected)
            return
        plain = [(name, value) for name, value in scope["headers"] if name not in (b"accept-encoding", b"range")]
        await self._app({**scope, "headers": plain}, receive, _Closing(redirected))


class _Closing:
    """Sends an answer on; a page gets the script into its head."""

    def __init__(self, send: Send) -> None:
        self._send, self._start, self._body = send, dict[str, object](), b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if message["status"] == 200 and headers.get("content-type", "").startswith("text/html"):
                self._start = dict(message)
                return
        elif message["type"] == "http.response.body" and self._start:
            self._body += message.get("body", b"")
            if message.get("more_body"):
                return
            body = self._body.replace(_HEAD, _HEAD + _SLASH, 1)
            MutableHeaders(scope=self._start)["content-length"] = str(len(body))
            start, self._start = self._start, {}
            await self._send(start)
            await self._send({"type": "http.response.body", "body": body})
            return
        await self._send(message)


def relative(asked: str, location: str, host: str) -> str:
    """`location` of an answer to the path `asked` on `host`, as relative to it; one that leads elsewhere as it is."""
    to = urlsplit(location)
    if (to.netloc and to.netloc != host) or not to.path.startswith("/") or to.path.startswith("//"):
        return location
    here, there = asked.split("/")[1:-1], to.path.split("/")[1:]
    n_common = 0
    while n_common < min(len(here), len(there) - 1) and here[n_common] == there[n_common]:
        n_common += 1
    path = "../" * (len(here) - n_common) + "/".join(there[n_common:])
    path = path if path.startswith("../") else f"./{path}"
    return path + (f"?{to.query}" if to.query else "") + (f"#{to.fragment}" if to.fragment else "")
