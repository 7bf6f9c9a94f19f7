"""Reciprocal rank fusion against its formula."""

from __future__ import annotations

import pytest
from investigate.analysis.text.fusion import reciprocal_rank_fusion


def test_scores_are_sums_of_reciprocal_ranks() -> None:
    fused = reciprocal_rank_fusion([["a", "b", "c"], ["b", "d"]])
    assert fused[0] == ("b", pytest.approx(1 / 62 + 1 / 61))
    assert dict(fused)["d"] == pytest.approx(1 / 62)
    assert [key for key, _ in fused] == ["b", "a", "d", "c"]


def test_equal_scores_keep_the_order_met() -> None:
    assert [key for key, _ in reciprocal_rank_fusion([[3, 1], [1, 3], [2]])] == [3, 1, 2]
    assert [key for key, _ in reciprocal_rank_fusion([["z"], ["a"], ["m"]])] == ["z", "a", "m"]


def test_a_repeated_key_counts_once() -> None:
    assert reciprocal_rank_fusion([["a", "b", "a", "c"]], k=0) == [("a", 1.0), ("b", 0.5), ("c", pytest.approx(1 / 3))]


def test_limit_and_nothing() -> None:
    assert len(reciprocal_rank_fusion([range(10)], limit=3)) == 3
    assert reciprocal_rank_fusion([]) == []
    assert reciprocal_rank_fusion([[], []]) == []
