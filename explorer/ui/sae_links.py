"""Links to the SAEs that are there, for a reader whose link names one that is not."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from explorer.naming import sae_names
from explorer.ui.markup import as_written
from explorer.ui.style import caption
from explorer.ui.url import carried, page_file

N_LINKS = 8


def sae_links(saes: pd.DataFrame, page: str) -> None:
    """Links that open `page` with SAEs of `fetch_saes`, each encoder in turn, reference ones first; at most N_LINKS."""
    if saes.empty:
        return
    ranked = saes.sort_values("is_reference", ascending=False, kind="stable", na_position="last")
    ranked = ranked.assign(turn=ranked.groupby("encoder_id").cumcount()).sort_values("turn", kind="stable")
    more = f" ({len(saes) - N_LINKS} more can be chosen once one is open)" if len(saes) > N_LINKS else ""
    caption(f"SAEs of this store{more}:")
    names = sae_names(saes, with_encoder=True)
    for row in ranked.head(N_LINKS).to_dict("records"):
        sae_id = str(row["sae_id"])
        st.page_link(page_file(page), label=as_written(names[sae_id]), query_params=carried(page, sae=sae_id))
