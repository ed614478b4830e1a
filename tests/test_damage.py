"""Flipped bits, lost files, two writers: found before a number is used, named, and gone when the advice is followed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from explorer.errors import StoreError
from explorer.store import current_generation, generation_path, open_store
from precompute.artefacts import PARTIAL, Artefacts
from precompute.commands import publish as publish_command
from precompute.commands import verify
from precompute.manifest import MANIFEST
from precompute.publish import publish
from precompute.run_records import load_runs
from tests.bundled_store import contents, write_bundled_store, write_bundles


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundled_store(tmp_path_factory.mktemp("whole") / "store")


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> Path:
    """A copy whose published files are hard links to the artefacts, as a run leaves them."""
    folder = tmp_path / "store"
    shutil.copytree(whole, folder)
    for path in (folder / "files").iterdir():
        path.unlink()
        os.link(next(folder.glob(f"artefacts/*/*/{path.name}")), path)
    return folder


def flip(path: Path, at: int, bit: int = 0) -> None:
    """Flip one bit of a file in place, under all its names."""
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ (1 << bit)]))


def bundle_files(store: Path) -> list[Path]:
    return [path for path in sorted(store.glob("artefacts/*/*/*")) if path.is_file()]


def test_one_flipped_bit_anywhere_in_a_bundle_is_found_and_named(store: Path) -> None:
    """In every file of every bundle, at its ends and in between, its list of files included."""
    rng = np.random.default_rng(0)
    before = current_generation(store)
    for path in bundle_files(store):
        size = path.stat().st_size
        for at in {0, size - 1, *rng.integers(size, size=2).tolist()}:
            bit = int(rng.integers(8))
            flip(path, at, bit)
            stage, key = path.parts[-3:-1]
            bundle = Artefacts(store).find(stage, key)
            if path.name == MANIFEST and bundle is not None:  # white space, or the case of a digit's letter
                flip(path, at, bit)
                continue
            assert bundle is None, f"{path.name} at {at}"
            with pytest.raises(StoreError, match=rf"{stage}/{key} of .* is damaged: .*same"):
                Artefacts(store).get(stage, key)
            flip(path, at, bit)
            assert Artefacts(store).find(stage, key) is not None
    assert current_generation(store) == before


@pytest.mark.parametrize("name", ["factor_values.parquet", "clips.parquet", "preview-c0.flac", "others.safetensors"])
def test_nothing_is_published_from_a_damaged_bundle(store: Path, name: str) -> None:
    victim = next(store.glob(f"artefacts/*/*/{name}"))
    before = {name: content for name, content in contents(store).items() if not name.startswith("artefacts")}
    flip(victim, victim.stat().st_size // 2)
    stage, key = victim.parts[-3:-1]
    for publishing in (publish, publish_command):
        with pytest.raises(
            StoreError, match=rf"Nothing was published: .*{stage}/{key}: '{name}' is not what.* run run0"
        ):
            publishing(store)
    with pytest.raises(StoreError, match=f"{stage}/{key}"):
        verify(store)
    after = {name: content for name, content in contents(store).items() if not name.startswith("artefacts")}
    assert set(after) - {".lock"} == set(before)
    assert current_generation(store) == 1


@pytest.mark.parametrize("what", ["lost", "added", "link", "no manifest"])
def test_a_bundle_with_other_files_than_it_was_sealed_with_is_not_finished(
    store: Path, what: str, tmp_path: Path
) -> None:
    folder = store / "artefacts" / "factors" / "fac0"
    victim = folder / "preview-c0.flac"
    if what == "lost":
        victim.unlink()
    elif what == "added":
        shutil.copy(victim, folder / "preview-c9.flac")
    elif what == "link":
        victim.rename(tmp_path / "elsewhere.flac")
        victim.symlink_to(tmp_path / "elsewhere.flac")
    else:
        (folder / MANIFEST).unlink()
    assert Artefacts(store).find("factors", "fac0") is None
    with pytest.raises(StoreError, match="factors/fac0"):
        publish(store)
    with pytest.raises(StoreError, match="factors/fac0"):
        verify(store)


def test_the_same_run_again_repairs_what_is_damaged_with_its_published_twin(store: Path) -> None:
    """A published file and its artefact are one file on the disk: what damages one damages both."""
    whole = contents(store)
    for name in ("files/preview-c0.flac", "files/sae-0123456789ab.safetensors"):
        flip(store / name, 100)
    with pytest.raises(StoreError, match="2 fault"):
        verify(store)
    with pytest.raises(StoreError, match=r"2 damaged artefact.*Run the same"):
        publish_command(store)
    write_bundles(store)  # what a run does: whatever is not found whole is written again
    publish(store)
    assert "all as published" in verify(store)[0]
    for name, content in contents(store).items():
        if name.startswith("files/preview-"):  # the header of weights is written in any order
            assert content == whole[name]


def test_a_demo_is_told_to_run_the_demo(store: Path) -> None:
    (store / "demo_sources").mkdir()
    flip(store / "artefacts" / "factors" / "fac0" / "factor_values.parquet", 300)
    with pytest.raises(StoreError, match=rf"`python -m precompute demo --store {store}`"):
        publish_command(store)


def test_a_flipped_bit_anywhere_in_the_database_is_found_by_verify_and_repaired_by_publish(store: Path) -> None:
    path = generation_path(store, 1)
    rng = np.random.default_rng(1)
    for at in (9, 20, 4100, 12300, *rng.integers(path.stat().st_size, size=8).tolist()):
        flip(path, at)
        with pytest.raises(StoreError, match=rf"{path.name}.*`python -m precompute publish --store {store}`"):
            verify(store)
        flip(path, at)
    assert "all as published" in verify(store)[0]
    flip(path, path.stat().st_size // 2)
    publish_command(store)
    assert "all as published" in verify(store)[0]
    assert current_generation(store) == 2


def test_a_block_that_cannot_be_read_is_found_without_the_checksum_of_the_file(store: Path) -> None:
    for path in store.glob("*.sha256"):
        path.unlink()
    assert "all as published" in verify(store)[0]
    opened = open_store(store)
    n_blocks = generation_path(store, 1).stat().st_size // 262144
    opened.close()
    found = 0
    for block in range(n_blocks):
        flip(generation_path(store, 1), 12288 + block * 262144 + 50)
        try:
            verify(store)
        except StoreError as error:
            found += "store-000001.duckdb" in str(error)
        flip(generation_path(store, 1), 12288 + block * 262144 + 50)
    assert found >= 1


def test_what_tables_name_is_there(store: Path) -> None:
    (store / "files" / "preview-c3.flac").unlink()
    with pytest.raises(StoreError, match=r"files/preview-c3.flac is missing"):
        verify(store)
    bundle = store / "artefacts" / "factors" / "fac0"
    shutil.rmtree(bundle)
    with Artefacts(store).writing("factors", "fac0") as made:
        made.add_table("factor_values", pd.DataFrame([{"clip_id": "c0", "factor_index": 0, "value": 1.0}]))
    publish(store)
    with pytest.raises(StoreError, match=r"4 preview files that clips names .of 8. not listed"):
        verify(store)


def test_two_writers_of_one_bundle_share_nothing(tmp_path: Path) -> None:
    artefacts, other = Artefacts(tmp_path), Artefacts(tmp_path)
    with artefacts.writing("stage", "key") as first:
        first.add_facts({"of": "first"})
        with other.writing("stage", "key") as second:
            second.add_facts({"of": "second"})
            assert first.folder != second.folder
    found = artefacts.find("stage", "key")
    assert found is not None and found.facts() == {"of": "second"}
    assert os.listdir(tmp_path / "artefacts" / "stage") == ["key"]


def test_sweeping_spares_what_a_worker_that_lives_still_writes(tmp_path: Path) -> None:
    """A worker outlives the run that was killed; the next run finds its half-written bundle, and lets it finish."""
    code = (
        "import sys, pathlib; from precompute.artefacts import Artefacts\n"
        "with Artefacts(pathlib.Path(sys.argv[1])).writing('stage', 'key') as made:\n"
        "    made.add_facts({'of': 'worker'}); print('in', flush=True); sys.stdin.readline()\n"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert worker.stdin is not None and worker.stdout is not None
    assert worker.stdout.readline() == "in\n"
    (tmp_path / "artefacts" / "stage" / f"{PARTIAL}old").mkdir()
    assert Artefacts(tmp_path).sweep() == 1
    worker.communicate("\n")
    assert worker.returncode == 0 and Artefacts(tmp_path).find("stage", "key") is not None
    dead = tmp_path / "artefacts" / "stage" / f"{PARTIAL}key.{worker.pid}.00ff00ff"
    dead.mkdir()
    assert Artefacts(tmp_path).sweep() == 1 and not dead.exists()


def test_an_older_store_is_published_again_though_its_bundles_were_not_sealed(store: Path) -> None:
    for path in store.glob(f"artefacts/*/*/{MANIFEST}"):
        hashes = {
            name: facts["sha256"]
            for name, facts in json.loads(path.read_text())["files"].items()
            if name[:4] in ("prev", "sae-")
        }
        path.unlink()
        if hashes:
            path.with_name("hashes.json").write_text(json.dumps(hashes))
    record = store / "artefacts" / "runs" / "run0.json"
    record.write_text(json.dumps({k: v for k, v in json.loads(record.read_text()).items() if k != "is_sealed"}))
    assert Artefacts(store).find("factors", "fac0") is None, "a run computes them again"
    assert publish(store) == 2
    said = verify(store)
    assert "all as published" in said[0] and "4 artefacts made before" in " ".join(said)
    flip(next(store.glob("artefacts/*/*/preview-c1.flac")), 90)
    with pytest.raises(StoreError, match=r"preview-c1.flac' is not what was computed"):
        publish(store)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"run_id": "other"}', "[" * 5000, "\x00\xff"])
def test_a_damaged_record_of_a_run_is_named(store: Path, text: str) -> None:
    path = store / "artefacts" / "runs" / "run0.json"
    path.write_bytes(text.encode("latin-1"))
    for call in (lambda: load_runs(Artefacts(store)), lambda: publish_command(store), lambda: verify(store)):
        with pytest.raises(StoreError, match=r"run0\.json, is damaged .*Delete it, and run the same"):
            call()
