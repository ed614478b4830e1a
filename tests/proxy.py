"""A small reverse proxy as other people run one: the app below a path, every other path 404."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\nConnection: close\r\n\r\nNot Found"


@dataclass(frozen=True)
class Proxy:
    """What it does to a request: takes `prefix` away, or leaves it; `host`: the Host it sends on, None for the same."""

    upstream: int
    prefix: str
    strips: bool
    host: str | None = None

    def sent_on(self, head: bytes) -> bytes | None:
        """The head of a request as the app gets it; None for a path that is not the app's."""
        first, *lines = head.split(b"\r\n")
        method, path, version = first.decode("latin-1").split(" ")
        if not (path.partition("?")[0] == self.prefix or path.startswith(f"{self.prefix}/")):
            return None
        if self.strips:
            path = path[len(self.prefix) :]
            path = path if path.startswith("/") else f"/{path}"
        is_socket = any(line.lower().startswith(b"upgrade: websocket") for line in lines)
        kept = [line for line in lines if line and (is_socket or not line.lower().startswith(b"connection:"))]
        if self.host is not None:
            kept = [line for line in kept if not line.lower().startswith(b"host:")] + [f"Host: {self.host}".encode()]
        if not is_socket:
            kept.append(b"Connection: close")
        return b"\r\n".join([f"{method} {path} {version}".encode("latin-1"), *kept, b"", b""])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = self.sent_on(await reader.readuntil(b"\r\n\r\n"))
            if head is None:
                writer.write(NOT_FOUND)
                await writer.drain()
            else:
                up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.upstream)
                up_writer.write(head)
                await asyncio.gather(_pipe(reader, up_writer), _pipe(up_reader, writer))
        writer.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while block := await reader.read(65536):
            writer.write(block)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.close()


@contextmanager
def proxied(url: str, prefix: str, *, strips: bool, host: str | None = None) -> Iterator[str]:
    """The address of a proxy before the app at `url`."""
    proxy = Proxy(urlsplit(url).port or 0, prefix, strips, host)
    loop, started = asyncio.new_event_loop(), threading.Event()
    ports: list[int] = []

    async def listen() -> asyncio.Server:
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, limit=1 << 20)
        ports.append(server.sockets[0].getsockname()[1])
        started.set()
        return server

    def run() -> None:  # in a thread of its own: the test's has the browser's loop
        server = loop.run_until_complete(listen())
        loop.run_forever()
        server.close()
        open_still = asyncio.all_tasks(loop)
        for task in open_still:
            task.cancel()
        if open_still:
            loop.run_until_complete(asyncio.wait(open_still))
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield f"http://127.0.0.1:{ports[0]}{prefix}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
