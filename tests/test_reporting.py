"""What is said while a run works: estimates from what was measured, and shares that add up."""

from __future__ import annotations

import re

from precompute.reporting import EVERY_S, Reporter, Stage, StageTime


def test_shares_of_stages_that_ran_side_by_side_add_up() -> None:
    reporter = Reporter()
    reporter.times = [StageTime("encode", 60.0, 3, 0), StageTime("factors", 50.0, 3, 0), StageTime("probe", 10.0, 3, 0)]
    reporter.started -= 65.0  # encode and factors overlapped
    table = reporter.where_the_time_went()
    shares = [float(share) for share in re.findall(r"([0-9.]+) %", table)]
    assert shares == [50.0, 41.7, 8.3]
    assert "1 min 5 s in all; shares of the stages' sum, 2 min 0 s" in table


def test_nothing_is_estimated_before_something_was_measured() -> None:
    stage = Stage("encode", 100.0, "clips", started=0.0)
    assert stage.left_s(60.0) is None
    stage._first, stage.done = (60.0, 1.0), 1.0  # the network was loaded for a minute
    assert stage.left_s(60.0) is None and stage.left_s(60.0 + EVERY_S) is None
    stage.done = 11.0
    assert stage.left_s(60.0 + EVERY_S / 2) is None
    assert stage.left_s(60.0 + EVERY_S) == EVERY_S / 10 * 89


def test_the_pace_is_noted_when_something_is_first_done() -> None:
    stage = Stage("encode", 10.0, "clips")
    stage.advance(2.0)
    assert stage._first is not None and stage._first[1] == 2.0
    first = stage._first
    stage.advance(1.0)
    assert stage._first == first and stage.left_s(first[0] + 2 * EVERY_S) == 2 * EVERY_S * 7
