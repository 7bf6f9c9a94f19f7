"""Standardised rates by hand, classes of length against brute force, and intervals against seeds."""

from itertools import combinations

import numpy as np
import pytest
from investigate.analysis.standardise import (
    Observations,
    intraclass,
    natural_classes,
    shifted,
    standardise,
    wilson,
)
from scipy.stats import binomtest


def observations(cells: list[tuple[int, int, int, int]], n_bins: int = 2, n_strata: int = 2) -> Observations:
    """From (bin, stratum, hits, episodes), each episode a group of its own."""
    hit = np.concatenate([np.arange(n) < k for _, _, k, n in cells])
    bins, strata = (np.concatenate([np.full(n, cell[place]) for cell in cells for n in cell[3:]]) for place in (0, 1))
    return Observations(hit, bins, strata, np.arange(len(hit)), n_bins, n_strata)


def drawn(
    seed: int, size: int, n_bins: int = 5, per_bin: int = 30, rho: float = 0.2
) -> tuple[Observations, np.ndarray]:
    """Groups of ``size`` with beta-binomial hits in two strata whose mix drifts; and the true standardised rates."""
    rng = np.random.default_rng(seed)
    bins = np.repeat(np.arange(n_bins), per_bin)
    stratum = (rng.random(len(bins)) < 0.2 + 0.6 * bins / (n_bins - 1)).astype(int)
    chance = np.array([[0.1, 0.3]]) + 0.05 * np.arange(n_bins)[:, None]
    p = chance[bins, stratum]
    own = rng.beta(p * (1 - rho) / rho, (1 - p) * (1 - rho) / rho) if rho else p
    repeated = [np.repeat(values, size) for values in (bins, stratum, np.arange(len(bins)))]
    hit = rng.random(len(bins) * size) < np.repeat(own, size)
    weight = np.bincount(stratum, minlength=2) / len(stratum)
    return Observations(hit, *repeated, n_bins, 2), chance @ weight


def test_wilson_is_scipys_and_takes_parts_of_episodes() -> None:
    for k, n in ((0, 1), (0, 30), (3, 17), (50, 50), (499, 1000)):
        low, high = wilson(np.array([k / n]), np.array([float(n)]))
        expected = binomtest(k, n).proportion_ci(method="wilson")
        assert (low[0], high[0]) == pytest.approx((expected.low, expected.high), abs=1e-9)
    widths = np.diff(wilson(np.full(3, 0.2), np.array([10.0, 10.5, 11.0])), axis=0)[0]
    assert widths[0] > widths[1] > widths[2]
    assert [end[0] for end in wilson(np.array([np.nan]), np.array([0.0]))] == [0.0, 1.0]


def test_a_cut_lies_between_two_heaps_and_not_in_one() -> None:
    rng = np.random.default_rng(0)
    is_long = rng.random(2000) < 0.37
    lengths = np.exp(np.where(is_long, 9, 7) + rng.normal(0, 0.3, 2000))
    classes = natural_classes(lengths)
    assert not set(classes[is_long]) & set(classes[~is_long])
    assert set(classes) == set(range(5))
    assert np.bincount(classes).min() >= 40
    assert (np.diff(classes[np.argsort(lengths, kind="stable")]) >= 0).all()


def test_classes_leave_least_variance() -> None:
    rng = np.random.default_rng(1)
    lengths = np.sort(np.expm1(np.arange(0, 12) * 0.5)[rng.integers(0, 12, 400)])
    classes, logs = natural_classes(lengths, 3), np.log1p(lengths)
    values = np.unique(logs)

    def within(cut: tuple[float, ...]) -> float:
        parts = np.searchsorted(cut, logs, side="right")
        return sum(float(((logs[parts == c] - logs[parts == c].mean()) ** 2).sum()) for c in set(parts.tolist()))

    best = min(map(within, combinations(values[1:], 2)))
    found = sum(float(((logs[classes == c] - logs[classes == c].mean()) ** 2).sum()) for c in range(3))
    assert found == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize(
    "lengths", [np.full(500, 9.0), np.arange(60.0), np.zeros(100), np.repeat([500.0, 540.0], 90), np.array([])]
)
def test_one_class_where_there_is_nothing_to_cut(lengths: np.ndarray) -> None:
    assert not natural_classes(lengths).any()


