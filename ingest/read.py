"""Read sources into shards: what one reader process does.

Takes tasks (sources, and what is stored of them already), gives batches of finished shards. Runs beside other readers,
so it touches no catalog: ids come from a lease, and the writer commits what it is handed.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Final

from ..store.compute import IdLease
from ..store.errors import InputError
from ..store.shards import Shard, ShardRows
from ..store.types import Episode, Skipped
from ..store.writer import SourceState
from .detect import get_format
from .format import Source

FLUSH_CHARS: Final = 64_000_000
FLUSH_ROWS: Final = 100_000
BOUNDARY_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Stored:
    """A record that is in the workspace already."""

    episode_id: int
    digest: str
    revision: int


@dataclass(frozen=True, slots=True)
class SourceTask:
    """A source to read, and what earlier runs stored of it."""

    source: Source
    state: SourceState
    stored: dict[str, Stored] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    """Digest → how many records before ``source.start`` have it."""
    skipped: frozenset[tuple[str, int]] = frozenset()


@dataclass(frozen=True, slots=True)
class ReadTask:
    """Sources that one reader reads one after the other into common shards."""

    root: Path
    sources: tuple[SourceTask, ...]


@dataclass(slots=True)
class SourceReport:
    """What one run did with one source. ``error`` says why it, or the rest of it, could not be read."""

    source: str
    format: str | None
    episodes: int = 0
    messages: int = 0
    parts: int = 0
    calls: int = 0
    skipped: int = 0
    unchanged: int = 0
    bytes: int = 0
    seconds: float = 0.0
    error: str | None = None


@dataclass(slots=True)
class Batch:
    """Finished shards, and what the writer must say of them."""

    shards: list[Shard]
    states: list[SourceState]
    reports: list[SourceReport]
    """Of the sources that this batch completes."""
    retired: list[tuple[int, int]]
    mended: list[tuple[str, str]]
    next_id: int
    n_bytes: int


def read_task(task: ReadTask, lease: IdLease) -> Iterator[Batch]:
    """Yield a batch whenever enough rows have come together, and at the end."""
    gathered = _Gathered(task.root)
    for source_task in task.sources:
        yield from _read_source(source_task, gathered, lease)
    if gathered.holds_something():
        yield gathered.flush()


class _Gathered:
    """Rows and states on their way into the next batch."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.next_id = 0
        self._start()

    def _start(self) -> None:
        self.rows = ShardRows()
        self.states: dict[str, SourceState] = {}
        self.reports: list[SourceReport] = []
        self.retired: list[tuple[int, int]] = []
        self.mended: list[tuple[str, str]] = []
        self.n_bytes = 0

    def full(self) -> bool:
        return self.rows.n_chars >= FLUSH_CHARS or self.rows.n_rows >= FLUSH_ROWS

    def holds_something(self) -> bool:
        return bool(self.states or self.reports)

    def flush(self) -> Batch:
        shards = self.rows.write(self.root)
        states = list(self.states.values())
        batch = Batch(shards, states, self.reports, self.retired, self.mended, self.next_id, self.n_bytes)
        self._start()
        return batch


def _read_source(task: SourceTask, gathered: _Gathered, lease: IdLease) -> Iterator[Batch]:
    began = time.perf_counter()
    state = task.state
    report = SourceReport(state.source, state.format, bytes=max(0, state.bytes - task.source.start))
    seen: Counter[str] = Counter(task.seen)
    try:
        for item in get_format(state.format).read(task.source):
            if isinstance(item, Skipped):
                _take_skipped(item, task, gathered, report)
            else:
                _take_episode(item, task, seen, gathered, report, lease)
            if gathered.full():
                gathered.states[state.source] = _advance(task, done=False)
                yield gathered.flush()
        done = True
    except InputError as error:
        report.error, done = str(error), False
    except OSError as error:
        report.error, done = f"Cannot read {state.source}: {error.strerror or error}.", False
    report.seconds = time.perf_counter() - began
    gathered.states[state.source] = _advance(task, done=done)
    gathered.reports.append(report)
    gathered.n_bytes += report.bytes


def _take_skipped(item: Skipped, task: SourceTask, gathered: _Gathered, report: SourceReport) -> None:
    if (item.record, item.byte_offset) not in task.skipped:
        gathered.rows.add_skipped(item)
        report.skipped += 1


def _take_episode(
    item: Episode, task: SourceTask, seen: Counter[str], gathered: _Gathered, report: SourceReport, lease: IdLease
) -> None:
    occurrence = seen[item.digest]
    seen[item.digest] += 1
    stored = task.stored.get(item.record)
    if stored is not None and stored.digest == item.digest:
        report.unchanged += 1
        return
    if stored is not None:
        gathered.retired.append((stored.episode_id, stored.revision))
    elif any(record == item.record for record, _ in task.skipped):
        gathered.mended.append((task.state.source, item.record))
    texts = [part.text for message in item.messages for part in message.parts]
    episode = replace(
        item,
        format=task.state.format,
        episode_id=stored.episode_id if stored else lease.take(1),
        uid=uid_of(item.digest, occurrence),
        revision=stored.revision + 1 if stored else 0,
        n_messages=len(item.messages),
        n_parts=len(texts),
        n_chars=sum(map(len, texts)),
    )
    gathered.rows.add_episode(episode)
    gathered.next_id = max(gathered.next_id, episode.episode_id + 1)
    report.episodes += 1
    report.messages += episode.n_messages
    report.parts += episode.n_parts
    report.calls += len(episode.calls)


def _advance(task: SourceTask, *, done: bool) -> SourceState:
    position = task.source.position
    boundary = boundary_of(task.source.path, position.offset)
    return replace(task.state, offset=position.offset, n_records=position.record, boundary=boundary, done=done)


def uid_of(digest: str, occurrence: int) -> str:
    """blake2b-128 over a record's digest and its occurrence number among equal records of its source, in hex."""
    return blake2b(f"{digest}:{occurrence}".encode(), digest_size=16).hexdigest()


def boundary_of(path: Path, offset: int) -> str:
    """A digest of the first and the last 64 KiB before ``offset``: the same while a file is only appended to."""
    if offset <= 0:
        return ""
    with path.open("rb") as file:
        first = file.read(min(offset, BOUNDARY_BYTES))
        file.seek(max(0, offset - BOUNDARY_BYTES))
        last = file.read(min(offset, BOUNDARY_BYTES))
    return blake2b(first + last, digest_size=16).hexdigest()
