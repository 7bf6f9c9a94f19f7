"""Tests of a difference: against scipy, and against what was published."""

from __future__ import annotations

import numpy as np
import pytest
from investigate.analysis.testing import (
    benjamini_hochberg,
    cliffs_delta,
    detectable_share,
    fisher,
    fisher_greater,
    holm,
    interval_width,
    log_odds,
    mann_whitney,
    with_freedom,
    worth,
)
from scipy import stats

# The fifteen p-values of the example in Benjamini and Hochberg (1995), of which four are rejected at 5 %.
PUBLISHED = [
    0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0,
]  # fmt: skip


def test_the_published_example_is_rejected_as_published() -> None:
    assert (benjamini_hochberg(PUBLISHED) <= 0.05).tolist() == [True] * 4 + [False] * 11
    assert (holm(PUBLISHED) <= 0.05).tolist() == [True] * 3 + [False] * 12


def test_false_discovery_control_is_that_of_scipy_in_any_order() -> None:
    p = np.random.default_rng(0).random(50) ** 2
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p))
    assert benjamini_hochberg([]).shape == holm([]).shape == (0,)


def test_holm_by_hand() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0]


def test_fisher_is_that_of_the_tea() -> None:
    # Fisher's lady tasting tea: three of four cups right.
    assert fisher(3, 4, 1, 4) == pytest.approx(34 / 70)
    assert fisher_greater(3, 4, 1, 4) == pytest.approx(17 / 70)
    tables = [(0, 10, 0, 5), (8, 8, 1, 9), (50, 2500, 0, 2500), (3, 100, 0, 10_000)]
    tails = fisher_greater(*np.array(tables).T)
    for (k_a, n_a, k_b, n_b), tail in zip(tables, tails, strict=True):
        table = [[k_a, n_a - k_a], [k_b, n_b - k_b]]
        assert tail == pytest.approx(stats.fisher_exact(table, "greater").pvalue)


def test_counts_are_worth_what_independent_ones_would_be() -> None:
    k, n = worth([9, 9], [100, 100], [1.0, 4.0], [False, True])
    assert (k.tolist(), n.tolist()) == ([9, 3], [100, 25])
    k, n = worth([9, 0, 3], [100, 0, 3], [4.0, 4.0, 8.0], False)
    assert (k.tolist(), n.tolist()) == ([2, 0, 1], [25, 1, 1])


def test_log_odds_of_a_vanishing_prior_are_those_of_woolf() -> None:
    effect, error = log_odds(30, 100, 10, 100, prior=1e-9)
    assert effect == pytest.approx(np.log(30 * 90 / (70 * 10)))
    assert error == pytest.approx(np.sqrt(1 / 30 + 1 / 70 + 1 / 10 + 1 / 90))


def test_the_prior_draws_what_is_rare_towards_nothing() -> None:
    rare, often = log_odds([2, 200], 1000, [0, 50], 1000)[0]
    z = np.divide(*log_odds([2, 200], 1000, [0, 50], 1000))
    assert 0 < z[0] < 1 < 8 < z[1]
    assert rare < log_odds(2, 1000, 0, 1000, prior=1e-3)[0]
    assert often == pytest.approx(np.log(200 / 800 / (50 / 950)), abs=0.1)


def test_of_nothing_there_are_no_odds() -> None:
    effect, error = log_odds(0, 0, 0, 0)
    assert (float(effect), float(error)) == (0.0, pytest.approx(np.sqrt(8)))


def test_mann_whitney_is_that_of_scipy_with_ties() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 9, 40), rng.integers(2, 12, 60)
    ours = mann_whitney(a, b)
    known = stats.mannwhitneyu(a, b, alternative="two-sided", method="asymptotic", use_continuity=False)
    assert ours.p == pytest.approx(known.pvalue)
    assert ours.delta == pytest.approx(2 * known.statistic / 2400 - 1)
    less = stats.mannwhitneyu(a, b, alternative="less", method="asymptotic", use_continuity=False)
    assert ours.less == pytest.approx(less.pvalue)
    # Four copies of everything say no more than one.
    copied = mann_whitney(np.repeat(a, 4), np.repeat(b, 4), (4.0, 4.0))
    assert copied.p == pytest.approx(ours.p, rel=0.1)
    assert (copied.low, copied.high) == pytest.approx((ours.low, ours.high))


def test_cliffs_delta_counts_pairs() -> None:
    # Of 3 × 3 pairs a wins 6 and loses 1.
    delta, low, high = cliffs_delta([2, 3, 4], [1, 2, 3])
    assert delta == pytest.approx((6 - 1) / 9)
    assert low < delta < high


def test_the_interval_has_a_width_where_samples_do_not_overlap() -> None:
    delta, low, high = cliffs_delta(range(10, 20), range(10))
    assert (delta, high) == (1, 1)
    assert 0.4 < low < 0.9
    assert cliffs_delta(range(10), range(10, 20)) == pytest.approx((-1, -1, -low))


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng, covered = np.random.default_rng(2), 0
    truth = 2 * stats.norm.cdf(0.5 / np.sqrt(2)) - 1
    for _ in range(400):
        _, low, high = cliffs_delta(rng.normal(0.5, 1, 25), rng.normal(0, 1, 40))
        covered += low <= truth <= high
    assert 0.92 <= covered / 400 <= 0.98


def test_an_empty_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="both samples"):
        mann_whitney([], [1])
    assert mann_whitney([1, 1], [1, 1]).p == 1


def test_a_weight_of_two_is_a_value_seen_twice() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 9, 30), rng.integers(1, 10, 40)
    twice = mann_whitney(np.repeat(a, 2), b)
    weighted = mann_whitney(a, b, weights=(np.full(30, 2.0), np.ones(40)))
    assert weighted.greater == pytest.approx(twice.greater)
    assert (weighted.delta, weighted.low) == pytest.approx((twice.delta, twice.low))


def test_an_estimated_variance_has_the_tails_of_student() -> None:
    p = stats.norm.sf([0.0, 1.0, 3.0])
    assert with_freedom(p, 5) == pytest.approx(stats.t.sf([0.0, 1.0, 3.0], 5))
    assert with_freedom(p, 5, 2.0) == pytest.approx(stats.t.sf([0.0, 2.0, 6.0], 5))
    assert with_freedom(p, np.inf).tolist() == p.tolist()
    assert (interval_width(4), interval_width(np.inf)) == pytest.approx((2.776, 1.96), abs=1e-3)
    assert mann_whitney([1, 2, 3, 4], [3, 4, 5, 6], freedom=4).p > mann_whitney([1, 2, 3, 4], [3, 4, 5, 6]).p


def test_the_detectable_share_is_found_four_times_in_five() -> None:
    for n, other in ((50, 500), (400, 30)):
        share = detectable_share(n, other, 0.001)
        assert share is not None
        k = np.arange(n + 1)
        found = fisher_greater(k, n, 0, other) <= 0.001
        assert float(stats.binom.pmf(k, n, share)[found].sum()) == pytest.approx(0.8)
    assert detectable_share(3, 3, 0.01) is None
    assert (detectable_share(50, 500, 0.001, freedom=6) or 1) > (detectable_share(50, 500, 0.001) or 1)
