"""The contract of a search mode, and the search that puts its hits together.

Takes a question, gives hits whose spans are verified against the text they point at. Knows the folder of modes, no
screen. A mode is one file in ``search/`` that ends in ``SEARCH = Mode(summary=…, search=…)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from ...store import registry
from ...store.errors import UsageError
from ...store.reader import Reader
from ...store.types import Span
from .copies import count_copies
from .index import Filters, Found, PartKey, TextIndex
from .near import Folds
from .tokens import Query, parse_meaning

if TYPE_CHECKING:
    from .encode import Array, Encoder

MODES: Final = f"{__package__}.search"
PASSAGE_CHARS: Final = 240
_FEW_KEYS: Final = 16
"""So few parts are found in a third of the time by conditions that can be held against the statistics of row groups."""
_PARTS, _INDEX, _RETIRED, _TEXTS = (("parts",), ("index",), ("retired",), ("texts",))  # in a question's memory


@dataclass(frozen=True, slots=True)
class Like:
    """An example in place of a question: the ``texts`` that are to be found the like of, ``passages`` of them that an
    encoder takes in, and the words that tell them from others."""

    texts: tuple[str, ...]
    passages: tuple[str, ...]
    terms: Query


@dataclass(frozen=True, slots=True)
class Question:
    """What a mode is asked: ``text`` in its own language, or what is ``like`` an example, over the parts that pass
    ``filters``."""

    text: str
    filters: Filters
    limit: int
    encoder: Encoder | None = None
    """None where there is none, or where a search without one was asked for."""
    like: Like | None = None
    no_hits: tuple[str, ...] = ()
    """Texts that are no hits, nor are their duplicates: examples that were given."""
    earliest: bool = False
    """Matches in the order of training steps, not of scores: only for a mode that can tell how many there are."""
    memory: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)
    """Where a mode keeps what it has loaded, for when the same question is asked again with a larger limit."""

    def index(self, reader: Reader) -> TextIndex:
        """The full-text index, opened once."""
        if _INDEX not in self.memory:
            self.memory[_INDEX] = TextIndex(reader.workspace)
        index: TextIndex = self.memory[_INDEX]
        return index

    def retired(self, reader: Reader) -> set[tuple[int, int]]:
        """Which (episode_id, revision) are replaced by newer ones."""
        if _RETIRED not in self.memory:
            rows = reader.rows("SELECT episode_id, revision FROM retired")
            self.memory[_RETIRED] = {(row["episode_id"], row["revision"]) for row in rows}
        known: set[tuple[int, int]] = self.memory[_RETIRED]
        return known

    def parts(
        self, reader: Reader, keys: Sequence[PartKey], found: Found | None = None
    ) -> dict[PartKey, dict[str, Any]]:
        """``texts_of`` these parts, read once for all halves and rounds of a search; sooner where the index has
        ``found`` them."""
        known: dict[PartKey, dict[str, Any]] = self.memory.setdefault(_PARTS, {})
        texts: dict[str, str] = self.memory.setdefault(_TEXTS, {})
        new = [key for key in dict.fromkeys(keys) if key not in known]
        read = self.index(reader).read(new, self.retired(reader), found)
        read |= texts_of(reader, [key for key in new if key not in read])
        for part in read.values():
            part["text"] = texts.setdefault(part["text"], part["text"])  # Of 10⁵ copies, one is kept.
        known |= read
        return {key: known[key] for key in keys if key in known}


@dataclass(frozen=True, slots=True)
class Match:
    """What a mode finds: a part, how good it is (higher is better), and the characters that answer the question.
    ``more`` says how the score came about."""

    key: PartKey
    score: float
    start: int
    end: int
    more: dict[str, Any] = field(default_factory=dict)


class Count(NamedTuple):
    """How many parts match, and of how many episodes they are: None where that was not counted."""

    n_parts: int
    n_episodes: int | None


@dataclass(frozen=True, slots=True)
class Mode:
    """``search`` gives at most ``question.limit`` matches, best first, at most one per part; fewer only where there are
    no more. ``count`` says how many there are in all; None where the mode ranks every part and draws no line.
    ``n_most`` are looked at to find enough that are no copies of each other."""

    summary: str
    search: Callable[[Reader, Question], list[Match]]
    count: Callable[[Reader, Question], Count] | None = None
    n_most: int = 1_000


@dataclass(slots=True)
class Hit:
    """A match with its text. ``snippet`` is ``text[start:end]`` of the part; ``duplicates`` counts the other parts of
    what is searched whose text is the same (where ``at_least``, there may be more), ``near_duplicates`` those that the
    search has looked at whose text is almost the same; ``texts`` are all of these texts, the hit's own first."""

    rank: int
    span: Span
    role: str
    kind: str
    score: float
    snippet: str
    texts: list[str] = field(repr=False)
    duplicates: int = 0
    near_duplicates: int = 0
    more: dict[str, Any] = field(default_factory=dict)
    at_least: bool = False

    def around(self, n_chars: int) -> tuple[str, str]:
        """At most ``n_chars`` characters of the part before the snippet, and as many after it; whole words."""
        start, end = passage(
            self.texts[0], self.span.start, self.span.end, self.span.end - self.span.start + 2 * n_chars
        )
        return self.texts[0][start : self.span.start], self.texts[0][self.span.end : end]


def get_mode(name: str) -> Mode:
    """A mode by name. Raises UsageError naming those that exist."""
    if name not in registry.names(MODES):
        raise UsageError(f"There is no search mode {name!r}; there are: {', '.join(registry.names(MODES))}.")
    mode: Mode = registry.get(MODES, name, "SEARCH")
    return mode


