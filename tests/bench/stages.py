"""Where the time of one reader goes.

Takes a bench, says a table. Each stage does all that the stages before it do and one thing more, by the code that
ingest runs; what a stage costs is the difference of two medians: a profiler slows down small functions more than large
ones. Knows the inside of the reader and of shards, which is what it measures.
"""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

from harness import Bench, expect, investigate, remove, run
from investigate.ingest.chat import chat_messages
from investigate.ingest.detect import get_format
from investigate.ingest.format import Source, digest_of, loads, read_lines
from investigate.ingest.read import FLUSH_CHARS, FLUSH_ROWS, ReadTask, SourceTask, read_task
from investigate.ingest.stored import uid_of
from investigate.store.catalog import SourceState
from investigate.store.compute import LocalLease
from investigate.store.schemas import DATA_TABLES
from investigate.store.shards import ShardRows, _as_table
from investigate.store.types import Episode
from investigate.store.workspace import create_workspace

_SHARE = 0.1
"""Of the size that other parts measure: 100 MB where that is 1 GB."""
_ROUNDS = 3
_FORMAT = "openai_chat"

Stage = Callable[[Path, Path], int]
"""``(log, workspace)`` → how many records there were."""


def stages(bench: Bench) -> None:
    """One reader, in this process, stage upon stage."""
    path = bench.chat(_SHARE * bench.gb)
    seconds: dict[str, list[float]] = {name: [] for name in _STAGES}
    counts = set()
    for _ in range(_ROUNDS):
        for name, stage in _STAGES.items():
            spent, n_records = _timed(bench, stage, path)
            seconds[name].append(spent)
            counts.add(n_records)
    expect("different counts of records", len(counts), 1)
    megabytes = path.stat().st_size / 1e6
    medians = {name: statistics.median(spent) for name, spent in seconds.items()}
    last = list(medians.values())[-1]
    rows, before = [], 0.0
    for name, median in medians.items():
        own = median - before
        rows.append((name, f"{median:.3f}", f"{own:.3f}", f"{100 * own / last:.1f}", f"{megabytes / median:.0f}"))
        before = median
    bench.say(
        f"stages: {megabytes:.0f} MB of chat JSON Lines, cached, {counts.pop():,} records; one reader in one process; "
        f"each stage with all before it, median of {_ROUNDS} rounds"
    )
    bench.table(("stage", "so far s", "own s", "own %", "so far MB/s"), rows)
    workspace = bench.fresh()
    whole = run(investigate("ingest", path, "--no-index", "--jobs", "1", "-w", workspace)).seconds
    remove(workspace)
    bench.say(
        f"the whole command with --jobs 1, start, planning, commit and duplicates included: {whole:.3f} s (n = 1)"
    )


def _timed(bench: Bench, stage: Stage, path: Path) -> tuple[float, int]:
    workspace = bench.fresh()
    root = create_workspace(workspace).root
    os.sync()
    gc.collect()
    gc.disable()  # as a reader does
    began = time.perf_counter()
    n_records = stage(path, root)
    seconds = time.perf_counter() - began
    gc.enable()
    remove(workspace)
    return seconds, n_records


def _source(path: Path) -> Source:
    return Source(path, str(path), end=path.stat().st_size)


def _lines(path: Path, root: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def _prefix_hashed(path: Path, root: Path) -> int:
    return sum(1 for _ in read_lines(_source(path)))


def _digested(path: Path, root: Path) -> int:
    return sum(1 for _, _, line in read_lines(_source(path)) if isinstance(line, bytes) and digest_of(line))


def _parsed(path: Path, root: Path) -> int:
    n_records = 0
    for _, _, line in read_lines(_source(path)):
        if isinstance(line, bytes) and digest_of(line) and loads(line):
            n_records += 1
    return n_records


def _messages(path: Path, root: Path) -> int:
    n_records = 0
    for _, _, line in read_lines(_source(path)):
        if isinstance(line, bytes) and digest_of(line) and chat_messages(loads(line)["messages"]):
            n_records += 1
    return n_records


def _episodes(path: Path, root: Path) -> int:
    return sum(1 for _ in get_format(_FORMAT).read(_source(path)))


def _gathered(path: Path) -> Iterator[ShardRows]:
    """The rows of the log, as many at a time as a reader puts into one shard."""
    rows = ShardRows()
    for index, item in enumerate(get_format(_FORMAT).read(_source(path)), 1):
        assert isinstance(item, Episode)
        lengths = [len(part.text) for message in item.messages for part in message.parts]
        rows.add_episode(
            item,
            format=_FORMAT,
            episode_id=index,
            uid=uid_of(item.digest, 0),
            revision=0,
            n_messages=len(item.messages),
            n_parts=len(lengths),
            n_chars=sum(lengths),
        )
        if rows.n_chars >= FLUSH_CHARS or rows.n_rows >= FLUSH_ROWS:
            yield rows
            rows = ShardRows()
            gc.collect()  # as a reader does
    yield rows


def _rows(path: Path, root: Path) -> int:
    return sum(rows.n_episodes for rows in _gathered(path))


def _arrow(path: Path, root: Path) -> int:
    n_records = 0
    for rows in _gathered(path):
        tables = [_as_table(of_table, DATA_TABLES[name]) for name, of_table in rows._rows.items() if of_table]
        n_records += max(rows.n_episodes, *(table.num_rows == 0 for table in tables))
    return n_records


def _synced(path: Path, root: Path) -> int:
    n_records = 0
    for rows in _gathered(path):
        rows.write(root)
        n_records += rows.n_episodes
    return n_records


def _written(path: Path, root: Path) -> int:
    with patch("os.fsync"):
        return _synced(path, root)


def _read(path: Path, root: Path) -> int:
    source = _source(path)
    stat = path.stat()
    state = SourceState(source.name, _FORMAT, stat.st_size, stat.st_mtime_ns)
    batches = read_task(ReadTask(root, (SourceTask(source, state),)), LocalLease(1))
    return sum(report.episodes for batch in batches for report in batch.reports)


_STAGES: dict[str, Stage] = {
    "reading lines": _lines,
    "+ hash of what was read (read_lines)": _prefix_hashed,
    "+ digest of each record": _digested,
    "+ parsing JSON": _parsed,
    "+ messages": _messages,
    "+ facts, episodes (the format)": _episodes,
    "+ uids, rows": _rows,
    "+ Arrow": _arrow,
    "+ Parquet, zstd": _written,
    "+ fsync": _synced,
    "+ what else a reader does (read_task)": _read,
}
