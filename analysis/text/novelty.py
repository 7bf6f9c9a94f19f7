"""How far episodes are from those of a reference, by the vectors of their chunks.

Takes chunks and a design whose side b is the reference, gives families of features: how new an episode is, how far from
everything, and whether it says something like one of a few new things. What those are, and from where on something is
far, is read from the first half alone: so its own q is no evidence for them, the test in the other half is. Knows no
store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .features import Flags
from .sides import Bools, Design, Floats, Ints
from .vectors import Chunks

_MOST_CHUNKS: Final = 20_000
"""Of a side, drawn at random: each is held against each."""
_MOST_NEW: Final = 4_000
_MOST_HYPOTHESES: Final = 20
_NEW_BELOW: Final = 0.05
"""Share of the reference's own chunks that are less like the rest of it than what counts as new."""
_ROUNDING: Final = 1e-3
"""Of stored half-precision vectors: what differs by less is equal."""
_ROWS: Final = 2_048

Vectors = NDArray[np.float32]

Telling = Callable[[int, Vectors, Vectors], tuple[str, tuple[int, int, int]]]
"""Of a chunk by its row, the vectors of its like and those of the reference: its name, and where it was read."""


@dataclass(frozen=True)
class Located:
    """Chunks of compared episodes: ``episode`` (n,) is their place in the design, ``row`` (n,) that in ``chunks``."""

    chunks: Chunks
    design: Design
    episode: Ints
    row: Ints

    def vectors(self, which: Ints) -> Vectors:
        """Of chunks by number, at unit length."""
        wide = self.chunks.vectors[self.chunks.rows["vector"][self.row[which]]].astype(np.float32)
        return np.asarray(wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-9), np.float32)

    @property
    def unit(self) -> Ints:
        return self.design.unit[self.episode]


def locate(chunks: Chunks, design: Design) -> Located:
    """The chunks of the design's episodes."""
    order = np.argsort(design.ids)
    at = np.searchsorted(design.ids[order], chunks.rows["episode_id"])
    at = order[np.minimum(at, len(order) - 1)]
    row = np.flatnonzero(design.ids[at] == chunks.rows["episode_id"])
    return Located(chunks, design, at[row], row)


def novelty_families(located: Located, telling: Telling, seed: int) -> Iterator[Flags]:
    """How new, how far from everything, and what is new, in the words of ``telling``.

    New is a chunk whose nearest chunk of the reference (of another unit) is less like it than that of 95 % of the
    reference's own chunks. What is new are the new chunks with the most of their like: at least as similar as that.
    """
    design, rng = located.design, np.random.default_rng(seed)
    first = design.first[design.cell][located.episode]
    later = design.in_a[located.episode]
    reference = _draw(np.flatnonzero(first & ~later), rng)
    asked = np.sort(np.concatenate([_draw(np.flatnonzero(side), rng) for side in (later, ~later)]))
    if not len(reference) or not later.any():
        return
    nearest = _nearest(located.vectors(asked), located.unit[asked], located.vectors(reference), located.unit[reference])
    unlike = 1 - nearest
    yield from _beyond("novelty", "unlike the reference, as 5 % of it are", *_means(located, asked, unlike))
    yield from _beyond("outlier", "unlike every other episode, as 5 % of the reference are", *_outliers(located, rng))
    own = nearest[first[asked] & ~later[asked]]
    own = own[np.isfinite(own)]
    if not len(own):
        return
    near = float(np.quantile(own, _NEW_BELOW)) - _ROUNDING
    new = asked[first[asked] & later[asked] & (nearest < near)][:_MOST_NEW]
    vectors, episode = located.vectors(new), located.episode[new]
    medoids = _medoids(vectors, episode, near)
    if not medoids:
        return
    known = located.vectors(reference)
    told = []
    for medoid in medoids:
        like = (vectors @ vectors[medoid] >= near) & (episode != episode[medoid])
        told.append(telling(int(located.row[new[medoid]]), vectors[like], known))
    presence = _like(located, vectors[medoids], near)
    yield Flags("new", [name for name, _ in told], design, presence, places=[place for _, place in told])


