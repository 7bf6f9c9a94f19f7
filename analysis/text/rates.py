"""The test of every feature in either half, under the true labels and shuffled ones.

Takes which episodes have which features, block by block, or a value per episode; gives arrays with one entry per
feature. Memory grows with the features, not with the episodes. Knows what a feature is only by its column.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ..statistics import Z95
from ..testing import fisher_greater, log_odds, mann_whitney, worth
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
        self._k_a = np.zeros((2, n_labels, n_features))
        self._k = np.zeros((2, n_features))
        self._squares = np.zeros((2, n_features))
        self._products = np.zeros((2, n_features))
        self._products_a = np.zeros((2, n_labels, n_features))

    def add(self, first_cell: int, counts: Any) -> None:
        """``counts`` (cells, features) is a CSR array: in how many episodes of each cell, from ``first_cell`` on, each
        feature occurs."""
        cells = slice(first_cell, first_cell + counts.shape[0])
        squared = counts.power(2)
        for half in (0, 1):
            within = (self.design.first[cells] == (half == 0)).astype(float)
            self._k_a[half] += (counts.T @ (self.design.labels[:, cells] * within).T).T
            self._k[half] += counts.T @ within
            self._squares[half] += squared.T @ within
            sized = within * self.design.sizes[cells]
            self._products[half] += counts.T @ sized
            self._products_a[half] += (counts.T @ (self.design.labels[:, cells] * sized).T).T

    def totals(self) -> Ints:
        """Episodes with each feature, in all."""
        return np.asarray(self._k.sum(axis=0), np.int64)

    def keep(self, features: Bools) -> None:
        """Forget the other features."""
        self._k_a, self._products_a = self._k_a[:, :, features], self._products_a[:, :, features]
        self._k, self._squares, self._products = (x[:, features] for x in (self._k, self._squares, self._products))

    def tests(self) -> list[tuple[Tests, Tests]]:
        """For each labelling, the true one first, the tests in the first half and in the other."""
        return [(self._tests(0, i), self._tests(1, i)) for i in range(len(self.design.labels))]

    def _tests(self, half: int, labelling: int) -> Tests:
        label = self.design.labels[labelling]
        within = self.design.first == (half == 0)
        sizes = np.where(within, self.design.sizes, 0).astype(float)
        n_a, n_b = float(sizes[label].sum()), float(sizes[~label].sum())
        k, k_a = self._k[half], self._k_a[half, labelling]
        products_a = self._products_a[half, labelling]
        products = (products_a, self._products[half] - products_a)
        rates = (k_a / max(n_a, 1), (k - k_a) / max(n_b, 1)) if self.design.crossed else (k / max(n_a + n_b, 1),) * 2
        alike = likeness(rates, self._squares[half], products, (sizes[label], sizes[~label]))
        return _rates(k_a, n_a, k - k_a, n_b, design_effect(alike, sizes[label]), design_effect(alike, sizes[~label]))


def likeness(
    rates: tuple[Floats, Floats], squares: Floats, products: tuple[Floats, Floats], sizes: tuple[Floats, Floats]
) -> Floats:
    """Correlation of two episodes of one cell (intraclass), per feature of presence, 0 to 1.

    From the ``rates`` that the episodes of either side are held against, sums over all cells of the squared counts, and
    by side those of the counts times ``sizes`` (cells): the mean product of residuals over all pairs, by their
    variance.
    """
    between, expected, possible = squares.copy(), np.zeros_like(squares), np.zeros_like(squares)
    for rate, product, size in zip(rates, products, sizes, strict=True):
        between += rate**2 * (size**2).sum() - 2 * rate * product
        expected += size.sum() * rate * (1 - rate)
        possible += rate * (1 - rate) * (size * (size - 1)).sum()
    covered = np.divide(between - expected, possible, out=np.zeros_like(between), where=possible > 0)
    return np.asarray(np.clip(covered, 0.0, 1.0))


def design_effect(alike: Floats, sizes: Floats) -> Floats:
    """How many episodes are worth one where those of a cell are ``alike`` (Kish 1965)."""
    return np.asarray(1 + alike * ((sizes**2).sum() / max(sizes.sum(), 1.0) - 1).clip(min=0))


def _rates(k_a: Floats, n_a: float, k_b: Floats, n_b: float, deff_a: Floats, deff_b: Floats) -> Tests:
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
        tail[up] = fisher_greater(k[up], n[up], k_other[up], n_other[up])
    half = Z95 * error
    low, high = effect - half, effect + half
    return Tests(k_a.astype(np.int64), int(n_a), k_b.astype(np.int64), int(n_b), effect, low, high, greater, less)


def value_tests(design: Design, values: Floats) -> list[tuple[Tests, Tests]]:
    """The same for one value per episode: Mann–Whitney, with Cliff's delta."""
    return [(_value_tests(design, values, 0, label), _value_tests(design, values, 1, label)) for label in design.labels]


def _value_tests(design: Design, values: Floats, half: int, label: Bools) -> Tests:
    from scipy.stats import rankdata

    within = (design.first == (half == 0))[design.cell]
    cells, cell = np.unique(design.cell[within], return_inverse=True)
    x, in_a = values[within], label[cells][cell]
    n_a = int(in_a.sum())
    n_b = len(x) - n_a
    if not n_a or not n_b:
        nothing, sure = np.zeros(1), np.ones(1)
        return Tests(None, n_a, None, n_b, nothing, -sure, sure, sure, sure)
    sizes = np.bincount(cell).astype(float)
    ranks = rankdata(x)
    middle = np.where(in_a, ranks[in_a].mean(), ranks[~in_a].mean()) if design.crossed else ranks.mean()
    alike = _rank_likeness(ranks - middle, cell)
    effects = [float(design_effect(alike, sizes[side])) for side in (label[cells], ~label[cells])]
    shift = mann_whitney(x[in_a], x[~in_a], (effects[0], effects[1]))
    numbers = (np.array([x]) for x in (shift.delta, shift.low, shift.high, shift.greater, shift.less))
    return Tests(None, n_a, None, n_b, *numbers)


def _rank_likeness(residuals: Floats, cell: Ints) -> Floats:
    """Correlation of the ranks of two episodes of one cell, 0 to 1, from what they differ by from the middle."""
    sizes, sums = np.bincount(cell), np.bincount(cell, residuals)
    pairs, square = float((sizes * (sizes - 1)).sum()), float((residuals**2).sum())
    if not pairs or not square:
        return np.zeros(())
    return np.asarray(np.clip(((sums**2).sum() - square) / (square / len(residuals) * pairs), 0.0, 1.0))


def cell_counts(cell: Ints, n_cells: int, presence: Any) -> Any:
    """(cells, features) CSR: in how many episodes of each cell each feature of ``presence`` (episodes, features)
    occurs."""
    from scipy.sparse import csr_array

    gather = csr_array((np.ones(len(cell)), (cell, np.arange(len(cell)))), shape=(n_cells, len(cell)))
    return csr_array(gather @ csr_array(presence))
