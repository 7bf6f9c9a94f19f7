"""The catalog: the small, mutable part of a workspace, in SQLite.

Takes the path of ``catalog.sqlite``, gives connections with the schema in place. It says which shards count; Parquet
holds the rows. Knows neither DuckDB nor what is in a shard.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import StoreError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS source_states (
    source TEXT PRIMARY KEY, format TEXT NOT NULL, bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    offset INTEGER NOT NULL, n_records INTEGER NOT NULL, boundary TEXT NOT NULL, done INTEGER NOT NULL,
    options TEXT NOT NULL, ingested_at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS unread (
    source TEXT PRIMARY KEY, bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, edition TEXT NOT NULL,
    reason TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS source_counts (
    source TEXT PRIMARY KEY, episodes INTEGER NOT NULL, skipped INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS shards (
    shard_id TEXT NOT NULL, table_name TEXT NOT NULL, path TEXT NOT NULL, n_rows INTEGER NOT NULL,
    n_bytes INTEGER NOT NULL, run_id TEXT, PRIMARY KEY (shard_id, table_name)
);
CREATE TABLE IF NOT EXISTS replaced (path TEXT PRIMARY KEY, replaced_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS retired (
    episode_id INTEGER NOT NULL, revision INTEGER NOT NULL, PRIMARY KEY (episode_id, revision)
);
CREATE TABLE IF NOT EXISTS mended (
    source TEXT NOT NULL, record TEXT NOT NULL, byte_offset INTEGER NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (source, record, byte_offset, reason)
);
CREATE TABLE IF NOT EXISTS duplicates (episode_id INTEGER PRIMARY KEY, duplicate_of INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS indexed (
    index_name TEXT NOT NULL, shard_id TEXT NOT NULL, PRIMARY KEY (index_name, shard_id)
);
CREATE TABLE IF NOT EXISTS runs (
    run_id TEXT PRIMARY KEY, kind TEXT NOT NULL, created_at TEXT NOT NULL, parameters TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS models (logged_name TEXT PRIMARY KEY, target TEXT NOT NULL);
"""

SMALL_TABLES = ("source_states", "unread", "retired", "mended", "duplicates", "runs", "models")
"""Copied into every reader's snapshot."""


@dataclass(frozen=True, slots=True)
class SourceState:
    """How far a source has been read. ``boundary`` is a digest of what lies before ``offset``, to tell a file that has
    grown from one that was replaced; ``options`` is how it was asked to be read, to be read so again."""

    source: str
    format: str
    bytes: int
    mtime_ns: int
    offset: int = 0
    n_records: int = 0
    boundary: str = ""
    done: bool = False
    options: str = ""


Place = tuple[str, str, int, str]
"""Of what was skipped: source, record, byte offset and reason."""


@dataclass(frozen=True, slots=True)
class Unread:
    """A file, as it was when it could not be read. ``edition`` is that of the readers which refused it for what it is;
    empty where something else was wrong, which may be put right from outside. ``reason`` is empty for an archive in
    whose place its members are read."""

    source: str
    bytes: int
    mtime_ns: int
    edition: str
    reason: str


@dataclass(frozen=True, slots=True)
class Known:
    """What the catalog says of files, by name."""

    states: dict[str, SourceState]
    unread: dict[str, Unread]
    counts: dict[str, tuple[int, int]]
    """Episodes and skipped records of each source; empty while what was stored last is not counted yet."""


def create(path: Path) -> None:
    """Make the catalog, or leave the one that is there."""
    with connect(path) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("INSERT OR IGNORE INTO counters VALUES ('unsettled', 0)")


@contextmanager
def connect(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection for reading and writing, in autocommit mode; every commit is on disk when it returns."""
    try:
        connection = sqlite3.connect(path, isolation_level=None, timeout=30)
        connection.execute("PRAGMA synchronous=FULL")
        connection.executescript(_SCHEMA)  # an older catalog may lack a table
    except sqlite3.OperationalError as error:
        raise StoreError(f"Cannot write {path}: {error}. Check the folder's permissions, or pass -w DIR.") from None
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing. Raises StoreError where the disk or its permissions forbid it."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
    except sqlite3.OperationalError as error:
        raise StoreError(f"The catalog cannot be written ({error}); check the disk and its permissions.") from None


@contextmanager
def connect_for_reading(path: Path) -> Iterator[sqlite3.Connection]:
    """One consistent snapshot, taken beside a writer and also in a folder that cannot be written."""
    connection: sqlite3.Connection | None = None
    # SQLite needs to write the -shm file even to read in WAL mode; without a -wal file nothing is lost by not looking.
    modes = ["mode=ro"] if path.with_name(path.name + "-wal").exists() else ["mode=ro", "mode=ro&immutable=1"]
    error: sqlite3.Error | None = None
    for mode in modes:
        try:
            connection = sqlite3.connect(f"file:{_quote(path)}?{mode}", uri=True, isolation_level=None, timeout=30)
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM counters").fetchone()
            break
        except sqlite3.Error as failure:
            error = failure
            if connection is not None:
                connection.close()
                connection = None
    if connection is None:
        raise StoreError(f"Cannot read {path}: {error}. Is it a workspace, and may you read it?")
    try:
        yield connection
    finally:
        connection.close()


def read_known(connection: sqlite3.Connection) -> Known:
    """What the catalog says of files."""
    states = [SourceState(*row) for row in _select(connection, "source_states", SourceState.__slots__)]
    unread = [Unread(*row) for row in _select(connection, "unread", Unread.__slots__)]
    counts = [] if is_unsettled(connection) else _select(connection, "source_counts", ("source", "episodes", "skipped"))
    return Known(
        {state.source: state for state in states},
        {file.source: file for file in unread},
        {source: (episodes, skipped) for source, episodes, skipped in counts},
    )


def is_unsettled(connection: sqlite3.Connection) -> bool:
    """Was something stored that is not counted yet, nor compared with what else is there?"""
    row = connection.execute("SELECT value FROM counters WHERE name = 'unsettled'").fetchone()
    return row is None or bool(row[0])


def is_indexed(connection: sqlite3.Connection, index_name: str) -> bool:
    """Does a derived index hold every shard of parts, and has it let go of what was retired?"""
    query = (
        "SELECT count(*) FROM shards WHERE table_name = 'parts' AND shard_id NOT IN "
        "(SELECT shard_id FROM indexed WHERE index_name = ?)"
    )
    lacking = int(connection.execute(query, (index_name,)).fetchone()[0])
    retired = int(connection.execute("SELECT coalesce(max(rowid), 0) FROM retired").fetchone()[0])
    return not lacking and retired_in(connection, index_name) == retired


def retired_in(connection: sqlite3.Connection, index_name: str) -> int:
    """How much of what was retired, in that order, a derived index has let go of."""
    query = "SELECT max(CAST(shard_id AS INTEGER)) FROM indexed WHERE index_name = ?"
    return int(connection.execute(query, (f"{index_name}-retired",)).fetchone()[0] or 0)


def _select(connection: sqlite3.Connection, table: str, columns: Iterable[str]) -> list[tuple[Any, ...]]:
    return connection.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()


def _quote(path: Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
