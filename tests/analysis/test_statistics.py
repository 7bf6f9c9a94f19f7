"""Rates and rankings against known answers and against scipy and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from investigate.analysis.statistics import Rate, auroc, auroc_interval, recall_at
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval(kn: tuple[int, int]) -> None:
    k, n = kn
    expected = binomtest(k, n).proportion_ci(method="wilson")
    assert Rate(k, n).interval == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_rule_of_nothing_seen() -> None:
    assert Rate(0, 30).interval[1] == pytest.approx(0.114, abs=0.001)
    assert Rate(0, 100).interval[1] == pytest.approx(0.037, abs=0.001)
    assert Rate(0, 0).interval == (0.0, 1.0)
    assert np.isnan(Rate(0, 0).rate)


@given(st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=2, max_size=60))
def test_auroc_with_ties(items: list[tuple[int, bool]]) -> None:
    scores, labels = zip(*items, strict=True)
    if len(set(labels)) < 2:
        assert np.isnan(auroc(scores, labels))
    else:
        assert auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))


def test_recall_at_a_false_positive_rate() -> None:
    negatives, positives = np.arange(100), np.asarray([50, 94.5, 98.5, 200])
    scores = np.concatenate([negatives, positives])
    labels = np.arange(104) >= 100
    assert recall_at(scores, labels, 0.05) == 0.5
    assert recall_at(scores, labels, 0.0) == 0.25


def test_interval_is_wider_for_groups_than_for_items() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.random(20) < 0.5, 25)
    scores = np.repeat(rng.standard_normal(20), 25) + labels
    grouped = auroc_interval(scores, labels, [str(i // 25) for i in range(500)], seed=0)
    single = auroc_interval(scores, labels, [str(i) for i in range(500)], seed=0)
    assert grouped[1] - grouped[0] > 2 * (single[1] - single[0])
    assert grouped == auroc_interval(scores, labels, [str(i // 25) for i in range(500)], seed=0)


def test_interval_covers_chance_on_noise() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for seed in range(40):
        labels, scores = rng.random(100) < 0.5, rng.standard_normal(100)
        low, high = auroc_interval(scores, labels, [str(i) for i in range(100)], seed=seed, n_draws=200)
        covered += low <= 0.5 <= high
    assert covered >= 34


def test_no_overlap_is_no_certainty() -> None:
    scores, labels = [0, 1, 2, 3, 4, 5], [False] * 3 + [True] * 3
    assert auroc_interval(scores, labels, list("abcdef"), seed=0) == (0.5, 1.0)
    assert auroc_interval(scores, [not label for label in labels], list("abcdef"), seed=0) == (0.0, 0.5)
