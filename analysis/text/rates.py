"""The test of every feature in either half, under the true labels and shuffled ones.

Takes which episodes have which features, block by block, or a value per episode; gives arrays with one entry per
feature. Memory grows with the features, not with the episodes. Knows what a feature is only by its column.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any, Final

import numpy as np

from ..testing import fisher_greater, interval_width, log_odds, mann_whitney, with_freedom, worth
from .likeness import Sets, Side, by_set, design_effect, find_sets, freedom, least_p, likeness
from .sides import Bools, Design, Floats, Ints

_WORTH_A_TEST: Final = 1.5
"""Standard errors by which the rates must differ for the exact test to be worked out: it takes most of the time."""


@dataclass(frozen=True, slots=True)
class Tests:
    """Features tested in one half, one entry each. Flags: ``k_a`` of ``n_a`` episodes have it and ``k_b`` of ``n_b``,
    and ``effect`` is a log-odds ratio. Values: no ``k``, Cliff's delta. With 95 % intervals and one-sided p-values, all
    corrected for the likeness of episodes in one unit. A p of 1 stands for any above 0.06 and for the tail on the other
    side."""

    k_a: Ints | None
    n_a: int
    k_b: Ints | None
    n_b: int
    effect: Floats
    low: Floats
    high: Floats
    greater: Floats
    less: Floats

    @property
    def p(self) -> Floats:
        """Two-sided: twice the smaller tail."""
        return np.asarray(np.minimum(1.0, 2 * np.minimum(self.greater, self.less)))

    @property
    def strength(self) -> Floats:
        """The least log-odds ratio, without its sign, that the interval allows; 0 where it has both signs. Cliff's
        delta is taken to that scale by ``2 artanh``: its generalised odds ratio (Agresti 1980)."""
        least = np.where(self.low * self.high > 0, np.minimum(np.abs(self.low), np.abs(self.high)), 0.0)
        return least if self.k_a is not None else 2 * np.arctanh(np.minimum(least, 1 - 1e-12))


class Tally:
    """Sums over cells, by half, that every labelling's tests can be made of."""

    def __init__(self, design: Design, n_features: int) -> None:
        self.design = design
        n_labels = len(design.labels)
        self._sets = [find_sets(design, labelling) for labelling in range(n_labels)]
        self._k_a = np.zeros((2, n_labels, n_features))
        self._k = np.zeros((2, n_features))
        # By labelling, and then in the first half side a and b, in the other a and b. Without sets never touched.
        self._squares = np.zeros((n_labels, 4, n_features), np.float32)
        self._products = np.zeros((n_labels, 4, n_features), np.float32)
        self._shares = np.zeros((n_labels, 4, n_features))
        self._by_set = any(by_set(sides) for sets in self._sets for sides in sets.sides)

    def add(self, first_cell: int, counts: Any) -> None:
        """``counts`` (cells, features) is a CSR array: in how many episodes of each cell, from ``first_cell`` on, each
        feature occurs. The cells of one unit come together."""
        cells = slice(first_cell, first_cell + counts.shape[0])
        for half in (0, 1):
            within = (self.design.first[cells] == (half == 0)).astype(float)
            self._k_a[half] += (counts.T @ (self.design.labels[:, cells] * within).T).T
            self._k[half] += counts.T @ within
        if self._by_set or any(sets.pairs[cells].any() for sets in self._sets):
            self._add_within(cells, counts)

    def _add_within(self, cells: slice, counts: Any) -> None:
        """The parts of ``_within`` that are sums over cells, squared and plain."""
        squared = counts.power(2)
        twin = self.design.twin[cells] - cells.start
        lower = np.flatnonzero(twin > np.arange(len(twin)))
        crossed = counts[lower].multiply(counts[lower + 1]).tocsr()
        for i, sets in enumerate(self._sets):
            side = 2 * ~self.design.first[cells] + ~self.design.labels[i][cells]
            of_side = (side[:, None] == np.arange(4)).astype(float)
            pairs, residual = of_side * sets.pairs[cells, None], of_side * sets.residual[cells, None]
            joined = sets.joined[cells][lower, None]
            self._squares[i] += (
                squared.T @ residual - counts.T @ pairs + crossed.T @ (2 * residual[lower] * joined)
            ).T  # fmt: skip
            if self._by_set:
                self._shares[i] += (counts.T @ (of_side / np.maximum(sets.size[cells, None], 1))).T
            self._products[i] += (counts.T @ (residual * sets.size[cells, None] - pairs)).T

    def totals(self) -> Ints:
        """Episodes with each feature, in all."""
        return np.asarray(self._k.sum(axis=0), np.int64)

    def keep(self, features: Bools) -> None:
        """Forget the other features."""
        self._k_a, self._k = self._k_a[:, :, features], self._k[:, features]
        self._squares, self._products = self._squares[:, :, features], self._products[:, :, features]
        self._shares = self._shares[:, :, features]

    def tests(self) -> list[tuple[Tests, Tests]]:
        """For each labelling, the true one first, the tests in the first half and in the other."""
        return [(self._tests(0, i), self._tests(1, i)) for i in range(len(self.design.labels))]

    def _tests(self, half: int, labelling: int) -> Tests:
        sides = self._sets[labelling].sides[half]
        k_a = self._k_a[half, labelling]
        counts = (k_a, self._k[half] - k_a)
        if by_set(sides):
            of_a, of_b = self._shares[labelling, 2 * half], self._shares[labelling, 2 * half + 1]
            sample = _Sample(
                (of_a, of_b), (sides[0].n_sets, sides[1].n_sets), (np.ones_like(of_a), np.ones_like(of_b)), inf, 0.0
            )
            return _rates(counts, sides, sample)
        rates = [k / max(side.n, 1) for k, side in zip(counts, sides, strict=True)]
        within = [
            self._squares[labelling, i] - 2 * rate * self._products[labelling, i] + rate**2 * side.constant
            for i, rate, side in zip((2 * half, 2 * half + 1), rates, sides, strict=True)
        ]
        variances = [rate * (1 - rate) for rate in rates]
        alike = likeness(sides, (within[0], within[1]), (variances[0], variances[1]))
        effects = design_effect(alike[0], sides[0]), design_effect(alike[1], sides[1])
        sizes = sides[0].n, sides[1].n
        return _rates(counts, sides, _Sample(counts, sizes, effects, freedom(sides), least_p(sides)))


