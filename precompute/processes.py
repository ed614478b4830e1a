"""Worker processes of a run, and the signals that stop it: nothing outlives the process that was started."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from types import FrameType
from typing import Generic, NoReturn, TypeVar

from explorer.errors import WorkerError
from explorer.lifeline import end_with
from precompute.reporting import log

Item = TypeVar("Item")
Made = TypeVar("Made")
_STOPPING = ("SIGINT", "SIGTERM", "SIGHUP")


class Stopped(KeyboardInterrupt):
    """A signal asked this process to end. `code` is the exit status that says so: 128 and the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Inside, Ctrl-C, SIGTERM and a terminal that closes raise Stopped, so that everything is left in order.

    A second signal ends the process at once. A signal that whoever started this process wants ignored (nohup) stays
    ignored. Call it from the main thread.
    """
    usual = (signal.SIG_DFL, signal.default_int_handler)
    numbers = [getattr(signal, name) for name in _STOPPING if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    taken = {number: handler for number, handler in before.items() if handler in usual}

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        for each in taken:
            signal.signal(each, signal.SIG_DFL)
        raise Stopped(number)

    for number in taken:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)


@contextmanager
def at_work(make: Callable[[Item], Made], items: Sequence[Item], n_workers: int) -> Iterator[Iterator[Made]]:
    """Processes that make each item, at work as long as the block; gives the results, in the order of the items.

    `make` and the items must be picklable. The processes end with this one, however it ends, and are stopped when the
    block is left early. What was being made when the system ended one of them is made once more by half as many;
    raises WorkerError when that happens again. What `make` raises is raised here.
    """
    crew = _Crew(make, items, n_workers)
    try:
        yield crew.results()
    except BaseException:
        crew.stop()
        raise
    crew.close()


class _Crew(Generic[Item, Made]):
    """A pool of processes, its work, and a second pool for what is left when the first breaks."""

    def __init__(self, make: Callable[[Item], Made], items: Sequence[Item], n_workers: int) -> None:
        self._make, self._items = make, items
        self._n_workers = max(1, min(n_workers, len(items)))
        self._futures: list[Future[Made]] = []
        self._is_second = False
        self._others = set(multiprocessing.active_children())
        self._pool = self._begin()

    def _begin(self) -> ProcessPoolExecutor:
        pool = ProcessPoolExecutor(
            self._n_workers, mp_context=multiprocessing.get_context("spawn"), initializer=_begin_worker
        )
        known = list(self._futures)
        self._futures = [
            known[row] if row < len(known) and _is_made(known[row]) else self._submitted(pool, item)
            for row, item in enumerate(self._items)
        ]
        return pool

    def _submitted(self, pool: ProcessPoolExecutor, item: Item) -> Future[Made]:
        try:
            return pool.submit(self._make, item)
        except BrokenProcessPool as error:  # one of its processes is gone already
            broken: Future[Made] = Future()
            broken.set_exception(error)
            return broken

    def results(self) -> Iterator[Made]:
        for row in range(len(self._items)):
            try:
                made = self._futures[row].result()
            except BrokenProcessPool as error:
                self._begin_again(error)
                made = self._result_of_second(row)
            yield made

    def _begin_again(self, error: BrokenProcessPool) -> None:
        if self._is_second:
            raise _ended(self._n_workers) from error
        self._is_second = True
        self._pool.shutdown()
        self._n_workers = max(1, self._n_workers // 2)
        log.warning(
            "A worker process was ended by the system, as it does when memory runs out. Trying once more with %d.",
            self._n_workers,
        )
        self._pool = self._begin()

    def _result_of_second(self, row: int) -> Made:
        try:
            return self._futures[row].result()
        except BrokenProcessPool as error:
            raise _ended(self._n_workers) from error

    def close(self) -> None:
        self._pool.shutdown()

    def stop(self) -> None:
        """End the processes now, in the middle of what they make."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        mine = [child for child in multiprocessing.active_children() if child not in self._others]
        for child in mine:
            child.terminate()
        for child in mine:
            child.join()


def _is_made(future: Future[Made]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _ended(n_workers: int) -> WorkerError:
    advice = (
        "Give it fewer processes with --n-workers"
        if n_workers > 1
        else "Close other programs, or use a machine with more memory"
    )
    return WorkerError(
        "A worker process was ended by the system twice, as it does when memory runs out. "
        f"{advice}, then run the same command again: finished work is kept."
    )


def _begin_worker() -> None:
    """In a worker process: end with the parent, and leave Ctrl-C to it (it stops its workers itself)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None and sys.platform != "win32":
        end_with(parent.sentinel)
