"""Ingest: plan, read in parallel, commit.

Takes a writer and files, yields one report per source as it is stored. Holds the writer for the whole run. Knows no
format and no screen.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from ..store.compute import Engine, run_tasks
from ..store.errors import InputError, StoreError
from ..store.reader import open_reader
from ..store.writer import Commit, Writer
from .detect import detect_zip, get_format
from .files import Named, is_zip, members
from .plan import Options, count_tasks, group, plan
from .read import Batch, SourceTask, read_task
from .report import SourceReport
from .sharing import Shared


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
    for planned in _planned(writer, files, options):
        if isinstance(planned, SourceTask):
            tasks.append(planned)
        else:
            yield planned
    root = writer.workspace.root
    shared = {task.state.source: Shared(root, task) for task in tasks if task.shared}
    if engine is None or engine == Engine():
        engine = Engine(min(os.cpu_count() or 1, count_tasks(tasks)))
    for batch in run_tasks(read_task, group(root, tasks), first_id=writer.next_episode_id(), engine=engine):
        _check(root, batch)
        for ready in _ready(batch, shared):
            writer.commit(Commit(ready.shards, ready.states, ready.retired, ready.mended, ready.skipped, ready.next_id))
            yield from ready.reports
    writer.mark_duplicates()


def _planned(writer: Writer, files: Iterable[Named], options: Options) -> Iterator[SourceTask | SourceReport]:
    states = writer.source_states()
    known = writer.unread()
    unread = dict(known)
    with ExitStack() as opened:
        reader = opened.enter_context(open_reader(writer.workspace)) if states else None
        rows = reader.rows("SELECT source, episodes FROM sources") if reader else []
        counts = {row["source"]: row["episodes"] for row in rows}
        waiting = deque(files)
        while waiting:
            file = waiting.popleft()
            state = states.get(file.name)
            planned = plan(reader, file, state, options, unread)
            if _is_archive(file, planned, options):
                # Its members come in its place.
                try:
                    waiting.extendleft(reversed(list(members(file))))
                except InputError as error:
                    yield SourceReport(file.name, None, error=str(error))
            elif planned is not None:
                yield planned
            elif state is not None:
                yield SourceReport(file.name, state.format, unchanged=counts[file.name], bytes=state.bytes)
    if new := [file for name, file in unread.items() if file != known.get(name)]:
        writer.remember_unread(new)


def _is_archive(file: Named, planned: SourceTask | SourceReport | None, options: Options) -> bool:
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
