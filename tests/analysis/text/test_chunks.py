"""Chunks: exact, complete, apart, never too long, and cut where a reader would cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from investigate.analysis.text.chunks import chunk_text

PIECES = st.sampled_from(
    ["word", "A sentence.", "Is it?", "\n", "\n\n", " ", "\t", "\u3000", "。", "x" * 30, "é😀", "\r\n"]
)


@given(st.one_of(st.lists(PIECES, max_size=60).map("".join), st.text(max_size=200)), st.integers(1, 50))
def test_chunks_cover_every_visible_character_once(text: str, max_chars: int) -> None:
    spans = chunk_text(text, max_chars)
    covered = [position for start, end in spans for position in range(start, end)]
    assert covered == sorted(set(covered))
    left_out = set(range(len(text))) - set(covered)
    assert all(text[position].isspace() for position in left_out)
    for start, end in spans:
        assert 0 < end - start <= max_chars
        assert not text[start].isspace()
        assert not text[end - 1].isspace()


def test_a_short_text_is_one_chunk() -> None:
    assert chunk_text(" One line.\n\nAnother. \n") == [(1, 20)]
    assert chunk_text("") == chunk_text(" \n ") == []


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("aaaa aaaa.\n\nbbbb bbb. c\ncc cc cc", "aaaa aaaa."),
        ("aaaa aaaa.\nbbbb bbb. c ccc cc", "aaaa aaaa."),
        ("aaaa aaaa. bbbb. ccc ccc ccc", "aaaa aaaa. bbbb."),
        ("こんにちは世界です。これは文です。そしてまた続きます", "こんにちは世界です。これは文です。"),
        ("aaaa aaaa aaaa aaaa aaaa", "aaaa aaaa aaaa aaaa"),
        ("a" * 50, "a" * 20),
        ("a.\n\n" + "b" * 50, "a.\n\n" + "b" * 16),
    ],
)
def test_cut_at_the_best_boundary_in_the_second_half(text: str, first: str) -> None:
    start, end = chunk_text(text, 20)[0]
    assert text[start:end] == first


def test_chunks_are_not_small() -> None:
    text = "The grader reads the file. " * 2000
    spans = chunk_text(text, 800)
    assert len(spans) <= 2 * len(text) / 800


def test_no_room_is_refused() -> None:
    with pytest.raises(ValueError, match="0 characters"):
        chunk_text("text", 0)
