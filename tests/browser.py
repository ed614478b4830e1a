"""A headless Chromium and a running app for browser tests; both are skipped with a reason where there is no browser."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
FLAGS = (
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--enable-unsafe-swiftshader",
    "--use-angle=swiftshader",
    "--autoplay-policy=no-user-gesture-required",
    "--mute-audio",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
)


@dataclass(frozen=True)
class Server:
    """A running app."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path


def chromium_path() -> str:
    """The system's Chromium. Skips the test, with what to install, where there is none."""
    named = os.environ.get("SONOSCOPE_CHROMIUM")
    found = named or next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if found is None:
        pytest.skip("no Chromium: install the system package `chromium` or set SONOSCOPE_CHROMIUM")
    return found


@contextmanager
def running_app(
    store: Path | None,
    folder: Path,
    *,
    base: str = "",
    variables: Mapping[str, str] | None = None,
    script: str = "app.py",
    python: str = sys.executable,
) -> Iterator[Server]:
    """`streamlit run` of app.py or another script on a free port, below the path `base` ('/x/lab'), with `store` named
    on the command line, these environment variables and this Python; its log lies in `folder`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "server.log"
    command = [
        python,
        "-m",
        "streamlit",
        "run",
        script,
        "--server.port",
        str(port),
        "--server.headless",
        "true",
        *(["--server.baseUrlPath", base.strip("/")] if base else []),
    ]
    if store is not None:
        command += ["--", "--store", str(store)]
    environment = {
        **os.environ, "SONOSCOPE_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1", **(variables or {})
    }  # fmt: skip
    environment.pop("SONOSCOPE_STORE", None)
    with log.open("wb") as stream:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=stream, stderr=subprocess.STDOUT)
    server = Server(f"http://127.0.0.1:{port}{base}", process, log)
    try:
        _wait_until_healthy(server)
        yield server
    finally:
        process.terminate()
        process.wait(15)


def _wait_until_healthy(server: Server) -> None:
    for _ in range(240):
        if server.process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{server.url}/_stcore/health", timeout=1) as answer:
                if answer.read() == b"ok":
                    return
        except OSError:
            time.sleep(0.25)
    raise RuntimeError(f"the app did not start:\n{server.log.read_text(encoding='utf-8')}")


@contextmanager
def running_browser() -> Iterator[Browser]:
    """A headless Chromium."""
    path = chromium_path()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


def settle(page: Page) -> None:
    """Wait until the script's run is over."""
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=60_000)


def drag(page: Page, picture: Locator, start: float, end: float) -> float:
    """Mark a part of a picture with the mouse, from one share of its width to another; returns the width."""
    picture.evaluate("picture => picture.scrollIntoView({block: 'center'})")
    box = picture.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + start * box["width"], box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + end * box["width"], box["y"] + 30, steps=4)
    page.mouse.up()
    return box["width"]


class Complaints:
    """What the page complains of: script errors, refused requests, console errors.

    Streamlit itself first asks for `_stcore` under a page's own path and gets 404 before it asks at the root; that is
    left out.
    """

    def __init__(self, page: Page) -> None:
        self.lines: list[str] = []
        page.on("pageerror", lambda error: self.lines.append(str(error)))
        page.on("requestfailed", lambda request: self._failed(request.url, request.failure or ""))
        page.on("response", lambda answer: self._answered(answer.url, answer.status))
        page.on("console", lambda message: self._said(message.type, message.text))

    def _failed(self, url: str, why: str) -> None:
        if "ERR_ABORTED" not in why:
            self.lines.append(f"{url}: {why}")

    def _answered(self, url: str, status: int) -> None:
        if status >= 400 and "/_stcore/" not in url:
            self.lines.append(f"{url}: {status}")

    def _said(self, kind: str, text: str) -> None:
        if kind == "error" and "Failed to load resource" not in text:
            self.lines.append(text)
