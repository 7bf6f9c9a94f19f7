"""Terms that say the same of the same episodes become one row, and rows about the same episodes one theme.

Takes what was found, the strongest first, with the episodes that have it; gives groups. Knows no test.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

SAME_EPISODES: Final = 0.8
"""Overlap (Jaccard) of their episodes from which two terms with a word in common are one."""

SAME_THEME: Final = 0.5
"""Of the way from chance to certainty that an episode with a row is one of a theme's: from here on the row is too."""


def themes(rows: Sequence[NDArray[np.int64] | None], n_episodes: int) -> list[int]:
    """The theme of each row, numbered in their order.

    ``rows`` are the places, of ``n_episodes``, of those that have it; None, and none at all, is a theme of its own. A
    row joins the theme that holds most of its episodes, where they are far more than as many drawn at random would be;
    the theme then has the episodes of both.
    """
    numbers: list[int] = []
    held = np.zeros((0, n_episodes), bool)
    for places in rows:
        mask = np.zeros(n_episodes, bool)
        if places is not None and len(places):
            mask[places] = True
            by_chance = held.mean(axis=1)
            beyond = (held[:, places].mean(axis=1) - by_chance) / np.maximum(1 - by_chance, 1e-9)
            if len(beyond) and beyond.max() >= SAME_THEME:
                best = int(beyond.argmax())
                held[best] |= mask
                numbers.append(best)
                continue
        numbers.append(len(held))
        held = np.concatenate([held, mask[None]])
    return numbers


def merge_terms(names: Sequence[str], presence: Any) -> list[list[int]]:
    """Groups of terms by number; ``presence`` is (episodes, terms), sparse. In each group the longest term is first.

    Two terms are of one group that have a word in common and nearly the same episodes, and so are all that hang
    together in this way.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    counts = np.asarray(presence.sum(axis=0)).ravel()
    together = (presence.T @ presence).tocoo()
    row, column, shared = together.row, together.col, together.data
    same = np.flatnonzero((shared >= SAME_EPISODES * (counts[row] + counts[column] - shared)) & (row < column))
    words = [set(name.split()) for name in names]
    pairs = [(i, j) for i, j in zip(row[same].tolist(), column[same].tolist(), strict=True) if words[i] & words[j]]
    ends = np.array(pairs, np.int64).reshape(-1, 2).T
    graph = csr_array((np.ones(len(pairs), bool), (ends[0], ends[1])), shape=(len(names), len(names)))
    _, group = connected_components(graph, directed=False)
    members: dict[int, list[int]] = {}
    for term, number in enumerate(group.tolist()):
        members.setdefault(number, []).append(term)
    return [sorted(terms, key=lambda t: (-names[t].count(" "), -len(names[t]), t)) for terms in members.values()]


def longest_phrase(names: Sequence[str]) -> str:
    """The phrase that overlapping terms make, from the first on: ``a b c`` and ``b c d`` make ``a b c d``.

    Whether it occurs is for the texts to say.
    """
    phrase, rest = names[0].split(), [name.split() for name in names[1:] if " " in name]
    grown = True
    while grown:
        grown = False
        for words in rest:
            overlap = len(words) - 1
            if phrase[-overlap:] == words[:-1]:
                phrase, grown = [*phrase, words[-1]], True
            elif phrase[:overlap] == words[1:]:
                phrase, grown = [words[0], *phrase], True
            if grown:
                rest.remove(words)
                break
    return " ".join(phrase)
