"""The batch job: from a folder of recordings to a published store. Run it with `python -m precompute`."""
