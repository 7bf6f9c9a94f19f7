"""Episodes in files that other programs open.

Takes a reader and episode ids, gives the number of episodes written:

    export_scout     a folder of Parquet that Inspect Scout opens (``scout view``), one row per transcript
    export_jsonl     JSON Lines, one episode each, with messages as of the OpenAI API
    export_parquet   a folder with episodes.parquet, parts.parquet and calls.parquet: the tables as they are
    export_duckdb    the same tables in one DuckDB file

A file or folder appears under its name when it is whole, and none is ever overwritten. Memory is bounded by a few
episodes. Branches (retries, forks, sub-agents) are kept apart from the main line: in Scout in the column ``branches``,
in JSON Lines under the same name, as messages by the branch's name; neither has a place where they would be shown as
what they are. Token ids and logprobs are in the tables only. Knows no log format but those it writes.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from .errors import InputError, UsageError
from .export_messages import inspect_messages, openai_message
from .reader import Reader
from .schemas import TEXT
from .select import select_episodes
from .types import Episode

TABLES: Final = {
    "episodes": "episode_id",
    "parts": "episode_id, message_index, part_index",
    "calls": "episode_id, call_index",
}
"""What a plain export holds, and how each is ordered."""

_AT_ONCE: Final = 100
_GROUP_ROWS: Final = 25
_FILE_CHARS: Final = 256_000_000
_CONTENT: Final = ("messages", "events", "timelines", "events_data")
"""Columns of Scout that its index leaves out."""
_JSON_FACTS: Final = ("scores", "labels", "verdicts", "provenance", "metadata")
_FACTS: Final = ("experiment", "checkpoint", "split", "group_id", "training_step", "reward", "stop_reason", "identity")

_NUMBERS: Final = {
    **dict.fromkeys(("task_repeat", "message_count", "total_tokens", "training_step"), pa.int64()),
    **dict.fromkeys(("total_time", "reward"), pa.float64()),
    "success": pa.bool_(),
}
SCOUT: Final = pa.schema(
    [
        (name, _NUMBERS.get(name, TEXT))
        for name in (
            *("transcript_id", "source_type", "source_id", "source_uri", "date", "task_set", "task_id", "task_repeat"),
            *("agent", "agent_args", "model", "model_options", "score", "success", "message_count", "total_time"),
            *("total_tokens", "error", "limit", *_CONTENT),
            *("source_record", "source_format", *_FACTS, *_JSON_FACTS, "branches"),
        )
    ]
)
"""Scout's own columns in its order; the others are metadata to it."""


def export_scout(reader: Reader, ids: Sequence[int], folder: Path) -> int:
    """A Scout database with an index. Copies of one record have one uid, and are one transcript."""
    with _whole(folder) as draft:
        (draft / "_index").mkdir(parents=True)
        rows = _scout_rows(reader, ids)
        n_rows = 0
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        while group := list(islice(rows, _GROUP_ROWS)):
            name = f"{now}_{secrets.token_hex(4)}"
            n_rows += _write_scout_file(draft, name, group, rows)
    return n_rows


def export_jsonl(reader: Reader, ids: Sequence[int], file: Path) -> int:
    """JSON Lines; ``messages`` is the main line."""
    with _whole(file) as draft, draft.open("wb") as out:
        n_rows = 0
        for episode in select_episodes(reader, ids, _AT_ONCE):
            out.write(_json(_jsonl_row(episode)) + b"\n")
            n_rows += 1
    return n_rows


def export_parquet(reader: Reader, ids: Sequence[int], folder: Path) -> int:
    """A Parquet file for each table."""
    with _whole(folder) as draft:
        draft.mkdir()
        for name in TABLES:
            with ExitStack() as stack:
                writer = None
                for table in _tables(reader, name, ids):
                    if writer is None:
                        writer = stack.enter_context(
                            pq.ParquetWriter(draft / f"{name}.parquet", table.schema, compression="zstd")
                        )
                    writer.write_table(table)
    return len(ids)


def export_duckdb(reader: Reader, ids: Sequence[int], path: Path) -> int:
    """A DuckDB file with the tables."""
    with _whole(path) as draft, duckdb.connect(str(draft)) as connection:
        for name in TABLES:
            for number, table in enumerate(_tables(reader, name, ids)):
                connection.register("rows_of_table", table)
                begin = f"INSERT INTO {name}" if number else f"CREATE TABLE {name} AS"
                connection.execute(f"{begin} FROM rows_of_table")
                connection.unregister("rows_of_table")
    return len(ids)


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """A place beside the target that becomes the target when all went well, and else is gone. Raises UsageError where
    the target exists, InputError where it cannot be written."""
    try:
        with _draft(target) as draft:
            yield draft
    except (OSError, duckdb.IOException) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise InputError(f"Cannot write {target}: {reason}; choose another place with -o.") from None


