"""The server: the Streamlit app of pages/main.py and the routes that serve sounds and pictures by clip id, and plotly.

Run from the repository root: `streamlit run app.py -- --store DIR`. docs/serving.md says how behind a proxy.
"""

import sys
from pathlib import Path

from explorer.environment import BROWSE, check_environment, explained_imports
from explorer.errors import ExplorerError

try:
    for sentence in check_environment(BROWSE):
        sys.stderr.write(f"note: {sentence} This was not tested.\n")
    with explained_imports(BROWSE):
        import streamlit as st
        from starlette.middleware import Middleware

        import explorer.ui.imported  # noqa: F401
        from explorer.ui.audio_route import clip_routes
        from explorer.ui.below import BelowAnyPath
        from explorer.ui.context import get_store
        from explorer.ui.guard import Guard, frame_ancestors_of_server
        from explorer.ui.hosts import hosts_of_server
        from explorer.ui.plotly_route import plotly_route
        from explorer.ui.reader import ReaderCookie
        from explorer.ui.routes import below_base
        from explorer.ui.visits import tidy
    guard = Middleware(Guard, hosts=hosts_of_server(), frame_ancestors=frame_ancestors_of_server())
except ExplorerError as error:
    raise SystemExit(f"error: {error}") from None

app = st.App(
    Path(__file__).with_name("pages") / "main.py",
    routes=below_base([*clip_routes(get_store), plotly_route()]),
    middleware=[guard, Middleware(BelowAnyPath), Middleware(ReaderCookie)],
    lifespan=tidy,
)
