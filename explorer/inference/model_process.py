"""The app's side of the models: one worker process, and a fair queue of readers before it.

A reader has one request at a time: a newer one takes the place of that reader's waiting one. Requests are served in the
order in which they came. When the process dies, the request in it fails with a sentence and the next starts it anew.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from explorer.errors import ExplorerError, ModelProcessError
from explorer.inference.requests import Failure, Request
from explorer.text import quantity

_ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 600.0
Ask = Callable[[Request], Any]


class ModelProcess:
    """The worker process. Started by the first request. Requests are made by one thread at a time.

    One that gives no reply for `limit_s` is killed, so that the next request is served. `task`: what messages about it
    say that it does.
    """

    def __init__(
        self,
        command: tuple[str, ...] = (sys.executable, "-m", "explorer.inference.worker"),
        limit_s: float = LIMIT_S,
        task: str = "holds the models",
    ) -> None:
        self._command, self._limit_s, self._task = command, limit_s, task
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline: int | None = None  # held open as long as the process shall live; the system closes it for us

    @property
    def pid(self) -> int | None:
        """Of the running process; None where there is none."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def ask(self, request: Request) -> Any:
        """The reply to a request. Raises ExplorerError for what the worker refused, ModelProcessError when it died."""
        process, is_late = self._running(), threading.Event()

        def give_up() -> None:
            is_late.set()
            process.kill()

        watch = threading.Timer(self._limit_s, give_up)
        watch.daemon = True
        watch.start()
        try:
            pickle.dump(request, process.stdin)
            process.stdin.flush()
            reply = pickle.load(process.stdout)  # noqa: S301 - the worker alone writes here
        except (BrokenPipeError, EOFError, pickle.UnpicklingError) as error:
            how = f"it gave no reply for {quantity(self._limit_s)} s" if is_late.is_set() else _how(process)
            self.stop()
            raise ModelProcessError(
                f"The process that {self._task} stopped ({how}). It starts again with the next request: try once "
                "more, with a shorter sound if it was the memory."
            ) from error
        finally:
            watch.cancel()
        if isinstance(reply, ExplorerError):
            raise reply
        if isinstance(reply, Failure):
            raise ModelProcessError(
                f"The process that {self._task} could not read this sound: {reply.message}. Please report it with "
                "what you did."
            )
        return reply

    def stop(self) -> None:
        """End the process; the next request starts another."""
        process, self._process = self._process, None
        self._let_go()
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close() if pipe is process.stdout else _close_quietly(pipe)

    def _running(self) -> Any:
        if self._process is None or self._process.poll() is not None:
            path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
            self._let_go()
            lifeline, self._lifeline = os.pipe()
            self._process = subprocess.Popen(  # noqa: S603 - this program itself
                [*self._command, "--lifeline", str(lifeline)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": path},
                pass_fds=(lifeline,),
            )
            os.close(lifeline)
        return self._process

    def _let_go(self) -> None:
        """Close the lifeline: a process that still lives ends by itself."""
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None


def _close_quietly(pipe: Any) -> None:
    try:
        pipe.close()  # flushes what a dead process no longer reads
    except BrokenPipeError:
        return


def _how(process: subprocess.Popen[bytes]) -> str:
    try:
        code = process.wait(timeout=2)
    except subprocess.TimeoutExpired:
        return "it gave no readable reply"
    if code == -9:
        return "it was killed, as the system does when memory runs out"
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _nothing(ask: Ask, ticket: Ticket) -> None:
    """The work of a request that is done."""


class Ticket:
    """One reader's request: what it gave so far, by name, and how many are before it."""

    def __init__(
        self,
        reader: str,
        work: Callable[[Ask, Ticket], None],
        queue: ReaderQueue,
        is_wanted: Callable[[], bool],
        lets_others_first: bool,
    ) -> None:
        self.reader, self.work, self._queue = reader, work, queue
        self.is_wanted, self.lets_others_first = is_wanted, lets_others_first
        self.results: dict[str, Any] = {}
        self.error: ExplorerError | None = None
        self.is_replaced = False
        self._changed = threading.Condition()
        self._is_done = False

    @property
    def is_done(self) -> bool:
        """Whether nothing more will come: finished, failed or replaced."""
        return self._is_done

    def n_before(self) -> int:
        """How many requests are served before this one; 0 when it is being served."""
        return self._queue.n_before(self)

    def put(self, name: str, result: Any) -> None:
        """Make a part of the result known."""
        with self._changed:
            self.results[name] = result
            self._changed.notify_all()

    def wait(self, name: str, seconds: float) -> bool:
        """Wait for a part of the result, or the end; whether one of them is there."""
        with self._changed:
            return self._changed.wait_for(lambda: name in self.results or self._is_done, seconds)

    def finish(self, error: ExplorerError | None = None) -> None:
        """Nothing more will come, and the work, which may hold a sound, is let go."""
        with self._changed:
            self.error, self._is_done, self.work = error, True, _nothing
            self._changed.notify_all()


class ReaderQueue:
    """Requests of many readers to one process, in the order in which they came, one waiting for each reader."""

    def __init__(self, process: ModelProcess) -> None:
        self._process = process
        self._waiting: list[Ticket] = []
        self._serving: Ticket | None = None
        self._changed = threading.Condition()
        threading.Thread(target=self._serve, name="sonoscope-models", daemon=True).start()

    def submit(
        self,
        reader: str,
        work: Callable[[Ask, Ticket], None],
        *,
        is_wanted: Callable[[], bool] = lambda: True,
        lets_others_first: bool = False,
    ) -> Ticket:
        """Queue a request. `work(ask, ticket)` runs in the queue's thread and puts its results in the ticket.

        It ends at its next question to the models once a newer request of its reader is there, or `is_wanted` says no.
        lets_others_first: it asks much, and whoever waits is served before each of its questions.
        """
        ticket = Ticket(reader, work, self, is_wanted, lets_others_first)
        with self._changed:
            if self._serving is not None and self._serving.reader == reader:
                self._serving.is_replaced = True
            for old in [other for other in self._waiting if other.reader == reader]:
                self._waiting.remove(old)
                old.is_replaced = True
                old.finish(ModelProcessError("A newer request of yours took this one's place."))
            self._waiting.append(ticket)
            self._changed.notify_all()
        return ticket

    def n_before(self, ticket: Ticket) -> int:
        """How many requests are served before this one."""
        with self._changed:
            if ticket not in self._waiting:
                return 0
            return self._waiting.index(ticket) + (self._serving is not None)

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting))
            self._serve_first()

    def _serve_first(self) -> None:
        """A function of its own: nothing here holds a reader's sound while the queue waits for the next."""
        with self._changed:
            if not self._waiting:  # it was replaced a moment ago
                return
            before, self._serving = self._serving, self._waiting.pop(0)
            ticket = self._serving
        try:
            ticket.work(lambda request: self._ask_for(ticket, request), ticket)
            ticket.finish()
        except ExplorerError as error:
            ticket.finish(error)
        except Exception as error:  # noqa: BLE001 - the queue serves others after this one
            ticket.finish(ModelProcessError(f"{type(error).__name__}: {error}. Please report it."))
        finally:
            with self._changed:
                self._serving = before

    def _ask_for(self, ticket: Ticket, request: Request) -> Any:
        while ticket.lets_others_first and self._waiting:
            self._serve_first()
        if ticket.is_replaced or not ticket.is_wanted():
            raise ModelProcessError("The page that asked has been closed.")
        return self._process.ask(request)
