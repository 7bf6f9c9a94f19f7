"""The contract of a search mode, and the search that puts its hits together.

Takes a question, gives hits whose spans are verified against the text they point at. Knows the folder of modes, no
screen. A mode is one file in ``search/`` that ends in ``SEARCH = Mode(summary=…, search=…)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from ...store import registry
from ...store.errors import UsageError
from ...store.reader import Reader
from ...store.types import Span
from .index import Filters, PartKey

if TYPE_CHECKING:
    from .encode import Encoder

MODES: Final = f"{__package__}.search"
PASSAGE_CHARS: Final = 240


@dataclass(frozen=True, slots=True)
class Question:
    """What a mode is asked: ``text`` in its own language, over the parts that pass ``filters``."""

    text: str
    filters: Filters
    limit: int
    encoder: Encoder | None = None
    """None where there is none, or where a search without one was asked for."""
    memory: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)
    """Where a mode keeps what it has loaded, for when the same question is asked again with a larger limit."""


@dataclass(frozen=True, slots=True)
class Match:
    """What a mode finds: a part, how good it is (higher is better), and the characters that answer the question."""

    key: PartKey
    score: float
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Mode:
    """``search`` gives at most ``question.limit`` matches, best first, at most one per part; fewer only where there are
    no more."""

    summary: str
    search: Callable[[Reader, Question], list[Match]]


@dataclass(slots=True)
class Hit:
    """A match with its text. ``snippet`` is ``text[start:end]`` of the part, and ``duplicates`` counts the other
    parts found whose text is the same."""

    rank: int
    span: Span
    role: str
    kind: str
    score: float
    snippet: str
    duplicates: int = 0
    more: dict[str, Any] = field(default_factory=dict)


def get_mode(name: str) -> Mode:
    """A mode by name. Raises UsageError naming those that exist."""
    if name not in registry.names(MODES):
        raise UsageError(f"There is no search mode {name!r}; there are: {', '.join(registry.names(MODES))}.")
    mode: Mode = registry.get(MODES, name, "SEARCH")
    return mode


def find(reader: Reader, mode: str, question: Question) -> list[Hit]:
    """Search, and fold parts with equal text into the best of them. At most ``question.limit`` hits."""
    chosen = get_mode(mode)
    wanted, limit = question.limit, question.limit
    while True:
        # Folding takes matches away, so ask for more until enough are left or nothing more is found.
        matches = chosen.search(reader, replace(question, limit=limit))
        hits = _fold(matches, texts_of(reader, [match.key for match in matches]))
        if len(hits) >= wanted or len(matches) < limit:
            return hits[:wanted]
        limit *= 4


def texts_of(reader: Reader, keys: Sequence[PartKey]) -> dict[PartKey, dict[str, Any]]:
    """Role, kind and text of parts."""
    if not keys:
        return {}
    ids = sorted({key.episode_id for key in keys})
    rows = reader.rows(
        "SELECT episode_id, message_index, part_index, role, kind, text FROM parts "
        "WHERE episode_id BETWEEN ? AND ? AND (episode_id, message_index, part_index) IN "
        "(SELECT (unnest(?), unnest(?), unnest(?)))",
        [ids[0], ids[-1], *(list(column) for column in zip(*keys, strict=True))],
    )
    return {PartKey(row["episode_id"], row["message_index"], row["part_index"]): row for row in rows}


def _fold(matches: Sequence[Match], parts: dict[PartKey, dict[str, Any]]) -> list[Hit]:
    hits: dict[str, Hit] = {}
    for match in matches:
        part = parts.get(match.key)
        if part is None:
            continue  # The index is a moment behind the snapshot: the episode was replaced or forgotten.
        if first := hits.get(part["text"]):
            first.duplicates += 1
            continue
        span = Span(*match.key, match.start, match.end)
        snippet = part["text"][match.start : match.end]
        hits[part["text"]] = Hit(len(hits) + 1, span, part["role"], part["kind"], match.score, snippet)
    return list(hits.values())


def passage(text: str, start: int, end: int, width: int = PASSAGE_CHARS) -> tuple[int, int]:
    """Widen ``[start, end)`` to about ``width`` characters for reading, on word boundaries; never narrower."""
    room = max(0, width - (end - start)) // 2
    left, right = max(0, start - room), min(len(text), end + room)
    while 0 < left < start and not text[left - 1].isspace():
        left += 1
    while end < right < len(text) and not text[right].isspace():
        right -= 1
    return left, right
