"""Generations being written: tables first, then files, then the pointer. What has a name is on the disk whole."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import duckdb
import pandas as pd

from explorer.errors import StoreError
from explorer.store import database
from explorer.store.disk import partial_name, replace_text, sync
from explorer.store.layout import (
    FILES,
    GENERATION,
    LAST_GENERATION,
    POINTER,
    SCHEMA_SQL,
    checksum_path,
    generation_path,
)
from explorer.store.names import check_folder, is_file, shown
from explorer.store.reading import current_generation, generations, listed_files

# A click asks for one SAE, feature or factor of the large tables. Rows that lie together are found without reading the
# others, since the database keeps the smallest and largest value of each block.
_SORTED_BY: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "features",
            "feature_histograms",
            "feature_attribute_shares",
            "feature_label_counts",
            "feature_neighbours",
            "feature_matches",
            "listed_clips",
        ),
        "sae_id, feature",
    ),
    **dict.fromkeys(("factor_scores", "factor_predictions"), "representation_id, protocol, factor_index"),
    "lasso_weights": "representation_id, protocol, dim",
}
# What DuckDB says where the disk did not take what it had to write: in the file, in its log, at its end.
_REFUSED = (duckdb.IOException, duckdb.TransactionException, duckdb.FatalException)
_ADVICE = (
    ("No space left", "Free some space"),
    ("quota", "Free some space"),
    ("Permission denied", "Give this user write access"),
    ("not permitted", "Give this user write access"),
    ("Read-only", "Give this user write access, or choose another folder"),
    ("File too large", "Raise the limit of file sizes, or choose another disk"),
    ("No such file", "Something was moved or deleted there meanwhile: put it back"),
    ("lock", "Close the program that has it open"),
)


class GenerationWriter:
    """A generation being written: tables first, then files, then `publish` makes it the current one."""

    def __init__(self, folder: Path, generation: int, partial: Path) -> None:
        self.folder, self.generation, self._partial = folder, generation, partial
        try:
            with _explained(folder):
                self._connection = database.open_for_writing(partial)
                self._connection.execute(SCHEMA_SQL.read_text(encoding="utf-8"))
        except StoreError:
            _remove_database(partial)
            raise

    def insert(self, table: str, rows: pd.DataFrame) -> None:
        """Append `rows` to `table`; the frame's columns must be columns of the table (others stay NULL).

        Large tables are sorted as pages ask for them, so give all their rows at once. Raises StoreError for a table or
        column that the schema does not have, for values that do not fit, and when the disk does not take them.
        """
        if rows.empty:
            return
        columns = table_columns().get(table)
        unknown = [str(name) for name in rows.columns if columns is None or name not in columns]
        if columns is None or unknown:
            what = f"table {shown(table)}" if columns is None else f"column {shown(unknown[0])} of {table}"
            raise StoreError(f"A store has no {what}: the artefacts of {self.folder} are not of this Sonoscope.")
        names = ", ".join(f'"{name}"' for name in rows.columns)
        order = f" ORDER BY {_SORTED_BY[table]}" if table in _SORTED_BY else ""
        with _explained(self.folder):
            try:
                self._connection.register("incoming", rows)
                self._connection.execute(f'INSERT INTO "{table}" ({names}) SELECT {names} FROM incoming{order}')  # noqa: S608 - names of the schema
            except (duckdb.DataError, duckdb.IntegrityError, duckdb.NotSupportedError, UnicodeError) as error:
                reason = " ".join(str(error).split())[:200]
                raise StoreError(
                    f"The rows for the table {table} of {self.folder} do not fit it ({shown(reason)}): an artefact is "
                    "damaged, or not of this Sonoscope."
                ) from error
            self._connection.unregister("incoming")

    def finish(self) -> None:
        """Bring everything to the disk. Raises StoreError when the disk does not take it."""
        with _explained(self.folder):
            self._connection.execute("CHECKPOINT generation")
            self._connection.execute("USE memory")
            self._connection.execute("DETACH generation")
            self._connection.close()
            sync(self._partial)

    def discard(self) -> None:
        """Give the generation up; nothing of it stays."""
        with suppress(duckdb.Error):  # after a failed write the database may refuse to close in order
            self._connection.close()
        _remove_database(self._partial)


@cache
def table_columns() -> Mapping[str, Mapping[str, str]]:
    """The columns of each table of the schema, each with its type as DuckDB writes it."""
    with duckdb.connect() as connection:
        connection.execute(SCHEMA_SQL.read_text(encoding="utf-8"))
        rows = connection.execute(
            "SELECT table_name, list(column_name), list(data_type) FROM duckdb_columns() WHERE NOT internal GROUP BY 1"
        ).fetchall()
    return {table: dict(zip(columns, types, strict=True)) for table, columns, types in rows}


def _remove_database(path: Path) -> None:
    """Delete a database and its log: a new one of the same name would replay what the old one left there."""
    for part in (path, path.with_name(f"{path.name}.wal")):
        part.unlink(missing_ok=True)


@contextmanager
def _explained(target: Path) -> Iterator[None]:
    """Turn a write that the disk refused into a StoreError that says what to do."""
    try:
        yield
    except _REFUSED as error:
        text = " ".join(str(error).split()).split(" See also ")[0].rstrip(". ")
        advice = next((advice for sign, advice in _ADVICE if sign in text), "Check the disk")
        raise StoreError(
            f"{target} cannot be written: {text}. {advice}, then run the same command again: finished work is kept."
        ) from error


def write_parquet(rows: pd.DataFrame, path: Path, *, order_by: Sequence[str], row_group_size: int = 8192) -> None:
    """Write `rows` sorted by `order_by` (zstd), atomically. Raises StoreError when the disk does not take them."""
    partial = path.with_name(partial_name(path.name))
    order = ", ".join(f'"{name}"' for name in order_by)
    options = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {int(row_group_size)}"
    try:
        with duckdb.connect() as connection, _explained(path):
            connection.register("incoming", rows)
            database.copy_to_parquet(connection, f"SELECT * FROM incoming ORDER BY {order}", partial, options)  # noqa: S608 - column names
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def new_generation(folder: Path | str) -> Iterator[GenerationWriter]:
    """Write the next generation; on leaving without an error it becomes current, atomically.

    Readers that hold the old one keep it. Nothing changes for anybody when the block raises.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    check_folder(folder / FILES)
    (folder / FILES).mkdir(exist_ok=True)
    number = 1 + _last_generation(folder) % LAST_GENERATION
    final = generation_path(folder, number)
    partial = folder / partial_name(final.name)
    writer = GenerationWriter(folder, number, partial)
    try:
        yield writer
        writer.finish()
    except BaseException:
        writer.discard()
        raise
    with partial.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    os.replace(partial, final)
    sync(folder / FILES)
    replace_text(checksum_path(folder, number), f"{digest}  {final.name}\n")  # brings the folder to the disk too
    replace_text(folder / POINTER, f"{final.name}\n")


