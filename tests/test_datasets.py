"""precompute/datasets: layouts, labels, groups, cuts; the same folder is the same corpus."""

from __future__ import annotations

import os
import shutil
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from explorer.audio import load_waveform
from explorer.errors import ConfigError, DatasetError
from precompute.datasets import DATASETS, Corpus, read_corpus, vocalset
from precompute.datasets.singing.corpus import MARKER, write_corpus
from precompute.datasets.singing.parts import crossed
from precompute.datasets.singing.truth import TABLE

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("SONOSCOPE_SHARED", ROOT.parent / "shared")) / "data"


def sound(path: Path, seconds: float = 0.3, seed: int | None = None, rate_hz: int = 8000) -> Path:
    """A file of its own content unless a seed is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed if seed is not None else zlib.crc32(str(path).encode()))
    sf.write(path, rng.uniform(-0.5, 0.5, round(seconds * rate_hz)), rate_hz, format="WAV", subtype="PCM_16")
    return path


def reasons(corpus: Corpus) -> dict[str, tuple[str, str]]:
    return {item.path: (item.kind, item.reason) for item in corpus.skipped}


def make_vocalset(root: Path, layout: str) -> Path:
    """Four singers, of whom female2 and male3 are the corpus's own test singers."""
    for number, singer in zip((10, 20, 30, 40), ("female1", "female2", "male1", "male3"), strict=True):
        split = "test" if singer in ("female2", "male3") else "train"
        base = root / "FULL" / split / singer if layout == "split" else root / "FULL" / singer
        short = singer.replace("female", "f").replace("male", "m")
        sound(base / "arpeggios" / "vibrato" / f"{short}_arpeggios_vibrato_a.wav", seed=number + 1)
        sound(base / "scales" / "vocal_fry" / f"{short}_scales_vocal_fry_e.wav", seed=number + 2)
        sound(base / "scales" / "fast_piano" / f"{short}_scales_c_fast_piano_i.wav", seed=number + 3)
        sound(base / "long_tones" / "trillo" / f"{short}_long_trillo_o.wav", seed=number + 4)
        sound(base / "excerpts" / "straight" / f"{short}_caro_straight.wav", seed=number + 5)
    sound(
        root / "FULL" / ("train/female1" if layout == "split" else "female1") / "scales/vibrado/f1_scales_vibrato_u.wav"
    )
    if layout == "lists":
        (root / "train_singers_technique.txt").write_text("female1\r\nmale1")
        (root / "test_singers_technique.txt").write_text("female2\nmale3\n")
    return root


@pytest.mark.parametrize("layout", ["split", "lists", "bare"])
@pytest.mark.parametrize("given", [".", "FULL", "above"])
def test_vocalset_in_each_layout_and_from_each_folder(tmp_path: Path, layout: str, given: str):
    root = make_vocalset(tmp_path / "VocalSet", layout)
    corpus = read_corpus("vocalset", {".": root, "FULL": root / "FULL", "above": tmp_path}[given])
    assert (corpus.label_name, corpus.group_name) == ("technique", "singer")
    assert len(corpus.clips) == 21
    assert corpus.skipped == ()
    assert {clip.group for clip in corpus.clips if clip.split == "held-out"} == {"female2", "male3"}
    by_title = {clip.title: clip for clip in corpus.clips}
    clip = by_title["f1 · arpeggios · vibrato · a"]
    assert (clip.label, clip.group, clip.file.attributes) == (
        "vibrato", "female1", {"exercise": "arpeggios", "vowel": "a", "sex": "female"},
    )  # fmt: skip
    assert by_title["m3 · scales · vocal_fry · e"].label == "vocal_fry"
    assert by_title["f1 · scales · vibrato · u"].label == "vibrato"  # from the folder vibrado
    dynamics = by_title["m1 · scales · fast_piano · i · c"]
    assert dynamics.label is None
    assert dynamics.file.attributes["other_technique"] == "fast_piano"
    assert dynamics.paper_split is None
    assert by_title["f2 · excerpts · straight · caro"].file.attributes["piece"] == "caro"
    assert ("lists are missing" in corpus.note) == (layout == "bare")


