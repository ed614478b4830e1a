"""The corpus as an artefact: read once, and again when anything that it depends on may have changed."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from precompute import corpus_stage
from precompute.artefacts import Artefacts
from precompute.config import make_config
from precompute.corpus_stage import find_corpus
from precompute.datasets import Corpus
from precompute.reporting import Reporter


def sound(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, np.random.default_rng(seed).uniform(-0.5, 0.5, 4000), 8000)


Find = Callable[..., tuple[Corpus, bool]]


@pytest.fixture
def find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Find:
    """Find the corpus of a folder: (corpus, whether it was read anew)."""
    n_reads = 0
    real = corpus_stage.read_corpus

    def counted(*arguments: Any, **options: Any) -> Corpus:
        nonlocal n_reads
        n_reads += 1
        return real(*arguments, **options)

    monkeypatch.setattr(corpus_stage, "read_corpus", counted)

    def found(root: Path, dataset: str = "folder") -> tuple[Corpus, bool]:
        before = n_reads
        store = tmp_path / "store"
        config = make_config({"dataset": dataset, "root": root, "store": store, "encoders": ["ast"], "n_workers": 1})
        corpus, bundle = find_corpus(config, Artefacts(store), Reporter())
        assert bundle.facts()["corpus_id"] == corpus.corpus_id
        assert list(bundle.table("files")["path"]) == [file.relative for file in corpus.files]
        return corpus, n_reads > before

    return found


def test_a_corpus_is_read_once(find: Find, tmp_path: Path) -> None:
    root = tmp_path / "in"
    for number in range(3):
        sound(root / f"{number}.wav", number)
    (root / "broken.wav").write_text("no sound")
    first, was_read = find(root)
    again, was_read_again = find(root)
    assert (was_read, was_read_again) == (True, False)
    assert first == again
    sound(root / "3.wav", 3)
    assert find(root)[1]


def test_what_lies_behind_a_link_belongs_to_it(find: Find, tmp_path: Path) -> None:
    root = tmp_path / "in"
    sound(tmp_path / "elsewhere" / "a.wav", 0)
    sound(root / "b.wav", 1)
    (root / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(root)
    find(root)
    assert not find(root)[1]
    sound(tmp_path / "elsewhere" / "c.wav", 2)
    corpus, was_read = find(root)
    assert was_read and len(corpus.files) == 3


def test_a_refusal_that_may_pass_is_not_kept(find: Find, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "in"
    for number in range(3):
        sound(root / f"{number}.wav", number)

    def refused(path: Any, *arguments: Any, **options: Any) -> Any:
        if str(path).endswith("1.wav"):
            raise PermissionError(13, os.strerror(13))
        return open(path, *arguments, **options)

    monkeypatch.setattr("explorer.decoding.open", refused, raising=False)
    corpus, _ = find(root)
    assert [item.path for item in corpus.rejected] == ["1.wav"] and len(corpus.files) == 2
    assert find(root) == (corpus, True)
    monkeypatch.setattr("explorer.decoding.open", open, raising=False)
    corpus, was_read = find(root)
    assert was_read and not corpus.rejected and len(corpus.files) == 3
    assert not find(root)[1]


def test_a_decoder_that_was_missing_may_come(find: Find, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "in"
    sound(root / "a.wav", 0)
    (root / "b.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    monkeypatch.setitem(sys.modules, "av", None)
    corpus, _ = find(root)
    assert "requirements-extra.txt" in corpus.rejected[0].reason
    assert find(root)[1]


def test_the_singer_lists_beside_the_root_belong_to_it(find: Find, tmp_path: Path) -> None:
    for singer in ("female1", "female2", "male1"):
        short = singer.replace("female", "f").replace("male", "m")
        path = tmp_path / "FULL" / singer / "scales" / "belt" / f"{short}_scales_belt_a.wav"
        sound(path, len(short) + ord(singer[-1]) + ord(singer[0]))
    (tmp_path / "train_singers_technique.txt").write_text("female1 male1")
    (tmp_path / "test_singers_technique.txt").write_text("female2")
    corpus, _ = find(tmp_path / "FULL", "vocalset")
    assert {clip.group for clip in corpus.clips if clip.split == "held-out"} == {"female2"}
    assert not find(tmp_path / "FULL", "vocalset")[1]
    (tmp_path / "train_singers_technique.txt").write_text("female1 female2")
    (tmp_path / "test_singers_technique.txt").write_text("male1")
    corpus, was_read = find(tmp_path / "FULL", "vocalset")
    assert was_read and {clip.group for clip in corpus.clips if clip.split == "held-out"} == {"male1"}


def test_playable_clips_come_with_one_that_differs_in_one_attribute_alone(tiny_sources: Path) -> None:
    corpus = corpus_stage.read_corpus("synthetic", tiny_sources / "singing")
    chosen = corpus_stage.playable_clips(corpus, 24)
    assert len(chosen) == 24 and chosen == corpus_stage.playable_clips(corpus, 24)
    groups = Counter(corpus.clips[index].group for index in chosen)
    assert len(groups) == 8 and set(groups.values()) == {3}
    for index in chosen:
        own = corpus.clips[index]
        words = {**own.file.labels, **own.file.attributes}
        others = [corpus.clips[i] for i in chosen if i != index and corpus.clips[i].group == own.group]
        differ = [
            sum({**o.file.labels, **o.file.attributes}.get(name) != value for name, value in words.items())
            for o in others
        ]
        assert 1 in differ
