"""Fusion against its formulas, and what it must not do."""

from __future__ import annotations

import numpy as np
import pytest
from investigate.analysis.text.fusion import MEANING_WEIGHT, fuse_shares


def fused(words: list[float], coverage: float, similarities: list[float], background: float) -> list[float]:
    return fuse_shares(np.array(words), coverage, np.array(similarities), background).tolist()


def test_shares_by_hand() -> None:
    w = MEANING_WEIGHT
    got = fused([10.0, 5.0, 0.0], 1.0, [0.2, 0.6, 1.0], 0.2)
    assert got == pytest.approx([1 - w, (1 - w) / 8 + w / 2, w])
    assert fused([7.0, 0.0], 0.5, [0.2, 0.0], 0.2) == pytest.approx([(1 - w) / 8, 0])


def test_words_that_tell_nothing_leave_the_order_to_meaning() -> None:
    """A member that is noise does not pull down the other."""
    got = fused([0.3, 0.2, 0.1, 0.0], 0.05, [0.1, 0.3, 0.5, 0.7], 0.05)
    assert got == sorted(got)


def test_meaning_that_tells_nothing_leaves_the_order_to_words() -> None:
    got = fused([28.0, 25.0, 20.0, 15.0], 1.0, [0.201, 0.202, 0.203, 0.204], 0.2)
    assert got == sorted(got, reverse=True)


def test_what_has_every_word_is_not_overtaken_by_what_is_only_close() -> None:
    """Also where BM25 is next to nothing, as in a very long text."""
    assert fused([0.01, 0.0], 1.0, [0.0, 0.9], 0.1)[0] > fused([0.01, 0.0], 1.0, [0.0, 0.9], 0.1)[1]


def test_neither_half_is_needed() -> None:
    assert fused([0.0, 0.0], 0.0, [0.9, -0.8], 0.0) == pytest.approx([MEANING_WEIGHT * 0.9, 0.0])
    assert fused([3.0], 1.0, [1.0], 1.0) == [1 - MEANING_WEIGHT]
    assert fused([], 1.0, [], 0.0) == []