@pytest.mark.parametrize("given", [".", "above"])
@pytest.mark.parametrize(("kind", "inside"), [("vocalset", "FULL"), ("esc50", "audio")])
def test_audio_beside_the_recordings_is_listed(tmp_path: Path, kind: str, inside: str, given: str):
    root = make_vocalset(tmp_path / "set", "lists") if kind == "vocalset" else make_esc50(tmp_path / "set")
    sound(root / "more" / "take.wav")
    sound(root / "loose.wav")
    (root / "more" / "README.md").touch()
    (root / "gone.wav").symlink_to(root / "nowhere.wav")
    (root / "again").symlink_to(root / inside)
    corpus = read_corpus(kind, {".": root, "above": tmp_path}[given])
    said = reasons(corpus)
    assert set(said) == {"more/take.wav", "loose.wav", "gone.wav"}
    assert said["loose.wav"][0] == "not audio" and f"not in {inside}" in said["loose.wav"][1]
    assert [item.path for item in corpus.rejected] == ["gone.wav"]


def make_vocalset_12(root: Path) -> Path:
    """Version 1.2: the recordings by singer, and the same again by technique and by vowel."""
    for singer in ("female1", "female2", "male1", "male3"):
        short = singer.replace("female", "f").replace("male", "m")
        for technique in ("belt", "vibrato"):
            path = root / "data_by_singer" / singer / "scales" / technique / f"{short}_scales_{technique}_a.wav"
            data = sound(path, seed=zlib.crc32(path.name.encode())).read_bytes()
            for again in (f"data_by_technique/{technique}", "data_by_vowel/a"):
                (root / again).mkdir(parents=True, exist_ok=True)
                (root / again / path.name).write_bytes(data)
                (root / again / f"._{path.name}").write_bytes(b"\0\5\x16\7")
    (root / ".DS_Store").touch()
    (root.parent / "__MACOSX" / "data_by_singer" / "female1").mkdir(parents=True)
    (root / "test_singers_technique.txt").write_text("female2\nmale3\n")
    (root / "train_singers_technique.txt").write_text("female1\nmale1\n")
    return root


@pytest.mark.parametrize("given", [".", "data_by_singer", "data_by_technique", "data_by_vowel", "..", "../.."])
def test_vocalset_12_is_read_once_from_wherever_it_is_named(tmp_path: Path, given: str):
    root = make_vocalset_12(tmp_path / "download" / "VocalSet1-2")
    corpus = read_corpus("vocalset", (root / given).resolve())
    assert len(corpus.clips) == 8 and {clip.label for clip in corpus.clips} == {"belt", "vibrato"}
    assert {clip.group for clip in corpus.clips} == {"female1", "female2", "male1", "male3"}
    assert {clip.group for clip in corpus.clips if clip.split == "held-out"} == {"female2", "male3"}
    assert not corpus.rejected and all(item.kind == "not audio" for item in corpus.skipped)


def test_vocalset_12_is_never_read_thrice_and_folder_is_not_advised(tmp_path: Path):
    root = make_vocalset_12(tmp_path / "VocalSet")
    note = read_corpus("folder", root).note
    assert "--dataset vocalset takes each once" in note and "under more than one label" in note
    (root / "data_by_singer").rename(root / "singers")
    for singer in (root / "singers").iterdir():
        singer.rename(singer.with_name(f"nobody {singer.name}"))
    with pytest.raises(DatasetError, match="is no VocalSet") as caught:
        read_corpus("vocalset", root)
    assert "--dataset folder" not in str(caught.value)
    for name in ("a", "b"):
        (tmp_path / "two" / name / "FULL" / "female1").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"more than one VocalSet \('a/FULL', 'b/FULL'\)"):
        read_corpus("vocalset", tmp_path / "two")


