"""Questions to the store: `fetch_*(store, ...)` returns rows or small records. Bound parameters only."""
