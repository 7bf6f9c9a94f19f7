"""Tests of a difference between two samples, and what many of them together are worth.

Takes counts or values, gives p-values, effects and their intervals. Counts are of episodes; where episodes come in
groups that are no independent evidence, a design effect says how many of them are worth one. Pure numbers: knows no
store.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .statistics import Z95

Floats = NDArray[np.float64]


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """The q-value of each p-value (Benjamini and Hochberg 1995): the least false discovery rate at which it counts."""
    values = np.asarray(p, float)
    order = np.argsort(values, kind="stable")
    raised = values[order] * len(values) / np.arange(1, len(values) + 1)
    return _back(np.minimum.accumulate(raised[::-1])[::-1], order)


def holm(p: ArrayLike) -> Floats:
    """Each p-value corrected so that the chance of any false one below a level is at most that level (Holm 1979)."""
    values = np.asarray(p, float)
    order = np.argsort(values, kind="stable")
    return _back(np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)), order)


def _back(ordered: Floats, order: NDArray[np.intp]) -> Floats:
    values = np.empty(len(ordered))
    values[order] = np.minimum(ordered, 1.0)
    return values


def fisher(k_a: int, n_a: int, k_b: int, n_b: int) -> float:
    """Fisher's exact test that ``k_a`` of ``n_a`` and ``k_b`` of ``n_b`` have one rate: p, two-sided, by the
    probability of the tables that are no likelier (Fisher 1935)."""
    from scipy.stats import fisher_exact

    return float(fisher_exact([[k_a, n_a - k_a], [k_b, n_b - k_b]]).pvalue)


def fisher_greater(k_a: ArrayLike, n_a: ArrayLike, k_b: ArrayLike, n_b: ArrayLike) -> Floats:
    """One-sided p of Fisher's exact test that a has the higher rate, for many tables at once."""
    from scipy.stats import hypergeom

    k_a, n_a, k_b, n_b = (np.asarray(value, np.int64) for value in (k_a, n_a, k_b, n_b))
    # Adding up probabilities can end a hair above one.
    return np.asarray(np.minimum(hypergeom.sf(k_a - 1, n_a + n_b, k_a + k_b, n_a), 1.0), float)


def worth(k: ArrayLike, n: ArrayLike, design_effect: ArrayLike, up: ArrayLike) -> tuple[Floats, Floats]:
    """What ``k`` of ``n`` are worth in independent observations: both divided by the design effect (Rao and Scott
    1992), in whole numbers; ``k`` rounded ``up`` or down."""
    counts, sizes = np.asarray(k, float), np.asarray(n, float)
    whole = np.maximum(np.floor(sizes / np.asarray(design_effect, float) + 1e-9), 1.0)
    exact = np.divide(counts * whole, sizes, out=np.zeros(np.broadcast(counts, whole).shape), where=sizes > 0)
    return np.asarray(np.where(up, np.ceil(exact - 1e-9), np.floor(exact + 1e-9))), whole


def log_odds(
    k_a: ArrayLike, n_a: ArrayLike, k_b: ArrayLike, n_b: ArrayLike, prior: float | None = None
) -> tuple[Floats, Floats]:
    """Log-odds ratio of a over b with an informative Dirichlet prior, and its standard error; their ratio is the
    z-score of Monroe, Colaresi and Quinn (2008).

    The prior is worth ``prior`` observations at the rate of both together; by default the root of their number (of
    none, one), so that it steadies what is rare and vanishes beside many. Presence has two outcomes, so the Dirichlet
    is a beta and the variance has the terms of both.
    """
    k_a, n_a, k_b, n_b = (np.asarray(value, float) for value in (k_a, n_a, k_b, n_b))
    total = n_a + n_b
    size = np.sqrt(np.where(total > 0, total, 1.0)) if prior is None else np.asarray(prior, float)
    # Half an observation: something seen in neither has a rate too.
    rate = (k_a + k_b + 0.5) / (total + 1)
    with_, without = size * rate, size * (1 - rate)
    cells = (k_a + with_, n_a - k_a + without, k_b + with_, n_b - k_b + without)
    effect = np.log(cells[0] / cells[1]) - np.log(cells[2] / cells[3])
    return effect, np.sqrt(np.sum([1 / cell for cell in cells], axis=0))


@dataclass(frozen=True, slots=True)
class Shift:
    """How far the values of a lie above those of b. ``delta`` is Cliff's (1993), −1 to 1, with a 95 % interval;
    ``greater`` and ``less`` are the one-sided p-values of the Mann–Whitney test."""

    delta: float
    low: float
    high: float
    greater: float
    less: float

    @property
    def p(self) -> float:
        return min(1.0, 2 * min(self.greater, self.less))


def mann_whitney(a: ArrayLike, b: ArrayLike, design_effects: tuple[float, float] = (1.0, 1.0)) -> Shift:
    """Mann–Whitney test of two samples and Cliff's delta as its effect.

    The test is the normal approximation with the correction for ties and none for continuity; the interval Newcombe's
    (2006, method 5), which needs no variance between values and so has a width where the samples do not overlap. A
    sample counts as its size divided by its design effect. Raises ValueError for an empty sample.
    """
    from scipy.stats import norm, rankdata

    values = np.concatenate([np.asarray(a, float), np.asarray(b, float)])
    n_a = np.asarray(a).size
    n_b = len(values) - n_a
    if not n_a or not n_b:
        raise ValueError("both samples need a value")
    ranks = rankdata(values)
    area = (ranks[:n_a].sum() - n_a * (n_a + 1) / 2) / (n_a * n_b)
    spread = float(ranks.var(ddof=1))
    worth_a, worth_b = n_a / design_effects[0], n_b / design_effects[1]
    apart = float(ranks[:n_a].mean() - ranks[n_a:].mean())
    z = apart / np.sqrt(spread * (1 / worth_a + 1 / worth_b)) if spread else 0.0
    low, high = _newcombe(area, worth_a, worth_b)
    return Shift(float(2 * area - 1), 2 * low - 1, 2 * high - 1, float(norm.sf(z)), float(norm.cdf(z)))


def _newcombe(area: float, n_a: float, n_b: float) -> tuple[float, float]:
    """The areas that are just not rejected, found by halving: ``(area − x)² = z² var(x)``."""
    middle = (n_a + n_b) / 2

    def excess(x: float) -> float:
        inflation = 1 + (middle - 1) * ((1 - x) / (2 - x) + x / (1 + x))
        return float((area - x) ** 2 - Z95**2 * x * (1 - x) * inflation / (n_a * n_b))

    ends = []
    for outside in (0.0, 1.0):
        inside, far = float(area), outside
        for _ in range(60):
            between = (inside + far) / 2
            inside, far = (between, far) if excess(between) <= 0 else (inside, between)
        ends.append(outside if area == outside else inside)
    return ends[0], ends[1]


def cliffs_delta(a: ArrayLike, b: ArrayLike) -> tuple[float, float, float]:
    """Cliff's delta of independent samples with its 95 % interval: see ``mann_whitney``."""
    shift = mann_whitney(a, b)
    return shift.delta, shift.low, shift.high
