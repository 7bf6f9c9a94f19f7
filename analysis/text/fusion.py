"""Joins several rankings of the same things into one.

Takes rankings best first, gives one with scores. Does not know what is ranked, nor the scores behind the rankings.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)


def reciprocal_rank_fusion(
    rankings: Iterable[Sequence[Key]], k: float = 60, limit: int | None = None
) -> list[tuple[Key, float]]:
    """``(key, score)``, best first, where score = Σ 1 / (k + rank) over the rankings that hold the key, rank from 1.

    A key named twice in one ranking counts where it stands first. Equal scores keep the order in which the keys are
    met, reading the rankings one after the other. Cormack, Clarke and Büttcher, "Reciprocal rank fusion outperforms
    Condorcet and individual rank learning methods", SIGIR 2009; k = 60 is theirs.
    """
    scores: dict[Key, float] = {}
    for ranking in rankings:
        for rank, key in enumerate(dict.fromkeys(ranking), start=1):
            scores[key] = scores.get(key, 0.0) + 1.0 / (k + rank)
    return sorted(scores.items(), key=lambda item: -item[1])[:limit]
