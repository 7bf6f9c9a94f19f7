"""Did a rate change at some step, beyond what a drifting composition explains; where, and in which environments?

Takes ``Observations`` (one value per episode), gives a test against no change in any stratum, the place with an
interval, and what each environment says. Pure numbers: knows no store, no text, and not what was counted.

The test: at every candidate step a likelihood ratio of one odds ratio against none, each stratum with its own rate, for
all environments together and for each alone; the greatest of all is compared with that of a Gaussian process with the
covariance that the stratified score has when nothing changes (sup-type test, Andrews 1993; strata as Mantel 1963). The
signed root of a likelihood ratio is near normal also where hits are few, which the score is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .standardise import Floats, Ints, Observations, intraclass

MIN_INFORMATION: Final = 10.0
"""A candidate step has on either side at least this variance of the number of hits: ten expected hits, where rare. With
less the level is off."""
CRITICAL_95: Final = 7.352
"""95 % point of the likelihood ratio of a change point: ``-2 log(1 - sqrt(0.95))`` (Hansen 2000, theorem 2)."""
_MOST_ALONE: Final = 50
_N_DRAWS: Final = 10_000
_LARGEST: Final = 12.0
_POWER_80: Final = 0.8416


@dataclass(frozen=True, slots=True)
class Component:
    """What one environment says (or all together): ``z`` is the signed root of the greatest likelihood ratio, reached
    at bin ``at``; ``p`` allows for every environment and step that was tried. NaN and None where nothing could be
    tried."""

    unit: int | None
    k: int
    n: int
    z: float
    at: int | None
    p: float


@dataclass(frozen=True, slots=True)
class Change:
    """``p`` against no change anywhere; None where no step could be tried. ``at`` is the first bin after the change,
    ``low`` and ``high`` its 95 % interval, if there is one change and it is a jump. ``units`` are the environments in
    which it is seen at the level ``alpha``, all of one direction; it is placed by them alone if ``in_units``, which is
    where they say more than all together. ``detectable`` is the lasting change of rate,
    the same in all strata, that this test finds in 80 % of cases where it happens at the most telling step."""

    p: float | None
    z: float
    at: int | None
    low: int | None
    high: int | None
    in_units: bool
    units: tuple[int, ...]
    overall: Component
    alone: tuple[Component, ...]
    detectable: float | None
    n_candidates: int


@dataclass(frozen=True, slots=True)
class _Process:
    """One component: its strata, the candidates, and the covariance of its score over bins."""

    unit: int | None
    observed: Observations
    covariance: Floats
    ratio: Floats
    """(n_bins - 1,): signed root of the likelihood ratio of a change before bin 1, 2 … over the design effect; NaN
    where it cannot be tried."""
    variance: Floats
    """(n_bins - 1,): variance of the score after the change."""
    likelihood: Floats
    """(n_bins - 1,): twice the gain in log likelihood, not corrected for anything."""


def find_change(observed: Observations, unit: Ints, *, alpha: float, seed: int) -> Change:
    """Test, place and attribute. ``unit`` (n_strata,) says which environment a stratum belongs to; ``alpha`` is the
    level at which environments are named."""
    rho = intraclass(observed, unit)
    by_unit = [
        _process(observed.only(unit[observed.stratum] == number), number, float(alike))
        for number, alike in enumerate(rho)
    ]
    covariance = np.sum([process.covariance for process in by_unit], axis=0)
    together = _process(observed, None, 0.0, covariance)
    # Which environments are tried alone must not depend on when their hits are.
    order = sorted((p for p in by_unit if np.isfinite(p.ratio).any()), key=lambda p: (-p.variance.max(), p.unit))
    alone = order[:_MOST_ALONE] if len(by_unit) > 1 else []
    null, critical = _null(together, alone, alpha, seed)
    overall, *parts = (_component(process, null) for process in (together, *alone))
    if not len(null):
        return Change(None, float("nan"), None, None, None, False, (), overall, (), None, 0)
    parts = sorted(parts, key=lambda part: (-abs(part.z), part.unit or 0))
    leading = max((overall, *parts), key=lambda part: abs(part.z) if np.isfinite(part.z) else -1.0)
    named = [part for part in parts if part.p <= alpha and np.sign(part.z) == np.sign(parts[0].z)]
    chosen = [next(p for p in alone if p.unit == part.unit) for part in named]
    # A step counts where all of them could be tried.
    summed = sum((process.likelihood / _deff(process) for process in chosen), np.zeros(observed.n_bins - 1))
    in_units = bool(np.nanmax(summed, initial=0.0) > overall.z**2)
    if not in_units:
        summed = together.likelihood / _deff(together)
    at, low, high = _place(summed)
    return Change(
        leading.p, leading.z, at, low, high, in_units, tuple(part.unit for part in named if part.unit is not None),
        overall, tuple(parts), _detectable(together, critical), int(np.isfinite(together.ratio).sum()),
    )  # fmt: skip


def trend_z(observed: Observations, steps: Floats, rho: float) -> float:
    """Cochran–Armitage test for trend over ``steps`` (n_bins,), within strata (Mantel 1963) and with the variance that
    groups have whose episodes correlate by ``rho``: a standard normal where nothing changes; NaN where nothing varies.
    With one stratum it is the crude test."""
    score, covariance = _score(observed), score_covariance(observed, rho)
    variance = float(steps @ covariance @ steps)
    return float(steps @ score) / float(np.sqrt(variance)) if variance > 1e-12 * float(steps @ steps) else float("nan")


def _score(observed: Observations) -> Floats:
    """(n_bins,): hits less those expected of the strata."""
    n, k = observed.table(), observed.table(observed.hit)
    return np.asarray((k - n * _shares(n, k)).sum(1))


def _shares(n: Floats, k: Floats) -> Floats:
    total = n.sum(0)
    return np.asarray(np.divide(k.sum(0), total, out=np.zeros(len(total)), where=total > 0))


def score_covariance(observed: Observations, rho: float) -> Floats:
    """(n_bins, n_bins): covariance of the stratified score where nothing changes, given how often each stratum has
    hits: hypergeometric for episodes, and ``rho`` for pairs of a group."""
    n, k = observed.table(), observed.table(observed.hit)
    total, share = n.sum(0), _shares(n, k)
    spread = np.where(total > 1, share * (1 - share) * total / np.maximum(total - 1, 1), 0.0)
    part = n / np.maximum(total, 1)
    alone = np.diag((n * spread).sum(1)) - (n * spread) @ part.T
    if rho == 0:
        return np.asarray(alone)
    return np.asarray((1 - rho) * alone + rho * _group_products(observed, np.sqrt(spread), part))


def _group_products(observed: Observations, scale: Floats, part: Floats) -> Floats:
    """Sum over groups of the outer product of what each adds to the score."""
    from scipy import sparse

    _, group = np.unique(observed.group, return_inverse=True)
    weight, n_groups = scale[observed.stratum], int(group.max(initial=-1)) + 1
    by_bin, by_stratum = (
        sparse.csr_array((weight, (group, place)), shape=(n_groups, size))
        for place, size in ((observed.bin, observed.n_bins), (observed.stratum, observed.n_strata))
    )
    # A group adds what it has in a bin, less its strata times the share of the bin in each.
    mixed = (by_bin.T @ by_stratum) @ part.T
    pure = part @ ((by_stratum.T @ by_stratum) @ part.T)
    return np.asarray((by_bin.T @ by_bin).toarray() - mixed - mixed.T + pure)


def _process(observed: Observations, unit: int | None, rho: float, covariance: Floats | None = None) -> _Process:
    n, k = observed.table(), observed.table(observed.hit)
    if covariance is None:
        covariance = score_covariance(observed, rho)
    independent = score_covariance(observed, 0.0)
    variance, plain = (_after(_after(c).T).diagonal() for c in (covariance, independent))
    share = _shares(n, k)
    inside = np.cumsum((n * share * (1 - share)).sum(1))
    tried = (inside[:-1] >= MIN_INFORMATION) & (inside[-1] - inside[:-1] >= MIN_INFORMATION)
    # Where one group holds all there is on both sides, nothing can be told.
    tried &= variance > 1e-9 * plain
    likelihood, sign = np.full(len(tried), np.nan), np.zeros(len(tried))
    if tried.any():
        likelihood[tried], sign[tried] = _likelihood_ratio(n, k, tried)
    deff = np.divide(variance, plain, out=np.ones(len(tried)), where=tried)
    ratio = np.full(len(tried), np.nan)
    ratio[tried] = sign[tried] * np.sqrt(likelihood[tried] / deff[tried])
    return _Process(unit, observed, covariance, ratio, variance, likelihood)


def _likelihood_ratio(n: Floats, k: Floats, tried: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """For each step tried: twice the gain of one odds ratio for all strata, and its sign."""
    varies = (k.sum(0) > 0) & (k.sum(0) < n.sum(0))
    n, k = n[:, varies], k[:, varies]
    n0, k0 = (np.cumsum(table, axis=0)[:-1][tried] for table in (n, k))
    n1, k1 = n.sum(0) - n0, k.sum(0) - k0
    low, high = np.full(len(n0), -_LARGEST), np.full(len(n0), _LARGEST)
    for _ in range(45):
        odds = np.exp((low + high) / 2)[:, None]
        x = _baseline_odds(n0, n1, k0 + k1, odds)
        short = (n1 * odds * x / (1 + odds * x)).sum(1) < k1.sum(1)
        low, high = np.where(short, np.log(odds[:, 0]), low), np.where(short, high, np.log(odds[:, 0]))
    odds = np.exp((low + high) / 2)[:, None]
    x = _baseline_odds(n0, n1, k0 + k1, odds)
    p0, p1, p = x / (1 + x), odds * x / (1 + odds * x), (k0 + k1) / (n0 + n1)
    gain = _log_likelihood(k0, n0, p0) + _log_likelihood(k1, n1, p1) - _log_likelihood(k0 + k1, n0 + n1, p)
    return np.maximum(2 * gain.sum(1), 0.0), np.sign(low + high)


def _baseline_odds(n0: Floats, n1: Floats, k: Floats, odds: Floats) -> Floats:
    """Odds x before the change for which both sides together have their ``k`` hits, with odds ``odds * x`` after it:
    the positive root of a quadratic."""
    a = (n0 + n1 - k) * odds
    b = n0 + n1 * odds - k * (1 + odds)
    root = np.sqrt(b * b + 4 * a * k)
    return np.asarray(np.where(b > 0, 2 * k / (b + root), (root - b) / (2 * a)))


def _log_likelihood(k: Floats, n: Floats, p: Floats) -> Floats:
    inner = np.clip(p, 1e-300, 1 - 1e-16)
    return np.asarray(k * np.log(inner) + (n - k) * np.log1p(-inner))


def _null(together: _Process, alone: Sequence[_Process], alpha: float, seed: int) -> tuple[Floats, float]:
    """Draws of the greatest |z| of all components where nothing changes, sorted; and its 1 - alpha point."""
    processes = (together, *alone)
    if not any(np.isfinite(process.ratio).any() for process in processes):
        return np.zeros(0), float("nan")
    rng = np.random.default_rng(seed)
    n_bins = together.observed.n_bins
    rest = together.covariance - sum((process.covariance for process in alone), np.zeros((n_bins, n_bins)))
    greatest, pooled = np.zeros(_N_DRAWS), _draws(rest, rng)
    for process in alone:
        scores = _draws(process.covariance, rng)
        pooled += scores
        greatest = np.maximum(greatest, _greatest(process, scores))
    greatest = np.sort(np.maximum(greatest, _greatest(together, pooled)))
    return greatest, float(np.quantile(greatest, 1 - alpha))


def _draws(covariance: Floats, rng: np.random.Generator) -> Floats:
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    return np.asarray(rng.standard_normal((_N_DRAWS, len(values))) @ root.T)


def _greatest(process: _Process, scores: Floats) -> Floats:
    tried = np.isfinite(process.ratio)
    if not tried.any():
        return np.zeros(len(scores))
    return np.asarray((np.abs(_after(scores)[:, tried]) / np.sqrt(process.variance[tried])).max(1))


def _after(by_bin: Floats) -> Floats:
    """Sums over the bins from the second, the third … on, along the last axis."""
    return np.asarray(by_bin[..., ::-1].cumsum(-1)[..., -2::-1])


def _component(process: _Process, null: Floats) -> Component:
    k, n = int(process.observed.hit.sum()), len(process.observed.hit)
    if not np.isfinite(process.ratio).any():
        return Component(process.unit, k, n, float("nan"), None, float("nan"))
    place = int(np.nanargmax(np.abs(process.ratio)))
    z = float(process.ratio[place])
    beyond = len(null) - int(np.searchsorted(null, abs(z)))
    return Component(process.unit, k, n, z, place + 1, (1 + beyond) / (1 + len(null)))


def _deff(process: _Process) -> float:
    """The design effect where the likelihood is greatest."""
    place = int(np.nanargmax(process.likelihood))
    return float(process.likelihood[place] / max(process.ratio[place] ** 2, 1e-12)) or 1.0


def _place(likelihood: Floats) -> tuple[int, int, int]:
    """The best first bin after the change, and the outermost ones that the likelihood ratio does not rule out. Those
    that could not be tried are ruled out only where one between them and the best is."""
    filled = np.where(np.isfinite(likelihood), likelihood, -np.inf)
    kept, tried = np.flatnonzero(filled >= filled.max() - CRITICAL_95), np.flatnonzero(np.isfinite(filled))
    low = 0 if kept[0] == tried[0] else kept[0]
    high = len(filled) - 1 if kept[-1] == tried[-1] else kept[-1]
    return int(filled.argmax()) + 1, int(low) + 1, int(high) + 1


def _detectable(process: _Process, critical: float) -> float | None:
    tried = np.isfinite(process.ratio)
    if not tried.any():
        return None
    n = process.observed.table()
    before = np.cumsum(n, axis=0)[:-1]
    per_point = (before * (n.sum(0) - before) / np.maximum(n.sum(0), 1)).sum(1)
    needed = (critical + _POWER_80) * np.sqrt(process.variance[tried]) / np.maximum(per_point[tried], 1e-12)
    return float(needed.min())
