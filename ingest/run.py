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
from itertools import islice
from pathlib import Path

from ..store.catalog import Known, SourceState, Unread
from ..store.compute import Engine, run_tasks
from ..store.errors import InputError, StoreError
from ..store.writer import Commit, Writer
from .detect import detect_zip, get_format
from .files import Named, is_zip, members
from .options import Options
from .plan import count_tasks, group, plan
from .read import Batch, SourceTask, read_task
from .report import SourceReport
from .sharing import Shared
from .stored import HELD_AT_ONCE, Held, StoredSources
from .unchanged import gone, is_stored, report_unchanged


def ingest(
    writer: Writer, files: Iterable[Named], *, options: Options | None = None, engine: Engine | None = None
) -> Iterator[SourceReport]:
    """Store what the files hold. Running it again adds nothing but what is new.

    Yields a report per file, those that could not be read among them.
    """
    options = options or Options()
    if options.format_name is not None:
        get_format(options.format_name)
    tasks: list[SourceTask] = []
    writer.settle()
    known = writer.known()
    for planned in _planned(writer, known, files, options):
        if isinstance(planned, SourceTask):
            tasks.append(planned)
        else:
            yield planned
    root = writer.workspace.root
    reading = {task.state.source: task.state for task in tasks}
    shared = {task.state.source: Shared(root, task) for task in tasks if task.shared}
    if engine is None or engine == Engine():
        engine = Engine(min(os.cpu_count() or 1, count_tasks(tasks)))
    # Readers take a while to start, and a cluster to reach.
    batches = (
        run_tasks(read_task, group(root, tasks), first_id=writer.next_episode_id(), engine=engine) if tasks else ()
    )
    for batch in batches:
        _check(root, batch)
        for ready in _ready(batch, shared):
            unread = _unread(ready.reports, reading, known.states)
            rows = (ready.shards, ready.states, ready.retired, ready.mended, ready.skipped)
            writer.commit(Commit(*rows, ready.next_id, unread))
            yield from ready.reports
    writer.settle()


def _unread(
    reports: Iterable[SourceReport], reading: dict[str, SourceState], before: dict[str, SourceState]
) -> list[Unread]:
    """The files that could not be read, or not to their end; not those of which all is stored from another time."""
    failed = [(reading[report.source], report.error) for report in reports if report.error]
    return [
        Unread(state.source, state.bytes, state.mtime_ns, "", reason)
        for state, reason in failed
        if not is_stored(before.get(state.source), state.bytes, state.mtime_ns)
    ]


def _planned(
    writer: Writer, known: Known, files: Iterable[Named], options: Options
) -> Iterator[SourceTask | SourceReport]:
    unread = dict(known.unread)
    with ExitStack() as opened:
        stored = StoredSources(writer.workspace, opened)
        waiting = deque(files)
        while waiting:
            file = waiting.popleft()
            if (unchanged := report_unchanged(file, known, options)) is not None:
                yield from unchanged
                for report in unchanged:
                    if not report.error:
                        unread.pop(report.source, None)
                continue
            state = known.states.get(file.name)
            held = stored.of(file.name, _to_read(known, waiting, options)) if state else Held()
            planned = plan(file, state, held, options, unread)
            if not _is_archive(file, planned, options):
                yield planned
                continue
            # Its members come in its place.
            try:
                inside = list(members(file))
                waiting.extendleft(reversed(inside))
                reason = ""
                names = {member.name for member in inside}
                lost = [name for name in known.states if name.startswith(f"{file.name}!") and name not in names]
                yield from _retire(writer, stored, lost, known)
                for name in [name for name in unread if name.startswith(f"{file.name}!") and name not in names]:
                    del unread[name]
            except InputError as error:
                reason = str(error)
                yield SourceReport(file.name, None, error=reason)
            if file.name in unread:
                unread[file.name] = replace(unread[file.name], reason=reason)
    for name in gone(unread):
        del unread[name]
    new = [file for name, file in unread.items() if file != known.unread.get(name)]
    read = known.unread.keys() - unread.keys()
    if new or read:
        writer.remember_unread(new, read)


def _to_read(known: Known, waiting: Iterable[Named], options: Options) -> Iterator[str]:
    """Those of the next files that were read before and are to be read again."""
    for file in islice(waiting, HELD_AT_ONCE):
        if file.name in known.states and report_unchanged(file, known, options) is None:
            yield file.name


def _retire(writer: Writer, stored: StoredSources, names: Sequence[str], known: Known) -> Iterator[SourceReport]:
    """Members that their archive no longer has: an archive that was rewritten must not mix two runs."""
    for name in names:
        held = stored.of(name, names)
        episodes = [(record.episode_id, record.revision) for record in held.records.values()]
        writer.commit(Commit([], [], retired=episodes, mended=[(name, *place) for place in held.skipped]))
        writer.forget_sources([name])
        yield SourceReport(name, known.states[name].format, removed=len(episodes))


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


def _ready(batch: Batch, shared: dict[str, Shared]) -> Iterator[Batch]:
    if batch.task.part is None:
        yield batch
    else:
        yield from shared[batch.states[0].source].take(batch)