@dataclass(frozen=True, slots=True)
class Answer:
    """What a search gives: ``hits``, best first, and how many matches it ``n_read``. ``cut_off`` where there are fewer
    hits than were asked for although more may match."""

    hits: list[Hit]
    n_read: int
    cut_off: bool


def find(reader: Reader, mode: str, question: Question, *, fold: bool = True) -> list[Hit]:
    """The hits of ``answer``."""
    return answer(reader, mode, question, fold=fold).hits


def answer(reader: Reader, mode: str, question: Question, *, fold: bool = True) -> Answer:
    """Search, and fold parts with equal text, or almost equal text (``near.Folds``), into the best of them. Without
    ``fold`` every part is a hit of its own. What a question asks the like of is no hit, nor are its duplicates.
    """
    chosen = get_mode(mode)
    if question.like and question.encoder:
        question = replace(question, encoder=answering(question.encoder, meaning(question, question.encoder)))
    folds = Folds()
    for text in (*(question.like.texts if question.like else ()), *question.no_hits):
        folds.add(text)
    n_examples = len(folds)
    limit = question.limit
    while True:
        # Folding takes matches away, so ask for more until enough are left or nothing more is found.
        matches = chosen.search(reader, replace(question, limit=limit))
        parts = question.parts(reader, [match.key for match in matches])
        hits = _hits(matches, parts, folds, n_examples, question.limit, fold)
        exhausted = len(matches) < limit
        if len(hits) >= question.limit or exhausted or limit >= chosen.n_most:
            if fold:
                _count_copies(reader, question, hits)
            return Answer(hits, len(matches), len(hits) < question.limit and not exhausted)
        limit = min(4 * limit, max(chosen.n_most, question.limit))


def _count_copies(reader: Reader, question: Question, hits: Sequence[Hit]) -> None:
    texts = [hit.texts[0] for hit in hits]
    copies = count_copies(question.index(reader), texts, question.filters, question.retired(reader))
    for hit, (n, all_counted) in zip(hits, copies, strict=True):
        hit.duplicates, hit.at_least = max(hit.duplicates, n - 1), not all_counted


def count_matches(reader: Reader, mode: str, question: Question) -> Count | None:
    """``Mode.count``, where the mode has one."""
    count = get_mode(mode).count
    return count(reader, question) if count else None


def meaning(question: Question, encoder: Encoder) -> Array:
    """(d,), of norm 1: the vector of what is asked, or the mean of the passages of an example (0 where they cancel)."""
    passages = list(question.like.passages) if question.like else [parse_meaning(question.text)[0]]
    mean = encoder.ask(passages).mean(axis=0)
    unit: Array = mean / max(float(np.linalg.norm(mean)), np.finfo(np.float32).tiny)
    return unit


def answering(encoder: Encoder, vector: Array) -> Encoder:
    """The encoder, as one that has read the question already, which no text can say: its vectors are compared with the
    same chunks."""
    return replace(encoder, encode_questions=lambda texts: np.tile(vector, (len(texts), 1)))


def selection_sql(filters: Filters) -> tuple[str, list[Any]]:
    """A condition on the ``parts`` view that holds for what passes the filters, and its parameters."""
    conditions, parameters = ["true"], []
    for name, values in (("episode_id", filters.episode_ids), ("kind", filters.kinds), ("role", filters.roles)):
        if values is not None:
            conditions.append(f"{name} IN (SELECT unnest(?))")
            parameters.append(list(values))
    return " AND ".join(conditions), parameters


def texts_of(reader: Reader, keys: Sequence[PartKey]) -> dict[PartKey, dict[str, Any]]:
    """Role, kind and text of parts."""
    if not keys:
        return {}
    parameters: list[Any] = []
    if len(keys) <= _FEW_KEYS:
        of_key = "(episode_id = {} AND message_index = {} AND part_index = {})"
        condition = " OR ".join(of_key.format(*map(int, key)) for key in keys)
    else:
        ids = [key.episode_id for key in keys]
        condition = (
            "episode_id BETWEEN ? AND ? AND (episode_id, message_index, part_index) IN "
            "(SELECT (unnest(?), unnest(?), unnest(?)))"
        )
        parameters = [min(ids), max(ids), *(list(column) for column in zip(*keys, strict=True))]
    rows = reader.rows(
        f"SELECT episode_id, message_index, part_index, role, kind, text FROM parts WHERE {condition}", parameters
    )
    return {PartKey(row["episode_id"], row["message_index"], row["part_index"]): row for row in rows}


def _hits(
    matches: Sequence[Match], parts: dict[PartKey, Any], folds: Folds, n_examples: int, limit: int, fold: bool
) -> list[Hit]:
    """``folds`` knows ``n_examples`` folds of what is no hit. What comes after the last hit is not looked at."""
    hits: dict[object, Hit] = {}
    for match in matches:
        part = parts.get(match.key)
        if part is None:
            continue  # The index is a moment behind the snapshot: the episode was replaced or forgotten.
        text = part["text"]
        number: object = folds.add(text) if fold or n_examples else match.key
        if number in range(n_examples):
            continue
        if not fold:
            number = match.key
        if (first := hits.get(number)) is None:
            if len(hits) == limit:
                break
            span, snippet = Span(*match.key, match.start, match.end), text[match.start : match.end]
            hits[number] = Hit(
                len(hits) + 1, span, part["role"], part["kind"], match.score, snippet, [text], more=match.more
            )
        elif text == first.texts[0]:
            first.duplicates += 1
        else:
            first.near_duplicates += 1
            if text not in first.texts:
                first.texts.append(text)
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
