"""Ingest: plan, read in parallel, commit.

Takes a writer and files, yields one report per source as it is stored. Holds the writer for the whole run. Knows no
format and no screen.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

from ..store.catalog import Known, SourceState, Unread
from ..store.compute import Engine, run_tasks
from ..store.errors import InputError, StoreError
from ..store.writer import Commit, Writer
from .detect import detect_zip, get_format
from .files import Named, is_zip, members
from .options import Options
from .plan import group, plan, task_bytes
from .read import Batch, SourceTask, read_task
from .report import SourceReport
from .sharing import Shared
from .stored import HELD_AT_ONCE, Held, StoredSources
from .unchanged import gone, is_stored, report_unchanged, size_of


def ingest(
    writer: Writer, files: Iterable[Named], *, options: Options | None = None, engine: Engine | None = None
) -> Iterator[SourceReport]:
    """Store what the files hold. Running it again adds nothing but what is new.

    Yields a report per file, those that could not be read among them.
    """
    options = options or Options()
    if options.format_name is not None:
        get_format(options.format_name)
    writer.settle()
    run = _Run(writer, files, options)
    root = writer.workspace.root
    # Files are looked at while the first ones are read: of thousands that takes as long as to start the readers.
    tasks = group(root, run.tasks(), lambda: task_bytes(run.n_bytes))
    ahead = list(islice(tasks, os.cpu_count() or 1))
    yield from run.told()
    if ahead:
        if engine is None or engine == Engine():
            engine = Engine(len(ahead))
        grouped = chain(ahead, tasks)
        for batch in run_tasks(read_task, grouped, first_id=writer.next_episode_id(), engine=engine):
            _check(root, batch)
            for ready in run.ready(batch):
                rows = (ready.shards, ready.states, ready.retired, ready.mended, ready.skipped)
                writer.commit(Commit(*rows, ready.next_id, run.unread_of(ready.reports)))
                yield from ready.reports
            yield from run.told()
        yield from run.told()
    writer.settle()


class _Run:
    """The files of one run: what is to be read of them, and what is said of the others."""

    def __init__(self, writer: Writer, files: Iterable[Named], options: Options) -> None:
        self._writer = writer
        self._options = options
        self._known = writer.known()
        self._looked_at = [(file, report_unchanged(file, self._known, options)) for file in files]
        self.n_bytes = sum(size_of(file) for file, unchanged in self._looked_at if unchanged is None)
        """Of the files that are to be read."""
        self._states: dict[str, SourceState] = {}
        self._shared: dict[str, Shared] = {}
        self._told: list[SourceReport] = []

    def tasks(self) -> Iterator[SourceTask]:
        """What readers are to do, found out file by file."""
        for planned in self._planned():
            if isinstance(planned, SourceReport):
                self._told.append(planned)
                continue
            name = planned.state.source
            self._states[name] = planned.state
            if planned.shared:
                self._shared[name] = Shared(self._writer.workspace.root, planned)
            yield planned

    def told(self) -> Iterator[SourceReport]:
        """The reports of files that need no reader, since the last time."""
        told, self._told = self._told, []
        yield from told

    def ready(self, batch: Batch) -> Iterator[Batch]:
        """What may be committed, now that a batch is there."""
        if batch.task.part is None:
            yield batch
        else:
            yield from self._shared[batch.states[0].source].take(batch)

    def unread_of(self, reports: Iterable[SourceReport]) -> list[Unread]:
        """The files that could not be read, or not to their end; not those of which all is stored from another time."""
        failed = [(self._states[report.source], report.error) for report in reports if report.error]
        return [
            Unread(state.source, state.bytes, state.mtime_ns, "", reason)
            for state, reason in failed
            if not is_stored(self._known.states.get(state.source), state.bytes, state.mtime_ns)
        ]

    def _planned(self) -> Iterator[SourceTask | SourceReport]:
        known, options = self._known, self._options
        unread, before = dict(known.unread), _by_archive(known.states)
        with ExitStack() as opened:
            stored = StoredSources(self._writer.workspace, opened)
            waiting = deque(self._looked_at)
            while waiting:
                file, unchanged = waiting.popleft()
                if unchanged is not None:
                    yield from unchanged
                    for report in unchanged:
                        if not report.error:
                            unread.pop(report.source, None)
                    continue
                state = known.states.get(file.name)
                held = stored.of(file.name, _to_read(known, waiting)) if state else Held()
                planned = plan(file, state, held, options, unread)
                if not _is_archive(file, planned, options):
                    if isinstance(planned, SourceTask):
                        yield from self._retire(stored, before.get(file.name, ()))
                    yield planned
                    continue
                # Its members come in its place.
                try:
                    inside = list(members(file))
                except InputError as error:
                    reason = str(error)
                    yield SourceReport(file.name, None, error=reason)
                else:
                    reason = ""
                    self.n_bytes += sum(map(size_of, inside))
                    waiting.extendleft((member, report_unchanged(member, known, options)) for member in inside[::-1])
                    names = {member.name for member in inside}
                    lost = [name for name in before.get(file.name, ()) if name not in names]
                    yield from self._retire(stored, lost)
                    for name in [name for name in unread if name.startswith(f"{file.name}!") and name not in names]:
                        del unread[name]
                if file.name in unread:
                    unread[file.name] = replace(unread[file.name], reason=reason)
        for name in gone(unread):
            del unread[name]
        new = [file for name, file in unread.items() if file != known.unread.get(name)]
        read = known.unread.keys() - unread.keys()
        if new or read:
            self._writer.remember_unread(new, read)

    def _retire(self, stored: StoredSources, names: Sequence[str]) -> Iterator[SourceReport]:
        """Members that their archive no longer has, or that is none any more: what was rewritten must not mix two
        runs."""
        # A file of its own may have the sign of an archive in its name.
        for name in (name for name in names if not os.path.lexists(name)):
            held = stored.of(name, names)
            episodes = [(record.episode_id, record.revision) for record in held.records.values()]
            places = [(name, *place) for place in held.skipped]
            self._writer.commit(Commit([], [], retired=episodes, mended=places))
            self._writer.forget_sources([name])
            yield SourceReport(name, self._known.states[name].format, removed=len(episodes))


def _by_archive(sources: Iterable[str]) -> dict[str, list[str]]:
    """The sources below everything that may be their archive."""
    below: dict[str, list[str]] = {}
    for source in sources:
        for place, sign in enumerate(source):
            if sign == "!":
                below.setdefault(source[:place], []).append(source)
    return below


def _to_read(known: Known, waiting: Iterable[tuple[Named, object]]) -> Iterator[str]:
    """Those of the next files that were read before and are to be read again."""
    for file, unchanged in islice(waiting, HELD_AT_ONCE):
        if unchanged is None and file.name in known.states:
            yield file.name


def _is_archive(file: Named, planned: SourceTask | SourceReport, options: Options) -> bool:
    """Is it a zip of logs, rather than a log that is a zip?"""
    if not is_zip(file):
        return False
    return isinstance(planned, SourceReport) if options.format_name is None else detect_zip(file.path) is None


def _check(root: Path, batch: Batch) -> None:
    """Raise StoreError where what was written is not here: another machine may have another folder under this path."""
    for shard in batch.shards:
        if not (root / shard.path).exists():
            raise StoreError(
                f"A reader wrote {shard.path} where it is not seen from here; every node must see {root}, the same one."
            )
