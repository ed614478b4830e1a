"""What every stage of a run is handed: the configuration, the corpus as arrays, the artefacts, and the run's record."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from precompute.artefacts import Artefacts, Bundle, key_of
from precompute.config import RunConfig
from precompute.datasets import Corpus
from precompute.reporting import Reporter, Stage
from precompute.shards import ClipSource, Shard, make_shards

MAX_CATEGORIES = 60
HELD_OUT, ALL_GROUPS, GROUP_FOLDS = "held-out", "all-groups", "group-folds"
RANDOM_FOLDS, PAPER = "random-folds", "paper"


@dataclass(frozen=True, eq=False)
class CorpusArrays:
    """The corpus in clip order, as the measures want it. -1 stands for no fold, None for no label."""

    groups_c: np.ndarray
    files_c: np.ndarray
    train_c: np.ndarray
    heldout_c: np.ndarray
    fold_all_c: np.ndarray
    fold_group_c: np.ndarray
    fold_random_c: np.ndarray
    paper_split_c: np.ndarray
    labels: dict[str, np.ndarray]  # by label name; object arrays of str or None
    attributes: dict[str, np.ndarray]


def corpus_arrays(corpus: Corpus) -> CorpusArrays:
    """The arrays of a corpus."""
    clips = corpus.clips

    def column(values: Sequence[object]) -> np.ndarray:
        array = np.empty(len(values), dtype=object)
        array[:] = values
        return array

    label_names = sorted(
        {name for clip in clips for name in clip.file.labels}, key=lambda n: (n != corpus.label_name, n)
    )
    attribute_names = sorted({name for clip in clips for name in clip.file.attributes})
    return CorpusArrays(
        groups_c=column([clip.group for clip in clips]),
        files_c=column([clip.file.file_id for clip in clips]),
        train_c=np.array([clip.split == "train" for clip in clips]),
        heldout_c=np.array([clip.split == HELD_OUT for clip in clips]),
        fold_all_c=np.array([-1 if clip.fold_all is None else clip.fold_all for clip in clips]),
        fold_group_c=np.array([-1 if clip.fold_group is None else clip.fold_group for clip in clips]),
        fold_random_c=np.array([-1 if clip.fold_random is None else clip.fold_random for clip in clips]),
        paper_split_c=column([clip.paper_split for clip in clips]),
        labels={name: column([clip.file.labels.get(name) for clip in clips]) for name in label_names},
        attributes={name: column([clip.file.attributes.get(name) for clip in clips]) for name in attribute_names},
    )


def is_categorical(values_c: np.ndarray) -> bool:
    """Whether a column has few enough values to say something about clips that share one: 2 to 60, and no more than
    half as many as there are clips."""
    n_values = len({value for value in values_c if value is not None})
    return 2 <= n_values <= min(MAX_CATEGORIES, len(values_c) // 2)


@dataclass
class Record:
    """The bundles that a run is made of, in the order they were needed."""

    bundles: list[tuple[str, str]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def use(self, bundle: Bundle) -> Bundle:
        """Note that the run stands on this bundle."""
        entry = (bundle.folder.parent.name, bundle.folder.name)
        with self._lock:
            if entry not in self.bundles:
                self.bundles.append(entry)
        return bundle


@dataclass(frozen=True, eq=False)
class Job:
    """One run at work."""

    config: RunConfig
    run_id: str
    artefacts: Artefacts
    corpus: Corpus
    arrays: CorpusArrays
    reporter: Reporter
    record: Record

    def keep(
        self, progress: Stage, stage: str, key: str, make: Callable[[Bundle], object], *, n: int = 1, amount: float = 1
    ) -> Bundle:
        """The bundle `stage`/`key`: as it was found, or filled by `make` now. The one place where work is counted.

        It stands for `n` things and `amount` of the unit of `progress`, and is noted in the run's record.
        """
        name = (stage, key)
        bundle = self.artefacts.find(stage, key)
        if bundle is None:
            with self.artefacts.writing(stage, key) as partial:
                make(partial)
            bundle = self.artefacts.get(stage, key)
            progress.made(n, amount=amount, name=name)
        else:
            progress.found(n, amount=amount, name=name)
        return self.record.use(bundle)

    def keep_rows(self, progress: Stage, stage: str, subject: str, table: str, rows: pd.DataFrame) -> Bundle:
        """A bundle of what `subject` is called and described as, named by its own rows: other words, another bundle.

        Nothing is computed for it, so that words change without any work being done again.
        """
        key = key_of(table=table, subject=subject, rows=rows.to_dict("records"))

        def make(bundle: Bundle) -> None:
            bundle.add_facts({"subject": subject})
            bundle.add_table(table, rows)

        return self.keep(progress, stage, key, make, n=0, amount=0)

    @property
    def sources(self) -> list[ClipSource]:
        """Where each clip's sound lies, in clip order."""
        return [
            ClipSource(clip.clip_index, clip.clip_id, clip.file.path, clip.start_s, clip.duration_s)
            for clip in self.corpus.clips
        ]

    @property
    def shards(self) -> list[Shard]:
        """The corpus in shards."""
        return make_shards(self.sources, self.config.shard_clips)

    @property
    def protocol(self) -> str:
        """Whose training part SAEs, probes and Lasso are fitted on."""
        return PAPER if self.config.is_paper else HELD_OUT

    @property
    def fit_c(self) -> np.ndarray:
        """Which clips the protocol fits on."""
        return self.arrays.paper_split_c == "train" if self.config.is_paper else self.arrays.train_c

    @property
    def score_c(self) -> np.ndarray:
        """Which clips the protocol scores on: seen by nothing that was fitted."""
        return self.arrays.paper_split_c == "test" if self.config.is_paper else self.arrays.heldout_c
