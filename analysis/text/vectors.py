"""Chunk embeddings of the workspace's parts, one index per encoder.

Takes a writer and an encoder to build, a reader and a query vector to search; gives chunks as spans with their cosine
similarity. Derived and resumable: what was encoded before an interruption stays. Knows no screen.

Stored under ``index/vectors/<encoder>/`` as pieces, one per 250 parts of a shard: ``<piece>.npy`` (float16,
one row per distinct text and d columns) and ``<piece>.parquet`` (one row per chunk, ``vector`` its row in the matrix).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...store.reader import Reader, open_reader
from ...store.shards import Shard
from ...store.types import Span
from ...store.workspace import Workspace
from ...store.writer import Writer
from .chunks import chunk_text, split_to_fit
from .encode import Encoder
from .index import Filters

_SCHEMA: Final = pa.schema(
    [
        ("episode_id", pa.int64()),
        ("revision", pa.int32()),
        ("message_index", pa.int32()),
        ("part_index", pa.int32()),
        ("role", pa.string()),
        ("kind", pa.string()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("vector", pa.int32()),
    ]
)
PIECE_ROWS: Final = 250
"""Parts in a piece: what an interruption can cost, some seconds of encoding."""
_PART_COLUMNS: Final = ("episode_id", "revision", "message_index", "part_index", "role", "kind", "text")


@dataclass(frozen=True, slots=True)
class ChunkHit:
    """A chunk and how close it is to the query (cosine, −1 to 1)."""

    span: Span
    similarity: float


@dataclass(frozen=True, slots=True)
class Chunks:
    """Chunks with their vectors: row ``rows.vector[i]`` of ``vectors`` (n, d) float16 belongs to chunk ``i``."""

    rows: dict[str, np.ndarray]
    vectors: np.ndarray


def index_name(encoder: Encoder) -> str:
    """The catalog's name of an encoder's index; the same encoder with other weights has another one."""
    readable = re.sub(r"[^A-Za-z0-9]+", "-", encoder.name).strip("-")[-40:]
    return f"{readable}-{encoder.fingerprint[:8]}"


def pending_chars(workspace: Workspace, encoder: Encoder, reader: Reader) -> tuple[int, int]:
    """(characters not encoded yet, characters in all); a piece counts by its share of its shard's rows."""
    folder = _folder(workspace, encoder)
    (total,) = reader.rows("SELECT coalesce(sum(n_chars), 0)::BIGINT AS n FROM episodes")
    pieces = list(_pieces(reader))
    rows = sum(n_rows for _, n_rows in pieces)
    missing = sum(n_rows for name, n_rows in pieces if not (folder / f"{name}.parquet").exists())
    return (total["n"] * missing // rows if rows else 0), total["n"]


def update_vectors(writer: Writer, encoder: Encoder) -> Iterator[int]:
    """Encode what is not encoded yet; yields the number of characters done, piece by piece."""
    folder = _folder(writer.workspace, encoder)
    folder.mkdir(parents=True, exist_ok=True)
    with open_reader(writer.workspace) as reader:
        for shard in reader.shards("parts"):
            for group, batch in enumerate(reader.batches(shard, _PART_COLUMNS)):
                for first in range(0, batch.num_rows, PIECE_ROWS):
                    path = folder / f"{_piece_name(shard, group, first)}.parquet"
                    if not path.exists():
                        yield _write_piece(path, batch.slice(first, PIECE_ROWS).to_pydict(), encoder)


def load_chunks(reader: Reader, encoder: Encoder, filters: Filters = Filters()) -> Chunks:  # noqa: B008 - immutable
    """All encoded chunks of live episodes that pass the filters."""
    folder = _folder(reader.workspace, encoder)
    retired = {(row["episode_id"], row["revision"]) for row in reader.rows("SELECT * FROM retired")}
    tables, matrices, offset = [], [], 0
    for name, _ in _pieces(reader):
        if not (folder / f"{name}.parquet").exists():
            continue
        matrix = np.load(folder / f"{name}.npy", mmap_mode="r")
        rows = pq.read_table(folder / f"{name}.parquet")
        position = rows.schema.get_field_index("vector")
        shifted = pa.array(rows["vector"].to_numpy() + offset, pa.int32())
        tables.append(rows.set_column(position, "vector", shifted))
        matrices.append(matrix)
        offset += len(matrix)
    rows = pa.concat_tables(tables) if tables else _SCHEMA.empty_table()
    rows = rows.filter(_mask(rows, filters, retired))
    vectors = np.concatenate(matrices) if matrices else np.zeros((0, encoder.dimension), np.float16)
    return Chunks({name: rows[name].to_numpy(zero_copy_only=False) for name in rows.column_names}, vectors)


def search_chunks(chunks: Chunks, query: np.ndarray, limit: int) -> list[ChunkHit]:
    """The chunks closest to a query vector (d,), best first; at most one per part."""
    if not len(chunks.rows["vector"]):
        return []
    similarity = _multiply(chunks.vectors, query)[chunks.rows["vector"]]
    hits: dict[tuple[int, int, int], ChunkHit] = {}
    for i in np.argsort(-similarity, kind="stable"):
        row = {
            name: int(chunks.rows[name][i]) for name in ("episode_id", "message_index", "part_index", "start", "end")
        }
        key = (row["episode_id"], row["message_index"], row["part_index"])
        if key not in hits:
            hits[key] = ChunkHit(Span(**row), float(similarity[i]))
            if len(hits) == limit:
                break
    return list(hits.values())


def _multiply(vectors: np.ndarray, query: np.ndarray, rows: int = 65_536) -> np.ndarray:
    # In blocks: numpy has no half-precision product, and the whole matrix in single precision may not fit.
    wide = query.astype(np.float32)
    blocks = (vectors[i : i + rows].astype(np.float32) @ wide for i in range(0, len(vectors), rows))
    return np.concatenate(list(blocks))


def _folder(workspace: Workspace, encoder: Encoder) -> Path:
    return workspace.index("vectors", index_name(encoder))


def _pieces(reader: Reader) -> Iterator[tuple[str, int]]:
    """(name, rows) of every piece there should be."""
    for shard in reader.shards("parts"):
        for group, n_rows in enumerate(reader.group_sizes(shard)):
            for first in range(0, n_rows, PIECE_ROWS):
                yield _piece_name(shard, group, first), min(PIECE_ROWS, n_rows - first)


def _piece_name(shard: Shard, group: int, first: int) -> str:
    return f"{shard.shard_id}-{group}-{first}"


def _write_piece(path: Path, columns: dict[str, list[Any]], encoder: Encoder) -> int:
    rows: dict[str, list[Any]] = {name: [] for name in _SCHEMA.names}
    numbers: dict[str, int] = {}
    found = [
        (keys, text, start, text[start:end])
        for *keys, text in zip(*(columns[name] for name in _PART_COLUMNS), strict=True)
        if keys[-1] != "media"
        for start, end in chunk_text(text)
    ]
    split = split_to_fit((chunk for *_, chunk in found), encoder.fits)
    for keys, text, position, chunk in found:
        for low, high in split[chunk]:
            start, end = position + low, position + high
            vector = numbers.setdefault(text[start:end], len(numbers))
            for name, value in zip(_SCHEMA.names, (*keys, start, end, vector), strict=True):
                rows[name].append(value)
    matrix = encoder.encode(list(numbers)) if numbers else np.zeros((0, encoder.dimension), np.float32)
    temporary = path.with_suffix(".tmp.npy")
    np.save(temporary, matrix.astype(np.float16))
    temporary.rename(path.with_suffix(".npy"))
    # The table last: a piece exists when its table does.
    temporary = path.with_suffix(".tmp")
    pq.write_table(pa.table(rows, _SCHEMA), temporary)
    temporary.rename(path)
    return sum(map(len, columns["text"]))


def _mask(rows: pa.Table, filters: Filters, retired: set[tuple[int, int]]) -> np.ndarray:
    keep = np.ones(rows.num_rows, bool)
    wanted: Sequence[tuple[str, Sequence[Any] | None]] = (
        ("episode_id", filters.episode_ids), ("kind", filters.kinds), ("role", filters.roles),
    )  # fmt: skip
    for name, values in wanted:
        if values is not None:
            keep &= np.isin(
                rows[name].to_numpy(zero_copy_only=False).astype(object if name != "episode_id" else int), list(values)
            )
    if retired:
        pairs = zip(rows["episode_id"].to_pylist(), rows["revision"].to_pylist(), strict=True)
        keep &= np.fromiter((pair not in retired for pair in pairs), bool, rows.num_rows)
    return keep
