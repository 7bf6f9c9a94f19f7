"""Terms of one to three words, counted once per episode, in three passes over tokens that lie in a file.

Takes episodes, gives for blocks of them who has which term. A term is also a search: a word of the full-text index, or
a phrase. Memory grows with the vocabulary and a block, not with the corpus. Does not know which episodes are compared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ...store.reader import Reader
from .index import Filters
from .sides import Ints
from .tokens import MAX_WORD_BYTES, find_tokens

_AT_ONCE: Final = 2_000
_BLOCK_TOKENS: Final = 2_000_000
_MOST_BUCKETS: Final = 1 << 24
_MOST_WORDS: Final = 1 << 20
"""Codes of three words must fit into 63 bits."""
LONGEST_TERM: Final = 3
BREAK: Final = 0
"""Stands between parts, and for a word that the index leaves out: no term goes across."""

# What tantivy's simple tokenizer does to ASCII: letters and digits make words, in lower case.
_ASCII: Final = bytes(ord(chr(i).lower()) if chr(i).isalnum() and i < 128 else 32 for i in range(256))


def words_of(text: str) -> list[bytes]:
    """The words of a text in order, in UTF-8; an empty one where the index has none, and no phrase goes across."""
    if text.isascii():
        return [word if len(word) <= MAX_WORD_BYTES else b"" for word in text.encode().translate(_ASCII).split()]
    words, position = [], 0
    for word, start, end in find_tokens(text):
        # Letters between two words were left out; words that overlap are pieces of one, and no phrase.
        if start < position or any(letter.isalnum() for letter in text[position:start]):
            words.append(b"")
        words.append(word.encode())
        position = max(position, end)
    return words


@dataclass(frozen=True)
class Tokens:
    """``numbers``, a mapped file, holds the words of episode ``i`` from ``starts[i]`` on, ``lengths[i]`` of them."""

    words: list[bytes]
    numbers: NDArray[np.int32]
    starts: Ints
    lengths: Ints

    def block(self, first: int, end: int) -> tuple[Ints, Ints]:
        """(numbers, which episode each belongs to, from 0) of episodes ``first`` to ``end``, a break after each."""
        lengths = self.lengths[first:end]
        pieces = [self.numbers[start : start + n] for start, n in zip(self.starts[first:end], lengths, strict=True)]
        numbers = np.concatenate(pieces).astype(np.int64) if pieces else np.zeros(0, np.int64)
        return numbers, np.repeat(np.arange(end - first), lengths)

    def bounds(self, cell: Ints) -> Iterator[tuple[int, int]]:
        """Blocks ``(first, end)`` of episodes, each of whole cells and about two million tokens or one cell."""
        changes = np.flatnonzero(np.diff(cell)) + 1
        done, first = np.cumsum(self.lengths), 0
        for place in [*changes.tolist(), len(cell)]:
            if done[place - 1] - (done[first - 1] if first else 0) >= _BLOCK_TOKENS or place == len(cell):
                yield first, place
                first = place

    @cached_property
    def _number(self) -> dict[bytes, int]:
        return {word: number for number, word in enumerate(self.words)}

    def have_phrase(self, phrase: str, episodes: Ints) -> NDArray[np.bool_]:
        """Which of the episodes (by place) have these words in a row."""
        wanted = [self._number[word.encode()] for word in phrase.split()]
        found = np.zeros(len(episodes), bool)
        for i, (start, n) in enumerate(zip(self.starts[episodes], self.lengths[episodes], strict=True)):
            numbers = np.asarray(self.numbers[start : start + n])
            there = np.flatnonzero(numbers[: max(0, n - len(wanted) + 1)] == wanted[0])
            for offset, number in enumerate(wanted[1:], 1):
                there = there[numbers[there + offset] == number]
            found[i] = len(there) > 0
        return found


def read_tokens(reader: Reader, ids: Ints, filters: Filters, path: Path) -> Tokens:
    """Tokenise the parts of episodes ``ids`` that pass the filters into a file. What stood in the prompt as an
    assistant's words is not the model's, and is left out."""
    numbers: defaultdict[bytes, int] = defaultdict(count(BREAK + 1).__next__, {b"": BREAK})
    place = {episode_id: i for i, episode_id in enumerate(ids.tolist())}
    starts, lengths = np.zeros(len(ids), np.int64), np.zeros(len(ids), np.int64)
    in_order, written = np.sort(ids), 0
    with path.open("wb") as file:
        for first in range(0, len(ids), _AT_ONCE):
            for episode_id, texts in _texts(reader, in_order[first : first + _AT_ONCE].tolist(), filters):
                found = [numbers[word] for text in texts for word in (*words_of(text), b"")]
                np.array(found, np.int32).tofile(file)
                starts[place[episode_id]], lengths[place[episode_id]] = written, len(found)
                written += len(found)
    mapped: NDArray[np.int32] = np.memmap(path, np.int32, "r", shape=(written,)) if written else np.zeros(0, np.int32)
    return Tokens(list(numbers), mapped, starts, lengths)


def _texts(reader: Reader, ids: Sequence[int], filters: Filters) -> Iterator[tuple[int, list[str]]]:
    conditions, parameters = ["NOT (role = 'assistant' AND coalesce(given, false))"], [ids[0], ids[-1], list(ids)]
    for name, values in (("kind", filters.kinds), ("role", filters.roles)):
        if values is not None:
            conditions.append(f"{name} IN (SELECT unnest(?))")
            parameters.append(list(values))
    table = reader.table(
        "SELECT episode_id, list(text ORDER BY message_index, part_index) AS texts FROM parts "
        "WHERE episode_id BETWEEN ? AND ? AND episode_id IN (SELECT unnest(?)) "
        f"AND {' AND '.join(conditions)} GROUP BY episode_id",
        parameters,
    )
    yield from zip(table["episode_id"].to_pylist(), table["texts"].to_pylist(), strict=True)


@dataclass(frozen=True)
class Vocabulary:
    """Terms that may be frequent enough: words, then pairs, then triples, as columns in this order."""

    words: list[bytes]
    compact: Ints
    """Of each word its number among the frequent ones, or −1."""
    frequent: Ints
    pairs: Ints
    triples: Ints
    """Sorted codes ``(a · n + b) · n + c`` of compact numbers."""

    @property
    def size(self) -> int:
        return len(self.frequent) + len(self.pairs) + len(self.triples)

    def name(self, column: int) -> str:
        """A term as one would search for it."""
        n, parts = len(self.frequent), [column]
        if column >= n + len(self.pairs):
            code = int(self.triples[column - n - len(self.pairs)])
            parts = [code // n // n, code // n % n, code % n]
        elif column >= n:
            parts = [int(x) for x in divmod(int(self.pairs[column - n]), n)]
        return " ".join(self.words[self.frequent[part]].decode() for part in parts)

    def presence(self, numbers: Ints, episode: Ints, n_episodes: int) -> Any:
        """(episodes, terms) CSR: who has which term."""
        from scipy.sparse import csr_array

        n, keys = len(self.frequent), []
        pairs, triples = _codes(self.compact[numbers], episode, n)
        words = np.flatnonzero(self.compact[numbers] >= 0)
        keys.append(_distinct(episode[words] * self.size + self.compact[numbers[words]]))
        for (places, codes), known, offset in (
            (pairs, self.pairs, n), (triples, self.triples, n + len(self.pairs)),
        ):  # fmt: skip
            column = np.searchsorted(known, codes)
            found = np.flatnonzero(known[np.minimum(column, len(known) - 1)] == codes) if len(known) else places[:0]
            keys.append(_distinct(episode[places[found]] * self.size + column[found] + offset))
        rows, columns = np.divmod(np.concatenate(keys), max(self.size, 1))
        return csr_array((np.ones(len(rows)), (rows, columns)), shape=(n_episodes, self.size))


def find_vocabulary(tokens: Tokens, cell: Ints, least: int) -> Vocabulary:
    """Every term of at least ``least`` episodes, and a few rarer ones: two passes.

    The first counts words exactly and longer terms by the bucket that they hash to, which can only overstate; the
    second collects the terms of full buckets (Park, Chen and Yu 1995).
    """
    n_words, n_buckets = len(tokens.words), 1024
    while n_buckets < min(len(tokens.numbers), _MOST_BUCKETS):
        n_buckets *= 2
    episodes, buckets = np.zeros(n_words, np.int64), np.zeros((2, n_buckets), np.int32)
    for first, end in tokens.bounds(cell):
        numbers, episode = tokens.block(first, end)
        episodes += np.bincount(_distinct(episode * n_words + numbers) % n_words, minlength=n_words)
        for longer, (places, hashed) in enumerate(_hashes(numbers, episode, n_buckets)):
            seen = _distinct(episode[places] * n_buckets + hashed) % n_buckets
            buckets[longer] += np.bincount(seen, minlength=n_buckets).astype(np.int32)
    episodes[BREAK] = 0
    frequent = np.flatnonzero(episodes >= least)
    frequent = np.sort(frequent[np.argsort(-episodes[frequent], kind="stable")[:_MOST_WORDS]])
    compact = np.full(n_words, -1, np.int64)
    compact[frequent] = np.arange(len(frequent))
    full = buckets >= least
    codes = [_Counted(least), _Counted(least)]
    for first, end in tokens.bounds(cell):
        numbers, episode = tokens.block(first, end)
        coded = _codes(compact[numbers], episode, len(frequent))
        for longer, ((places, hashed), (known, code)) in enumerate(
            zip(_hashes(numbers, episode, n_buckets), coded, strict=True)
        ):
            in_full = np.zeros(len(numbers), bool)
            in_full[places[full[longer][hashed]]] = True
            codes[longer].add(code[in_full[known]])
    return Vocabulary(tokens.words, compact, frequent, codes[0].frequent(), codes[1].frequent())


class _Counted:
    """Codes and how often each occurred."""

    def __init__(self, least: int) -> None:
        self._least = least
        self._codes, self._counts = np.zeros(0, np.int64), np.zeros(0, np.int64)

    def add(self, codes: Ints) -> None:
        codes = np.sort(codes)
        firsts = _firsts(codes)
        new, counts = codes[firsts], np.diff(firsts, append=len(codes))
        at = np.searchsorted(self._codes, new)
        known = (
            self._codes[np.minimum(at, len(self._codes) - 1)] == new if len(self._codes) else np.zeros(len(new), bool)
        )
        self._counts[at[known]] += counts[known]
        self._codes = np.insert(self._codes, at[~known], new[~known])
        self._counts = np.insert(self._counts, at[~known], counts[~known])

    def frequent(self) -> Ints:
        return self._codes[self._counts >= self._least]


def _distinct(values: Ints) -> Ints:
    """Sorted, each once. (``np.unique`` hashes, which for so many distinct values takes many times as long.)"""
    values = np.sort(values)
    return values[_firsts(values)]


def _firsts(values: Ints) -> Ints:
    """Where each run of equal values begins."""
    return np.flatnonzero(np.concatenate([values[:1] == values[:1], values[1:] != values[:-1]]))


def _neighbours(known: Any, episode: Ints, n: int) -> Ints:
    """Places where ``n`` known words of one episode stand in a row."""
    length = len(known) - n + 1
    if length < 1:
        return np.zeros(0, np.int64)
    there = episode[:length] == episode[n - 1 :]
    for i in range(n):
        there &= known[i : i + length]
    return np.flatnonzero(there)


def _hashes(numbers: Ints, episode: Ints, n_buckets: int) -> Iterator[tuple[Ints, Ints]]:
    """(places, buckets) of pairs, then of triples."""
    known = numbers != BREAK
    # Odd constants near 2⁶⁴/φ mix the bits; what matters is the spread alone.
    mixed = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for n in (2, 3):
        places = _neighbours(known, episode, n)
        value = mixed[places]
        for i in range(1, n):
            value = (value ^ (value >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9) + mixed[places + i]
        yield places, ((value ^ (value >> np.uint64(31))) % np.uint64(n_buckets)).astype(np.int64)


def _codes(compact: Ints, episode: Ints, n_frequent: int) -> Iterator[tuple[Ints, Ints]]:
    """(places, codes) of pairs, then of triples, of frequent words."""
    known = compact >= 0
    for n in (2, 3):
        places = _neighbours(known, episode, n)
        code = compact[places]
        for i in range(1, n):
            code = code * n_frequent + compact[places + i]
        yield places, code