@dataclass(frozen=True, slots=True)
class _Sample:
    """What is tested: counts of either side and of how many, how many of them are worth one, with which degrees of
    freedom that is known, and below what no p-value can be."""

    counts: tuple[Floats, Floats]
    sizes: tuple[float, float]
    effects: tuple[Floats, Floats]
    freedom: float
    least_p: float


def _rates(counts: tuple[Floats, Floats], sides: tuple[Side, Side], sample: _Sample) -> Tests:
    (k_a, k_b), (n_a, n_b), effects = sample.counts, sample.sizes, sample.effects
    # No episode is worth more than one; but sets of fewer differences than chance has leave less to be unsure of.
    deff_a, deff_b = (np.maximum(effect, 1.0) for effect in effects)
    eased = (deff_a * n_b + deff_b * n_a) / np.maximum(effects[0] * n_b + effects[1] * n_a, 1e-9)
    ease = np.sqrt(eased)
    more_in_a = k_a * n_b > k_b * n_a
    # Rounded towards equal rates: what is left of a count never makes a difference look surer.
    worth_a, of_a = worth(k_a, n_a, deff_a, ~more_in_a)
    worth_b, of_b = worth(k_b, n_b, deff_b, more_in_a)
    worth_a, worth_b = np.minimum(worth_a, of_a), np.minimum(worth_b, of_b)
    effect, error = log_odds(k_a / deff_a, n_a / deff_a, k_b / deff_b, n_b / deff_b)
    greater, less = np.ones_like(effect), np.ones_like(effect)
    pooled = (worth_a + worth_b) / (of_a + of_b)
    apart = np.abs(worth_a / of_a - worth_b / of_b)
    telling = apart > _WORTH_A_TEST * np.sqrt(pooled * (1 - pooled) * (1 / of_a + 1 / of_b))
    for tail, up, (k, n, k_other, n_other) in (
        (greater, telling & more_in_a, (worth_a, of_a, worth_b, of_b)),
        (less, telling & ~more_in_a, (worth_b, of_b, worth_a, of_a)),
    ):
        exact = fisher_greater(k[up], n[up], k_other[up], n_other[up])
        # No surer than so few sets allow, however many episodes they have.
        tail[up] = np.maximum(np.maximum(exact, with_freedom(exact, sample.freedom, ease[up])), sample.least_p)
    half = interval_width(sample.freedom) * error
    low, high = effect - half, effect + half
    shown_a, shown_b = (count.astype(np.int64) for count in counts)
    return Tests(shown_a, int(sides[0].n), shown_b, int(sides[1].n), effect, low, high, greater, less)