def test_standardised_rate_by_hand() -> None:
    """Stratum 0 has a rate of 1/2, stratum 1 none; only the mix changes, from 8:2 to 2:8."""
    curve = standardise(observations([(0, 0, 4, 8), (0, 1, 0, 2), (1, 0, 1, 2), (1, 1, 0, 8)]), 0.0)
    assert curve.rate.tolist() == [0.4, 0.1]
    assert curve.standardised.tolist() == [0.25, 0.25]
    assert curve.covered.tolist() == [1.0, 1.0]
    assert (curve.k.tolist(), curve.n.tolist()) == ([4, 1], [10, 10])
    # Of stratum 0, half of the weight, two episodes speak in bin 1: its interval must be the wider one.
    assert (
        curve.standardised_high[1] - curve.standardised_low[1] > curve.standardised_high[0] - curve.standardised_low[0]
    )
    crude = binomtest(1, 10).proportion_ci(method="wilson")
    assert (curve.low[1], curve.high[1]) == pytest.approx((crude.low, crude.high))


def test_a_missing_stratum_is_taken_from_the_shift_of_its_bin() -> None:
    observed = observations([(0, 0, 10, 20), (0, 1, 2, 20), (1, 0, 16, 20)])
    expected = shifted(observed)
    assert expected[1, 0] == pytest.approx(0.8)
    odds = (0.8 / 0.2) / ((26 / 40) / (14 / 40)) * (0.1 / 0.9)
    assert expected[1, 1] == pytest.approx(odds / (1 + odds))
    curve = standardise(observed, 0.0)
    assert curve.covered.tolist() == pytest.approx([1.0, 2 / 3])
    assert curve.standardised[1] == pytest.approx(2 / 3 * 0.8 + 1 / 3 * odds / (1 + odds))


def test_none_all_and_no_episode() -> None:
    curve = standardise(observations([(0, 0, 0, 30), (1, 0, 30, 30)], n_bins=3, n_strata=1), 0.0)
    assert curve.standardised[:2].tolist() == [0.0, 1.0]
    assert curve.standardised_high[0] == pytest.approx(0.1135, abs=1e-3)
    assert (curve.low[0], curve.high[1]) == (0.0, 1.0)
    assert np.isnan([curve.rate[2], curve.standardised[2]]).all()
    assert (curve.low[2], curve.high[2], curve.n[2], curve.covered[2]) == (0.0, 1.0, 0, 0.0)


def test_intraclass_correlation_is_found() -> None:
    assert np.mean([intraclass(drawn(seed, 8, per_bin=200)[0])[0] for seed in range(5)]) == pytest.approx(0.2, abs=0.03)
    assert np.mean([intraclass(drawn(seed, 8, per_bin=200, rho=0)[0])[0] for seed in range(5)]) < 0.01
    twins = observations([(0, 0, 500, 1000)], n_bins=1, n_strata=1)
    same = Observations(twins.hit, twins.bin, twins.stratum, np.arange(1000) // 4, 1, 1)
    assert intraclass(same)[0] == pytest.approx(1.0)
    assert intraclass(twins)[0] == 0.0


def test_a_change_over_steps_is_no_likeness_of_groups() -> None:
    rng = np.random.default_rng(3)
    bins = np.repeat(np.arange(20), 100)
    hit = rng.random(2000) < np.where(bins < 10, 0.05, 0.5)
    observed = Observations(hit, bins, np.zeros(2000, int), np.arange(2000) // 5, 20, 1)
    assert intraclass(observed)[0] < 0.05


def test_an_environment_with_enough_groups_has_a_correlation_of_its_own() -> None:
    alike, rng = drawn(0, 8, per_bin=200, rho=0.5)[0], np.random.default_rng(0)
    n = len(alike.hit)
    both = Observations(
        np.concatenate([alike.hit, rng.random(n) < 0.2]), np.tile(alike.bin, 2),
        np.concatenate([np.zeros(n, int), np.ones(n, int)]), np.concatenate([alike.group, alike.group + n]), 5, 2,
    )  # fmt: skip
    first, second = intraclass(both, np.array([0, 1]))
    assert first > 0.4
    assert second < 0.02


@pytest.mark.parametrize("size", [1, 6])
def test_intervals_cover_the_truth(size: int) -> None:
    covered, blind, crude, n = 0, 0, 0, 0
    for seed in range(80):
        observed, truth = drawn(seed, size, rho=0.0 if size == 1 else 0.2)
        curve = standardise(observed, float(intraclass(observed)[0]))
        covered += int(((curve.standardised_low <= truth) & (truth <= curve.standardised_high)).sum())
        crude += int(((curve.low <= truth) & (truth <= curve.high)).sum())
        naive = standardise(observed, 0.0)
        blind += int(((naive.standardised_low <= truth) & (truth <= naive.standardised_high)).sum())
        n += 5
    assert 0.92 <= covered / n <= 0.99
    assert crude < covered  # the crude rate is one of another mix
    if size > 1:
        assert blind / n < 0.9
