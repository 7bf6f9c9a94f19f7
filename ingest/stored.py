"""What a workspace holds of a source already.

Takes a workspace and sources or ids, gives their records, and tells whether an episode that was read again is what is
stored. Knows the store, no format.
"""

from __future__ import annotations

from array import array
from collections.abc import Container, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..store.schemas import EPISODES, JSON_COLUMNS
from ..store.shards import to_json
from ..store.types import Episode, without_surrogates
from ..store.workspace import Workspace

if TYPE_CHECKING:
    from ..store.reader import Reader

HELD_AT_ONCE: Final = 500
_AT_ONCE: Final = 500
_BLOCK_BYTES: Final = 1 << 20
_GIVEN_WHEN_STORED: Final = frozenset(("episode_id", "uid", "revision", "format", "n_messages", "n_parts", "n_chars"))
_COMPARED: Final = [name for name in EPISODES.names if name not in _GIVEN_WHEN_STORED]


@dataclass(frozen=True, slots=True)
class Stored:
    """A record that is in the workspace already."""

    episode_id: int
    uid: str
    digest: str
    format: str
    revision: int


@dataclass(frozen=True, slots=True)
class Held:
    """All that the workspace has of a source."""

    records: dict[str, Stored] = field(default_factory=dict)
    """In the order of the source."""
    skipped: frozenset[tuple[str, int, str]] = frozenset()
    """(record, byte offset, reason) of what could not be read."""


class StoredSources:
    """What a workspace holds of sources, asked for some hundreds at a time: that takes about as long as for one."""

    def __init__(self, workspace: Workspace, opened: ExitStack) -> None:
        self._workspace = workspace
        self._opened = opened
        self._reader: Reader | None = None
        self._held: dict[str, Held] = {}

    def of(self, source: str, following: Iterable[str]) -> Held:
        """All that is stored of a source; the ``following`` are those that will be asked for next."""
        from ..store.reader import open_reader

        if source not in self._held:
            if self._reader is None:
                self._reader = self._opened.enter_context(open_reader(self._workspace))
            self._held = _read_held(self._reader, [source, *islice(following, HELD_AT_ONCE)])
        return self._held.pop(source)


def _read_held(reader: Reader, sources: Sequence[str]) -> dict[str, Held]:
    records: dict[str, dict[str, Stored]] = {source: {} for source in sources}
    skipped: dict[str, list[tuple[str, int, str]]] = {source: [] for source in sources}
    rows = reader.rows(
        "SELECT source, record, episode_id, uid, digest, format, revision FROM episodes "
        "WHERE source IN (SELECT unnest(?)) "
        "ORDER BY source, try_cast(split_part(record, '/', 1) AS BIGINT), episode_id",
        [list(sources)],
    )
    for row in rows:
        of_source = records[row.pop("source")]
        record = row.pop("record")
        of_source[record] = Stored(**row)
    query = "SELECT source, record, byte_offset, reason FROM skipped WHERE source IN (SELECT unnest(?))"
    for row in reader.rows(query, [list(sources)]):
        skipped[row["source"]].append((row["record"], row["byte_offset"], row["reason"]))
    return {source: Held(records[source], frozenset(skipped[source])) for source in sources}


def uid_of(digest: str, occurrence: int) -> str:
    """blake2b-128 over a record's digest and its occurrence number among equal records of its source, in hex."""
    return blake2b(f"{digest}:{occurrence}".encode(), digest_size=16).hexdigest()


def new_uid(digest: str, occurrence: int, taken: Container[str]) -> str:
    """The uid of a record; of a later number where a record that moved within the source has kept this one."""
    while (uid := uid_of(digest, occurrence)) in taken:
        occurrence += 1
    return uid


def read_prefix(path: Path, end: int, boundary: str) -> Any:
    """The running hash of what lies before ``end``; None where that is not what was read.

    A boundary is a list of ``offset:hash``, a hash for what lies between one offset and the next.
    """
    segments = [segment.split(":") for segment in boundary.split(",") if segment]
    if not segments or int(segments[-1][0]) != end:
        return None
    whole, begin = blake2b(digest_size=16), 0
    with path.open("rb") as file:
        for offset, expected in segments:
            # Of the only segment it is that of the whole.
            of_segment = blake2b(digest_size=16) if len(segments) > 1 else whole
            left = int(offset) - begin
            while left and (block := file.read(min(left, _BLOCK_BYTES))):
                of_segment.update(block)
                if of_segment is not whole:
                    whole.update(block)
                left -= len(block)
            if of_segment.hexdigest() != expected:
                return None
            begin = int(offset)
    return whole


class StoredContent:
    """Stored episodes, fetched some hundreds at a time in the order in which they are read again: that of ``stored``.
    Opens a reader when first asked, and holds it until it is closed."""

    def __init__(self, root: Path, stored: Iterable[Stored]) -> None:
        self._workspace = Workspace(root)
        self._ids = [entry.episode_id for entry in stored]
        self._places = {episode_id: place for place, episode_id in enumerate(self._ids)}
        self._fetched: dict[int, Episode] = {}
        self._opened = ExitStack()
        self._reader: Reader | None = None

    def holds(self, episode_id: int, episode: Episode) -> bool:
        """Is the episode stored just so, messages, calls and facts?"""
        from ..store.reader import open_reader
        from ..store.select import select_episodes

        if episode_id not in self._fetched:
            place = self._places[episode_id]
            following = self._ids[place : place + _AT_ONCE]
            if self._reader is None:
                self._reader = self._opened.enter_context(open_reader(self._workspace))
            self._fetched = {found.episode_id: found for found in select_episodes(self._reader, following)}
        stored = self._fetched.get(episode_id)
        return stored is not None and _content(stored) == _content(episode)

    def close(self) -> None:
        self._opened.close()


def _content(episode: Episode) -> tuple[Any, ...]:
    """All that a reader gives, as it looks after storing: logprobs as 32-bit floats, objects as JSON."""
    calls = tuple(
        replace(call, logprobs=None if call.logprobs is None else tuple(array("f", call.logprobs)), sampling={})
        for call in episode.calls
    )
    settings = tuple(to_json(call.sampling) for call in episode.calls)
    facts = tuple(_plain(name, getattr(episode, name)) for name in _COMPARED)
    return episode.messages, calls, settings, facts


def _plain(name: str, value: Any) -> Any:
    if name in JSON_COLUMNS:
        return to_json(value)
    return without_surrogates(value)[0] if isinstance(value, str) else value