def value_tests(design: Design, values: Floats) -> list[tuple[Tests, Tests]]:
    """The same for one value per episode: Mann–Whitney, with Cliff's delta."""
    tests = []
    for i in range(len(design.labels)):
        sets = find_sets(design, i)
        tests.append((_value_tests(design, values, 0, i, sets), _value_tests(design, values, 1, i, sets)))
    return tests


def _value_tests(design: Design, values: Floats, half: int, labelling: int, sets: Sets) -> Tests:
    from scipy.stats import rankdata

    within = (design.first == (half == 0))[design.cell]
    sides, cell = sets.sides[half], design.cell[within]
    x, in_a = values[within], design.labels[labelling][cell]
    n_a = int(in_a.sum())
    n_b = len(x) - n_a
    if not n_a or not n_b:
        nothing, sure = np.zeros(1), np.ones(1)
        return Tests(None, n_a, None, n_b, nothing, -sure, sure, sure, sure)
    if by_set(sides):
        weights = 1 / sets.size[cell]
        shift = mann_whitney(x[in_a], x[~in_a], weights=(weights[in_a], weights[~in_a]))
    else:
        ranks, products, variances = rankdata(x), [], []
        for side in (in_a, ~in_a):
            residuals = ranks[side] - ranks[side].mean()
            products.append(_rank_products(residuals, cell[side], design, sets))
            variances.append(np.array((residuals**2).mean()))
        alike = likeness(sides, (products[0], products[1]), (variances[0], variances[1]))
        effects = [max(float(design_effect(own, side)), 1.0) for own, side in zip(alike, sides, strict=True)]
        shift = mann_whitney(x[in_a], x[~in_a], (effects[0], effects[1]), freedom(sides))
    numbers = (np.array([value]) for value in (shift.delta, shift.low, shift.high))
    tails = (np.array([max(p, least_p(sides))]) for p in (shift.greater, shift.less))
    return Tests(None, n_a, None, n_b, *numbers, *tails)


def _rank_products(residuals: Floats, cell: Ints, design: Design, sets: Sets) -> Floats:
    """Sum over a side's sets of the products of all pairs of residuals, weighted as in ``Sets``."""
    sums = np.bincount(cell, residuals, minlength=len(design.first))
    squares = np.bincount(cell, residuals**2, minlength=len(design.first))
    # Of two cells that make one set each gives its own square and half of the product of both.
    both = np.where(sets.joined, sums[design.twin], 0)
    return np.asarray((sets.residual * sums * (sums + both) - sets.pairs * squares).sum())


def cell_counts(cell: Ints, n_cells: int, presence: Any) -> Any:
    """(cells, features) CSR: in how many episodes of each cell each feature of ``presence`` (episodes, features)
    occurs."""
    from scipy.sparse import csr_array

    gather = csr_array((np.ones(len(cell)), (cell, np.arange(len(cell)))), shape=(n_cells, len(cell)))
    return csr_array(gather @ csr_array(presence))
