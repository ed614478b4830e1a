"""The app of this repository, served for a benchmark, and the Chromium that looks at it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BARE_PAGE = """
import plotly.graph_objects as go
import streamlit as st

st.html('<header class="so-head"><h1>bare</h1></header>')
st.plotly_chart(go.Figure(go.Scatter(x=[1, 2], y=[1, 2])))
"""  # what a page with a chart of Streamlit's own takes at least
CHROMIUM_FLAGS = ("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--mute-audio")


@contextmanager
def served(folder: Path, script: str | Path, *arguments: str) -> Iterator[str]:
    """`streamlit run SCRIPT -- ARGUMENTS` on a free port; gives its address. It logs to `folder`/server.log."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(script), "--server.port", str(port)]
    command += ["--server.headless", "true", "--", *arguments]
    environment = {**os.environ, "SONOSCOPE_HOME": str(folder / "home")}
    url = f"http://127.0.0.1:{port}"
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait_until_healthy(url, process)
        yield url
    finally:
        process.terminate()
        process.wait(15)


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(240):
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=1) as answer:  # noqa: S310 - our own address
                if answer.read() == b"ok":
                    return
        except OSError:
            time.sleep(0.25)
    raise SystemExit("the app did not start")


def chromium() -> str | None:
    """The system's Chromium; None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("SONOSCOPE_CHROMIUM") or next((p for name in names if (p := shutil.which(name))), None)