def test_both_layouts_give_the_same_paper_split(tmp_path: Path):
    parts = []
    for layout in ("split", "lists"):
        corpus = read_corpus("vocalset", make_vocalset(tmp_path / layout, layout))
        parts.append({clip.title: clip.paper_split for clip in corpus.clips})
    assert parts[0] == parts[1]
    # 2 test singers with 3 kept files each: excerpts (no vowel) and other techniques are not the paper's.
    assert Counter(parts[0].values()) == {None: 8, "test": 6, "train": 5, "valid": 2}


def test_vibrado_is_lost_in_the_paper_only(tmp_path: Path):
    root = make_vocalset(tmp_path, "lists")
    sound_one, paper = read_corpus("vocalset", root), read_corpus("vocalset", root, paper=True)
    name = "FULL/female1/scales/vibrado/f1_scales_vibrato_u.wav"
    (clip,) = (clip for clip in sound_one.clips if clip.file.relative == name)
    assert (clip.label, clip.paper_split in ("train", "valid")) == ("vibrato", True)
    (lost,) = (clip for clip in paper.clips if clip.file.relative == name)
    assert (lost.label, lost.paper_split) == (None, None)
    assert "lost, as in the published code" in paper.note
    assert [clip.split for clip in paper.clips] == [clip.split for clip in sound_one.clips]


def test_vocalset_says_what_is_wrong(tmp_path: Path):
    sound(tmp_path / "other" / "a.wav")
    with pytest.raises(DatasetError, match="is no VocalSet"):
        read_corpus("vocalset", tmp_path)
    root = make_vocalset(tmp_path / "v", "lists")
    sound(root / "FULL" / "notes" / "nobody.wav")
    corpus = read_corpus("vocalset", root)
    assert "no singer" in reasons(corpus)["FULL/notes/nobody.wav"][1]
    (root / "test_singers_technique.txt").write_text("female1\n")
    with pytest.raises(DatasetError, match="female1 is in VocalSet's training list and its test list"):
        read_corpus("vocalset", root)


@pytest.mark.parametrize(
    ("name", "technique", "vowel", "piece"),
    [
        ("male10/scales/slow_forte/m10_scales_f_slow_forte_u.wav", None, "u", "f"),
        ("m10_long_lip_trill_e.wav", "lip_trill", "e", None),
        ("female3/scales/fast_piano/scales_fast_piano_f.wav", None, None, "f"),
        ("male2/excerpts/spoken/m2_dona_spoken.wav", "spoken", None, "dona"),
        ("Male2/long_tones/inhaled/m2_long_inhaled_a.wav", "inhaled", "a", None),
    ],
)
def test_vocalset_names(tmp_path: Path, name: str, technique: str | None, vowel: str | None, piece: str | None):
    sound(tmp_path / "FULL" / name)
    sound(tmp_path / "FULL" / "female1" / "scales" / "belt" / "f1_scales_belt_a.wav")
    entry = next(entry for entry in vocalset.read(tmp_path).entries if entry.relative == f"FULL/{name}")
    assert entry.labels.get("technique") == technique
    assert (entry.attributes.get("vowel"), entry.attributes.get("piece")) == (vowel, piece)


def make_esc50(root: Path) -> Path:
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in range(1, 6):
        for target, category in enumerate(("dog", "rain")):
            for take in "AB":
                name = f"{fold}-{fold}{target}-{take}-{target}.wav"
                sound(root / "audio" / name)
                lines.append(f"{name},{fold},{target},{category},True,{fold}{target},{take}")
    (root / "meta").mkdir()
    (root / "meta" / "esc50.csv").write_text("\n".join(lines))
    return root


