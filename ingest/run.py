"""Ingest: walk, detect, read in parallel, commit.

Takes a workspace and paths, yields one report per source as it is stored. Holds the writer for the whole run. Knows no
format and no screen.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..store.compute import run_tasks
from ..store.errors import InputError
from ..store.reader import Reader, open_reader
from ..store.workspace import is_workspace
from ..store.writer import Commit, SourceState, Writer
from .detect import detect, get_format, read_head
from .format import Source, line_of
from .read import ReadTask, SourceReport, SourceTask, Stored, read_task

TASK_BYTES: Final = 32_000_000
"""Small files are read together up to this size; a process costs more to start than this takes to read."""


@dataclass(frozen=True, slots=True)
class Named:
    """A file to ingest; ``named`` when the user typed its path, rather than that of a folder above it."""

    path: Path
    named: bool


def walk(paths: Sequence[Path]) -> Iterator[Named]:
    """The files below the paths, in order, each once; not those of workspaces and version control."""
    seen = set()
    for path in paths:
        if not os.path.exists(path):  # Path.exists raises where a folder above may not be read.
            raise InputError(f"There is no {path}, or you may not read it; check the path.")
        if not os.path.isdir(path) and not os.path.isfile(path):
            raise InputError(f"{path} is neither a file nor a folder; give one of those.")
        files = _files_below(path) if os.path.isdir(path) else [path]
        for file in files:
            real = Path(os.path.realpath(file))
            if real not in seen:
                seen.add(real)
                yield Named(real, file is path)


def _files_below(folder: Path) -> Iterator[Path]:
    if is_workspace(folder):
        return
    closed: list[Path] = []
    for top, folders, files in os.walk(folder, onerror=lambda error: closed.append(Path(error.filename))):
        folders[:] = sorted(name for name in folders if name != ".git" and not is_workspace(Path(top, name)))
        for name in sorted(files):
            path = Path(top, name)
            if os.path.isfile(path) and not name.startswith("."):
                yield path
    yield from closed


def ingest(
    writer: Writer, files: Iterable[Named], *, format_name: str | None = None, jobs: int | None = None
) -> Iterator[SourceReport]:
    """Store what the files hold. Running it again adds nothing but what is new.

    ``format_name`` overrides detection; ``jobs`` is the number of reader processes (default: one per core where there
    is enough to read). Yields a report per file, those that could not be read among them.
    """
    if format_name is not None:
        get_format(format_name)
    states = writer.source_states()
    with open_reader(writer.workspace) as reader:
        counts = {row["source"]: row["episodes"] for row in reader.rows("SELECT source, episodes FROM sources")}
        tasks: list[SourceTask] = []
        for file in files:
            name = _name(file.path)
            planned = _plan(reader, file.path, states.get(name), format_name)
            if planned is None:
                yield SourceReport(name, states[name].format, unchanged=counts[name], bytes=states[name].bytes)
            elif isinstance(planned, SourceTask):
                tasks.append(planned)
            else:
                yield planned
    grouped = _group(writer.workspace.root, tasks)
    n_processes = jobs or min(os.cpu_count() or 1, len(grouped))
    for batch in run_tasks(read_task, grouped, first_id=writer.next_episode_id(), jobs=n_processes):
        writer.commit(Commit(batch.shards, batch.states, batch.retired, batch.mended, batch.skipped, batch.next_id))
        yield from batch.reports
    writer.mark_duplicates()


def _name(path: Path) -> str:
    """A path as it is stored: bytes that are no UTF-8 as ``\\xe9``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _plan(
    reader: Reader, path: Path, state: SourceState | None, format_name: str | None
) -> SourceTask | SourceReport | None:
    """What to read of a file; None when it is as it was, a report when it cannot be read."""
    name = _name(path)
    try:
        stat = path.stat()
        same = state is not None and state.done and format_name in (None, state.format)
        if state and same and (state.bytes, state.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
            return None
        read_head(path)
        chosen = format_name or (state.format if state else detect(path))
    except InputError as error:
        return SourceReport(name, None, error=str(error))
    except OSError as error:
        return SourceReport(name, None, error=f"Cannot read {name}: {error.strerror}; check its permissions.")
    fresh = SourceState(name, chosen, stat.st_size, stat.st_mtime_ns)
    if state is None:
        return SourceTask(Source(path, fresh.source, end=stat.st_size), fresh)
    return _plan_again(reader, path, state, fresh)


def _plan_again(reader: Reader, path: Path, state: SourceState, fresh: SourceState) -> SourceTask:
    """A source that an earlier run has read, at least in part."""
    rows = reader.rows(
        "SELECT record, episode_id, uid, digest, format, revision FROM episodes WHERE source = ? ORDER BY episode_id",
        [state.source],
    )
    skipped = reader.rows("SELECT record, byte_offset FROM skipped WHERE source = ?", [state.source])
    grown = (
        state.format == fresh.format
        and get_format(state.format).resumable
        and 0 < state.offset <= fresh.bytes
        # A file of the same size that was read to its end has been changed, not appended to.
        and (fresh.bytes > state.bytes or not state.done)
    )
    start, first_record = (state.offset, state.n_records) if grown else (0, 0)
    before = Counter(row["digest"] for row in rows if grown and line_of(row["record"]) < first_record)
    return SourceTask(
        Source(path, state.source, start, first_record, fresh.bytes),
        fresh,
        {row.pop("record"): Stored(**row) for row in rows},
        dict(before),
        frozenset((row["record"], row["byte_offset"]) for row in skipped),
        state.boundary,
    )


def _group(root: Path, tasks: Sequence[SourceTask]) -> list[ReadTask]:
    groups: list[list[SourceTask]] = []
    size = TASK_BYTES
    for task in tasks:
        if size + task.state.bytes > TASK_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(task)
        size += task.state.bytes
    return [ReadTask(root, tuple(group)) for group in groups]
