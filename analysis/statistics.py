"""Rates, rankings and their intervals. Pure numbers: arrays in, numbers out, a seed where there is chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

Z95: Final = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Rate:
    """``k`` of ``n``, with a 95 % Wilson score interval (Wilson 1927); of nothing, the interval is everything."""

    k: int
    n: int

    @property
    def rate(self) -> float:
        return self.k / self.n if self.n else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        if not self.n:
            return 0.0, 1.0
        share, spread = self.rate, Z95**2 / self.n
        middle = (share + spread / 2) / (1 + spread)
        half = Z95 * np.sqrt(share * (1 - share) / self.n + spread / (4 * self.n)) / (1 + spread)
        # Where all or none succeeded the bound is exact; arithmetic would leave 1e-18.
        return (0.0 if not self.k else float(middle - half)), (1.0 if self.k == self.n else float(middle + half))


def auroc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Probability that a positive scores above a negative, ties counting half (Mann–Whitney); NaN for one class."""
    values, positive = np.asarray(scores, float), np.asarray(labels, bool)
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative:
        return float("nan")
    ranks = _ranks(values)
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse])


def recall_at(scores: ArrayLike, labels: ArrayLike, false_positive_rate: float) -> float:
    """Share of positives above the threshold that at most this share of the negatives exceeds."""
    values, positive = np.asarray(scores, float), np.asarray(labels, bool)
    if not positive.any() or positive.all():
        return float("nan")
    threshold = np.quantile(values[~positive], 1 - false_positive_rate, method="higher")
    return float((values[positive] > threshold).mean())


def auroc_interval(
    scores: ArrayLike, labels: ArrayLike, groups: Sequence[str], *, seed: int, n_draws: int = 1000
) -> tuple[float, float]:
    """95 % percentile interval of the AUROC from a bootstrap that draws whole groups (items of a group are not
    independent). Where the classes do not overlap no draw can show a doubt: the bound is then that of the rule of
    three over groups. NaN where no draw holds both classes."""
    values, positive = np.asarray(scores, float), np.asarray(labels, bool)
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    members = [np.flatnonzero(codes == code) for code in range(len(names))]
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(n_draws):
        chosen = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        draws.append(auroc(values[chosen], positive[chosen]))
    known = np.asarray(draws)[~np.isnan(draws)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [0.025, 0.975])
    if low == high and low in (0.0, 1.0):
        doubt = min(1.0, 3 / len(names))
        return (1.0 - doubt, 1.0) if low else (0.0, doubt)
    return float(low), float(high)
