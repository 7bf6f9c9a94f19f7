"""Chunk embeddings of the workspace's parts, one index per encoder.

Takes a reader and a query vector, gives chunks as spans with their cosine similarity. Derived: ``embed.py`` makes them
again. Knows no screen.

Search is exact: the product of the query with every vector, in half precision (SIMD) over memory-mapped files.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ...store.reader import Reader
from ...store.types import KINDS, ROLES, Span
from ...store.workspace import Workspace
from .encode import Encoder
from .index import Filters
from .segments import (
    COLUMNS,
    Segment,
    drop_episodes,
    read_segments,
)

ROLE_PLACES: Final = {role: place for place, role in enumerate(ROLES)}
KIND_PLACES: Final = {kind: place for place, kind in enumerate(KINDS)}
PENDING: Final = "pending"
"""Below an index's folder: pieces of shards that are not done."""


@dataclass(frozen=True, slots=True)
class ChunkHit:
    """A chunk and how close it is to the query (cosine, −1 to 1)."""

    span: Span
    similarity: float


@dataclass(frozen=True, slots=True)
class Chunks:
    """Chunks with their vectors: row ``rows["vector"][i]`` of ``vectors`` (n, d) float16 belongs to chunk ``i``."""

    rows: dict[str, NDArray[Any]]
    vectors: NDArray[np.float16]


def index_name(encoder: Encoder) -> str:
    """The catalog's name of an encoder's index; the same encoder with other weights has another one."""
    readable = re.sub(r"[^A-Za-z0-9]+", "-", encoder.name).strip("-")[-40:]
    return f"vectors-{readable}-{encoder.fingerprint[:8]}"


def forget_in_vectors(workspace: Workspace, episode_ids: Collection[int]) -> None:
    """Take episodes out of the vectors of every encoder."""
    for folder in workspace.index("vectors").glob("*"):
        shutil.rmtree(folder / PENDING, ignore_errors=True)
        drop_episodes(folder, episode_ids)


def load_chunks(reader: Reader, encoder: Encoder, filters: Filters = Filters()) -> Chunks:  # noqa: B008 - immutable
    """All encoded chunks of live episodes that pass the filters. ``rows`` has COLUMNS, role and kind as words."""
    index = open_vectors(reader, encoder)
    columns, matrices, offset = [], [], 0
    for segment in index.segments:
        rows = np.array(segment.rows[:, index.passing(segment, filters)])
        rows[COLUMNS.index("vector")] += offset
        offset += len(segment.vectors)
        columns.append(rows)
        matrices.append(segment.vectors)
    whole = np.concatenate(columns, axis=1) if columns else np.zeros((len(COLUMNS), 0), np.int64)
    named: dict[str, NDArray[Any]] = dict(zip(COLUMNS, whole, strict=True))
    named |= {"role": np.array(ROLES)[named["role"]], "kind": np.array(KINDS)[named["kind"]]}
    if len(matrices) == 1:
        return Chunks(named, matrices[0])
    return Chunks(named, np.concatenate(matrices) if matrices else np.zeros((0, encoder.dimension), np.float16))


def open_vectors(reader: Reader, encoder: Encoder) -> VectorIndex:
    """What is encoded by now, memory-mapped."""
    retired = {(row["episode_id"], row["revision"]) for row in reader.rows("SELECT * FROM retired")}
    return VectorIndex(read_segments(index_folder(reader.workspace, encoder)), retired)


class VectorIndex:
    """Made by ``open_vectors``. ``retired`` are the (episode_id, revision) that newer ones replace."""

    def __init__(self, segments: list[Segment], retired: set[tuple[int, int]]) -> None:
        self.segments = segments
        self._retired = retired

    def search(self, query: NDArray[np.floating], filters: Filters, limit: int) -> list[ChunkHit]:
        """The chunks closest to a query vector (d,), best first; at most one per part."""
        return self.closest(self.similarities(query, filters), limit)

    def similarities(self, query: NDArray[np.floating], filters: Filters) -> NDArray[np.float32]:
        """(n,), of the rows of all segments; minus infinity where they do not pass."""
        of_segments = [self._similarities(segment, query, filters) for segment in self.segments]
        return np.concatenate(of_segments) if of_segments else np.zeros(0, np.float32)

    def closest(self, similarities: NDArray[np.float32], limit: int) -> list[ChunkHit]:
        """What ``search`` gives, from what takes most of its time."""
        ends = np.cumsum([segment.rows.shape[1] for segment in self.segments])
        n_possible = int(np.isfinite(similarities).sum())
        n_looked_at = 4 * limit
        while True:
            hits = self._best(similarities, ends, min(n_looked_at, n_possible), limit)
            if len(hits) == limit or n_looked_at >= n_possible:
                return hits
            n_looked_at *= 4

    def passing(self, segment: Segment, filters: Filters) -> NDArray[np.bool_]:
        """(n,), which rows are live and pass the filters."""
        keep = np.ones(segment.rows.shape[1], bool)
        if filters.kinds is not None:
            keep &= np.isin(segment.column("kind"), [KIND_PLACES[kind] for kind in filters.kinds])
        if filters.roles is not None:
            keep &= np.isin(segment.column("role"), [ROLE_PLACES[role] for role in filters.roles])
        if filters.episode_ids is not None:
            keep &= np.isin(segment.column("episode_id"), np.asarray(filters.episode_ids, np.int64))
        if self._retired:
            episodes = np.fromiter({episode_id for episode_id, _ in self._retired}, np.int64)
            for row in np.flatnonzero(keep & np.isin(segment.column("episode_id"), episodes)):
                pair = (int(segment.column("episode_id")[row]), int(segment.column("revision")[row]))
                keep[row] = pair not in self._retired
        return keep

    def _similarities(self, segment: Segment, query: NDArray[np.floating], filters: Filters) -> NDArray[np.float32]:
        """(n,), of every row; minus infinity where it does not pass."""
        of_rows = _dots(segment.vectors, query)[segment.column("vector")]
        if self._retired or filters != Filters():
            of_rows[~self.passing(segment, filters)] = -np.inf
        return of_rows

    def _best(
        self, similarity: NDArray[np.float32], ends: NDArray[np.int64], n_looked_at: int, limit: int
    ) -> list[ChunkHit]:
        if not n_looked_at:
            return []
        top = np.argpartition(-similarity, n_looked_at - 1)[:n_looked_at]
        hits: dict[tuple[int, int, int], ChunkHit] = {}
        for place in top[np.lexsort((top, -similarity[top]))]:
            number = int(np.searchsorted(ends, place, side="right"))
            segment = self.segments[number]
            row = int(place) - (int(ends[number - 1]) if number else 0)
            values = [int(segment.column(name)[row]) for name in _SPAN]
            key = (values[0], values[1], values[2])
            if key not in hits:
                hits[key] = ChunkHit(Span(*values), float(similarity[place]))
                if len(hits) == limit:
                    break
        return list(hits.values())


_SPAN: Final = ("episode_id", "message_index", "part_index", "start", "end")


def _dots(vectors: NDArray[np.float16], query: NDArray[np.floating]) -> NDArray[np.float32]:
    """(m,) products of the rows of ``vectors`` (m, d) with ``query`` (d,)."""
    import numkong

    if not len(vectors):
        return np.zeros(0, np.float32)
    products = np.asarray(numkong.cdist(query.astype(np.float16)[None], vectors, metric="dot"))
    return np.asarray(products[0], np.float32)


def index_folder(workspace: Workspace, encoder: Encoder) -> Path:
    """Where an encoder's segments are."""
    return workspace.index("vectors", index_name(encoder))
