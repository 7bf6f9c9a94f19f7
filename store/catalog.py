"""The catalog: the small, mutable part of a workspace, in SQLite.

Takes the path of ``catalog.sqlite``, gives connections with the schema in place. It says which shards count; Parquet
holds the rows. Knows neither DuckDB nor what is in a shard.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


def create(path: Path) -> None:
    """Make the catalog, or leave the one that is there."""
    with connect(path) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(_SCHEMA)


@contextmanager
def connect(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection for reading and writing, in autocommit mode; every commit is on disk when it returns."""
    try:
        connection = sqlite3.connect(path, isolation_level=None, timeout=30)
        connection.execute("PRAGMA synchronous=FULL")
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


def known_files(path: Path) -> dict[str, tuple[int, int]]:
    """Size in bytes and time of modification in ns of every file that was read to its end or could not be read, by
    name: what looks the same from outside need not be read."""
    with connect_for_reading(path) as connection:
        rows = connection.execute(
            "SELECT source, bytes, mtime_ns FROM unread "
            "UNION ALL SELECT source, bytes, mtime_ns FROM source_states WHERE done"
        )
        return {source: (n_bytes, mtime_ns) for source, n_bytes, mtime_ns in rows}


def _quote(path: Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
