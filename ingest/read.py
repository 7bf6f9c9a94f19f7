"""Read sources into shards: what one reader process does.

Takes tasks (sources, and what is stored of them already), gives batches of finished shards. Runs beside other readers,
so it touches no catalog: ids come from a lease, and the writer commits what it is handed.
"""

from __future__ import annotations

import gc
import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Final

from ..store.catalog import Place, SourceState
from ..store.compute import IdLease
from ..store.errors import InputError
from ..store.shards import Shard, ShardRows
from ..store.types import Episode, Skipped, without_surrogates
from .detect import get_format
from .format import Item, Position, Source
from .report import SourceReport
from .stored import Stored, StoredContent, new_uid, read_prefix
from .unpack import plain

FLUSH_CHARS: Final = 64_000_000
FLUSH_ROWS: Final = 100_000


@dataclass(frozen=True, slots=True)
class SourceTask:
    """A source to read, and what earlier runs stored of it."""

    source: Source
    state: SourceState
    stored: dict[str, Stored] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    """Digest → how many records before ``source.start`` have it."""
    skipped: frozenset[tuple[str, int, str]] = frozenset()
    """(record, byte offset, reason) of what earlier runs could not read."""
    again: bool = False
    """Store what equal bytes are read as now, where that differs from what is stored."""
    shared: bool = False
    """Several readers read it, a part each."""


@dataclass(frozen=True, slots=True)
class ReadTask:
    """Sources that one reader reads one after the other into common shards; or one part of a long source, from line to
    line, the ``part``-th of those that readers share."""

    root: Path
    sources: tuple[SourceTask, ...]
    part: int | None = None
    last_part: bool = False


@dataclass(slots=True)
class Batch:
    """Finished shards, and what the writer must say of them."""

    shards: list[Shard]
    states: list[SourceState]
    reports: list[SourceReport]
    """Of the sources that this batch completes."""
    retired: list[tuple[int, int]]
    mended: list[Place]
    skipped: list[Place]
    next_id: int
    task: ReadTask
    ended: bool
    """It is the task's last."""


def read_task(task: ReadTask, lease: IdLease) -> Iterator[Batch]:
    """Yield a batch whenever enough rows have come together, and at the end."""
    gathered = _Gathered(task)
    # Rows hold no cycles; to look for some among a million of them takes a tenth of the time, and to look among all
    # that was imported, after every batch, another.
    was_enabled = gc.isenabled()
    gc.disable()
    gc.freeze()
    try:
        for source_task in task.sources:
            yield from _read_source(source_task, gathered, lease)
        yield gathered.flush(ended=True)
    finally:
        gathered.before.close()
        gc.unfreeze()
        if was_enabled:
            gc.enable()


class _Gathered:
    """Rows and states on their way into the next batch."""

    def __init__(self, task: ReadTask) -> None:
        self.task = task
        self.next_id = 0
        stored = (of.stored.values() for of in task.sources if of.again)
        self.before = StoredContent(task.root, chain.from_iterable(stored))
        self._start()

    def _start(self) -> None:
        self.rows = ShardRows()
        self.states: dict[str, SourceState] = {}
        self.reports: list[SourceReport] = []
        self.retired: list[tuple[int, int]] = []
        self.mended: list[Place] = []
        self.skipped: list[Place] = []

    def full(self) -> bool:
        return self.rows.n_chars >= FLUSH_CHARS or self.rows.n_rows >= FLUSH_ROWS

    def flush(self, *, ended: bool = False) -> Batch:
        shards = self.rows.write(self.task.root)
        states = list(self.states.values())
        lists = (self.reports, self.retired, self.mended, self.skipped)
        # What was read is not sent back with what came of it.
        task = replace(self.task, sources=())
        batch = Batch(shards, states, *lists, self.next_id, task, ended)
        self._start()
        gc.collect()
        return batch


def _read_source(task: SourceTask, gathered: _Gathered, lease: IdLease) -> Iterator[Batch]:
    began = time.perf_counter()
    report = SourceReport(task.state.source, task.state.format)
    state = _begun(task, gathered.task)
    try:
        with plain(task.source) as source:
            if gathered.task.part is None:
                task = verified(replace(task, source=source))
                state = _begun(task, gathered.task)
            report.bytes = max(0, (task.source.end or task.state.bytes) - task.source.start)
            reading = _Reading(task, gathered, report, lease)
            for item in get_format(task.state.format).read(task.source):
                reading.take(item)
                if gathered.full():
                    if not task.again:  # a run that ends here must not be taken for one that has read it all again
                        gathered.states[state.source] = state if reading.is_pending() else _advance(task, done=False)
                    yield gathered.flush()
            reading.finish()
        state = _advance(task, done=gathered.task.part is None or gathered.task.last_part)
    except InputError as error:
        report.error = str(error)
    except OSError as error:
        report.error = f"Cannot read {task.state.source}: {error.strerror or error}; check it and ingest again."
    report.seconds = time.perf_counter() - began
    if state.done or not task.again:
        gathered.states[state.source] = state
    gathered.reports.append(report)


def verified(task: SourceTask) -> SourceTask:
    """The task, from the start of its source where what lies before ``source.start`` is not what was read."""
    source = task.source
    if not source.start:
        return task
    prefix = read_prefix(source.path, source.start, task.state.boundary)
    if prefix is None:
        return replace(task, source=replace(source, start=0, first_record=0, position=Position()), seen={})
    source.position.prefix = prefix
    return task


