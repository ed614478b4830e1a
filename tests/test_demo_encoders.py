"""What must hold of the demo's encoders on generated singing: f0 is found, gain is not where it is normalised away."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from precompute.datasets.singing.corpus import write_corpus
from precompute.datasets.singing.parts import crossed
from precompute.datasets.singing.truth import read_truth
from precompute.demo import ENCODERS
from precompute.factor_fit import LassoSettings
from precompute.planted import How, Recovery, Split, from_all
from precompute.pretraining.evaluation import pooled

HOW = How(LassoSettings(alphas=8, eps=0.01, n_permutations=3, count_codes=False), (0.1,))
PART = crossed(exercises=("long_tones",), n_vowels=1)


@dataclass(frozen=True, eq=False)
class Sung:
    """200 clips: paths, what was planted in them, who is held out."""

    paths: tuple[Path, ...]
    numbers: dict[str, np.ndarray]
    split: Split


@pytest.fixture(scope="module")
def sung(tmp_path_factory: pytest.TempPathFactory) -> Sung:
    root = tmp_path_factory.mktemp("sung") / "in"
    write_corpus(root, PART)
    truth = read_truth(root)
    singers = truth["singer"].to_numpy(dtype=object)
    train = ~np.isin(singers, PART.test_singers)
    places = {singer: place for place, singer in enumerate(PART.singers)}
    folds = np.where(train, [places[singer] % 3 for singer in singers], -1)
    numbers = {name: truth[name].to_numpy(dtype=np.float64) for name in ("f0_st", "gain_db")}
    return Sung(tuple(root / file for file in truth.index), numbers, Split(singers, train, ~train, folds, folds))


def recovered(name: str, sung: Sung) -> dict[str, list[Recovery]]:
    """By parameter, one Recovery a layer."""
    states_cld = pooled(f"{name}={ENCODERS / name}", sung.paths)
    layers = [from_all(states_cld[:, layer], sung.numbers, {}, sung.split, HOW) for layer in range(states_cld.shape[1])]
    return {parameter: [found[place] for found in layers] for place, parameter in enumerate(sung.numbers)}


@pytest.mark.parametrize("name", ["hubert", "mert"])
def test_pitch_is_found_and_gain_is_invisible_to_who_normalises_it(name: str, sung: Sung):
    found = recovered(name, sung)
    assert any(item.is_found for item in found["f0_st"]), [item.score for item in found["f0_st"]]
    for layer, item in enumerate(found["gain_db"]):
        assert not item.is_found and item.score < 0.1, (layer, item.score)
