"""The encoders' colours are told apart by whoever looks, on light and dark."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from explorer.encoders import ENCODERS
from explorer.figures.theme import DARK, LIGHT, encoder_color

# Machado, Oliveira and Fernandes (2009), severity 1: linear RGB as it is seen.
SIGHT = {
    "all cones": np.eye(3),
    "protanopia": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
    "deuteranopia": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
    "tritanopia": np.array([[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]]),
}


def linear(color: str) -> np.ndarray:
    values = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear sRGB."""
    to_xyz = np.array([[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]])
    x, y, z = np.cbrt(to_xyz @ np.clip(rgb, 1e-4, 1) / [0.9505, 1.0, 1.0888])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("sight", SIGHT)
def test_every_pair_of_encoders_is_told_apart_by_whoever_looks(sight: str) -> None:
    seen = {name: lab(SIGHT[sight] @ linear(encoder_color(name))) for name in ENCODERS}
    for one, other in itertools.combinations(seen, 2):
        assert np.linalg.norm(seen[one] - seen[other]) > 14, (one, other)


def test_whispers_colour_is_seen_on_both_grounds() -> None:
    luminance = [float(linear(color)[0] * 0.2126 + linear(color)[1] * 0.7152 + linear(color)[2] * 0.0722)
                 for color in (LIGHT.background, encoder_color("whisper"), DARK.background)]  # fmt: skip
    ratios = [(a + 0.05) / (b + 0.05) for a, b in itertools.pairwise(luminance)]
    assert min(ratios) > 3
