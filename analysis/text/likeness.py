"""How alike episodes of one set are, and what a side is worth for it.

A set is what a labelling puts of one unit on one side. Takes a design, gives for each side of each half what the
likeness within sets is computed from, and the bounds that few sets put on any test. Knows no feature.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf, lgamma

import numpy as np

from ..testing import detectable_share
from .sides import Bools, Design, Floats


@dataclass(frozen=True)
class Side:
    """One side of one half: ``n`` episodes in ``n_sets``, ``n_shared`` of them in sets of several; ``mean_set`` is
    the size of the set of an episode drawn at random (Kish's: sum of squares over sum). ``constant`` belongs to
    ``within``."""

    n: float
    n_sets: int
    n_shared: float
    mean_set: float
    constant: float

    @property
    def worth(self) -> float:
        """Independent episodes that it is worth where those of a set are all alike."""
        return self.n / self.mean_set if self.n else 0.0


@dataclass(frozen=True)
class Sets:
    """The sets of one labelling, per cell: the ``size`` of its set, is it ``joined`` to its twin, and two weights.

    ``pairs`` gives each set a vote by its size rather than by its number of pairs. ``residual`` is that over the square
    of one minus the share that the set has in its side: so residuals are from what the other sets say, as in the
    jackknife (Bell and McCaffrey 2002), and a set that makes up much of a side does not vouch for itself.
    ``sides[half]`` are side a and side b.
    """

    size: Floats
    joined: Bools
    pairs: Floats
    residual: Floats
    sides: tuple[tuple[Side, Side], tuple[Side, Side]]


def find_sets(design: Design, labelling: int) -> Sets:
    """The sets of a labelling. Cells of one unit on the same side, as shuffled labels may have them, are one set."""
    label, sizes, twin = design.labels[labelling], design.sizes.astype(float), design.twin
    joined = (twin != np.arange(len(twin))) & (label[twin] == label)
    size = sizes + np.where(joined, sizes[twin], 0)
    # Each of the joined cells stands for half of its set.
    whole = np.where(sizes > 0, np.where(joined & (sizes[twin] > 0), 0.5, 1.0), 0.0)
    pairs = np.where(size > 1, 1 / np.maximum(size - 1, 1), 0.0)
    residual = np.zeros(len(size))

    def side(within: Bools) -> Side:
        n, n_sets = float(sizes[within].sum()), round(float(whole[within].sum()))
        if n_sets > 1:
            residual[within] = pairs[within] / (1 - size[within] / n) ** 2
        squared = size[within] ** 2
        return Side(
            n, n_sets, float(sizes[within & (size > 1)].sum()), float((whole[within] * squared).sum()) / max(n, 1.0),
            float((whole[within] * (residual[within] * squared - pairs[within] * size[within])).sum()),
        )  # fmt: skip

    first, other = ((side(half & label), side(half & ~label)) for half in (design.first, ~design.first))
    return Sets(size, joined, pairs, residual, (first, other))


def likeness(sides: tuple[Side, Side], within: tuple[Floats, Floats], variance: tuple[Floats, Floats]) -> list[Floats]:
    """Correlation of two episodes of one set (intraclass), per feature, at most 1, for side a and side b; below zero
    where sets are more of a kind with each other than chance would have them.

    ``within`` is the sum over a side's sets of the products of residuals of all pairs, weighted as ``Sets`` weighs
    them; residuals are from the side's own mean, so that what tells the sides apart is no likeness. Each side counts as
    no less alike than both together: of few sets the own likeness says little.
    """
    possible = [v * side.n_shared for v, side in zip(variance, sides, strict=True)]
    pooled = _ratio(within[0] + within[1], possible[0] + possible[1], np.zeros_like(possible[0]))
    return [
        np.ones_like(pooled) if side.n_sets == 1 else np.minimum(np.maximum(_ratio(product, most, pooled), pooled), 1.0)
        for side, product, most in zip(sides, within, possible, strict=True)
    ]


def _ratio(products: Floats, possible: Floats, otherwise: Floats) -> Floats:
    return np.asarray(np.divide(products, possible, out=otherwise.copy(), where=possible > 1e-9))


def design_effect(alike: Floats, side: Side) -> Floats:
    """How many episodes of a side are worth one where those of a set are ``alike`` (Kish 1965); a likeness below zero
    makes it less than one, but for what is computed with, at least a tenth."""
    return np.asarray(np.maximum(1 + alike * max(side.mean_set - 1, 0.0), 0.1))


def by_set(sides: tuple[Side, Side]) -> bool:
    """Does each set count once, for the share of its episodes that have a feature? So it is where a few sets hold most
    of a side: then no likeness that the others show vouches for those few (Donner and Klar 2000)."""
    return any(2 * side.worth < side.n_sets for side in sides)


def freedom(sides: tuple[Side, Side]) -> float:
    """Degrees of freedom of a variance that rests on a likeness estimated from these sets; infinite without sets.

    The number of equal sets that would say as much, less two means; as little as the likeness contributes to the
    variance at most, as little does its uncertainty count (Satterthwaite 1946).
    """
    n = sides[0].n + sides[1].n
    mean_set = sum(side.n * side.mean_set for side in sides) / max(n, 1.0)
    if mean_set <= 1:
        return inf
    return max((n / mean_set - 2) / (1 - 1 / mean_set) ** 2, 1.0)


def least_p(sides: tuple[Side, Side]) -> float:
    """One over the number of ways to deal the sets to the sides: below it no arrangement of them can be surprising."""
    a, b = sides[0].n_sets, sides[1].n_sets
    return exp(lgamma(a + 1) + lgamma(b + 1) - lgamma(a + b + 1))


@dataclass(frozen=True, slots=True)
class Power:
    """What could be found at all. ``worth`` is of side a and side b in the half where it is less: independent
    episodes, where those of a set are all alike; ``largest`` is their largest set. ``by_set``: each set counts once, in
    the first half.

    ``detectable`` is the share of one side from which on something that the other has not is found with a probability
    of 80 %, where episodes are independent, and ``detectable_alike`` where those of a set are all alike; None where
    not even what all of a side have would be.
    """

    worth: tuple[float, float]
    largest: tuple[int, int]
    by_set: bool
    detectable: float | None
    detectable_alike: float | None


def power_of(design: Design, level: float) -> Power:
    """What one-sided tests at ``level`` can find in the first half."""
    halves = find_sets(design, 0).sides
    a, b = halves[0]
    each_once = by_set((a, b))
    df = inf if each_once else freedom((a, b))

    def least(n_a: float, n_b: float) -> float | None:
        shares = [detectable_share(n, other, level, df) for n, other in ((n_a, n_b), (n_b, n_a))]
        known = [share for share in shares if share is not None and least_p((a, b)) <= level]
        return max(known) if len(known) == len(shares) else None

    worth = [min(half[side].worth for half in halves) for side in (0, 1)]
    largest = design.largest(True), design.largest(False)
    if each_once:
        shares = (least(a.n_sets, b.n_sets),) * 2
    else:
        # A likeness of nothing is estimated as a little, up or down, by the deviation of such a variance.
        seeming = 1 + (2 / df) ** 0.5
        shares = least(a.n / seeming, b.n / seeming), least(a.worth, b.worth)
    return Power((worth[0], worth[1]), largest, each_once, *shares)