@pytest.mark.parametrize("given", [".", "above"])
def test_esc50_with_its_folds(tmp_path: Path, given: str):
    root = make_esc50(tmp_path / "ESC-50")
    corpus = read_corpus("esc50", {".": root, "above": tmp_path}[given])
    assert all(file.path.is_relative_to(corpus.root) for file in corpus.files)
    assert (corpus.label_name, corpus.group_name, len(corpus.clips)) == ("category", "source recording", 20)
    assert {clip.group for clip in corpus.clips if clip.split == "held-out"} == {"50", "51"}
    assert {clip.fold_group for clip in corpus.clips if clip.split == "train"} == {0, 1, 2, 3}
    assert [clip.fold_all for clip in corpus.clips] == [int(clip.file.attributes["fold"]) - 1 for clip in corpus.clips]
    first = corpus.clips[0]
    assert (first.title, first.label) == ("dog · 10 A", "dog")
    assert first.file.attributes == {"target": "0", "fold": "1", "take": "A"}


def test_esc50_says_what_is_wrong(tmp_path: Path):
    root = make_esc50(tmp_path)
    (root / "audio" / "1-10-A-0.wav").unlink()
    sound(root / "audio" / "9-9-A-9.wav")
    corpus = read_corpus("esc50", root)
    assert reasons(corpus) == {
        "audio/1-10-A-0.wav": ("rejected", "in meta/esc50.csv (line 2), but not there"),
        "audio/9-9-A-9.wav": ("rejected", "not in meta/esc50.csv: its fold is unknown"),
    }
    (root / "meta" / "esc50.csv").write_text("filename,target\n")
    with pytest.raises(DatasetError, match="no column 'fold, category'"):
        read_corpus("esc50", root)
    shutil.rmtree(root / "meta")
    with pytest.raises(DatasetError, match="is no ESC-50"):
        read_corpus("esc50", root)


SMALL = crossed(n_singers=4, techniques=("belt", "straight", "vibrato"), exercises=("long_tones", "scales"), n_vowels=1)


@pytest.fixture
def generated(tmp_path: Path) -> Path:
    write_corpus(tmp_path / "syn", SMALL)
    return tmp_path / "syn"


def test_the_generated_corpus_says_that_it_is_one(generated: Path):
    corpus = read_corpus("synthetic", generated)
    assert corpus.is_synthetic
    assert "no real voice" in corpus.note
    assert Counter(clip.label for clip in corpus.clips) == {"belt": 8, "straight": 8, "vibrato": 8}
    assert {clip.group for clip in corpus.clips} == {"female1", "female2", "male1", "male2"}
    assert {clip.group for clip in corpus.clips if clip.split == "held-out"} == {"female2"}
    assert all(2.0 <= clip.duration_s <= 3.2 and 0.0 < clip.peak < 1.0 for clip in corpus.clips)
    assert {clip.file.attributes["exercise"] for clip in corpus.clips} == {"long_tones", "scales"}
    assert not read_corpus("vocalset", generated).is_synthetic
    with pytest.raises(DatasetError, match="precompute generate"):
        read_corpus("synthetic", generated / "FULL")


def test_the_generated_corpus_is_the_same_again_and_written_once(generated: Path, tmp_path: Path):
    write_corpus(tmp_path / "again", SMALL, n_workers=2)
    assert read_corpus("synthetic", generated).corpus_id == read_corpus("synthetic", tmp_path / "again").corpus_id
    assert (generated / TABLE).read_bytes() == (tmp_path / "again" / TABLE).read_bytes()
    before = {path: path.stat().st_mtime_ns for path in generated.rglob("*.wav")}
    write_corpus(generated, SMALL)
    assert {path: path.stat().st_mtime_ns for path in generated.rglob("*.wav")} == before
    with pytest.raises(DatasetError, match="another generated corpus"):
        write_corpus(generated, SMALL, seed=1)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    with pytest.raises(DatasetError, match="not empty"):
        write_corpus(tmp_path / "full", SMALL)


