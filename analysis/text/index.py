"""The full-text index over parts, in tantivy.

Takes a writer to bring it up to date, or a workspace to search it; gives keys of parts with BM25 scores. Derived:
removing its folder loses nothing. Knows queries as ``tokens.Query``, no spans and no screen.

What is searched is the text as ``tokens.segment`` writes it, one document per part, in the order of shards; the text
itself is stored beside it. A crash
between the index's commit and the catalog's is mended by the next update, which first deletes the documents of every
shard that was begun and not done, also of one that was merged into another since.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Any, Final, NamedTuple

import tantivy

from ...store.errors import StoreError
from ...store.reader import Reader, open_reader
from ...store.shards import Shard
from ...store.workspace import TEXT_INDEX, Workspace
from ...store.writer import Writer
from .tokens import Query, find_tokens, phrase_places, segment

_FORMER_NAMES: Final = ("text", "text-2")
_BEGUN: Final = f"{TEXT_INDEX}-begun"
"""In the catalog: the shards of which the index may hold documents."""
_GONE: Final = (
    "SELECT DISTINCT episode_id FROM retired WHERE place > ? AND episode_id NOT IN (SELECT episode_id FROM episodes)"
)
"""Episodes that no longer count, in any revision; those of others go when the next revision comes."""
_HEAP_BYTES: Final = 128_000_000
_COLUMNS: Final = ("episode_id", "revision", "message_index", "part_index", "role", "kind", "text")
_PART_BITS: Final = 24
_MOST_COUNTED: Final = 20_000
"""So many matches are looked up in milliseconds; a million takes a second."""


class PartKey(NamedTuple):
    """Which part of which episode."""

    episode_id: int
    message_index: int
    part_index: int


class Filters(NamedTuple):
    """What a search is restricted to; None means everything."""

    episode_ids: Sequence[int] | None = None
    kinds: Sequence[str] | None = None
    roles: Sequence[str] | None = None


def update_text_index(writer: Writer) -> Iterator[Shard]:
    """Index the shards that are not indexed yet, and yield each when it is searchable."""
    folder = writer.workspace.index(TEXT_INDEX)
    if not (folder / "meta.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        writer.forget_index(TEXT_INDEX)
        writer.forget_index(_BEGUN)
        for name in _FORMER_NAMES:
            shutil.rmtree(writer.workspace.index(name), ignore_errors=True)
            writer.forget_index(name)
    with open_reader(writer.workspace) as reader:
        done = writer.indexed(TEXT_INDEX)
        pending = [shard for shard in reader.shards("parts") if shard.shard_id not in done]
        gone = reader.rows(_GONE, [writer.retired_in(TEXT_INDEX)])
        n_retired = reader.n_retired()
        if not pending:
            if gone:
                forget_in_index(writer, [row["episode_id"] for row in gone])
            writer.mark_retired_in(TEXT_INDEX, n_retired)
            return
        index = tantivy.Index(_schema(), path=str(folder))
        adding = index.writer(_HEAP_BYTES)
        for shard_id in writer.indexed(_BEGUN) - done:
            adding.delete_documents_by_term("shard", shard_id)
        writer.mark_indexed(_BEGUN, [shard.shard_id for shard in pending])
        for shard in pending:
            for batch in reader.batches(shard, _COLUMNS):
                _add(adding, shard.shard_id, batch.to_pydict())
            adding.commit()
            writer.mark_indexed(TEXT_INDEX, [shard.shard_id])
            yield shard
        for row in gone:
            adding.delete_documents_by_term("episode_id", row["episode_id"])
        adding.commit()
        writer.mark_retired_in(TEXT_INDEX, n_retired)
        adding.wait_merging_threads()


def forget_in_index(writer: Writer, episode_ids: Iterable[int]) -> None:
    """Take episodes out of the index, if there is one."""
    folder = writer.workspace.index(TEXT_INDEX)
    if (folder / "meta.json").exists():
        index = tantivy.Index(_schema(), path=str(folder))
        removing = index.writer(_HEAP_BYTES)
        for episode_id in episode_ids:
            removing.delete_documents_by_term("episode_id", episode_id)
        removing.commit()
        removing.wait_merging_threads()


def pending_shards(reader: Reader, indexed: set[str]) -> list[Shard]:
    """Shards of parts that an index does not hold yet."""
    return [shard for shard in reader.shards("parts") if shard.shard_id not in indexed]


@dataclass(frozen=True, slots=True)
class Found:
    """What a query finds: BM25 ``scores`` of parts, best first. ``n_matching`` parts match, of which these are the
    best. ``addresses`` are where a ``TextIndex`` has them."""

    scores: dict[PartKey, float]
    n_matching: int
    addresses: dict[PartKey, Any]


class TextIndex:
    """The index of a workspace as it is now, for several questions; nothing is found where there is none.

    Raises StoreError when the index is unreadable; removing its folder makes the next search build it anew.
    """

    def __init__(self, workspace: Workspace) -> None:
        folder = workspace.index(TEXT_INDEX)
        index = _open(folder) if (folder / "meta.json").exists() else None
        self._schema: Any = index.schema if index else None
        self._searcher: Any = index.searcher() if index else None
        self.n_parts: int = self._searcher.num_docs if self._searcher else 0

    def find(self, query: Query, filters: Filters, limit: int) -> Found:
        """The parts that match best, by BM25: all phrases, at least one term, none of what is excluded."""
        if not self.n_parts:
            return Found({}, 0, {})
        # Tantivy sets aside room for as many as it is asked for.
        n_most = max(1, min(limit, self.n_parts))
        found = self._searcher.search(_query(self._schema, query, filters), n_most, count=True)
        addresses = [address for _, address in found.hits]
        ids, places = (self._searcher.fast_field_values(name, addresses) for name in ("episode_id", "place"))
        keys = [
            PartKey(episode_id, place >> _PART_BITS, place & ((1 << _PART_BITS) - 1))
            for episode_id, place in zip(ids, places, strict=True)
        ]
        # Equals come in the order of segments, which differs from one build of the index to the next.
        hits = sorted((-float(score), key) for (score, _), key in zip(found.hits, keys, strict=True))
        return Found(
            {key: -score for score, key in hits}, int(found.count or 0), dict(zip(keys, addresses, strict=True))
        )

    def count(self, query: Query, filters: Filters) -> tuple[int, int | None]:
        """How many parts match, and of how many episodes they are: None where telling that would take long."""
        if not self.n_parts:
            return 0, 0
        asked = _query(self._schema, query, filters)
        n = int(self._searcher.search(asked, 1, count=True).count)
        if n > _MOST_COUNTED:
            return n, None
        addresses = [address for _, address in self._searcher.search(asked, max(1, n), count=False).hits]
        return n, len(set(self._searcher.fast_field_values("episode_id", addresses)))

    def rarest(self, words: Iterable[str], k: int) -> list[str]:
        """At most ``k`` of the words, those that the fewest parts hold first."""
        return sorted(words, key=lambda word: self._searcher.doc_freq("text", word))[:k] if self.n_parts else []

    def read(
        self, keys: Iterable[PartKey], retired: Collection[tuple[int, int]], found: Found | None = None
    ) -> dict[PartKey, dict[str, Any]]:
        """Role, kind and text of those of the parts that the index holds, in microseconds each where they were
        ``found``, some tens of them else: the shards, which are compressed by the thousand, take milliseconds. None of
        a (episode_id, revision) that is ``retired``."""
        parts = {}
        for key in keys if self.n_parts else ():
            address = found.addresses.get(key) if found else None
            if address is None and (address := self._address(key)) is None:
                continue
            document = self._searcher.doc(address)
            if (key.episode_id, document.get_first("revision")) not in retired:
                role, kind = document.get_first("role"), document.get_first("kind")
                parts[key] = {"role": role, "kind": kind, "text": bytes(document.get_first("whole")).decode()}
        return parts

    def _address(self, key: PartKey) -> Any:
        make, must = tantivy.Query, tantivy.Occur.Must
        terms = (("episode_id", key.episode_id), ("place", key.message_index << _PART_BITS | key.part_index))
        query = make.boolean_query([(must, make.term_query(self._schema, name, value)) for name, value in terms])
        return next((address for _, address in self._searcher.search(query, 1, count=False).hits), None)


def search_text(workspace: Workspace, query: Query, filters: Filters, limit: int) -> list[tuple[PartKey, float]]:
    """``TextIndex.find``, for a single question."""
    return list(TextIndex(workspace).find(query, filters, limit).scores.items())


def count_documents(workspace: Workspace, words: Iterable[str]) -> tuple[dict[str, int], int]:
    """How many parts hold each of the words (as ``tokens.find_tokens`` gives them), and how many parts there are."""
    folder = workspace.index(TEXT_INDEX)
    if not (folder / "meta.json").exists():
        return {}, 0
    searcher = _open(folder).searcher()
    return {word: searcher.doc_freq("text", word) for word in words}, searcher.num_docs


def coverage(workspace: Workspace, query: Query, text: str) -> float:
    """How much of the query's information a text has, from 0 to 1: of its words, each weighted by its inverse document
    frequency (that of BM25), those that stand in the text. One that stands nowhere counts as the rarest of all."""
    words = {*query.terms, *(word for phrase in query.phrases for _, word in phrase_places(phrase))}
    found, n = count_documents(workspace, words)
    weights = {word: log(1 + (n - found[word] + 0.5) / (found[word] + 0.5)) for word in found}
    present = words.intersection(word for word, _, _ in find_tokens(text))
    total = sum(weights.values())
    return sum(weights[word] for word in present & weights.keys()) / total if total else 0.0


def _open(folder: Path) -> Any:
    try:
        return _open_anywhere(folder)
    except ValueError as error:
        raise StoreError(
            f"The text index {folder} cannot be read ({error}); remove that folder and search again."
        ) from None


def _open_anywhere(folder: Path) -> Any:
    """The index for reading. Tantivy takes a lock file to open one, which a folder that cannot be written refuses: then
    through links in a folder that can; what is open stays open without them."""
    if os.access(folder, os.W_OK):
        return tantivy.Index.open(str(folder))
    with tempfile.TemporaryDirectory(prefix="investigate-") as links:
        for path in (path for path in folder.iterdir() if path.suffix != ".lock"):
            Path(links, path.name).symlink_to(path)
        index = tantivy.Index.open(links)
        index.searcher()
        return index


def _schema() -> Any:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("text", stored=False, tokenizer_name="default", index_option="position")
    builder.add_integer_field("episode_id", stored=False, indexed=True, fast=True)
    builder.add_integer_field("place", stored=False, indexed=True, fast=True)
    builder.add_integer_field("revision", stored=True, indexed=False, fast=False)
    builder.add_bytes_field("whole", stored=True, indexed=False)
    builder.add_text_field("shard", stored=False, tokenizer_name="raw", index_option="basic")
    for name in ("kind", "role"):
        builder.add_text_field(name, stored=True, tokenizer_name="raw", index_option="basic")
    return builder.build()


def _add(adding: Any, shard_id: str, columns: dict[str, list[Any]]) -> None:
    for row in zip(*(columns[name] for name in _COLUMNS), strict=True):
        episode_id, revision, message_index, part_index, role, kind, text = row
        if revision and message_index == part_index == 0:
            # Deletes reach only what was added before them: the parts of the revision that this one replaces.
            adding.delete_documents_by_term("episode_id", episode_id)
        if text:
            document = tantivy.Document()
            document.add_text("text", segment(text))
            document.add_integer("episode_id", episode_id)
            document.add_integer("place", message_index << _PART_BITS | part_index)
            document.add_integer("revision", revision)
            document.add_bytes("whole", text.encode())
            document.add_text("shard", shard_id)
            document.add_text("kind", kind)
            document.add_text("role", role)
            adding.add_document(document)


def _query(schema: Any, query: Query, filters: Filters) -> Any:
    make, must, should, must_not = tantivy.Query, tantivy.Occur.Must, tantivy.Occur.Should, tantivy.Occur.MustNot
    clauses = [(should, make.term_query(schema, "text", term)) for term in query.terms]
    clauses += [(must, _phrase(schema, words)) for words in query.phrases]
    asked = make.boolean_query(clauses)
    whole = [(must, asked), *((must_not, _phrase(schema, words)) for words in query.excluded)]
    for name, values in (("kind", filters.kinds), ("role", filters.roles), ("episode_id", filters.episode_ids)):
        if values is not None:
            whole.append((must, make.const_score_query(make.term_set_query(schema, name, list(values)), 0.0)))
    return make.boolean_query(whole)


def _phrase(schema: Any, words: Sequence[str]) -> Any:
    placed = phrase_places(words)
    if len(placed) == 1:
        return tantivy.Query.term_query(schema, "text", placed[0][1])
    return tantivy.Query.phrase_query(schema, "text", placed)
