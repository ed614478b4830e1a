"""Find: features for a value, an attribute or a measure, and features that change within minimal pairs."""

from explorer.queries.corpus import fetch_corpus
from explorer.ui import choose_sae, get_store, page_header
from explorer.ui.find_features import draw_search
from explorer.ui.find_pairs import draw_pairs
from explorer.ui.options import choose_one

WAYS = {"features": "features for …", "pairs": "minimal pairs"}


def main() -> None:
    """Draw the page of the address."""
    store = get_store()
    sae = choose_sae(store)
    page_header(
        "Find",
        "Features that go with something you name, and features that change when one thing changes. Every group "
        "counts, next to what the best of all features reaches by chance.",
        encoder_ids=[str(sae["encoder_id"])],
    )
    way = choose_one("Look for", WAYS, "way")
    (draw_search if way == "features" else draw_pairs)(store, sae, fetch_corpus(store))


main()
