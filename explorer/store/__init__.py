"""The store on disk: immutable DuckDB generations, a pointer to the current one, and content-named files beside it.

    STORE/CURRENT                   the name of the current generation, replaced atomically
    STORE/store-000007.duckdb       one generation: never written again once published
    STORE/store-000007.sha256       the SHA-256 of that file
    STORE/files/<kind>-<hash>.<ext> immutable: codes, traces, weights, previews, playable states
    STORE/artefacts/                what precompute resumes from; browsing never reads it

This is the only package that imports duckdb. A store may be anybody's: see `names` for what its texts may lead to.
"""

from explorer.store.layout import (
    ARTEFACTS,
    FILES,
    POINTER,
    RUNS,
    SCHEMA_VERSION,
    checksum_path,
    command,
    generation_path,
    how_to_make_again,
)
from explorer.store.reading import Store, current_edition, current_generation, open_store
from explorer.store.writing import GenerationWriter, new_generation, remove_unlisted, table_columns, write_parquet

__all__ = [
    "ARTEFACTS", "FILES", "POINTER", "RUNS", "SCHEMA_VERSION", "GenerationWriter", "Store", "checksum_path", "command",
    "current_edition", "current_generation", "generation_path", "how_to_make_again", "new_generation", "open_store",
    "remove_unlisted", "table_columns", "write_parquet",
]  # fmt: skip
