"""The server: the Streamlit app of pages/main.py and the routes that serve sounds and pictures by clip id, and plotly.

Run from the repository root: `streamlit run app.py -- --store DIR`. docs/serving.md says how behind a proxy.
"""

from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

import explorer.ui.imported  # noqa: F401
from explorer.errors import ExplorerError
from explorer.ui.audio_route import clip_routes
from explorer.ui.below import BelowAnyPath
from explorer.ui.context import get_store
from explorer.ui.guard import Guard, frame_ancestors_of_server
from explorer.ui.hosts import hosts_of_server
from explorer.ui.plotly_route import plotly_route
from explorer.ui.reader import ReaderCookie
from explorer.ui.routes import below_base
from explorer.ui.visits import tidy

try:
    guard = Middleware(Guard, hosts=hosts_of_server(), frame_ancestors=frame_ancestors_of_server())
except ExplorerError as error:
    raise SystemExit(str(error)) from None

app = st.App(
    Path(__file__).with_name("pages") / "main.py",
    routes=below_base([*clip_routes(get_store), plotly_route()]),
    middleware=[guard, Middleware(BelowAnyPath), Middleware(ReaderCookie)],
    lifespan=tidy,
)
