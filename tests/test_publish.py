"""Publication: what a crash leaves, and what mending does with files that are not what was computed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from explorer.errors import StoreError
from explorer.store import SCHEMA_VERSION, current_generation, new_generation, open_store, remove_unlisted
from precompute.commands import publish as publish_command
from precompute.commands import verify
from precompute.publish import publish


def write_generation(folder: Path) -> None:
    with new_generation(folder) as writer:
        writer.insert("meta", pd.DataFrame([{"key": "schema_version", "value": str(SCHEMA_VERSION)}]))
        name = f"preview-{writer.generation}.flac"
        (folder / "files" / name).write_text(name)
        row = {"path": f"files/{name}", "kind": "preview", "n_bytes": 1, "sha256": ""}
        writer.insert("generation_files", pd.DataFrame([row]))
    remove_unlisted(folder)


def test_a_generation_that_was_never_published_does_not_push_out_the_one_readers_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_generation(tmp_path)
    write_generation(tmp_path)
    held = open_store(tmp_path)

    def dies(_: Path, target: Path) -> None:
        if Path(target).name == "CURRENT":
            raise KeyboardInterrupt
        os.rename(_, target)

    monkeypatch.setattr("explorer.store.disk.os.replace", dies)
    with pytest.raises(KeyboardInterrupt):
        write_generation(tmp_path)
    monkeypatch.undo()
    assert current_generation(tmp_path) == 2 and (tmp_path / "store-000003.duckdb").is_file()
    write_generation(tmp_path)
    assert current_generation(tmp_path) == 3
    assert (tmp_path / "store-000002.duckdb").is_file()
    assert held.file("files/preview-2.flac").is_file()


@pytest.fixture
def copy(tiny_store: Path, tmp_path: Path) -> Path:
    """A store of its own whose published files are hard links to the artefacts, as a run leaves them."""
    folder = tmp_path / "copy"
    shutil.copytree(tiny_store, folder, copy_function=os.link)
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_relative_to(folder / "files"):
            _own(path)
    for path in (folder / "files").iterdir():
        path.unlink()
        os.link(next(folder.glob(f"artefacts/*/*/{path.name}")), path)
    return folder


def _own(path: Path) -> None:
    other = path.with_name(f"{path.name}.own")
    shutil.copy2(path, other)
    other.replace(path)


def spoil(path: Path) -> None:
    """Change one byte of a file in place; its size stays."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    with path.open("r+b") as file:
        file.write(content)


def test_publish_mends_what_was_damaged_or_lost_beside_the_artefacts(copy: Path) -> None:
    files = sorted((copy / "files").iterdir())
    _own(files[0])
    spoil(files[0])
    files[1].unlink()
    with pytest.raises(StoreError, match=r"2 faults in"):
        verify(copy)
    publish_command(copy)
    assert "all as published" in verify(copy)[0]


def test_publish_names_an_artefact_that_is_damaged_itself(copy: Path) -> None:
    before = open_store(copy).generation
    victim = next((copy / "files").glob("sae-*"))
    spoil(victim)
    folder = next(copy.glob(f"artefacts/saes/*/{victim.name}")).parent
    named = rf"1 damaged artefact.*saes/{folder.name}: '{victim.name}' is not what was computed.*Run the same"
    for publishing in (publish_command, publish):  # as a person asks for it, and as a later run does
        with pytest.raises(StoreError, match=named) as caught:
            publishing(copy)
        assert "the tests' tiny store" not in str(caught.value), "the recorded command is a store's text"
        assert current_generation(copy) == before


def test_an_artefact_is_mended_from_what_was_published(copy: Path) -> None:
    published = next((copy / "files").glob("sae-*"))
    artefact = next(copy.glob(f"artefacts/saes/*/{published.name}"))
    _own(published)
    whole = published.read_bytes()
    spoil(artefact)
    publish_command(copy)
    assert artefact.read_bytes() == whole


def test_publishing_a_folder_that_is_not_there_makes_none(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no run"):
        publish_command(tmp_path / "typo")
    assert not (tmp_path / "typo").exists()
