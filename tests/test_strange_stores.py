"""Stores of strangers: whatever lies there, opening and reading end soon, with a sentence, and change nothing."""

from __future__ import annotations

import ctypes.util
import functools
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from explorer.errors import NotInStoreError, StoreError
from explorer.store import (
    SCHEMA_VERSION,
    current_generation,
    generation_path,
    new_generation,
    open_store,
    reading,
    write_parquet,
)
from explorer.store.lock import HELD, Holder, is_locked
from precompute.commands import publish as publish_command
from precompute.commands import status, verify
from precompute.lock import locked
from tests.bundled_store import contents, write_bundled_store

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/file.h>
#define SHUT(name) int name(int fd, int cmd, ...) { \
  va_list a; va_start(a, cmd); void *p = va_arg(a, void *); va_end(a); \
  if (cmd == F_SETLK || cmd == F_SETLKW || cmd == F_GETLK) { errno = ENOLCK; return -1; } \
  int (*real)(int, int, ...) = dlsym(RTLD_NEXT, #name); return real(fd, cmd, p); }
SHUT(fcntl)
SHUT(fcntl64)
int flock(int fd, int op) { errno = ENOLCK; return -1; }
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundled_store(tmp_path_factory.mktemp("whole") / "store")


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "store")
    return tmp_path / "store"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "points to ''"),
        (b"\xff\xfe\x00", "it is no text"),
        (b"../other/store-000001.duckdb", "points to '../other"),
        (b"/etc/passwd", "points to"),
        (b"store-000001.duckdb\n" * 100, "larger than"),
        (b"store-000009.duckdb", "points to 'store-000009.duckdb', which is not there"),
    ],
)
def test_a_pointer_that_names_no_generation(store: Path, content: bytes, said: str) -> None:
    (store / "CURRENT").write_bytes(content)
    with pytest.raises(StoreError, match=f"{said}.*`python -m precompute publish --store"):
        open_store(store)
    publish_command(store)
    assert current_generation(store) == 2


@pytest.mark.parametrize("what", ["fifo", "folder", "link", "device"])
@pytest.mark.parametrize("name", ["CURRENT", "store-000001.duckdb"])
def test_nothing_but_regular_files_is_opened(store: Path, tmp_path: Path, what: str, name: str) -> None:
    path = store / name
    path.rename(tmp_path / "elsewhere")
    if what == "fifo":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "elsewhere" if what == "link" else "/dev/zero")
    with pytest.raises(StoreError, match=r"cannot be read|points to"):
        open_store(store)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE meta SET value = 'abc' WHERE key = 'schema_version'", "its schema is 'abc', which is no number"),
        (f"UPDATE meta SET value = '{10**30}' WHERE key = 'schema_version'", "which is no number"),
        (f"UPDATE meta SET value = '{SCHEMA_VERSION + 1}' WHERE key = 'schema_version'", "newer than .*Update"),
        ("UPDATE meta SET value = '1' WHERE key = 'schema_version'", "has schema 1, .*precompute publish"),
        ("UPDATE meta SET value = '-1' WHERE key = 'schema_version'", "which is no number"),
        ("DELETE FROM meta", "has schema 0"),
        ("DROP TABLE meta", "is no store of Sonoscope"),
        ("DROP TABLE clips", "misses the table clips"),
        ("ALTER TABLE clips ALTER start_s TYPE TEXT", "other columns .* table clips"),
        ("DROP TABLE probes; CREATE TABLE probes (probe_id TEXT, accuracy DOUBLE AS (random()))", "the table probes"),
        ("DROP TABLE probes; CREATE VIEW probes AS SELECT * FROM range(1000000000000)", "holds a view named 'probes'"),
        ("CREATE MACRO max(x) AS 42", "holds a macro named 'max'"),
        ("CREATE MACRO rows_of(x) AS TABLE SELECT x", "holds a macro named 'rows_of'"),
        ("CREATE TYPE mood AS ENUM ('sad')", "holds a type named 'mood'"),
        ('CREATE VIEW "`rm -rf ~`" AS SELECT 1', "holds a view named '.rm -rf"),
    ],
)
def test_a_database_that_is_not_as_sonoscope_writes_it(store: Path, change: str, said: str) -> None:
    with duckdb.connect(str(generation_path(store, 1))) as connection:
        connection.execute(change)
    with pytest.raises(StoreError, match=said) as caught:
        open_store(store)
    assert "`rm" not in str(caught.value)
    with pytest.raises(StoreError):
        verify(store)


@pytest.mark.parametrize("content", [b"", b"text", os.urandom(100_000), b"\0" * 100_000])
def test_a_file_that_is_no_database(store: Path, content: bytes) -> None:
    generation_path(store, 1).write_bytes(content)
    with pytest.raises(StoreError, match=r"is no database of DuckDB|is damaged|no table meta|cannot be read"):
        open_store(store)


