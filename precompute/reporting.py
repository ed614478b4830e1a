"""What a person sees while a run works: stages, progress with an estimate, and where the time went."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from explorer.text import number, percent, whole

log = logging.getLogger("precompute")
EVERY_S = 10.0


@dataclass
class StageTime:
    """One stage's share of the run: seconds, and how many things it made (`n_done`) and found finished (`n_reused`)."""

    stage: str
    seconds: float
    n_done: int
    n_reused: int


@dataclass
class Stage:
    """Progress within a stage, in its unit, and what was made and what was found finished, in things. For threads.

    A thing that has a name counts once in a run, however often it is asked for.
    """

    name: str
    total: float
    unit: str
    done: float = 0.0
    n_done: int = 0
    n_reused: int = 0
    started: float = field(default_factory=time.monotonic)
    work: float = 0.0  # what takes the time, where that is not the unit that is shown: how much, and how much is done
    work_done: float = 0.0
    known: set[Hashable] = field(default_factory=set)  # the names that were counted in this sitting
    _last: float = field(default_factory=time.monotonic)
    _first: tuple[float, float] | None = None  # when something was done for the first time, and how much then
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def expect(self, work: float) -> None:
        """Estimate by `work` from now on, of which `advance` says how much is done, and not by the unit shown."""
        with self._lock:
            self.work, self.work_done, self._first = work, 0.0, None

    def advance(self, amount: float = 1.0, *, work: float = 0.0) -> None:
        """`amount` of the stage's unit is done, and `work` of what was expected: for the estimate alone."""
        with self._lock:
            self.done += amount
            self.work_done += work
            now = time.monotonic()
            self._first = self._first or (now, self._progress()[0])
            is_due = now - self._last >= EVERY_S
            if is_due:
                self._last = now
        if is_due:
            left = self.left_s(now)
            estimate = "" if left is None else f", {clock(left)} left"
            log.info("%s: %s of %s %s%s", self.name, _short(self.done), _short(self.total), self.unit, estimate)

    def left_s(self, now: float) -> float | None:
        """The seconds that are left at the pace since something was first done (before, what is loaded takes its time);
        None until EVERY_S of it were measured."""
        if self._first is None:
            return None
        done_now, total = self._progress()
        since, done = now - self._first[0], done_now - self._first[1]
        if since < EVERY_S or done <= 0:
            return None
        return since / done * max(0.0, total - done_now)

    def _progress(self) -> tuple[float, float]:
        """(done, of how much), in what the estimate is made by."""
        return (self.work_done, self.work) if self.work else (self.done, self.total)

    def made(self, n: int = 1, *, amount: float = 0.0, name: Hashable = None) -> None:
        """Count `n` things as made and kept now, and with `amount` as progress; `name`: what they are called."""
        with self._lock:
            if self._is_new(name):
                self.n_done += n
        if amount:
            self.advance(amount)

    def found(self, n: int = 1, *, amount: float = 1.0, name: Hashable = None) -> None:
        """Count `n` things as found finished, and take `amount` off what is left to do."""
        with self._lock:
            self.total -= amount
            if self._is_new(name):
                self.n_reused += n

    def _is_new(self, name: Hashable) -> bool:
        is_new = name is None or name not in self.known
        if name is not None:
            self.known.add(name)
        return is_new


class Reporter:
    """Collects the stages of one run. `on_stage` is called when one has ended."""

    def __init__(self) -> None:
        self.times: list[StageTime] = []
        self.on_stage: Callable[[], None] = lambda: None
        self.started = time.monotonic()
        self._counted: set[Hashable] = set()

    @contextmanager
    def stage(self, name: str, total: float, unit: str) -> Iterator[Stage]:
        """A stage of the run; its time is kept also when it fails."""
        stage = Stage(name, total, unit, known=self._counted)
        try:
            yield stage
        finally:
            seconds = time.monotonic() - stage.started
            self.times.append(StageTime(name, seconds, stage.n_done, stage.n_reused))
            self.on_stage()
            if stage.n_done or stage.n_reused or seconds > 1:
                found = f"{whole(stage.n_reused)} found finished"
                log.info("%s: %s done, %s in %s", name, whole(stage.n_done), found, clock(seconds))

    def where_the_time_went(self) -> str:
        """A table of the stages, longest first. Stages run side by side, so that shares are of their sum."""
        total = time.monotonic() - self.started
        summed = sum(item.seconds for item in self.times)
        by_name: dict[str, list[float]] = {}
        for item in self.times:
            entry = by_name.setdefault(item.stage, [0.0, 0, 0])
            entry[0] += item.seconds
            entry[1] += item.n_done
            entry[2] += item.n_reused
        lines = [f"Where the time went ({clock(total)} in all; shares of the stages' sum, {clock(summed)}):"]
        for name, (seconds, n_done, n_reused) in sorted(by_name.items(), key=lambda item: -item[1][0]):
            share = seconds / summed if summed else 0.0
            if not (n_done or n_reused or seconds > 1):
                continue
            lines.append(
                f"  {name:<34} {clock(seconds):>9}  {percent(round(share, 3), 1):>7}  {whole(n_done)} done, "
                f"{whole(n_reused)} found finished"
            )
        return "\n".join(lines)


def clock(seconds: float) -> str:
    """Seconds as people read them: '8 s', '3 min 20 s', '2 h 5 min'."""
    if seconds < 59.5:
        return number(seconds, 1 if seconds < 9.95 else 0, unit="s")
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


def _short(value: float) -> str:
    return whole(round(value))
