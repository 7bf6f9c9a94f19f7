"""Tests of a difference between two samples, and what many of them together are worth.

Takes counts or values, gives p-values, effects and their intervals. Counts are of episodes; where episodes come in
groups that are no independent evidence, a design effect says how many of them are worth one. Pure numbers: knows no
store.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite

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


def with_freedom(p: ArrayLike, freedom: float, ease: ArrayLike = 1.0) -> Floats:
    """One-sided p-values of a normal deviate, where its variance is an estimate of so many degrees of freedom. The
    estimate makes the deviate ``ease`` times as large as that behind ``p``."""
    from scipy.stats import norm, t

    values = np.asarray(p, float)
    # Beyond 37 standard errors a p-value is no longer a number above zero.
    return np.asarray(t.sf(norm.isf(np.maximum(values, 1e-300)) * ease, freedom)) if isfinite(freedom) else values


def interval_width(freedom: float) -> float:
    """Standard errors from an estimate to either end of its 95 % interval."""
    from scipy.stats import t

    return float(t.ppf(0.975, freedom)) if isfinite(freedom) else Z95


def detectable_share(n: float, n_other: float, level: float, freedom: float = inf, power: float = 0.8) -> float | None:
    """The least share among ``n`` that a one-sided test of ``fisher_greater`` at ``level`` sets apart from none of
    ``n_other`` with this power; None where even all of them would not do."""
    from scipy.special import betaincinv, gammaln
    from scipy.stats import norm, t

    n, n_other = int(n), int(n_other)
    if isfinite(freedom):
        level = float(norm.sf(t.isf(level, freedom)))
    k = np.arange(1, n + 1)
    # Of n + n_other equals k were drawn, and all of them lie among the n.
    log_p = gammaln(n + 1) - gammaln(n - k + 1) + gammaln(n + n_other - k + 1) - gammaln(n + n_other + 1)
    enough = np.flatnonzero(log_p <= np.log(level))
    if not len(enough):
        return None
    least = int(k[enough[0]])
    return float(betaincinv(least, n - least + 1, power))


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


def mann_whitney(
    a: ArrayLike,
    b: ArrayLike,
    design_effects: tuple[float, float] = (1.0, 1.0),
    freedom: float = inf,
    weights: tuple[ArrayLike, ArrayLike] | None = None,
) -> Shift:
    """Mann–Whitney test of two samples and Cliff's delta as its effect.

    The test is the normal approximation with the correction for ties and none for continuity; the interval Newcombe's
    (2006, method 5), which needs no variance between values and so has a width where the samples do not overlap. A
    sample counts as its size, or the sum of its ``weights``, divided by its design effect, which rests on so many
    degrees of ``freedom``. Raises ValueError for an empty sample.
    """
    from scipy.stats import norm

    values = np.concatenate([np.asarray(a, float), np.asarray(b, float)])
    n = np.asarray(a).size
    if not n or n == len(values):
        raise ValueError("both samples need a value")
    weight = np.ones(len(values)) if weights is None else np.concatenate([np.asarray(w, float) for w in weights])
    n_a, n_b = float(weight[:n].sum()), float(weight[n:].sum())
    _, place = np.unique(values, return_inverse=True)
    equal = np.bincount(place, weight)
    ranks = (np.cumsum(equal) - equal / 2)[place]
    apart = float(np.average(ranks[:n], weights=weight[:n]) - np.average(ranks[n:], weights=weight[n:]))
    # Rounded, so that samples apart from each other are all the way apart.
    area = round(0.5 + apart / (n_a + n_b), 12)
    spread = float((weight * (ranks - np.average(ranks, weights=weight)) ** 2).sum()) / max(n_a + n_b - 1, 1e-9)
    worth_a, worth_b = n_a / design_effects[0], n_b / design_effects[1]
    z = apart / np.sqrt(spread * (1 / worth_a + 1 / worth_b)) if spread > 1e-12 else 0.0
    wider = (interval_width(freedom) / Z95) ** 2
    low, high = _newcombe(area, worth_a / wider, worth_b / wider)
    greater, less = with_freedom(np.array([norm.sf(z), norm.cdf(z)]), freedom).tolist()
    return Shift(float(2 * area - 1), 2 * low - 1, 2 * high - 1, greater, less)


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
