"""The run from end to end on real parts: what it leaves, and that it resumes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from safetensors import SafetensorError

from explorer.audio import load_waveform, resample
from explorer.encoders import MARKER, load_encoder
from explorer.errors import ConfigError, DatasetError, StoreBusyError, StoreError
from explorer.inference import read_states
from explorer.queries.giants import fetch_usual_frames
from explorer.sae import load_sae
from explorer.store import Store, current_generation, open_store
from precompute.artefacts import PARTIAL
from precompute.commands import verify
from precompute.config import RunConfig
from precompute.lock import locked
from precompute.pipeline import run
from tests.conftest import measured, tiny_config
from tests.test_traces import traces

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
VOLATILE = {
    "runs": ["started_at", "finished_at", "command", "hardware_json", "config_json"],
    "saes": ["train_seconds"],
    "generation_files": ["sha256", "n_bytes"],  # parquet and safetensors headers may differ in their bytes
}


def small_config(sources: Path, target: Path, **options: object) -> RunConfig:
    encoders = [f"hubert={sources / 'random-hubert'}"]
    return tiny_config(sources, target, encoders=encoders, epochs=4, seeds=(0,), **options)


def test_the_store_holds_what_was_asked_for(store: Store) -> None:
    counts = store.query(
        "SELECT e.name, s.layer, s.sparsity, s.seed, s.is_reference FROM saes s JOIN encoders e USING (encoder_id)"
    )
    assert set(counts["name"]) == {"ast", "hubert"}
    for _, rows in counts.groupby(["name", "layer"]):
        assert sorted(zip(rows["sparsity"], rows["seed"], strict=True)) == [(0.8, 0), (0.95, 0), (0.95, 1)]
        assert rows["is_reference"].sum() == 1
    per_encoder = store.query("SELECT encoder_id, count(DISTINCT layer) AS n FROM saes GROUP BY 1")
    assert (per_encoder["n"] == 2).all()


def test_every_table_of_the_schema_has_rows_or_a_reason(store: Store) -> None:
    names = store.query("SELECT table_name FROM information_schema.tables WHERE table_schema = 'main'")["table_name"]
    empty = [name for name in names if not len(store.query(f'SELECT 1 FROM "{name}" LIMIT 1'))]
    assert empty == ["giant_spans"]  # neither encoder has any, as layer_frames says
    assert store.query("SELECT sum(n_giant) AS n FROM layer_frames")["n"].iloc[0] == 0


def test_split_keeps_groups_and_files_apart(store: Store) -> None:
    clips = store.query("SELECT group_id, file_id, split, fold_group, fold_random FROM clips")
    assert (clips.groupby("group_id")["split"].nunique() == 1).all()
    train = clips[clips["split"] == "train"]
    assert (train.groupby("group_id")["fold_group"].nunique() == 1).all()
    assert (train.groupby("file_id")["fold_random"].nunique() == 1).all()
    assert clips.loc[clips["split"] == "held-out", "fold_group"].isna().all()


def test_listed_clips_are_the_strongest_and_one_a_file(store: Store) -> None:
    sae = store.query("SELECT * FROM saes WHERE is_reference LIMIT 1").iloc[0]
    codes = store.query("SELECT * FROM read_parquet(?)", [str(store.file(sae["codes_by_feature_file"]).resolve())])
    listed = store.query(
        "SELECT l.*, c.file_id FROM listed_clips l JOIN clips c USING (clip_index) WHERE sae_id = ?", [sae["sae_id"]]
    )
    top = listed[listed["kind"] == "top"]
    assert not top.duplicated(["feature", "file_id"]).any()
    strongest = codes.groupby("feature")["value"].max()
    first = top[top["rank"] == 0].set_index("feature")["value"].sort_index()
    pd.testing.assert_series_equal(first, strongest.astype(float), check_names=False, check_index_type=False, rtol=1e-6)
    inside = listed[listed["kind"] == "interval"]
    assert ((inside["value"] > inside["interval_low"]) & (inside["value"] <= inside["interval_high"] + 1e-9)).all()


def test_live_gives_what_the_store_holds(tiny_store: Path, tiny_sources: Path, store: Store) -> None:
    for name in ("ast", "hubert"):
        encoder = load_encoder(f"{name}={tiny_sources / f'random-{name}'}", device="cpu")
        sae_row = store.query(
            "SELECT * FROM saes JOIN encoders USING (encoder_id) WHERE name = ? AND is_reference LIMIT 1", [name]
        ).iloc[0]
        sae = load_sae(store.file(sae_row["weights_file"]))
        listed = store.query(
            "SELECT l.feature, l.preactivation, l.value, f.path, c.clip_index, c.start_s, c.duration_s "
            "FROM listed_clips l "
            "JOIN clips c USING (clip_index) JOIN files f USING (file_id) WHERE sae_id = ? AND kind = 'top' LIMIT 40",
            [sae_row["sae_id"]],
        )
        stored = traces(store, sae_row).set_index(["feature", "clip_index"])
        for row in listed.drop_duplicates("clip_index").head(4).itertuples():
            wave = load_waveform(tiny_sources / "singing" / row.path, start_s=row.start_s, duration_s=row.duration_s)
            wave = resample(wave, encoder.sample_rate_hz)
            states = encoder.hidden_states([wave], [int(sae_row["layer"])])[int(sae_row["layer"])]
            usual = fetch_usual_frames(store, sae_row["encoder_id"], sae_row["layer"])
            reading = read_states(states.values_td[0], states.times_s[0], sae, usual=usual, is_without_giants=True)
            assert reading.preactivations_f[row.feature] == pytest.approx(row.preactivation, rel=1e-4, abs=1e-5)
            assert reading.activation(row.feature) == pytest.approx(row.value, rel=1e-4, abs=1e-5)
            trace = stored.loc[(row.feature, row.clip_index)]
            points = trace["low"] + trace["step"] * np.frombuffer(trace["points"], dtype=np.uint8)
            kept = ~reading.is_giant_t  # what lies outside of the usual range is cut to it
            np.testing.assert_allclose(points[kept], reading.trace(row.feature)[kept], atol=0.75 * trace["step"] + 1e-5)


def rounded(value: object) -> object:
    """The numbers of a list to 4 decimals, as its text is compared; anything else as it is."""
    if not isinstance(value, np.ndarray):
        return value
    return (np.round(value, 4) if value.dtype.kind == "f" else value).tolist()


def snapshot(folder: Path) -> dict[str, pd.DataFrame]:
    """Every table without what may differ between two runs of the same work."""
    opened = open_store(folder)
    names = opened.query("SELECT table_name FROM information_schema.tables WHERE table_schema = 'main'")["table_name"]
    tables = {}
    for name in sorted(set(names) - {"meta", "run_timings"}):
        rows = opened.query(f'SELECT * FROM "{name}"').drop(columns=VOLATILE.get(name, []))
        text = rows.map(rounded)
        text = text.apply(lambda column: column.round(4) if column.dtype.kind == "f" else column).astype(str)
        tables[name] = text.sort_values(list(text.columns)).reset_index(drop=True)
    opened.close()
    return tables


def test_killed_again_and_again_it_ends_with_the_same_store(
    tiny_sources: Path, tiny_store: Path, tmp_path: Path
) -> None:
    whole, broken = measured(tiny_store, tmp_path / "whole"), tmp_path / "broken"
    script = tmp_path / "one_run.py"
    script.write_text(
        f"import sys; sys.path[:0] = [{str(ROOT)!r}]\n"
        "from pathlib import Path\nfrom tests.test_pipeline import small_config\nfrom precompute.pipeline import run\n"
        f"if __name__ == '__main__':\n    "
        f"run(small_config(Path({str(tiny_sources)!r}), Path(sys.argv[1])), command='the same')\n"
    )
    run(small_config(tiny_sources, whole), command="the same")
    n_kills = 0
    seen: set[str] = set()
    for _ in range(60):
        process = subprocess.Popen([sys.executable, str(script), str(broken)], start_new_session=True)
        deadline = time.monotonic() + 300
        while process.poll() is None and time.monotonic() < deadline:
            finished = {str(p.relative_to(broken)) for p in broken.glob("artefacts/*/*") if PARTIAL not in p.name}
            if len(finished - seen) >= 12 and n_kills < 3:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                n_kills += 1
                seen = {str(p.relative_to(broken)) for p in broken.glob("artefacts/*/*") if PARTIAL not in p.name}
            time.sleep(0.02)
        if process.returncode == 0:
            break
    assert process.returncode == 0 and n_kills >= 2
    expected, got = snapshot(whole), snapshot(broken)
    assert expected.keys() == got.keys()
    for name, rows in expected.items():
        pd.testing.assert_frame_equal(got[name], rows, obj=name)
    for mine, theirs in zip(_weights(open_store(whole)), _weights(open_store(broken)), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert not list(broken.glob(f"artefacts/*/{PARTIAL}*"))


def _weights(opened: Store) -> list[np.ndarray]:
    files = opened.query("SELECT weights_file FROM saes ORDER BY weights_file")["weights_file"]
    return [load_sae(opened.file(path)).w_enc_df for path in files]


def test_a_finished_run_again_computes_nothing(tiny_sources: Path, tiny_store: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_store, copy)
    before = snapshot(copy)
    done = "SELECT stage, n_done, n_reused FROM run_timings WHERE stage LIKE 'encode%' OR stage LIKE 'train%'"
    work = open_store(copy).query(done)
    summary = run(tiny_config(tiny_sources, copy), command="again")
    assert "encode with hubert" in summary.where_the_time_went
    assert work["n_done"].min() > 0 and open_store(copy).query(done).equals(work)
    for name, rows in snapshot(copy).items():
        pd.testing.assert_frame_equal(rows, before[name], obj=name)
    between = open_store(copy, generation=current_generation(copy) - 1)  # after the first of two encoders
    assert set(between.query("SELECT name FROM encoders")["name"]) == {"ast", "hubert"}
    assert between.query("SELECT count(DISTINCT encoder_id) AS n FROM layer_choices")["n"].iloc[0] == 2


def test_runs_add_to_the_store_and_later_analyses_replace_earlier_ones(
    tiny_sources: Path, tiny_store: Path, tmp_path: Path
) -> None:
    store = measured(tiny_store, tmp_path / "store")
    few: dict[str, Any] = {"sparsities": (0.8,), "layers": "2"}
    run(small_config(tiny_sources, store, **few), command="first")
    before = open_store(store).query("SELECT sae_id FROM saes ORDER BY ALL")
    run(small_config(tiny_sources, store, n_top_clips=4, **few), command="fewer clips")
    again = open_store(store)
    assert before.equals(again.query("SELECT sae_id FROM saes ORDER BY ALL"))
    assert again.query("SELECT max(rank) AS r FROM listed_clips WHERE kind = 'top'")["r"].iloc[0] == 3
    ast = tiny_config(tiny_sources, store, encoders=[f"ast={tiny_sources / 'random-ast'}"], **few)
    run(ast, command="another encoder")
    added = open_store(store)
    assert set(added.query("SELECT name FROM encoders")["name"]) == {"ast", "hubert"}
    assert set(before["sae_id"]) < set(added.query("SELECT sae_id FROM saes")["sae_id"])
    assert len(added.query("SELECT * FROM runs")) == 3
    listed = set(added.query("SELECT path FROM generation_files")["path"]) | set(
        again.query("SELECT path FROM generation_files")["path"]
    )
    assert {f"files/{path.name}" for path in (store / "files").iterdir()} <= listed


def test_a_checkpoint_has_one_name(tiny_sources: Path, tiny_store: Path, tmp_path: Path) -> None:
    twice = [f"{name}={tiny_sources / 'random-hubert'}" for name in ("one", "two")]
    with pytest.raises(ConfigError, match="two and one are one checkpoint"):
        run(tiny_config(tiny_sources, tmp_path / "store", encoders=twice), command="twice")
    copy = tmp_path / "copy"
    shutil.copytree(tiny_store, copy)
    with pytest.raises(ConfigError, match="one and hubert are one checkpoint"):
        run(tiny_config(tiny_sources, copy, encoders=twice[:1]), command="renamed")


def test_a_run_is_no_failure_where_the_home_folder_cannot_be_written(
    tiny_sources: Path, tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_store, copy)
    (tmp_path / "file").touch()
    monkeypatch.setenv("SONOSCOPE_HOME", str(tmp_path / "file" / "home"))
    summary = run(tiny_config(tiny_sources, copy), command="again")
    assert summary.generation == current_generation(copy)
    assert "not remembered" in caplog.text


def test_runs_share_matches_and_agree_on_the_sae_that_is_shown_first(
    tiny_sources: Path, tiny_store: Path, tmp_path: Path
) -> None:
    store = measured(tiny_store, tmp_path / "store")
    options: dict[str, Any] = {"sparsities": (0.8,), "seeds": (0,), "layers": "2", "label_permutations": 2}
    hubert, ast = ([f"{name}={tiny_sources / f'random-{name}'}"] for name in ("hubert", "ast"))
    run(tiny_config(tiny_sources, store, encoders=hubert, epochs=2, **options), command="a first look")
    first = open_store(store).query("SELECT sae_id FROM saes")["sae_id"].iloc[0]
    run(tiny_config(tiny_sources, store, encoders=hubert, epochs=4, **options), command="more epochs")
    opened = open_store(store)
    references = opened.query("SELECT sae_id, n_epochs FROM saes WHERE is_reference")
    assert len(opened.query("SELECT sae_id FROM saes")) == 2 and references["n_epochs"].tolist() == [4]
    run(tiny_config(tiny_sources, store, encoders=ast, epochs=2, **options), command="another encoder")
    opened = open_store(store)
    shown = opened.query("SELECT encoder_id, sae_id FROM saes WHERE is_reference ORDER BY encoder_id")
    assert [name.split("-")[0] for name in shown["encoder_id"]] == ["ast", "hubert"] and first not in set(
        shown["sae_id"]
    )
    pairs = opened.query("SELECT DISTINCT sae_id, other_sae_id FROM feature_matches WHERE kind = 'encoder'")
    assert set(map(tuple, pairs.to_numpy())) == {tuple(shown["sae_id"]), tuple(shown["sae_id"][::-1])}
    match = opened.query(
        "SELECT * FROM feature_matches WHERE kind = 'encoder' AND rank = 0 ORDER BY abs(r_train) DESC LIMIT 1"
    ).iloc[0]
    train = opened.query("SELECT split = 'train' AS t FROM clips ORDER BY clip_index")["t"].to_numpy()

    def activation(sae_id: str, feature: int) -> np.ndarray:
        path = opened.query("SELECT codes_by_feature_file AS f FROM saes WHERE sae_id = ?", [sae_id])["f"].iloc[0]
        place = str((store / path).resolve())
        codes = opened.query("SELECT * FROM read_parquet(?) WHERE feature = ?", [place, int(feature)])
        values = np.zeros(len(train))
        values[codes["clip_index"]] = codes["value"]
        return values[train]

    ours, theirs = activation(match.sae_id, match.feature), activation(match.other_sae_id, match.other_feature)
    assert match["r_train"] == pytest.approx(np.corrcoef(ours, theirs)[0, 1], abs=1e-5)


def test_another_playable_set_and_another_copy_of_the_checkpoint_are_seen(
    tiny_sources: Path, tiny_store: Path, tmp_path: Path
) -> None:
    """What the second run says of clips and checkpoint is what holds, and no file of the first was overwritten."""
    store, copied = measured(tiny_store, tmp_path / "store"), tmp_path / "moved-hubert"
    options: dict[str, Any] = {"sparsities": (0.8,), "layers": "2"}
    run(small_config(tiny_sources, store, n_playable_clips=5, **options), command="five")
    first = open_store(store)
    shutil.copytree(tiny_sources / "random-hubert", copied, ignore=shutil.ignore_patterns(MARKER))
    again = {**options, "encoders": [f"hubert={copied}"], "epochs": 4, "seeds": (0,)}
    run(tiny_config(tiny_sources, store, n_playable_clips=3, **again), command="three")
    second = open_store(store)
    playable = "SELECT clip_id FROM clips WHERE is_playable"
    assert (len(first.query(playable)), len(second.query(playable))) == (5, 3)
    encoder = "SELECT source, is_trained FROM encoders"
    assert not first.query(encoder)["is_trained"].iloc[0] and second.query(encoder)["is_trained"].isna().all()
    assert "moved-hubert" in second.query(encoder)["source"].iloc[0]
    assert len(second.query("SELECT * FROM saes")) == 1  # the same weights, so nothing else is new
    assert len(second.query("SELECT DISTINCT path FROM generation_files WHERE kind = 'states'")) == 2
    assert "all as published" in verify(store)[0]


def test_a_store_that_cannot_be_a_folder_is_named(tiny_sources: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="not a folder"):
        run(small_config(tiny_sources, tmp_path / "file"), command="in the way")


def test_a_second_run_on_one_folder_says_so_and_leaves(tiny_sources: Path, tmp_path: Path) -> None:
    with locked(tmp_path / "store"), pytest.raises(StoreBusyError, match=str(os.getpid())):
        run(small_config(tiny_sources, tmp_path / "store"), command="second")


def test_another_corpus_is_refused(tiny_sources: Path, tiny_store: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_store, copy)
    with pytest.raises(StoreError, match="holds the corpus"):
        run(small_config(tiny_sources, copy, clip_s=1.0), command="other cuts")


def test_a_vanished_data_set_is_named(tiny_sources: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="not there"):
        run(small_config(tiny_sources, tmp_path / "store", root=tmp_path / "gone"), command="gone")


def test_a_full_disk_is_explained_and_finished_work_kept(
    tiny_sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import explorer.tensors as tensors_module

    real = tensors_module.save_file
    n_saved = 0

    def fills_up(*arguments: Any, **options: Any) -> None:
        nonlocal n_saved
        n_saved += 1
        if n_saved > 3:
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        real(*arguments, **options)

    monkeypatch.setattr(tensors_module, "save_file", fills_up)
    with pytest.raises(StoreError, match="disk is full"):
        run(small_config(tiny_sources, tmp_path / "store"), command="full")
    monkeypatch.undo()
    kept = {str(path) for path in (tmp_path / "store").glob("artefacts/factors/*")}
    assert kept and not list((tmp_path / "store").glob(f"artefacts/*/{PARTIAL}*"))


def test_too_little_space_is_refused_before_anything_is_encoded(
    tiny_sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(StoreError, match=r"10 MB more and its disk has 1\.0 kB free"):
        run(small_config(tiny_sources, tmp_path / "store"), command="small disk")


def test_preset_paper_needs_test_singers(tmp_path: Path, tiny_sources: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        (tmp_path / "in" / name).mkdir(parents=True)
        sf.write(tmp_path / "in" / name / "x.wav", rng.normal(0, 0.1, 16000), 16000)
    with pytest.raises(ConfigError, match="test singers"):
        run(
            small_config(
                tiny_sources,
                tmp_path / "store",
                dataset="folder",
                root=tmp_path / "in",
                preset="paper",
                method="paper",
                layers="hubert=1,4",
            ),
            command="paper",
        )


def test_readers_move_to_a_new_generation_without_an_error(
    tiny_sources: Path, tiny_store: Path, tmp_path: Path
) -> None:
    from precompute.publish import publish

    copy = tmp_path / "copy"
    shutil.copytree(tiny_store, copy)
    old = open_store(copy)
    n_clips = len(old.query("SELECT * FROM clips"))
    publish(copy)
    assert len(old.query("SELECT * FROM clips")) == n_clips
    new = open_store(copy)
    assert new.generation == old.generation + 1 == current_generation(copy)
    assert len(new.query("SELECT * FROM clips")) == n_clips
