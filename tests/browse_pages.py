"""Open every page on a store, in whatever Python runs this: `browse_pages.py STORE`. Prints what each said, as JSON.

test_browse_install.py gives it a Python that has the packages of requirements-browse.txt and nothing else.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def main(store: str) -> None:
    os.environ["SONOSCOPE_STORE"] = store
    from streamlit.testing.v1 import AppTest

    from explorer.ui.url import PAGES, page_file

    said = {}
    for page in PAGES:
        test = AppTest.from_file(str(page_file("overview").with_name("main.py")), default_timeout=300)
        test.switch_page(f"{page}.py")
        test.run()
        said[page] = {
            "exceptions": [str(one.message) for one in test.exception],
            "html": "\n".join(
                body for one in test.get("html") if not (body := str(one.proto.body)).startswith("<style>")
            ),
        }
    json.dump({"pages": said, "loaded": sorted(name for name in sys.modules if "." not in name)}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
