"""What a person sees while a run works: stages, progress with an estimate, and where the time went."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

log = logging.getLogger("precompute")
EVERY_S = 10.0


@dataclass
class StageTime:
    """One stage's share of the run."""

    stage: str
    seconds: float
    n_done: int
    n_reused: int


@dataclass
class Stage:
    """Progress within a stage; `advance` counts work done, `reuse` work found finished."""

    name: str
    total: float
    unit: str
    done: float = 0.0
    n_done: int = 0
    n_reused: int = 0
    started: float = field(default_factory=time.monotonic)
    _last: float = field(default_factory=time.monotonic)

    def advance(self, amount: float = 1.0) -> None:
        """Count `amount` of the stage's unit as done now."""
        self.done += amount
        self.n_done += 1
        now = time.monotonic()
        if now - self._last >= EVERY_S:
            self._last = now
            spent = now - self.started
            left = spent / self.done * max(0.0, self.total - self.done) if self.done else 0.0
            log.info(
                "%s: %s of %s %s, %s left", self.name, _short(self.done), _short(self.total), self.unit, clock(left)
            )

    def reuse(self, amount: float = 1.0) -> None:
        """Take `amount` off what is left to do: a finished artefact was found."""
        self.total -= amount
        self.n_reused += 1


class Reporter:
    """Collects the stages of one run. `on_stage` is called when one has ended."""

    def __init__(self) -> None:
        self.times: list[StageTime] = []
        self.on_stage: Callable[[], None] = lambda: None
        self.started = time.monotonic()

    @contextmanager
    def stage(self, name: str, total: float, unit: str) -> Iterator[Stage]:
        """A stage of the run; its time is kept also when it fails."""
        stage = Stage(name, total, unit)
        try:
            yield stage
        finally:
            seconds = time.monotonic() - stage.started
            self.times.append(StageTime(name, seconds, stage.n_done, stage.n_reused))
            self.on_stage()
            reused = f", {stage.n_reused} found finished" if stage.n_reused else ""
            if stage.n_done or seconds > 1:
                log.info("%s: %d done%s in %s", name, stage.n_done, reused, clock(seconds))

    def where_the_time_went(self) -> str:
        """A table of the stages, longest first."""
        total = time.monotonic() - self.started
        by_name: dict[str, list[float]] = {}
        for item in self.times:
            entry = by_name.setdefault(item.stage, [0.0, 0, 0])
            entry[0] += item.seconds
            entry[1] += item.n_done
            entry[2] += item.n_reused
        lines = [f"Where the time went ({clock(total)} in all):"]
        for name, (seconds, n_done, n_reused) in sorted(by_name.items(), key=lambda item: -item[1][0]):
            share = seconds / total if total else 0.0
            lines.append(
                f"  {name:<34} {clock(seconds):>9}  {share:5.1%}  {int(n_done)} done, {int(n_reused)} found finished"
            )
        return "\n".join(lines)


def clock(seconds: float) -> str:
    """Seconds as people read them: '8 s', '3 min 20 s', '2 h 5 min'."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


def _short(value: float) -> str:
    return f"{value:.0f}"
