"""Names that are spelt in two ways: groups read as one, labels kept apart, and what is only named."""

from __future__ import annotations

from pathlib import Path

import pytest

from precompute.datasets import read_corpus
from tests.test_folder_dataset import make, table

SPELLINGS = {  # of one singer, two by two
    "unicode": ("Zo\u00e9", "Zoe\u0301"),
    "case": ("zoe", "ZOE"),
    "blank": ("zoe b", "zoe  b"),
    "no-break": ("zoe b", "zoe\u00a0b"),
    "zero width": ("zoeb", "zoe\u200bb"),
    "at the end": ("zoe", "zoe\u00a0\ufeff"),
    "number": ("7", "7.0"),
    "full width": ("S7", "\uff33\uff17"),
}


@pytest.mark.parametrize("kind", SPELLINGS)
def test_one_singer_in_two_spellings_is_one_group_and_stands_on_one_side(tmp_path: Path, kind: str):
    names = [SPELLINGS[kind][n % 2] for n in range(16)]
    rows = "".join(f"{n}.wav,l{n % 2},{n // 4}{name}\n" for n, name in enumerate(names))
    corpus = read_corpus("folder", table(make(tmp_path, 16), f"file,label,group\n{rows}"))
    groups = [clip.group for clip in sorted(corpus.clips, key=lambda clip: int(clip.file.relative[:-4]))]
    assert len(set(groups)) == 4 and all(len(set(groups[n : n + 4])) == 1 for n in range(0, 16, 4))
    sides = {clip.group: {other.split for other in corpus.clips if other.group == clip.group} for clip in corpus.clips}
    assert all(len(split) == 1 for split in sides.values())
    if kind == "at the end":
        assert "blanks around values in metadata.csv are ignored: " in corpus.note
    elif kind != "unicode":
        assert "groups that differ only by case, blanks or a final .0 are read as one: '" in corpus.note
    assert len(corpus.note) < 400


def test_labels_that_look_alike_stay_apart_and_are_named(tmp_path: Path):
    labels = ["Belt", "belt", "NA", "x"]
    rows = "".join(f"{n}.wav,{labels[n % 4]},g{n // 2}\n" for n in range(8))
    corpus = read_corpus("folder", table(make(tmp_path), f"file,label,group\n{rows}"))
    assert {clip.label for clip in corpus.clips} == set(labels)
    assert "blanks or a final .0 are kept as different labels: 'Belt' = 'belt'" in corpus.note
    assert "read as labels: 'NA'; leave cells empty" in corpus.note


@pytest.mark.parametrize(
    ("one", "other"),
    [("S1", "s01"), ("Singer 1", "singer_1"), ("Mary-Ann", "Mary\u2013Ann"), ("O'Hara", "O\u2019Hara")],
)
def test_groups_that_may_be_one_are_named_and_read_as_they_are(tmp_path: Path, one: str, other: str):
    rows = "".join(f"{n}.wav,l{n % 2},{(one, other, 'A-1', '-1', '1', 'A1x', '11', 'NaN')[n]}\n" for n in range(8))
    corpus = read_corpus("folder", table(make(tmp_path), f"file,label,group\n{rows}"))
    assert len({clip.group for clip in corpus.clips}) == 8
    assert corpus.note == (
        f"groups that may be spellings of one are read as they are: '{one}' = '{other}'; "
        "read as groups: 'NaN'; leave cells empty where there is none"
    )