def test_a_database_of_a_later_duckdb_says_so(store: Path) -> None:
    path = generation_path(store, 1)
    content = bytearray(path.read_bytes())
    assert 64 <= struct.unpack("<Q", content[12:20])[0] <= 65, "a version that DuckDB 1.2 opens"
    content[12:20] = struct.pack("<Q", 5000)
    words = (word for (word,) in struct.iter_unpack("<Q", content[8:4096]))
    checksum = functools.reduce(lambda so_far, word: so_far ^ word * 0xBF58476D1CE4E5B9 % 2**64, words, 5381)
    content[:8] = struct.pack("<Q", checksum)
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"a version of DuckDB that this one .*Update.*precompute publish"):
        open_store(store)


def test_an_encrypted_database_says_so(store: Path) -> None:
    path = generation_path(store, 1)
    path.unlink()
    with duckdb.connect() as connection:
        connection.execute("SET force_mbedtls_unsafe = 'true'")
        connection.execute(f"ATTACH '{path}' AS secret (ENCRYPTION_KEY 'key')")
        connection.execute("CREATE TABLE secret.meta (key TEXT)")
    with pytest.raises(StoreError, match="is encrypted, which no store is"):
        open_store(store)


def test_a_copy_without_artefacts_is_not_told_to_publish_from_them(store: Path) -> None:
    shutil.rmtree(store / "artefacts")
    generation_path(store, 1).write_bytes(b"text")
    with pytest.raises(StoreError, match=r"no artefacts .* get a whole copy") as caught:
        open_store(store)
    assert "publish" not in str(caught.value)


def test_a_query_that_never_ends_is_stopped_and_the_next_is_answered(whole: Path) -> None:
    store = open_store(whole)
    with pytest.raises(StoreError, match=r"did not answer a query in 1 s"):
        store.query("SELECT count(*) AS n FROM range(1000000000000) r(i) WHERE i % 7 = 3", limit_s=1.0)
    assert int(store.query("SELECT count(*) AS n FROM clips")["n"][0]) == 8
    assert reading.QUERY_LIMIT_S <= 60
    store.close()


def test_a_log_beside_the_database_is_not_replayed(store: Path) -> None:
    os.mkfifo(store / "store-000001.duckdb.wal")
    with pytest.raises(StoreError, match=r"store-000001.duckdb.wal is next to"):
        open_store(store)


def test_who_has_the_database_open_for_writing_is_said(store: Path) -> None:
    code = f"import duckdb; c = duckdb.connect({str(generation_path(store, 1))!r}); print('open', flush=True); input()"
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None and other.stdout.readline() == "open\n"
    with pytest.raises(StoreError, match=rf"open for writing in another program \(.*{other.pid}\)\. Close") as caught:
        open_store(store)
    assert "publish" not in str(caught.value)
    other.communicate("\n")
    open_store(store).close()


