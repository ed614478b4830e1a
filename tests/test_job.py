"""precompute/job: which columns of a data set can say something."""

import numpy as np

from precompute.job import is_categorical


def test_a_column_speaks_only_where_clips_share_its_values() -> None:
    def column(*values: object) -> np.ndarray:
        return np.array(values, dtype=object)

    assert is_categorical(column("a", "b", "a", "b"))
    assert not is_categorical(column("a", "b", "c", "d")), "a hash of each file"
    assert not is_categorical(column("a", "a", None, "a"))
    assert not is_categorical(column(*map(str, range(61)), *map(str, range(61)))), "too many to show"
