"""The server: the Streamlit app of pages/main.py and the routes that serve sounds and pictures by clip id, and plotly.

Run from the repository root: `streamlit run app.py -- --store DIR`.
"""

from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from explorer.ui.audio_route import clip_routes
from explorer.ui.context import get_store
from explorer.ui.plotly_route import plotly_route
from explorer.ui.reader import ReaderCookie

app = st.App(
    Path(__file__).with_name("pages") / "main.py",
    routes=[*clip_routes(get_store), plotly_route()],
    middleware=[Middleware(ReaderCookie)],
)
