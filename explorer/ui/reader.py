"""Who is reading: the signed-in user, else this browser, by a cookie that says nothing but a random number.

What a reader writes (labels, notes, bookmarks) is kept under that name.
"""

from __future__ import annotations

import re
import secrets

import streamlit as st
from starlette.datastructures import MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "sonoscope_reader"
NOBODY = "local"  # a browser that keeps no cookies, a test: all of them are one reader
_YEAR_S = 365 * 24 * 3600
_ID = re.compile(r"[0-9a-f]{32}")


def reader_id() -> str:
    """The owner of what is written in this session."""
    if getattr(st.user, "is_logged_in", False):
        return f"user:{st.user.get('email') or st.user.get('sub')}"
    found = str(st.context.cookies.get(COOKIE, ""))
    return f"browser:{found}" if _ID.fullmatch(found) else NOBODY


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
    given = {name: value for name, value in scope["headers"] if name == b"cookie"}
    found = cookie_parser(given.get(b"cookie", b"").decode("latin-1")).get(COOKIE, "")
    number = found if _ID.fullmatch(found) else secrets.token_hex(16)
    return f"{COOKIE}={number}; Max-Age={_YEAR_S}; Path=/; SameSite=Lax; HttpOnly"
