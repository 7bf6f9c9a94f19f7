"""Rates by step, crude and at one composition: direct standardisation over strata.

Takes arrays of one value per episode (did it happen, bin of steps, stratum, group), gives a curve with intervals. Pure
numbers: knows no store, no text, and not what was counted. Episodes of one group were sampled from one prompt, so all
intervals are widened by the intraclass correlation of groups.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .statistics import Z95

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

N_CLASSES: Final = 5
"""Five classes of a confounder leave about a tenth of its bias (Cochran 1968)."""
_MIN_PER_CLASS: Final = 40
_HISTOGRAM_BINS: Final = 256
_SAME_LENGTH: Final = 0.1
"""In log length: what differs by a tenth is as long, lest a word more that the behaviour itself brings be a class."""
_PERIOD_GROUPS: Final = 25
_N_PERIODS: Final = 10
_LARGEST_LOGIT: Final = 15.0


@dataclass(frozen=True, slots=True)
class Observations:
    """``n`` episodes: ``hit``, its ``bin`` and its ``stratum`` counted from 0, and its ``group`` (any integers; equal
    ones were sampled from one prompt). A group lies in one environment; it may lie in several bins."""

    hit: NDArray[np.bool_]
    bin: Ints
    stratum: Ints
    group: Ints
    n_bins: int
    n_strata: int

    def table(self, values: Any = None) -> Floats:
        """(n_bins, n_strata): how many episodes, or the sums of ``values``."""
        cell = self.bin * self.n_strata + self.stratum
        sums = np.bincount(cell, weights=values, minlength=self.n_bins * self.n_strata)
        return np.asarray(sums, float).reshape(self.n_bins, self.n_strata)

    def only(self, mask: NDArray[np.bool_]) -> Observations:
        """Those where ``mask`` is true; bins and strata keep their numbers."""
        chosen = {name: getattr(self, name)[mask] for name in ("hit", "bin", "stratum", "group")}
        return replace(self, **chosen)


@dataclass(frozen=True, slots=True)
class Curve:
    """Per bin, each of shape (n_bins,). ``covered`` is the share of the weight whose stratum has an episode in the bin;
    a bin without episodes has NaN for its rate, and the interval 0 to 1."""

    k: Ints
    n: Ints
    rate: Floats
    low: Floats
    high: Floats
    standardised: Floats
    standardised_low: Floats
    standardised_high: Floats
    covered: Floats


def wilson(share: Floats, n: Floats) -> tuple[Floats, Floats]:
    """95 % Wilson score interval (Wilson 1927) of shares of ``n``, which need not be whole numbers: an effective sample
    size does (Korn and Graubard 1998). Of nothing, 0 to 1."""
    known = n > 0
    size, p = np.where(known, n, 1.0), np.where(known, share, 0.5)
    spread = Z95**2 / size
    middle = (p + spread / 2) / (1 + spread)
    half = Z95 * np.sqrt(p * (1 - p) / size + spread / (4 * size)) / (1 + spread)
    # Where all or none of the episodes are hits the bound is exact; arithmetic would leave 1e-18.
    low = np.where(p <= 0, 0.0, np.maximum(middle - half, 0.0))
    high = np.where(p >= 1, 1.0, np.minimum(middle + half, 1.0))
    return np.where(known, low, 0.0), np.where(known, high, 1.0)


def natural_classes(lengths: Floats, k: int = N_CLASSES) -> Ints:
    """Classes 0 to at most k - 1 of lengths (n,) by the cuts that leave least variance of log length within classes
    (Fisher 1958, on a histogram of 256 bins): where long and short episodes are two heaps, a cut lies between them,
    while a quantile would cut through one of them. One class where all are equal or episodes are few."""
    logs = np.log1p(np.asarray(lengths, float))
    k = min(k, len(logs) // _MIN_PER_CLASS)
    if k < 2 or logs.min() == logs.max():
        return np.zeros(len(logs), np.int64)
    spread = float(logs.max() - logs.min())
    n_places = min(_HISTOGRAM_BINS, 1 + int(spread / _SAME_LENGTH))
    place = np.rint((logs - logs.min()) * ((n_places - 1) / spread)).astype(np.int64)
    counts = np.bincount(place, minlength=n_places).astype(float)
    occupied = np.flatnonzero(counts)
    cuts = _best_cuts(occupied.astype(float), counts[occupied], min(k, len(occupied)))
    classes = np.searchsorted(occupied[cuts], place, side="right")
    return np.asarray(_without_small(classes, _MIN_PER_CLASS))


def _best_cuts(values: Floats, weights: Floats, k: int) -> list[int]:
    """Where classes 1 to k - 1 begin, by dynamic programming over prefix sums: O(k m²) for m values."""
    w, wx, wxx = (np.concatenate([[0.0], np.cumsum(weights * values**power)]) for power in (0, 1, 2))
    start, end = np.meshgrid(np.arange(len(values)), np.arange(1, len(values) + 1), indexing="ij")
    weight = np.where(end > start, w[end] - w[start], 1.0)
    cost = np.where(end > start, wxx[end] - wxx[start] - (wx[end] - wx[start]) ** 2 / weight, np.inf)
    best, begins = cost[0], []
    for _ in range(k - 1):
        # Row: where the last class begins; column: where it ends.
        total = np.concatenate([[np.inf], best[:-1]])[:, None] + cost
        begins.append(total.argmin(0))
        best = total.min(0)
    cuts, last = [], len(values) - 1
    for begin in reversed(begins):
        cut = int(begin[last])
        cuts.append(cut)
        last = cut - 1
    return cuts[::-1]


def _without_small(classes: Ints, least: int) -> Ints:
    """The same classes, those of fewer than ``least`` members joined to their neighbour, numbered without gaps."""
    counts = np.bincount(classes)
    merged, held = np.zeros(len(counts), np.int64), 0.0
    for number, count in enumerate(counts):
        merged[number] = merged[number - 1] + (number > 0 and held >= least)
        held = count if number == 0 or merged[number] > merged[number - 1] else held + count
    if held < least:
        merged[merged == merged[-1]] = max(0, merged[-1] - 1)
    return np.asarray(merged[classes])


def intraclass(observed: Observations, unit: Ints | None = None) -> Floats:
    """Intraclass correlation of hits within groups, at least 0: one number per unit, or shape (1,) for all together.

    ``unit`` (n_strata,) says which environment a stratum belongs to; one that tells too little has the number of all.
    Moment estimate from products of residuals within groups (as Liang and Zeger 1986), about strata and periods of the
    run, so that a change over the steps does not count as likeness.
    """
    by_group = np.bincount(np.unique(observed.group, return_inverse=True)[1])
    period = _periods(observed, len(by_group))
    coarse = replace(observed, bin=period, n_bins=int(period.max(initial=0)) + 1)
    fitted = shifted(coarse)[coarse.bin, coarse.stratum]
    scale = np.sqrt(fitted * (1 - fitted))
    residual = observed.hit - fitted
    units = np.zeros(observed.n_strata, np.int64) if unit is None else unit
    n_units = int(units.max(initial=0)) + 1
    order = np.lexsort((observed.group, units[observed.stratum]))
    keys = np.stack([units[observed.stratum][order], observed.group[order]])
    begins = np.flatnonzero(np.concatenate([[True], (np.diff(keys) != 0).any(0)])) if len(order) else order
    if not len(begins):
        return np.zeros(n_units)
    of = keys[0][begins]

    def pairs_of(values: Floats) -> Floats:
        sums, squares = (np.add.reduceat(v, begins) for v in (values[order], values[order] ** 2))
        return np.asarray(np.bincount(of, weights=sums**2 - squares, minlength=n_units), float)

    products, pairs, counts = pairs_of(residual), pairs_of(scale), pairs_of(np.ones(len(scale)))
    hits = np.bincount(units[observed.stratum], weights=observed.hit, minlength=n_units)
    overall = max(0.0, float(products.sum() / pairs.sum())) if pairs.sum() > 0 else 0.0
    own = np.divide(products, pairs, out=np.zeros(n_units), where=pairs > 0)
    enough = (counts >= 400) & (hits >= 20)
    return np.clip(np.where(enough, own, overall), 0.0, 1.0)


def _periods(observed: Observations, n_groups: int) -> Ints:
    """Consecutive bins put together: at most ten periods of 25 groups or more."""
    n_periods = max(1, min(_N_PERIODS, n_groups // _PERIOD_GROUPS))
    before = np.cumsum(np.bincount(observed.bin, minlength=observed.n_bins)) - 1
    return np.asarray((before * n_periods // max(1, len(observed.hit)))[observed.bin].astype(np.int64))


def shifted(observed: Observations) -> Floats:
    """(n_bins, n_strata): the chance of a hit, its logit that of the stratum over all bins plus one shift per bin, such
    that each bin is expected to have the hits that it has."""
    n, k = observed.table(), observed.table(observed.hit)
    total = n.sum(0)
    share = np.divide(k.sum(0), total, out=np.zeros(observed.n_strata), where=total > 0)
    inner = np.clip(share, 1e-12, 1 - 1e-12)
    base = np.log(inner) - np.log1p(-inner)
    varies = (share > 0) & (share < 1)
    low, high = np.full(observed.n_bins, -_LARGEST_LOGIT), np.full(observed.n_bins, _LARGEST_LOGIT)
    for _ in range(50):
        shift = (low + high) / 2
        chance = np.where(varies, _logistic(base + shift[:, None]), share)
        above = (n * chance).sum(1) > k.sum(1)
        high, low = np.where(above, shift, high), np.where(above, low, shift)
    chance = np.where(varies, _logistic(base + ((low + high) / 2)[:, None]), share)
    hits, size = k.sum(1), n.sum(1)
    chance[(hits == 0) & (size > 0)] = 0.0
    chance[(hits == size) & (size > 0)] = 1.0
    return np.asarray(chance)


def standardise(observed: Observations, rho: float) -> Curve:
    """The crude rate of every bin, and the rate it would have at the pooled composition.

    Direct standardisation: per bin the rates of strata, weighted by the share of each stratum in all episodes. A
    stratum without an episode in the bin has the rate that ``shifted`` expects of it. ``rho`` is the intraclass
    correlation; intervals are Wilson's at the number of independent episodes that would tell as much.
    """
    n, k = observed.table(), observed.table(observed.hit)
    size, weight = n.sum(1), n.sum(0) / max(1.0, n.sum())
    expected = shifted(observed)
    seen = n > 0
    raw = np.divide(k, n, out=expected.copy(), where=seen)
    covered = (seen * weight).sum(1)
    rate = np.divide(k.sum(1), size, out=np.full(observed.n_bins, np.nan), where=size > 0)
    # Rounded, for weights that add up to 1 - 1e-16 would make no certainty of one.
    standardised = np.where(size > 0, (raw * weight).sum(1).round(14), np.nan)
    # What an episode adds to its bin: its share of its own stratum, and through the shift to strata that are missing.
    spread = expected * (1 - expected)
    missing, there = (np.where(seen, 0.0, weight * spread)).sum(1), (n * spread).sum(1)
    plain = np.divide(1 - covered, size, out=np.zeros(observed.n_bins), where=size > 0)
    through = np.divide(missing, there, out=plain.copy(), where=there > 0)
    each = np.divide(weight, n, out=np.zeros_like(n), where=seen) + through[:, None]
    equal = np.divide(1.0, size, out=np.zeros(observed.n_bins), where=size > 0)
    crude_n = _effective(observed, np.broadcast_to(equal[:, None], n.shape), rate, None, rho)
    standardised_n = _effective(observed, each, standardised, spread, rho)
    low, high = wilson(rate, crude_n)
    fair_low, fair_high = wilson(standardised, standardised_n)
    return Curve(
        k.sum(1).astype(np.int64), size.astype(np.int64), rate, low, high, standardised, fair_low, fair_high, covered
    )


def _effective(observed: Observations, weight: Floats, rate: Floats, spread: Floats | None, rho: float) -> Floats:
    """Per bin, how many independent episodes would tell as much; never more than there are."""
    n = observed.table()
    worth, size = np.zeros(len(n)), n.sum(1)
    if spread is not None:
        variance = _variance(observed, weight * np.sqrt(spread), rho)
        varies = (variance > 0) & (rate > 0) & (rate < 1)
        worth[varies] = (rate * (1 - rate))[varies] / variance[varies]
    if ((worth == 0) & (size > 0)).any():
        # Without a spread of its own, by the weights alone (Kish 1965).
        worth = np.where(worth > 0, worth, 1 / np.maximum(_variance(observed, weight, rho), 1e-300))
    return np.asarray(np.where(size > 0, np.minimum(worth, size), 0.0))


def _variance(observed: Observations, weight: Floats, rho: float) -> Floats:
    """Per bin, the variance of the sum of ``weight`` (n_bins, n_strata) times variables of unit variance that
    correlate by ``rho`` within groups."""
    alone = (observed.table() * weight**2).sum(1)
    if rho == 0 or not len(observed.hit):
        return np.asarray(alone)
    order = np.lexsort((observed.group, observed.bin))
    bins, groups = observed.bin[order], observed.group[order]
    begins = np.flatnonzero(np.concatenate([[True], (np.diff(bins) != 0) | (np.diff(groups) != 0)]))
    sums = np.add.reduceat(weight[bins, observed.stratum[order]], begins)
    together = np.bincount(bins[begins], weights=sums**2, minlength=observed.n_bins)
    return np.asarray((1 - rho) * alone + rho * together)


def _logistic(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -700, 700))))
