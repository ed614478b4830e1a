"""How near the generated singing is to the real one, by what eGeMAPS factors say about technique.

    python -m benchmarks.realism [--seed 0] [--reference FILE]

Writes the VocalSet-shaped part, measures its 15 training singers with openSMILE, and asks the same of it as of the real
corpus: accuracy of a logistic regression and a random forest on unseen singers and on random folds (5 each), with and
without the songs, recall by technique, the median share of a factor's variance by singer and by technique. REFERENCE is
a table of the same factors of the real VocalSet (columns named as openSMILE names them, name, singer); without it the
published figures below stand beside ours. Prints what lies outside the limits, and the speed of generation.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from explorer.factors import FACTORS, functionals_of_clip
from precompute.datasets import vocalset
from precompute.datasets.singing.corpus import sing, write_corpus
from precompute.datasets.singing.parts import vocalset_shaped
from precompute.datasets.singing.truth import read_truth
from precompute.datasets.singing.voice import RATE_HZ

ACCURACY_LIMIT, RECALL_LIMIT, SHARE_LIMIT = 0.06, 0.15, 0.05
# Of the 1301 clips of VocalSet's 15 training singers, duplicates dropped: measured with this script.
REAL = {
    "logistic regression, unseen singers": 0.685,
    "logistic regression, random folds": 0.779,
    "random forest, unseen singers": 0.725,
    "random forest, random folds": 0.799,
    "logistic regression, unseen singers, no songs": 0.691,
    "logistic regression, random folds, no songs": 0.779,
    "share of variance by singer (median)": 0.13,
    "share of variance by technique (median)": 0.13,
    "share of mean F0 by singer": 0.70,
    "recall belt": 0.59,
    "recall breathy": 0.67,
    "recall inhaled": 0.71,
    "recall lip_trill": 0.95,
    "recall spoken": 0.93,
    "recall straight": 0.65,
    "recall trill": 0.57,
    "recall trillo": 0.56,
    "recall vibrato": 0.75,
    "recall vocal_fry": 0.63,
}
MEAN_F0 = "F0semitoneFrom27.5Hz_sma3nz_amean"


def measured(seed: int, folder: Path) -> pd.DataFrame:
    """The factors of the generated corpus's training singers, with technique, singer and exercise."""
    write_corpus(folder, vocalset_shaped(), seed=seed, n_workers=2)
    truth = read_truth(folder)
    truth = truth[~truth["singer"].isin(vocalset.TEST_SINGERS)]
    paths = [folder / file for file in truth.index]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        rows = [row.values for row in pool.map(functionals_of_clip, paths, chunksize=16)]
    table = pd.DataFrame(rows, columns=[factor.name for factor in FACTORS])
    words = truth.reset_index()[["technique", "singer", "exercise"]]
    return pd.concat([table, words], axis=1).fillna(0.0)


def reference(path: Path) -> pd.DataFrame:
    """The same of the real corpus; technique and exercise are read from the file's name."""
    table = pd.read_csv(path).drop_duplicates("name").reset_index(drop=True)
    known = sorted((*vocalset.TECHNIQUES, *vocalset.OTHER_TECHNIQUES), key=len, reverse=True)
    pattern = re.compile(rf"^(?:fe)?male\d+_({'|'.join(vocalset.EXERCISES)})_({'|'.join(known)})_")
    found = [pattern.match(name) for name in table["name"]]
    table["exercise"] = [match[1] if match else "" for match in found]
    table["technique"] = [match[2] if match else "" for match in found]
    return table[table["technique"].isin(vocalset.TECHNIQUES)].reset_index(drop=True)


def figures(table: pd.DataFrame) -> dict[str, float]:
    """Everything that REAL names, of one table."""
    x = table[[factor.name for factor in FACTORS]].to_numpy()
    y, singer, exercise = (
        table[name].to_numpy(dtype=object).astype(str) for name in ("technique", "singer", "exercise")
    )
    found: dict[str, float] = {}
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    for songs, kept in (("", np.full(len(y), True)), (", no songs", exercise != "excerpts")):
        for folds, splitter in (
            ("unseen singers", GroupKFold(5)),
            ("random folds", StratifiedKFold(5, shuffle=True, random_state=0)),
        ):
            said = cross_val_predict(linear, x[kept], y[kept], groups=singer[kept], cv=splitter)
            found[f"logistic regression, {folds}{songs}"] = float(np.mean(said == y[kept]))
            if songs:
                continue
            forest = RandomForestClassifier(300, random_state=0, n_jobs=2)
            trees = cross_val_predict(forest, x, y, groups=singer, cv=splitter)
            found[f"random forest, {folds}"] = float(np.mean(trees == y))
            if folds == "unseen singers":
                found |= {f"recall {name}": float(np.mean(said[y == name] == name)) for name in vocalset.TECHNIQUES}
    by_singer, by_technique = shares(x, singer), shares(x, y)
    found["share of variance by singer (median)"] = float(np.median(by_singer))
    found["share of variance by technique (median)"] = float(np.median(by_technique))
    found["share of mean F0 by singer"] = float(by_singer[[factor.name for factor in FACTORS].index(MEAN_F0)])
    return found


def shares(x: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Eta squared of each column: how much of its variance lies between the words."""
    centred = x - x.mean(axis=0)
    between = sum(np.sum(words == word) * centred[words == word].mean(axis=0) ** 2 for word in np.unique(words))
    return between / np.maximum((centred**2).sum(axis=0), 1e-12)


def limit(name: str) -> float:
    """How far ours may lie from the real corpus's."""
    return RECALL_LIMIT if name.startswith("recall") else SHARE_LIMIT if name.startswith("share") else ACCURACY_LIMIT


def speed(seed: int) -> float:
    """Seconds of sound made in a second of one core."""
    cells = vocalset_shaped().cells[::40]
    sing(cells[0], seed=seed)
    start = time.process_time()
    n_samples = sum(len(sing(cell, seed=seed).samples) for cell in cells)
    return n_samples / RATE_HZ / (time.process_time() - start)


def distances(ours: pd.DataFrame, real: pd.DataFrame) -> pd.Series:
    """How far the medians lie apart, in the real corpus's standard deviations, factor by factor, farthest first."""
    names = [factor.name for factor in FACTORS]
    apart = (ours[names].median() - real[names].median()) / real[names].std()
    return apart.reindex(apart.abs().sort_values(ascending=False).index)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reference", type=Path)
    asked = parser.parse_args()
    print(f"generation: {speed(asked.seed):.0f} times real time on one core (limit 20)")
    with tempfile.TemporaryDirectory() as folder:
        ours_table = measured(asked.seed, Path(folder) / "corpus")
    real_table = reference(asked.reference) if asked.reference else None
    ours, real = figures(ours_table), figures(real_table) if real_table is not None else REAL
    for name, target in REAL.items():
        gap = abs(ours[name] - target)
        mark = "" if gap <= limit(name) else f"  OUTSIDE {limit(name):g}"
        print(f"{name:50s} real {real[name]:.3f} (target {target:.3f})  ours {ours[name]:.3f}{mark}")
    if real_table is not None:
        print("\nwhere the medians lie farthest apart, in the real corpus's standard deviations:")
        print(distances(ours_table, real_table).head(15).round(2).to_string())


if __name__ == "__main__":
    main()