def test_an_interrupted_generated_corpus_is_finished(generated: Path):
    whole = read_corpus("synthetic", generated).corpus_id
    (generated / MARKER).rename(generated / f".{MARKER}.part")
    next(generated.rglob("*.wav")).unlink()
    for path in (*generated.glob("*.txt"), *generated.glob("truth*")):
        path.unlink()
    with pytest.raises(DatasetError, match="no finished generated corpus"):
        read_corpus("synthetic", generated)
    write_corpus(generated, SMALL)
    assert read_corpus("synthetic", generated).corpus_id == whole


def test_cuts_ids_and_titles(tmp_path: Path):
    sound(tmp_path / "long.wav", 2.55, seed=0)
    sound(tmp_path / "short.wav", 0.5, seed=1)
    corpus = read_corpus("folder", tmp_path, clip_s=1.0)
    assert [(clip.title, clip.start_s, clip.duration_s, clip.clip_index) for clip in corpus.clips] == [
        ("long · 0:00", 0.0, 1.0, 0),
        ("long · 0:01", 1.0, 1.0, 1),
        ("long · 0:02", 2.0, 0.55, 2),
        ("short", 0.0, 0.5, 3),
    ]
    assert len({clip.clip_id for clip in corpus.clips}) == 4
    assert all(len(clip.clip_id) == 10 and int(clip.clip_id, 16) >= 0 for clip in corpus.clips)
    for clip in corpus.clips:
        wave = load_waveform(clip.file.path, start_s=clip.start_s, duration_s=clip.duration_s)
        assert wave.duration_s == pytest.approx(clip.duration_s)
        assert np.abs(wave.samples).max() == pytest.approx(clip.peak)
    assert len(read_corpus("folder", tmp_path, clip_s=float("inf")).clips) == 2
    with pytest.raises(ConfigError, match=r"0\.05"):
        read_corpus("folder", tmp_path, clip_s=0.05)


def test_a_corpus_is_the_same_wherever_it_lies_and_however_it_is_read(tmp_path: Path):
    for n in range(12):
        sound(tmp_path / "a" / f"{n % 3}" / f"{n}.wav", seed=n)
    shutil.copytree(tmp_path / "a", tmp_path / "b" / "a")
    done: list[tuple[int, int]] = []
    first = read_corpus("folder", tmp_path / "a", n_workers=1, progress=lambda n, total: done.append((n, total)))
    again = read_corpus("folder", tmp_path / "b" / "a", n_workers=4)
    assert done == [(n, 12) for n in range(1, 13)]
    assert first.corpus_id == again.corpus_id
    assert [clip.clip_id for clip in first.clips] == [clip.clip_id for clip in again.clips]
    assert read_corpus("folder", tmp_path / "a", seed=1).corpus_id != first.corpus_id
    sound(tmp_path / "a" / "0" / "0.wav", seed=99)
    assert read_corpus("folder", tmp_path / "a").corpus_id != first.corpus_id


def test_an_unknown_kind_or_folder_is_said(tmp_path: Path):
    assert list(DATASETS) == ["vocalset", "esc50", "folder", "synthetic"]
    with pytest.raises(ConfigError, match=r"'vocal'.*vocalset, esc50"):
        read_corpus("vocal", tmp_path)
    for kind in ("vocalset", "esc50", "folder"):
        with pytest.raises(DatasetError, match="no folder"):
            read_corpus(kind, tmp_path / "gone")


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("kind", "name", "n_files", "n_groups"),
    [("vocalset", "vocalset_excerpts", 14, 2), ("esc50", "esc10_subset", 49, 49), ("folder", "singing_voices", 29, 29)],
)
def test_the_development_recordings(kind: str, name: str, n_files: int, n_groups: int):
    if not (SHARED / name).is_dir():
        pytest.skip(f"the development recordings are not in {SHARED}")
    corpus = read_corpus(kind, SHARED / name)
    assert len(corpus.files) == n_files
    assert len({clip.group for clip in corpus.clips}) == n_groups
    assert corpus.rejected == ()
    assert {clip.split for clip in corpus.clips} == {"train", "held-out"}
