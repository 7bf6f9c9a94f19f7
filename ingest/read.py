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
from .format import Item, Source, line_of

FLUSH_CHARS: Final = 64_000_000
FLUSH_ROWS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Stored:
    """A record that is in the workspace already."""

    episode_id: int
    uid: str
    digest: str
    format: str
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
    boundary: str = ""
    """The hash of all bytes before ``source.start``; where it is another, the source is read from its start."""


@dataclass(frozen=True, slots=True)
class ReadTask:
    """Sources that one reader reads one after the other into common shards."""

    root: Path
    sources: tuple[SourceTask, ...]


@dataclass(slots=True)
class SourceReport:
    """What one run did with one source. ``removed`` episodes are no longer in it. ``error`` says why it, or the rest of
    it, could not be read."""

    source: str
    format: str | None
    episodes: int = 0
    messages: int = 0
    parts: int = 0
    calls: int = 0
    skipped: int = 0
    unchanged: int = 0
    removed: int = 0
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
    mended: list[tuple[str, str, int]]
    skipped: list[tuple[str, str, int]]
    next_id: int


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
        self.mended: list[tuple[str, str, int]] = []
        self.skipped: list[tuple[str, str, int]] = []

    def full(self) -> bool:
        return self.rows.n_chars >= FLUSH_CHARS or self.rows.n_rows >= FLUSH_ROWS

    def holds_something(self) -> bool:
        return bool(self.states or self.reports)

    def flush(self) -> Batch:
        shards = self.rows.write(self.root)
        states = list(self.states.values())
        lists = (self.reports, self.retired, self.mended, self.skipped)
        batch = Batch(shards, states, *lists, self.next_id)
        self._start()
        return batch


def _read_source(task: SourceTask, gathered: _Gathered, lease: IdLease) -> Iterator[Batch]:
    began = time.perf_counter()
    report = SourceReport(task.state.source, task.state.format)
    state = replace(task.state, done=False)
    try:
        task = _checked(task)
        report.bytes = max(0, task.state.bytes - task.source.start)
        reading = _Reading(task, gathered, report, lease)
        for item in get_format(task.state.format).read(task.source):
            reading.take(item)
            if gathered.full():
                gathered.states[state.source] = _advance(task, done=False)
                yield gathered.flush()
        reading.finish()
        state = _advance(task, done=True)
    except InputError as error:
        report.error = str(error)
    except OSError as error:
        report.error = f"Cannot read {task.state.source}: {error.strerror or error}; check it and ingest again."
    report.seconds = time.perf_counter() - began
    gathered.states[state.source] = state
    gathered.reports.append(report)


def _checked(task: SourceTask) -> SourceTask:
    """The task, from the start of its source where what lies before ``source.start`` has changed."""
    if task.source.start:
        prefix = task.source.position.prefix = blake2b(digest_size=16)
        with task.source.path.open("rb") as file:
            left = task.source.start
            while left and (block := file.read(min(left, 1 << 20))):
                prefix.update(block)
                left -= len(block)
        if prefix.hexdigest() != task.boundary:
            source = Source(task.source.path, task.source.name, end=task.source.end)
            return replace(task, source=source, seen={})
    return task


class _Reading:
    """One source on its way into the gathered rows."""

    def __init__(self, task: SourceTask, gathered: _Gathered, report: SourceReport, lease: IdLease) -> None:
        self.task, self.gathered, self.report, self.lease = task, gathered, report, lease
        self.seen: Counter[str] = Counter(task.seen)
        self.uids = {stored.uid for stored in task.stored.values()}
        self.skipped_at: dict[str, list[int]] = {}
        for record, offset in task.skipped:
            self.skipped_at.setdefault(record, []).append(offset)
        self.left = dict(task.stored)
        """Stored records that have not come up again."""
        if task.source.start:
            for record in [record for record in self.left if line_of(record) < task.source.first_record]:
                del self.left[record]
                report.unchanged += 1

    def take(self, item: Item) -> None:
        if isinstance(item, Skipped):
            self._take_skipped(item)
        else:
            self._take_episode(item)

    def finish(self) -> None:
        """What a source read to its end no longer holds is retired: a log that was rewritten must not mix two runs."""
        for stored in self.left.values():
            self.gathered.retired.append((stored.episode_id, stored.revision))
            self.report.removed += 1
        if not self.task.source.start:
            for record, offsets in self.skipped_at.items():
                self._mend(record, offsets)

    def _take_skipped(self, item: Skipped) -> None:
        self.left.pop(item.record, None)
        offsets = self.skipped_at.get(item.record, [])
        if item.byte_offset in offsets:
            offsets.remove(item.byte_offset)
            return
        self.gathered.rows.add_skipped(item)
        self.gathered.skipped.append((item.source, item.record, item.byte_offset))
        self.report.skipped += 1

    def _take_episode(self, item: Episode) -> None:
        stored = self.left.pop(item.record, None) or self.task.stored.get(item.record)
        occurrence = self.seen[item.digest]
        self.seen[item.digest] += 1
        for record in dict.fromkeys((item.record, item.record.split("/")[0])):
            self._mend(record, self.skipped_at.pop(record, []))
        if stored is not None and (stored.digest, stored.format) == (item.digest, self.task.state.format):
            self.report.unchanged += 1
            return
        if stored is not None:
            self.gathered.retired.append((stored.episode_id, stored.revision))
        uid = uid_of(item.digest, occurrence)
        while uid in self.uids:
            # A record that moved within its source keeps its uid, so that number is taken.
            occurrence += 1
            uid = uid_of(item.digest, occurrence)
        self.uids.add(uid)
        texts = [part.text for message in item.messages for part in message.parts]
        episode = replace(
            item,
            format=self.task.state.format,
            episode_id=stored.episode_id if stored else self.lease.take(1),
            uid=uid,
            revision=stored.revision + 1 if stored else 0,
            n_messages=len(item.messages),
            n_parts=len(texts),
            n_chars=sum(map(len, texts)),
        )
        self.gathered.rows.add_episode(episode)
        self.gathered.next_id = max(self.gathered.next_id, episode.episode_id + 1)
        self.report.episodes += 1
        self.report.messages += episode.n_messages
        self.report.parts += episode.n_parts
        self.report.calls += len(episode.calls)

    def _mend(self, record: str, offsets: list[int]) -> None:
        self.gathered.mended += [(self.task.state.source, record, offset) for offset in offsets]


def _advance(task: SourceTask, *, done: bool) -> SourceState:
    position = task.source.position
    boundary = position.prefix.hexdigest() if position.offset else ""
    return replace(task.state, offset=position.offset, n_records=position.record, boundary=boundary, done=done)


def uid_of(digest: str, occurrence: int) -> str:
    """blake2b-128 over a record's digest and its occurrence number among equal records of its source, in hex."""
    return blake2b(f"{digest}:{occurrence}".encode(), digest_size=16).hexdigest()
