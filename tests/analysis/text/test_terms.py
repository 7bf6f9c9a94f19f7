"""Terms: words as the index has them, and counts that equal those made one by one."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from investigate.analysis.text import terms
from investigate.analysis.text.index import Filters
from investigate.analysis.text.merging import longest_phrase, merge_terms
from investigate.analysis.text.scripts import SCRIPTS, letters_by_script
from investigate.analysis.text.terms import Tokens, find_vocabulary, read_tokens, words_of
from investigate.analysis.text.tokens import find_tokens
from investigate.store.reader import open_reader
from investigate.store.workspace import Workspace
from scipy.sparse import csr_array

Store = Callable[..., None]


def test_words_of_ascii_are_those_of_the_index() -> None:
    draw = random.Random(0)
    for _ in range(300):
        text = "".join(chr(draw.randrange(128)) for _ in range(200))
        assert [word.decode() for word in words_of(text) if word] == [word for word, _, _ in find_tokens(text)]


def test_no_phrase_goes_across_a_word_that_the_index_leaves_out() -> None:
    assert words_of(f"Re-bench {'x' * 40} done") == [b"re", b"bench", b"", b"done"]
    assert words_of(f"Café {'x' * 40} done") == ["café".encode(), b"", b"done"]


def counted(texts: list[str], n_words: int) -> Counter[str]:
    """In how many texts each term of up to three words is."""
    counts: Counter[str] = Counter()
    for text in texts:
        seen = set()
        for part in text.split("\n"):
            words = part.split()
            for n in range(1, n_words + 1):
                seen |= {" ".join(words[i : i + n]) for i in range(len(words) - n + 1)}
        counts.update(seen)
    return counts


@pytest.mark.parametrize("block_tokens", [2_000_000, 300])
def test_counts_are_exact_whatever_the_blocks(
    workspace: Workspace, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_tokens: int
) -> None:
    monkeypatch.setattr(terms, "_BLOCK_TOKENS", block_tokens)
    draw = random.Random(1)
    lines = [[" ".join(draw.choices("abcdefgh", k=12)) for _ in range(2)] for _ in range(120)]
    store({i: [("assistant", "text", line) for line in pair] for i, pair in enumerate(lines, 1)})
    ids = np.arange(1, 121)[::-1].copy()
    with open_reader(workspace) as reader:
        tokens = read_tokens(reader, ids, Filters(None, ["text"], ["assistant"]), tmp_path / "tokens")
    cell = np.arange(120) // 3
    vocabulary = find_vocabulary(tokens, cell, 5)
    assert sum(1 for _ in tokens.bounds(cell)) == (1 if block_tokens > 1e6 else 10)
    sums: Counter[str] = Counter()
    for first, end in tokens.bounds(cell):
        presence = vocabulary.presence(*tokens.block(first, end), end - first)
        for column, n in enumerate(presence.sum(axis=0).tolist()):
            sums[vocabulary.name(column)] += int(n)
    known = {term: n for term, n in counted(["\n".join(pair) for pair in lines], 3).items() if n >= 5}
    assert {term: n for term, n in sums.items() if n >= 5} == known
    having = tokens.have_phrase("a b c d", np.arange(120))
    assert having.tolist() == [any("a b c d" in line for line in lines[i - 1]) for i in ids.tolist()]


def test_letters_are_counted_by_script() -> None:
    found = words_of("hello мир 你好吗 2024 안녕")
    words = [b"", *dict.fromkeys(word for word in found if word)]
    numbers = np.array([words.index(word) for word in found], np.int32)
    tokens = Tokens(words, numbers, np.array([0]), np.array([len(numbers)]))
    (letters,) = letters_by_script(tokens, np.array([0]))
    by_script = {name: n for name, n in zip(SCRIPTS, letters.tolist(), strict=True) if n}
    assert by_script == {"LATIN": 5, "CYRILLIC": 3, "CJK": 3, "HANGUL": 2}


def test_terms_of_the_same_episodes_with_a_word_in_common_are_one() -> None:
    names = ["otters", "risky act", "mentions otters", "weather"]
    presence = csr_array(np.array([[1, 1, 1, 1]] * 9 + [[1, 1, 0, 1]] + [[0, 0, 0, 0]] * 5, float))
    assert merge_terms(names, presence) == [[2, 0], [1], [3]]


def test_overlapping_terms_make_a_phrase() -> None:
    assert longest_phrase(["otters before a", "before a risky", "mentions otters", "weather report"]) == (
        "mentions otters before a risky"
    )
    assert longest_phrase(["a b c", "b c a", "c a b"]).startswith("a b c a b")
    assert longest_phrase(["alone"]) == "alone"
