"""What to read of each file.

Takes files that are not as the workspace knows them, gives tasks for readers: the rest of one that has grown, parts of
a long one for several readers. Knows no format but by its name.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from ..store.catalog import SourceState, Unread
from ..store.errors import InputError
from .detect import RefusedError, detect_source, get_format, read_head
from .files import Named
from .format import Position, Source, line_of, loads, read_lines
from .options import Options, dump_options, load_options
from .read import ReadTask, SourceTask, verified
from .report import SourceReport
from .stored import Held
from .unchanged import edition, is_stored
from .unpack import is_packed

MAPPED: Final = "mapped"
"""The one format that is never detected."""
TASK_BYTES: Final = 32_000_000
"""Small files are read together up to this size; a process costs more to start than this takes to read."""
LEAST_TASK_BYTES: Final = 4_000_000
"""Each task makes shards of its own, and small shards are a burden."""
PART_BYTES: Final = 64_000_000
"""Of a long file; what is read of it becomes one shard."""
_BLOCK_BYTES: Final = 1 << 18
_NEWLINE: Final = ord("\n")


def plan(
    file: Named, state: SourceState | None, held: Held, options: Options, unread: dict[str, Unread]
) -> SourceTask | SourceReport:
    """What to read of a file, or a report when it cannot be read: then it is put among the ``unread``. ``state`` and
    ``held`` are what earlier runs left of it."""
    name = file.name
    n_bytes = mtime_ns = 0
    try:
        n_bytes, mtime_ns = file.state()
        if os.path.isdir(file.path):  # it can be listed at most
            raise InputError(f"Cannot look into {name}; check the folder's permissions.")
        # How another format was to be read says nothing of this one.
        kept = load_options(state.options) if state and options.format_name in (None, state.format) else {}
        asked = options.asked() or kept
        # A format that was named by mistake, so that nothing came of it, is not kept.
        named = options.format_name or (asked.get("format") if _came_of(held, kept.get("format")) else None)
        source = _source(file, n_bytes, asked)
        chosen = _choose_format(named, source, held)
        if chosen != asked.get("format"):
            asked = {key: value for key, value in asked.items() if key == "tokenizer"}
            source = _source(file, n_bytes, asked)
        fresh = SourceState(name, chosen, n_bytes, mtime_ns, options=dump_options(asked))
        packed = is_packed(source)
        if state is None:
            task = SourceTask(source, fresh)
        else:
            again = options.again or (state.options, state.format) != (fresh.options, chosen)
            task = _plan_again(source, state, held, fresh, not packed and not again, again)
        return task if packed or fresh.bytes - task.source.start <= PART_BYTES else _shared(task)
    except RefusedError as error:
        reason, refused_by = str(error), edition()
    except InputError as error:
        reason, refused_by = str(error), ""
    except OSError as error:
        reason, refused_by = f"Cannot read {name}: {error.strerror}; check its permissions.", ""
    if not is_stored(state, n_bytes, mtime_ns):
        unread[name] = Unread(name, n_bytes, mtime_ns, refused_by, reason)
    return SourceReport(name, None, error=reason)


def _choose_format(named: str | None, source: Source, held: Held) -> str:
    """The one that is named; else the one it looks like, or where it looks like none, that by which it was read."""
    if named:
        read_head(source)  # raises for what must not be read
        return named
    try:
        return detect_source(source)
    except InputError:
        before = next((stored.format for stored in held.records.values()), None)
        if before is None:
            raise
        read_head(source)
        return before


def _came_of(held: Held, format_name: str | None) -> bool:
    """Is something stored that was read by the format? Of a mapping also what could not be read: no format that is
    detected would have read it otherwise."""
    if format_name == MAPPED and held.skipped:
        return True
    return any(stored.format == format_name for stored in held.records.values())


def _source(file: Named, n_bytes: int, asked: dict[str, Any]) -> Source:
    columns = tuple((fact, column) for fact, column in asked.get("columns", ()))
    return Source(
        file.path,
        file.name,
        end=n_bytes if file.member is None else None,
        member=file.member,
        uri=file.uri,
        tokenizer=asked.get("tokenizer"),
        columns=columns,
    )


def _plan_again(
    source: Source, state: SourceState, held: Held, fresh: SourceState, grows: bool, again: bool
) -> SourceTask:
    """A source that an earlier run has read, at least in part."""
    grown = (
        grows
        and (state.format, state.options) == (fresh.format, fresh.options)
        and get_format(state.format).resumable
        # Records of another format, of which a killed run left some, need not be named by lines.
        and all(stored.format == state.format for stored in held.records.values())
        and 0 < state.offset <= fresh.bytes
        # A file of the same size that was read to its end has been changed, not appended to.
        and (fresh.bytes > state.bytes or not state.done)
    )
    start, first_record = (state.offset, state.n_records) if grown else (0, 0)
    before = Counter(
        stored.digest for record, stored in held.records.items() if grown and line_of(record) < first_record
    )
    return SourceTask(
        replace(source, start=start, first_record=first_record),
        replace(fresh, boundary=state.boundary if grown else ""),
        held.records,
        dict(before),
        held.skipped,
        again,
    )


def _shared(task: SourceTask) -> SourceTask:
    """The task, marked for sharing among readers where it can be: each line stands alone, and what was stored lies
    before the part that is new."""
    source = task.source
    if not get_format(task.state.format).resumable:
        return task
    if any(not source.start or line_of(record) >= source.first_record for record in task.stored):
        return task
    task = verified(task)
    if (task.stored and not task.source.start) or not _is_of_lines(task.source):
        return task
    prefix = task.source.position.prefix
    boundary = f"{task.source.start}:{prefix.hexdigest()}" if prefix else ""
    fresh = replace(task.source, position=Position())
    return replace(task, source=fresh, state=replace(task.state, boundary=boundary), shared=True)


def _is_of_lines(source: Source) -> bool:
    """Will a reader of each part take it for lines? What was read before is; else the first line must be a row."""
    if source.start:
        return True
    line = next((line for _, _, line in read_lines(replace(source, position=Position()))), b"")
    if not isinstance(line, bytes) or not line.lstrip().startswith(b"{"):
        return False
    try:
        loads(line)
    except ValueError:
        return False
    return True


def group(root: Path, tasks: Iterable[SourceTask], most: Callable[[], int]) -> Iterator[ReadTask]:
    """The tasks for readers: small sources together, up to ``most`` bytes, of which more may be known later; a shared
    one in parts, in the order of the file."""
    small: list[SourceTask] = []
    size = 0
    for task in tasks:
        if task.shared:
            yield from _parts(root, task)
            continue
        n_bytes = task.state.bytes - task.source.start
        if small and size + n_bytes > most():
            yield ReadTask(root, tuple(small))
            small, size = [], 0
        small.append(task)
        size += n_bytes
    if small:
        yield ReadTask(root, tuple(small))


def task_bytes(n_bytes: int) -> int:
    """How much of ``n_bytes`` in small sources makes a task: some tasks for every reader, so that they end together."""
    return min(TASK_BYTES, max(LEAST_TASK_BYTES, n_bytes // (4 * (os.cpu_count() or 1))))


def _parts(root: Path, task: SourceTask) -> Iterator[ReadTask]:
    source, last = task.source, False
    part, start, record = 0, source.start, source.first_record
    assert source.end is not None
    while not last:
        end, n_lines = _part_end(source.path, start, source.end)
        last = end >= source.end
        piece = replace(source, start=start, first_record=record, end=end, position=Position())
        # What is known of earlier records is for who puts the parts together.
        of_part = SourceTask(piece, task.state, skipped=task.skipped if part == 0 else frozenset())
        yield ReadTask(root, (of_part,), part, last)
        part, start, record = part + 1, end, record + n_lines


def _part_end(path: Path, start: int, end: int) -> tuple[int, int]:
    """Where the part that begins at ``start`` ends, and how many lines it has."""
    n_lines, at = 0, start
    # Into one buffer, and counted by numpy: beside readers that want both cores, ten times as fast as blocks of bytes.
    block = bytearray(_BLOCK_BYTES)
    numbers = np.frombuffer(block, np.uint8)
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(start)
            while at < end and (n_bytes := file.readinto(memoryview(block)[: end - at])):
                here = int(np.count_nonzero(numbers[:n_bytes] == _NEWLINE))
                if at + n_bytes - start >= PART_BYTES and here:
                    return at + block.rfind(b"\n", 0, n_bytes) + 1, n_lines + here
                n_lines += here
                at += n_bytes
    except OSError:
        pass  # who reads the part says so
    return end, n_lines