def _draw(places: Ints, rng: np.random.Generator) -> Ints:
    return np.sort(rng.choice(places, _MOST_CHUNKS, replace=False)) if len(places) > _MOST_CHUNKS else places


def _nearest(vectors: Vectors, unit: Ints, others: Vectors, unit_of_others: Ints) -> Floats:
    """Similarity to the most similar of the others that is of another unit; −inf where there is none."""
    best = np.empty(len(vectors))
    for i in range(0, len(vectors), _ROWS):
        similarity = vectors[i : i + _ROWS] @ others.T
        similarity[unit[i : i + _ROWS, None] == unit_of_others] = -np.inf
        best[i : i + _ROWS] = similarity.max(axis=1)
    return best


def _beyond(kind: str, name: str, design: Design, values: Floats) -> Iterator[Flags]:
    """Is the value of an episode above those of 95 % of the reference's in the first half?"""
    from scipy.sparse import csr_array

    usual = values[~design.in_a & design.first[design.cell]]
    if len(usual):
        beyond = values > np.quantile(usual, 1 - _NEW_BELOW) + _ROUNDING
        yield Flags(kind, [name], design, csr_array(beyond[:, None].astype(float)), values)


def _means(located: Located, asked: Ints, values: Floats) -> tuple[Design, Floats]:
    """The mean over an episode's chunks, where one has a value."""
    known = np.isfinite(values)
    episode, n = located.episode[asked[known]], len(located.design.ids)
    counts, sums = np.bincount(episode, minlength=n), np.bincount(episode, values[known], minlength=n)
    there = counts > 0
    return located.design.subset(there), sums[there] / counts[there]


def _outliers(located: Located, rng: np.random.Generator) -> tuple[Design, Floats]:
    """Of each episode, how unlike its mean vector is to the nearest of another unit, on either side."""
    design = located.design
    n, width = len(design.ids), located.chunks.vectors.shape[1]
    sums = np.zeros((n, width), np.float32)
    for i in range(0, len(located.episode), 65_536):
        some = np.arange(i, min(i + 65_536, len(located.episode)))
        np.add.at(sums, located.episode[some], located.vectors(some))
    there = np.flatnonzero(np.linalg.norm(sums, axis=1) > 0)
    means = sums[there] / np.linalg.norm(sums[there], axis=1, keepdims=True)
    others = _draw(np.arange(len(there)), rng)
    nearest = _nearest(means, design.unit[there], means[others], design.unit[there[others]])
    known: Bools = np.zeros(n, bool)
    known[there[np.isfinite(nearest)]] = True
    return design.subset(known), 1 - nearest[np.isfinite(nearest)]


def _medoids(vectors: Vectors, episode: Ints, near: float) -> list[int]:
    """Chunks that have others near them, those with most first, none near an earlier one."""
    close = np.zeros((len(vectors), len(vectors)), bool)
    for i in range(0, len(vectors), _ROWS):
        close[i : i + _ROWS] = vectors[i : i + _ROWS] @ vectors.T >= near
    close &= (episode[:, None] != episode) | np.eye(len(vectors), dtype=bool)
    left = np.ones(len(vectors), bool)
    medoids: list[int] = []
    while left.any() and len(medoids) < _MOST_HYPOTHESES:
        support = np.where(left, (close & left).sum(axis=1), 0)
        best = int(support.argmax())
        if support[best] < 2:
            break
        medoids.append(best)
        left &= ~close[best]
    return medoids


def _like(located: Located, medoids: Vectors, near: float) -> Any:
    """(episodes, medoids): who has a chunk near each."""
    from scipy.sparse import csr_array

    pairs = [np.zeros((2, 0), np.int64)]
    for i in range(0, len(located.episode), 65_536):
        some = np.arange(i, min(i + 65_536, len(located.episode)))
        row, column = np.nonzero(located.vectors(some) @ medoids.T >= near)
        pairs.append(np.stack([located.episode[some[row]], column]))
    row, column = np.unique(np.concatenate(pairs, axis=1), axis=1)
    return csr_array((np.ones(len(row)), (row, column)), shape=(len(located.design.ids), len(medoids)))
