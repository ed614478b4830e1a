"""Any folder as a data set: metadata.csv read strictly, hostile trees, copies, columns chosen by name."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from explorer.errors import DatasetError
from precompute.datasets import read_corpus
from tests.test_datasets import SHARED, reasons, sound


def table(root: Path, text: str | bytes) -> Path:
    data = text.encode() if isinstance(text, str) else text
    (root / "metadata.csv").write_bytes(data)
    return root


def make(root: Path, n: int = 8) -> Path:
    for place in range(n):
        sound(root / f"{place}.wav", seed=place)
    return root


@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("comma", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_metadata_columns_become_label_group_and_attributes(tmp_path: Path, start: str, comma: str, end: str):
    lines = [["file", "label", "group", "mood"], *([f"{n}.wav", "ab"[n % 2], f"g{n // 2}", "x" * n] for n in range(8))]
    table(make(tmp_path), start + end.join(comma.join(cells) for cells in lines))
    corpus = read_corpus("folder", tmp_path)
    assert (corpus.label_name, corpus.group_name, corpus.skipped) == ("label", "group", ())
    clip = corpus.clips[3]
    assert (clip.label, clip.group, clip.title) == ("b", "g1", "b · 3")
    assert [row for row in corpus.clip_columns() if row[0] in (0, 3)] == [
        (0, "label", "label", "a"),
        (0, "group", "group", "g0"),
        (3, "label", "label", "b"),
        (3, "group", "group", "g1"),
        (3, "attribute", "mood", "xxx"),
    ]
    groups = {clip.group for clip in corpus.clips if clip.split == "held-out"}
    assert not groups & {clip.group for clip in corpus.clips if clip.split == "train"}


def test_quoted_cells_and_subfolders(tmp_path: Path):
    sound(tmp_path / "a, b" / 'say "ah".wav')
    sound(tmp_path / "c.wav")
    table(tmp_path, 'file,label,note\n"a, b/say ""ah"".wav",x,"two\nlines"\nc.wav,,\n')
    corpus = read_corpus("folder", tmp_path)
    assert [clip.label for clip in corpus.clips] == ["x", None]
    assert corpus.clips[0].file.attributes == {"note": "two\nlines"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,label\n0.wav,a\n", r"no column 'file'; it has name, label"),
        ("", r"metadata\.csv is empty"),
        ("file,label,group\n", r"names columns but no files"),
        ("filename,label\n0.wav,a\n", r"no column 'file'; it has filename, label.*Rename 'filename' to 'file'"),
        (
            "file,label\nsub/0.wav,a\nsub/1.wav,b\n",
            r"No row of metadata.csv names an audio file.*nearest file is '0\.wav'",
        ),
        ("file,label\n0.wav,a\n0.wav,b\n", r"'0\.wav' in line 2 and in line 3"),
        ("file,label\n0.wav,a,b\n", r"line 2: 3 cells for 2 columns.*double quotes"),
        ("file,label\n0.wav\n", r"line 2: 1 cell for 2 columns\. Add what is missing"),
        ("file,label,label\n0.wav,a,b\n", r"the column 'label' twice"),
        ("file,label\n,a\n", r"line 2: the path of the file is empty"),
        ("file,label\n../0.wav,a\n", r"line 2: '\.\./0\.wav' must be relative"),
        ("file,label\n/tmp/0.wav,a\n", r"must be relative"),
        ("file,label\n0.wav,J\xfcrgen\n".encode("latin-1"), r"not UTF-8: line 2 holds 'J\\xfcrgen'.*as CSV UTF-8"),
        ("file,label\n0.wav,a\n".encode("utf-16-le"), r"UTF-16 without a byte-order mark"),
        (b"\xff\xfefile,labels", r"begins as utf-16 and is none"),
        ('file,label\n0.wav,"a\n', r"line \d"),
    ],
)
def test_a_table_that_cannot_be_understood_is_refused_with_its_line(tmp_path: Path, content: str | bytes, message: str):
    table(make(tmp_path), content)
    with pytest.raises(DatasetError, match=message) as caught:
        read_corpus("folder", tmp_path)
    assert "metadata.csv" in str(caught.value)


def test_a_column_without_a_name_is_left_out_and_said(tmp_path: Path):
    table(make(tmp_path, 2), ",file,label\n0,0.wav,a\n1,1.wav,b\n")
    corpus = read_corpus("folder", tmp_path)
    assert "1 column of metadata.csv without a name" in corpus.note
    assert corpus.clips[0].file.attributes == {}


def test_missing_unlisted_and_groupless_files_are_named(tmp_path: Path):
    table(make(tmp_path, 4), "file,label,group\n0.wav,a,x\n1.wav,b,y\n2.wav,b,\ngone.wav,a,x\n")
    corpus = read_corpus("folder", tmp_path)
    assert [file.relative for file in corpus.files] == ["0.wav", "1.wav"]
    said = reasons(corpus)
    assert said["gone.wav"] == ("rejected", "named in metadata.csv (line 5), but not there")
    assert "no group in metadata.csv, line 4" in said["2.wav"][1]
    assert "not in metadata.csv: its group is unknown" in said["3.wav"][1]
    assert len(corpus.rejected) == 3


def test_without_groups_unlisted_files_stay_and_that_is_said(tmp_path: Path):
    table(make(tmp_path, 4), "file,label\n0.wav,a\n1.wav,b\n")
    corpus = read_corpus("folder", tmp_path)
    assert [clip.label for clip in corpus.clips] == ["a", "b", None, None]
    assert "2 files not in metadata.csv: kept, without labels" in corpus.note
    assert corpus.group_name == "file"
    assert "each file is its own group" in corpus.note


def test_a_name_in_another_unicode_form_is_found(tmp_path: Path):
    sound(tmp_path / "u\u0308ber.wav")
    table(tmp_path, "file,label\n\u00fcber.wav,a\n")
    assert [clip.label for clip in read_corpus("folder", tmp_path).clips] == ["a"]


def test_folders_are_labels_where_there_are_at_least_two(tmp_path: Path):
    make(tmp_path / "dog", 4)
    one = read_corpus("folder", tmp_path)
    assert (one.label_name, {clip.label for clip in one.clips}) == (None, {None})
    for n in range(4):
        sound(tmp_path / "cat" / f"{n}.wav")
    two = read_corpus("folder", tmp_path)
    assert (two.label_name, [clip.label for clip in two.clips]) == ("folder", ["cat"] * 4 + ["dog"] * 4)
    assert "the label is the folder's name" in two.note


def test_label_and_group_may_be_other_columns(tmp_path: Path):
    for n in range(8):
        sound(tmp_path / f"d{n // 4}" / f"{n}.wav", seed=n)
    rows = "".join(f"d{n // 4}/{n}.wav,a,singer{n // 2},{'xyz'[n % 3]}\n" for n in range(8))
    table(tmp_path, f"file,label,singer,vowel\n{rows}")
    corpus = read_corpus("folder", tmp_path, label="vowel", group="singer")
    assert (corpus.label_name, corpus.group_name) == ("vowel", "singer")
    clip = corpus.clips[4]
    assert (clip.label, clip.group, dict(clip.file.attributes)) == ("y", "singer2", {"label": "a"})
    assert "own group" not in corpus.note
    assert {clip.group for clip in read_corpus("folder", tmp_path, group="folder").clips} == {"d0", "d1"}
    with pytest.raises(
        DatasetError, match=r"--label 'pitch' is no column of this data set; it has label, singer, vowel"
    ):
        read_corpus("folder", tmp_path, label="pitch")
    both = read_corpus("folder", tmp_path, label="singer", group="singer")
    assert "label and group are both singer" in both.note


def test_a_file_without_a_value_for_the_chosen_group_is_rejected(tmp_path: Path):
    table(make(tmp_path, 3), "file,singer\n0.wav,a\n1.wav,b\n2.wav,\n")
    corpus = read_corpus("folder", tmp_path, group="singer")
    assert reasons(corpus)["2.wav"] == ("rejected", "no value in the group column 'singer'")


@pytest.mark.parametrize(
    "text",
    [
        "file;label;group;notes (a, b, c, d)\n{0}.wav;low;g{0};x\n",
        'sep=;\n"file";"label";"group";"more, of, it"\n{0}.wav;low;g{0};"a, b; c"\n',
        "File,LABEL, Group \n{0}.wav,low,g{0}\n",
        "file|label|group\n{0}.wav|low|g{0}\n",
    ],
)
def test_the_delimiter_is_the_one_that_parses_and_headers_are_read_in_any_case(tmp_path: Path, text: str):
    head, row = text.rsplit("\n", 2)[:2]
    table(make(tmp_path, 6), "\n".join([head, *(row.format(n) for n in range(6))]))
    corpus = read_corpus("folder", tmp_path)
    assert {clip.label for clip in corpus.clips} == {"low"}
    assert {clip.group for clip in corpus.clips} == {f"g{n}" for n in range(6)}


@pytest.mark.parametrize("name", ["{}.WAV", "{}", "{}.flac", ".\\{}.wav", "{root}/{}.wav"])
def test_names_that_can_mean_one_file_alone_are_matched(tmp_path: Path, name: str):
    rows = "".join(f"{name.format(n, root=tmp_path.as_posix())},l{n % 2}\n" for n in range(4))
    corpus = read_corpus("folder", table(make(tmp_path, 4), f"file,label\n{rows}"))
    assert [clip.label for clip in corpus.clips] == ["l0", "l1", "l0", "l1"] and not corpus.rejected
    assert ("4 names in metadata.csv matched to a file though case, ending or %20 differ" in corpus.note) == (
        name in ("{}.WAV", "{}", "{}.flac")
    )


def test_a_name_written_as_an_address_is_matched_and_one_that_is_so_on_the_disk_stays(tmp_path: Path):
    for n, name in enumerate(("my file.wav", "b%20c.wav", "b c.wav")):
        sound(tmp_path / name, seed=n)
    corpus = read_corpus("folder", table(tmp_path, "file,label\nmy%20file.wav,x\nb%20c.wav,y\nb c.wav,z\n"))
    assert {clip.file.relative: clip.label for clip in corpus.clips} == {
        "my file.wav": "x",
        "b%20c.wav": "y",
        "b c.wav": "z",
    }


def test_a_name_that_could_mean_two_files_means_none_and_the_nearest_is_named(tmp_path: Path):
    for n, name in enumerate(("a.wav", "A.wav", "b.wav", "c.wav")):
        sound(tmp_path / name, seed=n)
    table(tmp_path, "file,label,group\na.WAV,x,1\nb.wav,x,2\nd/c.wav,y,3\n")
    corpus = read_corpus("folder", tmp_path)
    assert [file.relative for file in corpus.files] == ["b.wav"]
    assert reasons(corpus)["a.WAV"][1].endswith("but not there; the nearest is 'A.wav'")
    assert reasons(corpus)["d/c.wav"][1].endswith("but not there; the nearest is 'c.wav'")


def test_a_table_in_another_case_is_read_and_others_are_named(tmp_path: Path):
    make(tmp_path, 4)
    (tmp_path / "Metadata.CSV").write_text("file,label\n" + "".join(f"{n}.wav,l{n % 2}\n" for n in range(4)))
    assert {clip.label for clip in read_corpus("folder", tmp_path).clips} == {"l0", "l1"}
    table(tmp_path, "file,speaker,lable\n" + "".join(f"{n}.wav,s{n},m\n" for n in range(4)))
    sound(tmp_path / "below" / "x.wav")
    (tmp_path / "below" / "metadata.csv").write_text("file\nx.wav\n")
    corpus = read_corpus("folder", tmp_path)
    assert "metadata.csv is read, 'Metadata.CSV' is not" in corpus.note
    assert "not 'below/metadata.csv'" in corpus.note
    assert "no column 'label': should 'lable' be it, name it with --label" in corpus.note
    assert "no column 'group': should 'speaker' be it, name it with --group" in corpus.note
    assert "is not read: a table of labels must be named metadata.csv" in (
        read_corpus("folder", renamed(tmp_path / "metadata.csv", "labels.csv")).note
    )


def renamed(path: Path, name: str) -> Path:
    path.rename(path.with_name(name))
    path.with_name("Metadata.CSV").unlink()
    return path.parent


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_a_byte_order_mark_says_the_encoding_and_blank_lines_stand_before_the_header(tmp_path: Path, encoding: str):
    text = "\n \t \nfile\tlabel\tgroup\n" + "".join(f"{n}.wav\tZo\u00e9 {n % 2}\tg{n // 2}\n" for n in range(8))
    corpus = read_corpus("folder", table(make(tmp_path), text.encode(encoding)))
    assert {clip.label for clip in corpus.clips} == {"Zo\u00e9 0", "Zo\u00e9 1"}
    assert corpus.note == ""


def test_a_label_that_is_the_group_is_named(tmp_path: Path):
    rows = "".join(f"{n}.wav,l{n // 2},g{n // 2}\n" for n in range(8))
    note = read_corpus("folder", table(make(tmp_path), f"file,label,group\n{rows}")).note
    assert "label and group divide the files alike" in note


def test_text_from_outside_is_nfc_and_two_forms_of_a_name_are_two_files(tmp_path: Path):
    loose, one = "Zoe\u0301", "Zo\u00e9"
    for n, name in enumerate((f"{loose}/a.wav", f"{one}/a.wav", f"{loose}.wav", f"{one}.wav", f"{loose}2.wav")):
        sound(tmp_path / name, seed=n)
    tmp_path = tmp_path.rename(tmp_path.with_name(loose))
    corpus = read_corpus("folder", tmp_path)
    assert corpus.name == one
    texts = [text for clip in corpus.clips for text in (clip.file.relative, clip.title, clip.group, clip.label or "")]
    assert all(unicodedata.is_normalized("NFC", text) for text in texts)
    assert {file.relative: file.path.relative_to(tmp_path).as_posix() for file in corpus.files} == {
        f"{one}/a.wav": f"{one}/a.wav",
        f"{one}/a (2).wav": f"{loose}/a.wav",
        f"{one}.wav": f"{one}.wav",
        f"{one} (2).wav": f"{loose}.wav",
        f"{one}2.wav": f"{loose}2.wav",
    }
    table(tmp_path, f"file,{loose}\n{loose}.wav,nfd\n{one}.wav,{loose}\n{loose}2.wav,c\n")
    named = {file.path.name: file for file in read_corpus("folder", tmp_path, label=loose).files}
    assert named[f"{loose}.wav"].labels == {one: "nfd"} and named[f"{one}.wav"].labels == {one: one}


def test_what_is_not_audio_is_listed_and_what_cannot_be_read_is_rejected(tmp_path: Path):
    make(tmp_path, 2)
    sound(tmp_path / "UPPER.WAV")
    sound(tmp_path / "folder.wav" / "inside.wav")
    sound(tmp_path / ".hidden.wav")
    sound(tmp_path / ".git" / "a.wav")
    sound(tmp_path / "__MACOSX" / "a.wav")
    sound(tmp_path / "no_extension")
    (tmp_path / "._0.wav").write_bytes(b"\0\5\x16\7")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "text.wav").write_text("x")
    (tmp_path / "dangling.wav").symlink_to(tmp_path / "nowhere.wav")
    (tmp_path / "loop").symlink_to(tmp_path)
    sound(tmp_path / "store" / "files" / "preview.flac")
    (tmp_path / "store" / "CURRENT").touch()
    (tmp_path / "store" / "store-000001.duckdb").touch()
    sound(tmp_path / "begun" / "artefacts" / "previews" / "preview.flac")
    corpus = read_corpus("folder", tmp_path)
    assert [file.relative for file in corpus.files] == ["0.wav", "1.wav", "UPPER.WAV", "folder.wav/inside.wav"]
    said = reasons(corpus)
    assert {path for path, (kind, _) in said.items() if kind == "rejected"} == {"dangling.wav", "text.wav"}
    assert {path for path, (kind, _) in said.items() if kind == "not audio"} == {
        ".hidden.wav", ".git", "__MACOSX", "no_extension", "._0.wav", "notes.txt", "loop", "store", "begun",
    }  # fmt: skip
    assert "store of Sonoscope" in said["store"][1]


def test_what_may_not_be_looked_at_is_rejected_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make(tmp_path, 2)
    (tmp_path / "locked").mkdir()
    is_dir = Path.is_dir

    def refuse(path: Path) -> bool:
        if path.parent.name == "locked":
            raise PermissionError(13, "Permission denied")
        return is_dir(path)

    monkeypatch.setattr(Path, "is_dir", refuse)
    assert reasons(read_corpus("folder", tmp_path)) == {
        "locked": ("rejected", "it cannot be looked at: Permission denied")
    }


def test_a_linked_folder_is_read(tmp_path: Path):
    make(tmp_path / "elsewhere", 2)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to(tmp_path / "elsewhere")
    assert [file.relative for file in read_corpus("folder", tmp_path / "data").files] == ["link/0.wav", "link/1.wav"]


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX only")
def test_a_name_that_is_no_text_is_rejected_by_name(tmp_path: Path):
    make(tmp_path, 2)
    try:
        os.rename(os.fsencode(tmp_path / "0.wav"), os.fsencode(tmp_path) + b"/\xff.wav")
    except OSError as error:
        pytest.skip(f"this file system refuses such names: {error}")
    corpus = read_corpus("folder", tmp_path)
    assert reasons(corpus) == {"\\xff.wav": ("rejected", "its name is not UTF-8: rename it")}


def test_a_folder_without_sound_and_one_that_vanishes(tmp_path: Path):
    (tmp_path / "a.txt").touch()
    with pytest.raises(DatasetError, match="holds no audio files"):
        read_corpus("folder", tmp_path)
    (tmp_path / "a.wav").touch()
    with pytest.raises(DatasetError, match=r"No audio file in .* could be read .of 1.*a\.wav"):
        read_corpus("folder", tmp_path)
    root = make(tmp_path / "drive", 3)

    def pull(n_done: int, _: int) -> None:
        if n_done == 1 and root.exists():
            root.rename(tmp_path / "pulled")

    for place in range(3, 200):
        sound(root / f"{place}.wav", seed=place)
    with pytest.raises(DatasetError, match="vanished"):
        read_corpus("folder", root, n_workers=1, progress=pull)


@pytest.mark.shared_data
def test_the_awkward_folder(tmp_path: Path):
    """Every file is read, or named with a reason; `expect` holds but for 50 ms, under which no factor is defined."""
    if not (SHARED / "awkward").is_dir():
        pytest.skip(f"the development recordings are not in {SHARED}")
    corpus = read_corpus("folder", SHARED / "awkward")
    expect = {file.relative: file.attributes["expect"] for file in corpus.files}
    assert set(expect.values()) == {"ok", "ok_or_clear_error"}
    said = reasons(corpus)
    on_disk = {str(path.relative_to(SHARED / "awkward")) for path in (SHARED / "awkward").rglob("*") if path.is_file()}
    assert {unicodedata.normalize("NFC", name) for name in on_disk} - {"metadata.csv"} == set(expect) | set(said)
    assert {path for path, (kind, _) in said.items() if kind == "not audio"} == {
        "README.md", "names/no_extension", "names/.hidden.wav", "names/._with spaces in name.wav", "names/notes.txt",
    }  # fmt: skip
    assert all(reason for _, reason in said.values())
    assert "lengths/frames_800.wav" in said
