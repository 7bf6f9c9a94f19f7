"""A long source that several readers share, put together again.

Takes batches as readers finish them, gives them as one reader would have made them: in the order of the file, so that a
run that ends early leaves no gap, with equal records numbered over all parts, and one report. Knows no format.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..store.shards import Shard, write_shard
from .read import Batch, SourceTask
from .report import SourceReport
from .stored import uid_of


class Shared:
    """One source. ``root`` is the workspace."""

    def __init__(self, root: Path, task: SourceTask) -> None:
        self._numbering = _Numbering(root, task)
        self._sealed = [task.state.boundary] if task.source.start else []
        """The boundaries of the parts that are complete."""
        self._next = 0
        self._waiting: dict[int, list[Batch]] = {}
        self._report = SourceReport(task.state.source, task.state.format, unchanged=len(task.stored))

    def take(self, batch: Batch) -> Iterator[Batch]:
        """The batches that may be committed, now that this one is there."""
        assert batch.task.part is not None
        self._waiting.setdefault(batch.task.part, []).append(batch)
        while ready := self._waiting.pop(self._next, None):
            for waiting in ready:
                yield self._joined(waiting)
            if not ready[-1].ended:
                return
            self._next += 1

    def _joined(self, batch: Batch) -> Batch:
        if self._report.error:
            # What follows a part that could not be read is left for the run in which that can be read.
            batch = replace(batch, shards=[], states=[], retired=[], mended=[], skipped=[])
        states = []
        for state in batch.states:
            sealed = [*self._sealed, *([state.boundary] if state.boundary else [])]
            states.append(replace(state, boundary=",".join(sealed)))
            if batch.ended:
                self._sealed = sealed
        for report in batch.reports:
            self._add(report)
        reports = [self._report] if batch.ended and batch.task.last_part else []
        return replace(batch, shards=self._numbering.numbered(batch.shards), states=states, reports=reports)

    def _add(self, report: SourceReport) -> None:
        if not self._report.error:
            self._report.add(report)


class _Numbering:
    """Numbers records that equal one of an earlier part: a reader numbers those of its own part from 0. Eight bytes are
    held of each digest; two that differ only behind them are numbered as if equal, which does no harm."""

    def __init__(self, root: Path, task: SourceTask) -> None:
        self._root = root
        self._seen = np.sort(np.repeat(_keys(list(task.seen)), list(task.seen.values())))
        self._taken = {stored.uid for stored in task.stored.values()}
        """Numbers may be taken out of turn: a record that moved within its source has kept its own."""

    def numbered(self, shards: list[Shard]) -> list[Shard]:
        return [self._of_episodes(shard) if shard.table == "episodes" else shard for shard in shards]

    def _of_episodes(self, shard: Shard) -> Shard:
        with pq.ParquetFile(self._root / shard.path) as file:
            digests = file.read(columns=["digest"])["digest"].to_pylist()
            keys = _keys(digests)
            earlier = np.searchsorted(self._seen, keys, "right") - np.searchsorted(self._seen, keys, "left")
            # Two sorted stretches, which a stable sort merges.
            self._seen = np.sort(np.concatenate([self._seen, np.sort(keys)]), kind="stable")
            if not earlier.any():
                return shard
            rows = file.read()
        uids: list[Any] = rows["uid"].to_pylist()
        following: dict[str, int] = {}
        for place in np.flatnonzero(earlier):
            digest = digests[place]
            occurrence = following.get(digest, int(earlier[place]))
            while (uid := uid_of(digest, occurrence)) in self._taken:
                occurrence += 1
            self._taken.add(uid)
            uids[place], following[digest] = uid, occurrence + 1
        column = rows.schema.get_field_index("uid")
        rows = rows.set_column(column, rows.schema.field("uid"), pa.array(uids, rows.schema.field("uid").type))
        return write_shard(self._root, shard.path, shard.table, shard.shard_id, rows)


def _keys(digests: list[str]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    return np.fromiter((int(digest[:16], 16) for digest in digests), np.uint64, len(digests))