@pytest.mark.parametrize("name", ["a\\b", "it's", 'a "b"; DROP', "ünï ♪", "br[a]c*k?", "-x", os.fsdecode(b"bad\xff")])
def test_any_path_opens_answers_verifies_and_publishes(whole: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    shutil.copytree(whole, folder)
    rows = pd.DataFrame({"clip_index": [0, 0], "feature": [2, 1], "value": [0.5, 1.5]})
    write_parquet(rows, folder / "files" / "codes-x.parquet", order_by=["feature"])
    store = open_store(folder)
    found = store.query("SELECT * FROM read_parquet(?)", [store.parquet("files/codes-x.parquet")])
    assert found["feature"].tolist() == [1, 2]
    with pytest.raises(StoreError, match="could not answer"):
        store.query("SELECT * FROM read_csv('/etc/passwd')")
    store.close()
    publish_command(folder)
    assert "generation 2" in verify(folder)[0]
    assert "8 clips" in status(folder)[-1]


def test_a_path_that_is_no_text_is_printed(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"bad\xff")
    shutil.copytree(whole, folder)
    made = subprocess.run(
        [sys.executable, "-m", "precompute", "status", "--store", folder],
        check=True, capture_output=True, text=True, env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert "bad\\udcff: no run is" in made.stdout


def test_a_file_system_without_locks_is_no_obstacle(whole: Path, tmp_path: Path) -> None:
    """Browsing, verifying and publishing go on; a second precompute is kept out all the same."""
    compiler = shutil.which("cc")
    if compiler is None or ctypes.util.find_library("c") is None or sys.platform != "linux":
        pytest.skip("needs a C compiler and LD_PRELOAD")
    (tmp_path / "shim.c").write_text(SHIM)
    shim = tmp_path / "shim.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", shim, tmp_path / "shim.c", "-ldl"], check=True)
    folder = tmp_path / "store"
    shutil.copytree(whole, folder)
    code = f"""
from pathlib import Path
import subprocess, sys, pandas as pd
from explorer.store import open_store, write_parquet
from precompute.__main__ import main
from precompute.lock import locked
folder = Path({str(folder)!r})
codes = pd.DataFrame({{"clip_index": [0, 1], "feature": [2, 1], "value": [0.5, 0.25]}})
write_parquet(codes, folder / "files" / "codes-x.parquet", order_by=["feature"])
store = open_store(folder)
print(store.query("SELECT feature FROM read_parquet(?)", [store.parquet("files/codes-x.parquet")])["feature"].tolist())
print(len(store.query("SELECT * FROM clips")))
store.close()
assert main(["publish", "--store", str(folder)]) == 0
assert main(["verify", "--store", str(folder)]) == 0
with locked(folder):
    print(subprocess.run([sys.executable, "-m", "precompute", "publish", "--store", str(folder)]).returncode)
print((folder / ".lock-held").exists())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "LD_PRELOAD": str(shim)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == ["[1, 2]", "8"] and done.stdout.splitlines()[-2:] == ["3", "False"]
    assert "generation 2" in done.stdout and "has no locks" in done.stderr and "is running in" in done.stderr


def test_what_a_killed_process_held_without_locks_is_taken_over(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    me = Holder.myself()
    (tmp_path / HELD).write_text(Holder(me.machine, ended.pid, "123456").line())
    gone = Holder.of(tmp_path)
    assert gone is not None and gone.is_gone() and not me.is_gone()
    (tmp_path / HELD).write_text(Holder("another", ended.pid, "123456").line())
    elsewhere = Holder.of(tmp_path)
    assert elsewhere is not None and not elsewhere.is_gone(), "nobody here can tell"


@pytest.mark.parametrize("kind", ["symbolic", "hard", "fifo"])
def test_a_lock_that_is_another_file_is_not_written_to(store: Path, tmp_path: Path, kind: str) -> None:
    victim = tmp_path / "victim.txt"
    victim.write_text("precious")
    if kind == "symbolic":
        (store / ".lock").symlink_to(victim)
    elif kind == "hard":
        os.link(victim, store / ".lock")
    else:
        os.mkfifo(store / ".lock")
    assert not is_locked(store)
    with pytest.raises(StoreError, match=r"link|regular file"), locked(store):
        pass
    assert victim.read_text() == "precious"


def test_a_store_that_cannot_be_written_is_browsed(whole: Path) -> None:
    """As on a read-only disk, or in another user's folder: by a user who may read it and no more."""
    code = """
import os, sys
from pathlib import Path
from explorer.store import open_store
from precompute.verify import verify
if os.getuid() == 0:
    os.setuid(65534)
store = open_store(Path(sys.argv[1]))
print(len(store.query("SELECT * FROM clips")), store.file("files/preview-c0.flac").is_file(), verify(store.folder))
try:
    (store.folder / "new").touch()
except PermissionError:
    print("read-only")
"""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        store = Path(place) / "store"
        shutil.copytree(whole, store)
        before = contents(store)
        for path in [*store.rglob("*"), store]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        done = subprocess.run([sys.executable, "-c", code, str(store)], capture_output=True, text=True)
        for path in [store, *store.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        assert done.stdout.startswith("8 True ") and done.stdout.endswith("read-only\n"), done.stderr
        assert contents(store) == before


def test_a_name_that_leads_out_of_the_store_is_refused(whole: Path, store: Path, tmp_path: Path) -> None:
    opened = open_store(store)
    (tmp_path / "secret").write_text("secret")
    (store / "files" / "sae-link.safetensors").symlink_to(tmp_path / "secret")
    for name in ("../secret", "/etc/passwd", "files/../../secret", "files/preview-c0.flac/..", "files\\preview-c0.flac",
                 "files/.hidden", "files/passwd", "files/preview-../x", "files/preview-\x00", "", None, 7,
                 "files/sae-link.safetensors"):  # fmt: skip
        with pytest.raises(StoreError, match=r"no name of a store's file|not followed"):
            opened.file(name)
    with pytest.raises(NotInStoreError, match="has no file"):
        opened.file("files/preview-gone.flac")
    shutil.move(store / "files", tmp_path / "files")
    (store / "files").symlink_to(tmp_path / "files")
    with pytest.raises(StoreError, match="not followed"):
        opened.file("files/preview-c0.flac")
    opened.close()
    with new_generation(tmp_path / "fresh") as writer, pytest.raises(StoreError, match="has no column"):
        writer.insert("meta", pd.DataFrame([{'key") SELECT 1; --': "x"}]))
