"""Who is reading: the signed-in user, else this browser, by a cookie that says nothing but a random number.

What a reader writes (labels, notes, bookmarks) is kept under that name. A browser that sends no cookie, as in a frame
of another site, is a reader of its own for this visit; what it writes is not kept.
"""

from __future__ import annotations

import re
import secrets

import streamlit as st
from starlette.datastructures import MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "sonoscope_reader"
NOBODY = "local"  # a script that runs without a server
NOT_KEPT = (
    "Your browser sends no cookie here, which happens in a frame of another site. What you write stays only until you "
    "leave or reload this page: use Export in the Notebook before, or open Sonoscope in a tab of its own."
)
_VISIT, _VISIT_ID = "visit:", "so-visit-id"
_FRAMES = (b"iframe", b"frame", b"embed", b"object")
_YEAR_S = 365 * 24 * 3600
_ID = re.compile(r"[0-9a-f]{32}")


def reader_id() -> str:
    """The owner of what is written in this session."""
    if getattr(st.user, "is_logged_in", False):
        return f"user:{st.user.get('email') or st.user.get('sub')}"
    found = str(st.context.cookies.get(COOKIE, ""))
    if _ID.fullmatch(found):
        return f"browser:{found}"
    if not st.context.headers:
        return NOBODY
    return f"{_VISIT}{st.session_state.setdefault(_VISIT_ID, secrets.token_hex(16))}"


def is_kept() -> bool:
    """Whether what this reader writes is there at the next visit."""
    return not reader_id().startswith(_VISIT)


class ReaderCookie:
    """Middleware that gives a browser its number with the first page, and renews it with every other."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; an HTML answer carries the cookie."""
        if scope["type"] != "http" or scope.get("method") != "GET":
            await self._app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get("content-type", "").startswith("text/html"):
                    headers.append("set-cookie", _cookie(scope))
            await send(message)

        await self._app(scope, receive, answer)


def _cookie(scope: Scope) -> str:
    """Without a path: the browser takes the page's own folder, which is the app's base below whatever proxy.

    In a frame of another site only a cookie that is kept for that site alone, and by https, is sent back.
    """
    given = dict(scope["headers"])
    found = cookie_parser(given.get(b"cookie", b"").decode("latin-1")).get(COOKIE, "")
    number = found if _ID.fullmatch(found) else secrets.token_hex(16)
    is_framed = given.get(b"sec-fetch-dest") in _FRAMES and given.get(b"sec-fetch-site") == b"cross-site"
    is_https = scope.get("scheme") == "https" or given.get(b"x-forwarded-proto") == b"https"
    site = "SameSite=None; Secure; Partitioned" if is_framed and is_https else "SameSite=Lax"
    return f"{COOKIE}={number}; Max-Age={_YEAR_S}; {site}; HttpOnly"
