"""The demo's encoders: four small networks of the real classes, each pretrained in its family's own way on free voices.

    python -m precompute.pretraining train --work DIR
    python -m precompute.pretraining evaluate --work DIR

They see no demo clip, no singer of it, no planted parameter. Progress is kept: a stopped command goes on where it was.
"""
