"""Figures: rows in, a plotly figure out. Pure functions; one palette for all of them in `theme`."""
