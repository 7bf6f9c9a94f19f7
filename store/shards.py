"""Shards: immutable Parquet files.

Takes rows, gives files that are complete and on disk before anybody hears of them. Knows the schemas, not the catalog.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from .schemas import CALLS, DATA_TABLES, EPISODES, PARTS, SKIPPED, TABLES
from .types import Call, Episode, Part, Skipped, without_surrogates

ROWS_PER_GROUP: Final = 5_000
"""One episode of a large shard is then found without reading the rest of it."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A file that is complete and on disk. ``path`` is relative to the workspace."""

    shard_id: str
    table: str
    path: str
    n_rows: int
    n_bytes: int


class ShardRows:
    """Rows of the four data tables, column by column, until they are written as one shard each."""

    def __init__(self) -> None:
        self._columns: dict[str, dict[str, list[Any]]] = {
            name: {column: [] for column in schema.names} for name, schema in DATA_TABLES.items()
        }
        self.n_chars = 0
        self.n_episodes = 0
        self.n_rows = 0

    def add_episode(self, episode: Episode) -> None:
        """Add an episode with its parts and calls. Its id, uid and revision must be set."""
        _append(self._columns["episodes"], _EPISODE_COLUMNS, episode)
        keys = (episode.episode_id, episode.revision)
        parts = self._columns["parts"]
        for message_index, message in enumerate(episode.messages):
            for part_index, part in enumerate(message.parts):
                row = (*keys, message_index, part_index, message.role, message.branch, message.agent, message.given)
                for column, value in zip(_PART_KEYS, row, strict=True):
                    parts[column].append(without_surrogates(value)[0] if isinstance(value, str) else value)
                _append(parts, _PART_COLUMNS, part)
        calls = self._columns["calls"]
        for call in episode.calls:
            calls["episode_id"].append(keys[0])
            calls["revision"].append(keys[1])
            _append(calls, _CALL_COLUMNS, call)
        self.n_chars += episode.n_chars
        self.n_episodes += 1
        self.n_rows += 1

    def add_skipped(self, skipped: Skipped) -> None:
        _append(self._columns["skipped"], tuple(SKIPPED.names), skipped)
        self.n_rows += 1

    def write(self, root: Path) -> list[Shard]:
        """Write what was added to ``root/data/<table>/<shard>.parquet``, one file per table that has rows."""
        shard_id = uuid.uuid4().hex
        return [
            write_shard(root, f"data/{name}/{shard_id}.parquet", name, shard_id, pa.table(columns, DATA_TABLES[name]))
            for name, columns in self._columns.items()
            if next(iter(columns.values()))
        ]


_PART_KEYS = ("episode_id", "revision", "message_index", "part_index", "role", "branch", "agent", "given")
_EPISODE_COLUMNS = tuple(EPISODES.names)
_PART_COLUMNS = tuple(name for name in PARTS.names if name not in _PART_KEYS)
_CALL_COLUMNS = tuple(name for name in CALLS.names if name not in ("episode_id", "revision"))


def _append(columns: dict[str, list[Any]], names: Iterable[str], row: Episode | Part | Call | Skipped) -> None:
    for name in names:
        value = getattr(row, name)
        if isinstance(value, dict):
            value = to_json(value)
        elif isinstance(value, str) and not value.isascii():
            value = without_surrogates(value)[0]
        columns[name].append(value)


def to_json(value: dict[str, Any]) -> str:
    """Compact JSON that DuckDB can read: what it cannot hold (NaN, lone surrogates, big integers) as text."""
    if not value:
        return "{}"
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:
        return orjson.dumps(_plain(value)).decode()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(_plain(str(key))): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int) and not isinstance(value, bool) and not -(1 << 63) <= value < 1 << 63:
        return str(value)
    return value if isinstance(value, int | float | bool | None) else str(value)


def write_shard(root: Path, path: str, table: str, shard_id: str, rows: pa.Table) -> Shard:
    """Write one Parquet file: temporary name, fsync, rename, fsync of the folder."""
    assert rows.schema.equals(TABLES[table])
    final = root / path
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(final.name + ".tmp")
    with temporary.open("wb") as file:
        pq.write_table(rows, file, compression="zstd", row_group_size=ROWS_PER_GROUP)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(final)
    folder = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return Shard(shard_id, table, path, rows.num_rows, final.stat().st_size)