@contextmanager
def _draft(target: Path) -> Iterator[Path]:
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UsageError(f"There is {target} already, and nothing is overwritten; give another name with -o.")
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        yield draft
        os.replace(draft, target)
    finally:
        if draft.is_dir():
            shutil.rmtree(draft)
        for left in (draft, draft.with_name(draft.name + ".wal")):  # DuckDB's log, after a crash
            left.unlink(missing_ok=True)


def _tables(reader: Reader, name: str, ids: Sequence[int]) -> Iterator[pa.Table]:
    """The rows of one view, some episodes at a time; at least one table, so that the columns are known."""
    wanted = sorted(ids)
    for first in range(0, max(1, len(wanted)), _AT_ONCE):
        some = wanted[first : first + _AT_ONCE] or [-1]
        near = "episode_id BETWEEN ? AND ? AND episode_id IN (SELECT unnest(?))"
        sql = f"SELECT * FROM {name} WHERE {near} ORDER BY {TABLES[name]}"
        yield reader.table(sql, [some[0], some[-1], some])


def _scout_rows(reader: Reader, ids: Sequence[int]) -> Iterator[dict[str, Any]]:
    seen = set()
    for episode in select_episodes(reader, ids, _AT_ONCE):
        if episode.uid not in seen:
            seen.add(episode.uid)
            yield _scout_row(episode)


def _write_scout_file(draft: Path, name: str, group: list[dict[str, Any]], rows: Iterator[dict[str, Any]]) -> int:
    """One file and its index, from a first group of rows and as many more as fit. Gives how many."""
    of_index = [field for field in SCOUT.names if field not in _CONTENT]
    file_name = f"transcripts_{name}.parquet"
    index: list[pa.Table] = []
    n_chars = 0
    with pq.ParquetWriter(draft / file_name, SCOUT, compression="zstd") as writer:
        while group:
            table = pa.Table.from_pylist(group, SCOUT)
            writer.write_table(table, row_group_size=_GROUP_ROWS)
            index.append(table.select(of_index))
            n_chars += sum(len(row["messages"]) + len(row["branches"] or "") for row in group)
            group = list(islice(rows, _GROUP_ROWS)) if n_chars < _FILE_CHARS else []
    listed = pa.concat_tables(index)
    listed = listed.append_column("filename", pa.array([file_name] * len(listed), pa.string()))
    pq.write_table(listed, draft / "_index" / f"index_{name}.idx", compression="zstd")
    return len(listed)


def _scout_row(episode: Episode) -> dict[str, Any]:
    main, branches = _lines(episode)
    messages = inspect_messages(main, episode.uid)
    known = episode.metadata
    tokens = [known[key] for key in ("input_tokens", "output_tokens") if _is_count(known.get(key))]
    seconds = known.get("total_time")
    return {
        "transcript_id": episode.uid,
        "source_type": "investigate",
        "source_id": episode.experiment,
        "source_uri": episode.source,
        "date": episode.started_at,
        "task_set": episode.environment,
        "task_id": episode.task_id,
        "task_repeat": known["epoch"] if _is_count(known.get("epoch")) else None,
        "model": episode.model,
        "score": _score(episode),
        "success": episode.success,
        "message_count": len(messages),
        "total_time": float(seconds) if isinstance(seconds, int | float) else None,
        "total_tokens": sum(tokens) if tokens else None,
        "error": episode.error,
        "messages": _json(messages).decode(),
        "events": "[]",
        "source_record": episode.record,
        "source_format": episode.format,
        **{name: getattr(episode, name) for name in _FACTS},
        **{name: _json(getattr(episode, name)).decode() if getattr(episode, name) else None for name in _JSON_FACTS},
        "branches": _json({name: inspect_messages(told, episode.uid) for name, told in branches.items()}).decode()
        if branches
        else None,
    }


def _score(episode: Episode) -> str | None:
    """One score as Scout writes it, a text bare and all else as JSON; several by name; for want of any the reward."""
    values = list(episode.scores.values())
    score = values[0] if len(values) == 1 else episode.scores or episode.reward
    return score if score is None or isinstance(score, str) else _json(score).decode()


def _jsonl_row(episode: Episode) -> dict[str, Any]:
    main, branches = _lines(episode)
    row: dict[str, Any] = {"messages": [openai_message(message) for _, message in main]}
    row["branches"] = {name: [openai_message(message) for _, message in told] for name, told in branches.items()}
    for name in ("model", "environment", "task_id", "success", "error", "started_at", *_FACTS, *_JSON_FACTS):
        row[name] = getattr(episode, name)
    for name in ("source", "record", "format", "uid"):
        row[f"episode_{name}"] = getattr(episode, name)
    return {name: value for name, value in row.items() if value not in (None, {}, "")}


def _lines(episode: Episode) -> tuple[list[Any], dict[str, list[Any]]]:
    """The numbered messages of the main line, and those of each branch."""
    main: list[Any] = []
    branches: dict[str, list[Any]] = {}
    for numbered in enumerate(episode.messages):
        branch = numbered[1].branch
        (main if branch is None else branches.setdefault(branch, [])).append(numbered)
    return main, branches


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63


def _json(value: Any) -> bytes:
    return orjson.dumps(value)
