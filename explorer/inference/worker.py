"""The process that holds the models: one request at a time on stdin, one reply on stdout, both pickled.

Started by `model_process`, its only peer, and ends with it. Encoders stay loaded up to a bound of memory; the one not
used for longest leaves first.
"""

from __future__ import annotations

import argparse
import os
import pickle
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

from explorer.errors import ExplorerError
from explorer.inference.models import Models
from explorer.inference.requests import Failure, Request
from explorer.lifeline import end_with

MEMORY_VARIABLE = "SONOSCOPE_LIVE_MEMORY_GB"
DEFAULT_MEMORY_GB = 4.0


def serve(requests: BinaryIO, replies: BinaryIO, answer: Callable[[Request], Any]) -> None:
    """Answer until the other side closes. A fault of ours is a reply too, so that the models stay warm."""
    while _serve_next(requests, replies, answer):
        pass


def _serve_next(requests: BinaryIO, replies: BinaryIO, answer: Callable[[Request], Any]) -> bool:
    """A function of its own: no reader's sound stays in memory until the next request."""
    try:
        request = pickle.load(requests)  # noqa: S301 - the parent process alone writes here
    except EOFError:
        return False
    try:
        reply = answer(request)
    except ExplorerError as error:
        reply = error
    except Exception as error:  # noqa: BLE001 - whatever it was, the parent shows it and the process lives on
        reply = Failure(f"{type(error).__name__}: {error}")
    pickle.dump(reply, replies)
    replies.flush()
    return True


def main() -> None:
    """Serve on stdin and stdout; what libraries print goes to stderr, so that it never mixes with replies."""
    parser = argparse.ArgumentParser(prog="python -m explorer.inference.worker")
    parser.add_argument("--lifeline", type=int, help="a pipe that closes when the app ends; this process ends with it")
    lifeline = parser.parse_args().lifeline
    if lifeline is not None:
        end_with(lifeline)
    memory_gb = float(os.environ.get(MEMORY_VARIABLE) or DEFAULT_MEMORY_GB)
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as replies:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        serve(sys.stdin.buffer, replies, Models(memory_gb * 1e9).answer)


if __name__ == "__main__":
    main()
