"""precompute/layer_choice: layers by name, said wrongly before anything is computed, and the best two."""

from __future__ import annotations

import numpy as np
import pytest

from explorer.errors import ConfigError
from precompute.layer_choice import _best_two, check_layer_names


def test_the_best_layer_and_the_best_of_the_other_half() -> None:
    scores = np.array([0.1, 0.2, 0.5, 0.3, 0.4, 0.45, 0.6])
    none = np.zeros(7, bool)
    assert _best_two(range(7), scores, none) == [2, 6]
    assert _best_two(range(7), np.where(np.arange(7) == 6, np.nan, scores), none) == [2, 5]
    assert _best_two(range(7), np.full(7, np.nan), none) == [3, 6]


def test_a_layer_of_giant_frames_has_to_be_clearly_better() -> None:
    swamped = np.arange(7) >= 4
    assert _best_two(range(7), np.array([0.1, 0.2, 0.5, 0.88, 0.89, 0.87, 0.8]), swamped) == [3, 4]
    assert _best_two(range(7), np.array([0.1, 0.2, 0.89, 0.88, 0.3, 0.895, 0.89]), swamped) == [2, 5]
    assert _best_two(range(7), np.array([0.1, 0.2, 0.5, 0.85, 0.89, 0.87, 0.8]), swamped) == [3, 4]


def test_layers_for_an_encoder_that_is_not_of_the_run() -> None:
    check_layer_names("best2", ["mine"])
    check_layer_names("6,12", ["mine"])
    check_layer_names("ast=6,12;mine=3", ["mine"])  # a list for all may be given to a run of one
    with pytest.raises(ConfigError, match="hubrt is not an encoder of this run; those are mine"):
        check_layer_names("hubrt=3", ["mine"])
    with pytest.raises(ConfigError, match="is not best2, all"):
        check_layer_names("mine=3;4", ["mine"])
