"""Refuse a test report in which tests of the browser, the browse-only installation or SAELens were skipped.

Usage: check_report.py build/tests.xml. `make test` runs this where SONOSCOPE_REQUIRE_BROWSER=1, so that what is missing
cannot pass for a success.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

WORDS = ("browser", "chromium", "playwright", "browse-only", "sae-lens")


def complaints(report: Path) -> list[str]:
    """What is wrong with a JUnit report, a line each; an empty list when browser tests ran and none was skipped."""
    found: list[str] = []
    n_ran = 0
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname', '')}::{case.get('name', '')}"
        is_browser_test = "browser" in name.lower()
        skip = case.find("skipped")
        if skip is None:
            n_ran += is_browser_test
            continue
        reason = f"{skip.get('message', '')} {skip.text or ''}".strip()
        if is_browser_test or any(word in reason.lower() for word in WORDS):
            found.append(f"{name} was skipped: {skip.get('message', '').strip() or reason}")
    if not n_ran:
        found.append("no browser test ran")
    return found


if __name__ == "__main__":
    lines = complaints(Path(sys.argv[1]))
    for line in lines:
        print(line, file=sys.stderr)
    sys.exit(1 if lines else 0)