class _Reading:
    """One source on its way into the gathered rows."""

    def __init__(self, task: SourceTask, gathered: _Gathered, report: SourceReport, lease: IdLease) -> None:
        self.task, self.gathered, self.report, self.lease = task, gathered, report, lease
        self.seen: Counter[str] = Counter(task.seen)
        self.uids = {stored.uid for stored in task.stored.values()}
        self.skipped_at: dict[str, list[tuple[int, str]]] = {}
        self.broken: set[str] = set()
        """Records that are skipped now; what was read of them before stays, unless all around it is another run's."""
        self.n_same = self.n_changed = 0
        """Of the records that were stored before and were read again."""
        for record, offset, reason in task.skipped:
            if _is_before(record, task.source.first_record):
                report.still_skipped += 1
            else:
                self.skipped_at.setdefault(record, []).append((offset, reason))
        self.left = dict(task.stored)
        """Stored records that have not come up again."""
        for record in [record for record in self.left if _is_before(record, task.source.first_record)]:
            del self.left[record]
            report.unchanged += 1

    def take(self, item: Item) -> None:
        if isinstance(item, Skipped):
            self._take_skipped(item)
        else:
            self._take_episode(item)

    def is_pending(self) -> bool:
        """May there be something to retire or to mend at the end? A run that ends before it must be begun again."""
        return bool(self.left or self.skipped_at)

    def finish(self) -> None:
        """What a source read to its end no longer holds is retired: a log that was rewritten must not mix two runs."""
        rewritten = self.n_changed > 0 and self.n_same == 0
        for record, stored in self.left.items():
            if rewritten or record.split("/")[0] not in self.broken:
                self.gathered.retired.append((stored.episode_id, stored.revision))
                self.report.removed += 1
        for record, places in self.skipped_at.items():
            self._mend(record, places)

    def _take_skipped(self, item: Skipped) -> None:
        self.broken.add(item.record)
        place = (item.byte_offset, without_surrogates(item.reason)[0])
        places = self.skipped_at.get(item.record, [])
        if place in places:
            places.remove(place)
            if not places:
                del self.skipped_at[item.record]
            self.report.still_skipped += 1
            return
        self.gathered.rows.add_skipped(item)
        self.gathered.skipped.append((item.source, item.record, *place))
        self.report.skipped += 1

    def _take_episode(self, item: Episode) -> None:
        if item.reward is not None and not math.isfinite(item.reward):
            # DuckDB prunes by the bounds of a column, which NaN has none of: it would match any range.
            item = replace(item, reward=None, scores=item.scores | {"reward": str(item.reward)})
        stored = self.left.pop(item.record, None) or self.task.stored.get(item.record)
        occurrence = self.seen[item.digest]
        self.seen[item.digest] += 1
        if self.skipped_at:
            for record in dict.fromkeys((item.record, item.record.split("/")[0])):
                self._mend(record, self.skipped_at.pop(record, []))
        if stored is not None and self._is_unchanged(stored, item):
            self.report.unchanged += 1
            self.n_same += 1
            return
        if stored is not None:
            self.n_changed += stored.digest != item.digest
            self.gathered.retired.append((stored.episode_id, stored.revision))
            self.uids.discard(stored.uid)
        same = stored is not None and stored.digest == item.digest
        uid = stored.uid if stored and same else new_uid(item.digest, occurrence, self.uids)
        self.uids.add(uid)
        lengths = [len(part.text) for message in item.messages for part in message.parts]
        episode_id = stored.episode_id if stored else self.lease.take(1)
        self.gathered.rows.add_episode(
            item,
            format=self.task.state.format,
            episode_id=episode_id,
            uid=uid,
            revision=stored.revision + 1 if stored else 0,
            n_messages=len(item.messages),
            n_parts=len(lengths),
            n_chars=sum(lengths),
        )
        self.gathered.next_id = max(self.gathered.next_id, episode_id + 1)
        self.report.add_episode(item, len(lengths), self.task.source.columns)

    def _is_unchanged(self, stored: Stored, item: Episode) -> bool:
        if (stored.digest, stored.format) != (item.digest, self.task.state.format):
            return False
        return not self.task.again or self.gathered.before.holds(stored.episode_id, item)

    def _mend(self, record: str, places: list[tuple[int, str]]) -> None:
        self.gathered.mended += [(self.task.state.source, record, *place) for place in places]


def _is_before(record: str, line: int) -> bool:
    number = record.split("/")[0]
    return number.isdecimal() and int(number) < line


def _begun(task: SourceTask, of: ReadTask) -> SourceState:
    """Where this run begins to read the source."""
    source = task.source
    boundary = task.state.boundary if source.start and of.part is None else ""
    return replace(task.state, offset=source.start, n_records=source.first_record, boundary=boundary, done=False)


def _advance(task: SourceTask, *, done: bool) -> SourceState:
    """Where the source has been read to. Of a part, the boundary is that of the part alone."""
    position = task.source.position
    boundary = f"{position.offset}:{position.prefix.hexdigest()}" if position.offset else ""
    return replace(task.state, offset=position.offset, n_records=position.record, boundary=boundary, done=done)
