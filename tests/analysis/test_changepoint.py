"""Change points: textbook formulas, planted changes, and nothing where nothing changes."""

from math import erfc

import numpy as np
import pytest
from investigate.analysis.changepoint import Change, find_change, score_covariance, trend_z
from investigate.analysis.standardise import Observations
from scipy.optimize import minimize

N_BINS = 60
HACKED = (0, 1)


def corpus(
    seed: int, kind: str, n: int = 10_000, size: int = 1, alike: float = 0.0, rise: float = 0.0
) -> tuple[Observations, np.ndarray]:
    """``n`` episodes over 60 steps in 8 environments × 2 lengths, groups of ``size``; and the environment of a stratum.

    onset: 3 % everywhere, and 6 points more from step 22 in two environments. drift: constant rates that differ by
    stratum, long tasks 20 → 70 % and environments that grow. constant: the same without drift. rise: 2 → 20 % around
    step 30. lasting: ``rise`` more from step 30 in all strata.
    """
    rng = np.random.default_rng([seed, 7])
    step = np.sort(rng.integers(0, N_BINS, n // size))
    progress = step / (N_BINS - 1) if kind == "drift" else np.full(len(step), 0.5)
    weights = np.linspace(1.6, 0.6, 8) + progress[:, None] * (np.linspace(0.6, 1.6, 8) - np.linspace(1.6, 0.6, 8))
    weights /= weights.sum(1, keepdims=True)
    environment = (rng.random(len(step))[:, None] > weights.cumsum(1)[:, :-1]).sum(1)
    is_long = (rng.random(len(step)) < 0.2 + 0.5 * progress).astype(int)
    uneven = np.where(is_long, 0.12, 0.04) * np.linspace(0.5, 1.5, 8)[environment]
    chance = {
        "onset": 0.03 + 0.06 * (np.isin(environment, HACKED) & (step >= 22)),
        "drift": uneven,
        "constant": uneven,
        "rise": 0.02 + 0.18 / (1 + np.exp(-(step - 30) / 4)),
        "lasting": uneven + rise * (step >= 30),
    }[kind]
    if alike:
        chance = rng.beta(chance * (1 - alike) / alike, (1 - chance) * (1 - alike) / alike)
    every = [np.repeat(values, size) for values in (step, environment * 2 + is_long, np.arange(len(step)))]
    hit = rng.random(len(step) * size) < np.repeat(chance, size)
    return Observations(hit, *every, N_BINS, 16), np.arange(16) // 2


def found(seed: int, kind: str, **options: float) -> Change:
    observed, unit = corpus(seed, kind, **options)
    return find_change(observed, unit, alpha=0.01, seed=0)


def crude(observed: Observations) -> float:
    one = Observations(observed.hit, observed.bin, np.zeros_like(observed.stratum), observed.group, observed.n_bins, 1)
    return trend_z(one, np.arange(float(observed.n_bins)), 0.0)


def small(cells: dict[tuple[int, int], tuple[int, int]], n_bins: int, n_strata: int = 1) -> Observations:
    """From {(bin, stratum): (hits, episodes)}."""
    hit = np.concatenate([np.arange(n) < k for k, n in cells.values()])
    places = [np.repeat([key[at] for key in cells], [n for _, n in cells.values()]) for at in (0, 1)]
    return Observations(hit, *places, np.arange(len(hit)), n_bins, n_strata)


def test_crude_trend_is_cochran_armitage() -> None:
    """Armitage (1955), with the variance of a hypergeometric distribution."""
    k, n, t = np.array([3.0, 5, 9]), np.array([20.0, 22, 25]), np.array([0.0, 1, 5])
    total, share = n.sum(), k.sum() / n.sum()
    score = (t * (k - n * share)).sum()
    variance = share * (1 - share) * total / (total - 1) * ((n * t**2).sum() - (n * t).sum() ** 2 / total)
    cells = {(b, 0): (int(k[b]), int(n[b])) for b in range(3)}
    assert trend_z(small(cells, 3), t, 0.0) == pytest.approx(score / np.sqrt(variance))


def test_covariance_is_that_of_permuted_hits() -> None:
    rng = np.random.default_rng(0)
    bins, strata = rng.integers(0, 4, 300), rng.integers(0, 3, 300)
    hit = rng.random(300) < np.array([0.1, 0.4, 0.8])[strata]
    scores = []
    for _ in range(4000):
        for stratum in range(3):
            hit[strata == stratum] = rng.permutation(hit[strata == stratum])
        scores.append(np.bincount(bins, weights=hit, minlength=4))
    expected = score_covariance(Observations(hit, bins, strata, np.arange(300), 4, 3), 0.0)
    assert np.cov(np.array(scores).T) == pytest.approx(expected, abs=1.0)
    assert expected.sum(0) == pytest.approx(np.zeros(4), abs=1e-9)


def test_whole_groups_have_the_variance_of_their_number() -> None:
    """Groups of 5 in one cell that are all alike tell as much as single episodes, 25 times the variance of each."""
    single = np.arange(40) % 4
    alone = Observations(np.arange(40) % 3 == 0, single, single * 0, np.arange(40), 4, 1)
    five = Observations(*(np.repeat(v, 5) for v in (alone.hit, alone.bin, alone.stratum, alone.group)), 4, 1)
    ratio = score_covariance(five, 1.0)[0, 0] / score_covariance(alone, 0.0)[0, 0]
    assert ratio == pytest.approx(25 * (200 / 199) / (40 / 39))


def test_likelihood_ratio_is_that_of_a_logistic_regression() -> None:
    cells = {(0, 0): (5, 40), (0, 1): (20, 50), (1, 0): (18, 60), (1, 1): (30, 45)}
    n = np.array([[cells[b, s][1] for s in (0, 1)] for b in (0, 1)], float)
    k = np.array([[cells[b, s][0] for s in (0, 1)] for b in (0, 1)], float)

    def loss(theta: np.ndarray, both: bool) -> float:
        logit = theta[:2] + np.array([[0.0], [theta[2] if both else 0.0]])
        return float((n * np.logaddexp(0, logit) - k * logit).sum())

    gain = 2 * (minimize(loss, np.zeros(3), (False,)).fun - minimize(loss, np.zeros(3), (True,)).fun)
    change = find_change(small(cells, 2, 2), np.zeros(2, int), alpha=0.01, seed=0)
    assert change.z**2 == pytest.approx(gain, abs=1e-4)
    assert (change.z > 0, change.at, change.low, change.high) == (True, 1, 1, 1)
    # One candidate, so the p-value is that of a single z.
    assert change.p == pytest.approx(erfc(np.sqrt(gain / 2)), abs=0.005)


def test_an_onset_is_found_where_it_is() -> None:
    changes = [found(seed, "onset") for seed in range(8)]
    assert sum(change.p is not None and change.p <= 0.01 for change in changes) >= 7
    assert sum(abs((change.at or 0) - 22) <= 2 for change in changes) >= 5
    assert sum((change.low or 99) <= 22 <= (change.high or 0) for change in changes) >= 7
    assert all(set(change.units) <= set(HACKED) for change in changes)
    # The two environments that hack stand first, also where they are not sure enough to be named.
    leading = [{part.unit for part in change.alone[:2]} for change in changes]
    assert sum(pair == set(HACKED) for pair in leading) >= 7


def test_drift_alone_is_no_change_though_the_crude_trend_is() -> None:
    seeds = range(8)
    assert sum((found(seed, "drift").p or 0) <= 0.01 for seed in seeds) <= 1
    assert all(crude(corpus(seed, "drift")[0]) > 2.6 for seed in seeds)


def test_nothing_changes_nothing_is_found_and_a_gradual_rise_is() -> None:
    assert sum((found(seed, "constant").p or 0) <= 0.01 for seed in range(8)) <= 1
    for seed in range(3):
        change = found(seed, "rise")
        assert (change.p or 1) <= 0.001
        assert abs((change.at or 0) - 30) <= 6
        assert change.z > 0


def test_a_fall_has_a_negative_sign() -> None:
    observed, unit = corpus(0, "rise")
    fallen = Observations(observed.hit, N_BINS - 1 - observed.bin, observed.stratum, observed.group, N_BINS, 16)
    change = find_change(fallen, unit, alpha=0.01, seed=0)
    assert change.z < 0
    assert change.units
    assert all(part.z < 0 for part in change.alone if part.unit in change.units)


def test_opposite_changes_do_not_hide_each_other() -> None:
    """Together they are nothing; each environment by itself is plain."""
    rng = np.random.default_rng(5)
    bins, stratum = rng.integers(0, 20, 6000), rng.integers(0, 2, 6000)
    hit = rng.random(6000) < np.where((bins >= 10) == (stratum == 1), 0.2, 0.1)
    change = find_change(Observations(hit, bins, stratum, np.arange(6000), 20, 2), np.arange(2), alpha=0.01, seed=0)
    assert change.overall.p > 0.05
    assert (change.p or 1) < 0.001
    assert change.in_units
    assert change.at == 10


@pytest.mark.parametrize(
    "cells",
    [
        {(b, 0): (0, 50) for b in range(6)},
        {(b, 0): (50, 50) for b in range(6)},
        {(b, 0): (1, 50) for b in range(6)},
        {(0, 0): (30, 60)},
    ],
    ids=["none", "all", "few", "one bin"],
)
def test_too_little_to_test_is_said(cells: dict[tuple[int, int], tuple[int, int]]) -> None:
    change = find_change(small(cells, len(cells)), np.zeros(1, int), alpha=0.01, seed=0)
    assert (change.p, change.at, change.detectable, change.units) == (None, None, None, ())


def test_steps_that_could_not_be_tried_are_not_ruled_out() -> None:
    """Of four bins only the middle can be tried, so the interval is all that there is."""
    observed = small({(0, 0): (3, 40), (1, 0): (5, 40), (2, 0): (25, 40), (3, 0): (27, 40)}, 4)
    change = find_change(observed, np.zeros(1, int), alpha=0.01, seed=0)
    assert (change.n_candidates, change.at, change.low, change.high) == (1, 2, 1, 3)


def test_same_seed_same_answer() -> None:
    assert found(0, "onset") == found(0, "onset")


@pytest.mark.slow
def test_what_is_called_detectable_is_detected() -> None:
    """The positive control of a null result: a change of that size is found in about 80 % of cases."""
    size = found(0, "constant").detectable
    assert size is not None
    rate = np.mean([(found(seed, "lasting", rise=size).p or 1) <= 0.01 for seed in range(60)])
    assert 0.6 <= rate <= 0.97


@pytest.mark.slow
def test_level_with_and_without_groups() -> None:
    """At 1 and 5 % nominal; with groups that are alike, and blind to them as the negative control."""
    p, blind = [], []
    for seed in range(100):
        observed, unit = corpus(seed, "constant", size=8, alike=0.2)
        p.append(find_change(observed, unit, alpha=0.01, seed=0).p or 0)
        alone = Observations(observed.hit, observed.bin, observed.stratum, np.arange(len(observed.hit)), N_BINS, 16)
        blind.append(find_change(alone, unit, alpha=0.01, seed=0).p or 0)
    assert np.mean(np.array(p) <= 0.01) <= 0.04
    assert np.mean(np.array(p) <= 0.05) <= 0.12
    assert np.mean(np.array(blind) <= 0.01) > 0.2
