"""Encoding the parts of a workspace: chunks in, segments of vectors out.

Takes a writer and an encoder, brings the index of that encoder up to date. Resumable: what was encoded before an
interruption stays. Knows no screen, and nothing of how vectors are searched (``vectors.py``).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ...store.catalog import connect_for_reading
from ...store.reader import Reader, open_reader
from ...store.shards import Shard
from ...store.workspace import Workspace
from ...store.writer import Writer
from .chunks import chunk_text, split_to_fit
from .encode import Encoder
from .segments import COLUMNS, MANIFEST, Segment, add_segment, drop_stale, merge_small, read_entries, read_segments
from .static import SAMPLE
from .vectors import KIND_PLACES, PENDING, ROLE_PLACES, index_folder, index_name

_PART_COLUMNS: Final = ("episode_id", "revision", "message_index", "part_index", "role", "kind", "text")


def pending_chars(workspace: Workspace, encoder: Encoder, reader: Reader) -> tuple[int, int]:
    """(characters not encoded yet, characters in all); a piece counts by its share of all rows."""
    folder = index_folder(workspace, encoder)
    prepared = is_prepared(reader, encoder)
    done = {shard for entry in read_entries(folder) for shard in entry.shards} if prepared else set()
    if done:
        with connect_for_reading(workspace.catalog_path) as catalog:
            done |= {
                row[0]
                for row in catalog.execute("SELECT shard_id FROM indexed WHERE index_name = ?", (index_name(encoder),))
            }
    shards = reader.shards("parts")
    missing = sum(
        n_rows
        for shard in shards
        if shard.shard_id not in done
        for name, n_rows in _pieces(reader, shard, encoder)
        if not prepared or not (folder / PENDING / name).exists()
    )
    (total,) = reader.rows("SELECT coalesce(sum(n_chars), 0)::BIGINT AS n FROM episodes")
    rows = sum(shard.n_rows for shard in shards)
    # Rounded up: of what is little, a share is not yet nothing.
    return (-(-total["n"] * missing // rows) if rows else 0), total["n"]


def update_vectors(writer: Writer, encoder: Encoder) -> Iterator[int]:
    """Encode what is not encoded yet; yields the number of characters done, piece by piece."""
    folder, name = index_folder(writer.workspace, encoder), index_name(encoder)
    with open_reader(writer.workspace) as reader:
        prepare(reader, encoder)
    if not (folder / MANIFEST).exists():
        writer.forget_index(name)
    (folder / PENDING).mkdir(parents=True, exist_ok=True)
    done = writer.indexed(name)
    # Killed between the two lists, a shard is in the first alone.
    written = {shard for entry in read_entries(folder) for shard in entry.shards}
    with open_reader(writer.workspace) as reader:
        shards = reader.shards("parts")
        # Killed between the two lists, and merged into another shard since, it will be encoded as a part of that.
        drop_stale(folder, done | {shard.shard_id for shard in shards})
        for shard in shards:
            if shard.shard_id in done:
                continue
            if shard.shard_id not in written:
                yield from _encode_shard(reader, shard, encoder, folder)
            writer.mark_indexed(name, [shard.shard_id])
    merge_small(folder)
    # What is left belongs to shards that were merged into others before they were done.
    shutil.rmtree(folder / PENDING)


def prepare(reader: Reader, encoder: Encoder) -> None:
    """Fit an encoder to the texts of the workspace, where it is one that is fitted and has not been, or only to much
    fewer. What was encoded before that goes."""
    if encoder.preparation is None or is_prepared(reader, encoder):
        return
    folder = index_folder(reader.workspace, encoder)
    # First, so that what is being removed is in no list.
    (folder / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    encoder.preparation.fit(_sample(reader, SAMPLE), _n_parts(reader))


def is_prepared(reader: Reader, encoder: Encoder) -> bool:
    """Is the encoder one that is not fitted, or fitted to a workspace that was not much smaller?"""
    return encoder.preparation is None or encoder.preparation.is_fitted(_n_parts(reader))


def _n_parts(reader: Reader) -> int:
    return sum(shard.n_rows for shard in reader.shards("parts"))


def _sample(reader: Reader, n: int) -> list[str]:
    """At most ``n`` distinct chunks, each of another part, by a hash of where they stand."""
    rows = reader.rows(
        "SELECT text FROM parts WHERE (episode_id, message_index, part_index) IN ("
        "SELECT (episode_id, message_index, part_index) FROM parts WHERE kind <> 'media' "
        "ORDER BY hash(episode_id, message_index, part_index) LIMIT ?) ORDER BY episode_id, message_index, part_index",
        [2 * n],
    )
    chunks: dict[str, None] = {}
    for number, row in enumerate(rows):
        if spans := chunk_text(row["text"]):
            start, end = spans[number % len(spans)]
            chunks[row["text"][start:end]] = None
    # In the order of their digests, so that it is not the first parts that are taken.
    return sorted(chunks, key=_digest)[:n]


def _pieces(reader: Reader, shard: Shard, encoder: Encoder) -> Iterator[tuple[str, int]]:
    """(name, rows) of every piece that a shard is encoded in."""
    for group, n_rows in enumerate(reader.group_sizes(shard)):
        for first in range(0, n_rows, encoder.piece_parts):
            yield _piece_name(shard, group, first), min(encoder.piece_parts, n_rows - first)


def _piece_name(shard: Shard, group: int, first: int) -> str:
    return f"{shard.shard_id}-{group}-{first}.npz"


def _encode_shard(reader: Reader, shard: Shard, encoder: Encoder, folder: Path) -> Iterator[int]:
    known = _Known(read_segments(folder))
    pieces = []
    for group, batch in enumerate(reader.batches(shard, _PART_COLUMNS)):
        for first in range(0, batch.num_rows, encoder.piece_parts):
            path = folder / PENDING / _piece_name(shard, group, first)
            piece = _read_piece(path)
            if piece is None:
                columns = batch.slice(first, encoder.piece_parts).to_pydict()
                piece = _encode_piece(columns, encoder, known)
                temporary = path.with_suffix(".tmp")
                with temporary.open("wb") as file:
                    np.savez(file, rows=piece.rows, vectors=piece.vectors, texts=piece.texts)
                temporary.replace(path)
                yield sum(map(len, columns["text"]))
            pieces.append(piece)
    if pieces:
        add_segment(folder, pieces, [shard.shard_id])


def _read_piece(path: Path) -> Segment | None:
    """A piece that an earlier run has made."""
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        return Segment(arrays["rows"], arrays["vectors"], arrays["texts"])


class _Known:
    """Texts that have a vector already."""

    def __init__(self, segments: list[Segment]) -> None:
        self._segments = segments
        texts = [segment.texts for segment in segments]
        self._texts = np.concatenate(texts) if texts else np.zeros(0, np.uint64)
        self._order = np.argsort(self._texts, kind="stable")
        self._ends = np.cumsum([len(part) for part in texts])

    def vector(self, text: np.uint64) -> NDArray[np.float16] | None:
        place = int(np.searchsorted(self._texts, text, sorter=self._order))
        if place == len(self._order) or self._texts[self._order[place]] != text:
            return None
        row = int(self._order[place])
        number = int(np.searchsorted(self._ends, row, side="right"))
        vector: NDArray[np.float16] = self._segments[number].vectors[row - (self._ends[number - 1] if number else 0)]
        return vector


def _encode_piece(columns: dict[str, list[Any]], encoder: Encoder, known: _Known) -> Segment:
    found = [
        (keys, text, start, text[start:end])
        for *keys, text in zip(*(columns[name] for name in _PART_COLUMNS), strict=True)
        if keys[-1] != "media"
        for start, end in chunk_text(text)
    ]
    split = split_to_fit((chunk for *_, chunk in found), encoder.fits)
    rows: list[tuple[int, ...]] = []
    numbers: dict[str, int] = {}
    for keys, text, position, chunk in found:
        *ids, role, kind = keys
        for low, high in split[chunk]:
            start, end = position + low, position + high
            vector = numbers.setdefault(text[start:end], len(numbers))
            rows.append((*ids, ROLE_PLACES[role], KIND_PLACES[kind], start, end, vector))
    texts = np.array([_digest(text) for text in numbers], np.uint64)
    vectors = np.zeros((len(numbers), encoder.dimension), np.float16)
    new = []
    for place, (text, digest) in enumerate(zip(numbers, texts, strict=True)):
        before = known.vector(digest)
        if before is None:
            new.append((place, text))
        else:
            vectors[place] = before
    if new:
        vectors[[place for place, _ in new]] = encoder.encode([text for _, text in new])
    table = np.array(rows, np.int64).reshape(-1, len(COLUMNS)).T
    return Segment(table, vectors, texts)


def _digest(text: str) -> int:
    """64 bits: of 10⁷ distinct texts, two share them with a probability of 3 in 10⁶."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")
