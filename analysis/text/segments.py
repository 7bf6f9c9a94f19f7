"""Vectors on disk, memory-mapped: which chunk of which part has which vector.

Takes arrays, gives segments: immutable groups of three ``.npy`` files, and a list of those that count. Knows neither
texts nor encoders.

    segments.json            {"segments": [{"name": "3f…", "shards": ["9a…"]}]}: replaced as a whole
    <name>.rows.npy          (9, n) int64, one row of the array per column of COLUMNS
    <name>.vectors.npy       (m, d) float16, one per distinct text
    <name>.texts.npy         (m,) uint64, digests of those texts
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

COLUMNS: Final = (
    *("episode_id", "revision", "message_index", "part_index", "role", "kind", "start", "end"),
    "vector",
)
"""``role`` and ``kind`` are places in ROLES and KINDS, ``vector`` is a row of the segment's vectors."""

MANIFEST: Final = "segments.json"
_SMALL_ROWS: Final = 50_000
_MOST_SMALL: Final = 16
_VECTOR: Final = COLUMNS.index("vector")
_EPISODE: Final = COLUMNS.index("episode_id")


@dataclass(frozen=True, slots=True)
class Segment:
    """``rows`` (9, n) int64, ``vectors`` (m, d) float16, ``texts`` (m,) uint64."""

    rows: NDArray[np.int64]
    vectors: NDArray[np.float16]
    texts: NDArray[np.uint64]

    def column(self, name: str) -> NDArray[np.int64]:
        values: NDArray[np.int64] = self.rows[COLUMNS.index(name)]
        return values


@dataclass(frozen=True, slots=True)
class Entry:
    """A segment that counts. ``shards`` are those it was made from, as they were called then."""

    name: str
    shards: tuple[str, ...]


def read_entries(folder: Path) -> list[Entry]:
    """The segments that count; none where there is no list yet."""
    try:
        listed = json.loads((folder / MANIFEST).read_bytes())["segments"]
    except FileNotFoundError:
        return []
    return [Entry(entry["name"], tuple(entry["shards"])) for entry in listed]


def read_segments(folder: Path) -> list[Segment]:
    """All segments, memory-mapped. The list is read again where a segment was merged into another meanwhile."""
    while True:
        entries = read_entries(folder)
        try:
            return [_read(folder, entry.name) for entry in entries]
        except FileNotFoundError:
            if read_entries(folder) == entries:
                raise


def drop_stale(folder: Path, shards: Collection[str]) -> None:
    """Leave out segments made from any other shard than these, and remove the files that no segment has: a writer was
    killed between two steps."""
    entries = read_entries(folder)
    _keep(folder, [entry for entry in entries if set(shards).issuperset(entry.shards)])


def add_segment(folder: Path, segments: Sequence[Segment], shards: Iterable[str]) -> None:
    """Write one segment that holds all of these, and let it count."""
    entry = _write(folder, join(segments), tuple(shards))
    _write_entries(folder, [*read_entries(folder), entry])


def merge_small(folder: Path) -> None:
    """Join small segments where there have come to be many: each is opened by every search."""
    entries = read_entries(folder)
    sizes = {entry.name: _read(folder, entry.name).rows.shape[1] for entry in entries}
    small = [entry for entry in entries if sizes[entry.name] < _SMALL_ROWS]
    if len(small) > _MOST_SMALL:
        merged = join([_read(folder, entry.name) for entry in small])
        new = _write(folder, merged, tuple(shard for entry in small for shard in entry.shards))
        _replace(folder, small, new)


def drop_episodes(folder: Path, episode_ids: Collection[int]) -> None:
    """Take all that was encoded of these episodes off the disk."""
    gone = np.fromiter(episode_ids, np.int64, len(episode_ids))
    _keep(folder, read_entries(folder))
    for entry in read_entries(folder):
        segment = _read(folder, entry.name)
        keep = ~np.isin(segment.rows[_EPISODE], gone)
        if not keep.all():
            rows = segment.rows[:, keep]
            used, rows[_VECTOR] = np.unique(rows[_VECTOR], return_inverse=True)
            new = _write(folder, Segment(rows, segment.vectors[used], segment.texts[used]), entry.shards)
            _replace(folder, [entry], new)


def join(segments: Sequence[Segment]) -> Segment:
    """One segment of all the rows. A text that is in several stands in it once."""
    texts, first, places = np.unique(
        np.concatenate([segment.texts for segment in segments]), return_index=True, return_inverse=True
    )
    vectors = np.concatenate([segment.vectors for segment in segments])[first]
    rows, offset = [], 0
    for segment in segments:
        moved = np.array(segment.rows)
        moved[_VECTOR] = places[offset + moved[_VECTOR]]
        rows.append(moved)
        offset += len(segment.texts)
    return Segment(np.concatenate(rows, axis=1), vectors, texts)


def _replace(folder: Path, old: Sequence[Entry], new: Entry) -> None:
    _keep(folder, [*(entry for entry in read_entries(folder) if entry not in old), new])


def _keep(folder: Path, entries: Sequence[Entry]) -> None:
    """These count, and all other files go."""
    if list(entries) != read_entries(folder):
        _write_entries(folder, entries)
    kept = {path for entry in entries for path in _paths(folder, entry.name)}
    for path in folder.glob("*.npy"):
        if path not in kept:
            path.unlink()


def _paths(folder: Path, name: str) -> list[Path]:
    return [folder / f"{name}.{array}.npy" for array in ("rows", "vectors", "texts")]


def _read(folder: Path, name: str) -> Segment:
    arrays: list[Any] = [np.load(path, mmap_mode="r", allow_pickle=False) for path in _paths(folder, name)]
    return Segment(*arrays)


def _write(folder: Path, segment: Segment, shards: tuple[str, ...]) -> Entry:
    name = uuid.uuid4().hex
    for path, array in zip(_paths(folder, name), (segment.rows, segment.vectors, segment.texts), strict=True):
        np.save(path, np.ascontiguousarray(array))
    return Entry(name, shards)


def _write_entries(folder: Path, entries: Iterable[Entry]) -> None:
    listed = [{"name": entry.name, "shards": entry.shards} for entry in entries]
    temporary = folder / f"{MANIFEST}.tmp"
    temporary.write_text(json.dumps({"segments": listed}), encoding="ascii")
    temporary.replace(folder / MANIFEST)