def _last_generation(folder: Path) -> int:
    """The published generation, or the newest file where no pointer leads to one; 0 where there is none.

    A file newer than the pointer was never published: the next publication replaces it, and the one that readers hold
    stays the previous one.
    """
    try:
        return current_generation(folder)
    except StoreError:
        return max(generations(folder), default=0)


def remove_unlisted(folder: Path | str) -> list[str]:
    """Delete generations older than the previous one, and files that neither it nor the current one lists.

    Returns the names of what was deleted. A generation that nobody can read any more is deleted too.
    """
    folder = Path(folder)
    check_folder(folder / FILES)
    current = current_generation(folder)
    listed = listed_files(folder, current)
    if listed is None:
        raise StoreError(
            f"{generation_path(folder, current)} cannot be read although it was just written. Check the disk."
        )
    kept = {current}
    earlier = [number for number in generations(folder) if number < current][-1:]
    for number in earlier:
        also = listed_files(folder, number)
        if also is not None:
            kept.add(number)
            listed |= also
    removed = []
    for path in sorted(folder.iterdir()):
        match = GENERATION.fullmatch(path.with_suffix(".duckdb").name)
        if match and path.suffix in (".duckdb", ".sha256") and int(match[1]) not in kept and is_file(path):
            path.unlink()
            removed.append(path.name)
    for path in sorted((folder / FILES).iterdir()):
        if f"{FILES}/{path.name}" not in listed and not path.is_dir():
            path.unlink()
            removed.append(path.name)
    return removed
