"""Near-duplicates: texts that say the same but for white space, letter case, or a few words of many.

Takes texts one after the other, gives each the number of its fold. Knows no parts and no ranking: who
comes first leads.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from .tokens import segment

LEAST_SIMILARITY: Final = 0.8
_SHINGLE_WORDS: Final = 3
_SKETCH_SIZE: Final = 512
_MULTIPLIERS: Final = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)


class Folds:
    """Folds of texts. A text joins the first fold whose leader (the text that opened it) equals it or is near it; else
    it opens one. One word changed within a text leaves it in its fold from about 30 words on; in a shorter one, not.
    """

    def __init__(self) -> None:
        self._fold_of: dict[str, int] = {}
        self._leaders: list[str] = []
        self._led_by: dict[int, list[int]] = {}

    def add(self, text: str) -> int:
        """The number of the text's fold, from 0; ``len`` before the call where it opened one."""
        fold = self._fold_of.get(text)
        if fold is None:
            first = _prefix(text)
            possible = sorted({i for value in first for i in self._led_by.get(value, ())})
            near = (i for i in possible if are_near(self._leaders[i], text))
            fold = self._fold_of[text] = next(near, len(self._leaders))
            if fold == len(self._leaders):
                self._leaders.append(text)
                for value in first:
                    self._led_by.setdefault(value, []).append(fold)
        return fold

    def __len__(self) -> int:
        return len(self._leaders)


def are_near(a: str, b: str) -> bool:
    """Are two texts near-duplicates: of all runs of three words in either, are four in five in both (Jaccard
    similarity)? A run that comes again counts again, so a text is not near what repeats it over and over."""
    in_a, in_b = _sketch(a), _sketch(b)
    shared, either = in_a & in_b, in_a | in_b
    if max(len(in_a), len(in_b)) < _SKETCH_SIZE:
        return len(shared) >= LEAST_SIMILARITY * len(either)
    if len(shared) < LEAST_SIMILARITY * _SKETCH_SIZE:
        return False
    # Beyond its last hash a full sketch tells nothing: only the smallest of both are compared.
    return len(shared.intersection(sorted(either)[:_SKETCH_SIZE])) >= LEAST_SIMILARITY * _SKETCH_SIZE


def _prefix(text: str) -> list[int]:
    """So many of a sketch's smallest hashes that two texts without one in common are not near (prefix filtering:
    Chaudhuri, Ganti and Kaushik 2006). Without it, every text would be held against every leader."""
    sketch = sorted(_sketch(text))
    return sketch[: len(sketch) - ceil(LEAST_SIMILARITY * len(sketch) - 1e-9) + 1]


@lru_cache(maxsize=4096)
def _sketch(text: str) -> frozenset[int]:
    """The smallest hashes of the text's shingles: the sketch of Broder, "On the resemblance and containment of
    documents" (1997). Of texts with fewer shingles than it holds it is exact."""
    words = segment(text.casefold()).split()
    hashes = np.fromiter((crc32(word.encode()) for word in words), np.uint64, len(words))
    hashes = np.concatenate([hashes, np.zeros(max(0, _SHINGLE_WORDS - len(words)), np.uint64)]) + np.uint64(1)
    windows = np.lib.stride_tricks.sliding_window_view(hashes, _SHINGLE_WORDS)
    shingles = np.sort((windows * _MULTIPLIERS).sum(axis=1, dtype=np.uint64))
    occurrence = np.arange(len(shingles)) - np.searchsorted(shingles, shingles)
    hashed = np.sort(_mixed(shingles ^ _mixed(occurrence.astype(np.uint64))))
    return frozenset(hashed[:_SKETCH_SIZE].tolist())


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's last step: without it, the smallest hashes would be those of certain words."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
