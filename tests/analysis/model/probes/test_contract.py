"""What every kind of probe must do: find a planted direction, find nothing in noise, and survive degenerate data."""

import numpy as np
import pytest
from investigate.analysis.model.probe import KINDS, Kind, get_kind
from investigate.analysis.model.report_card import scores_of
from investigate.analysis.statistics import auroc
from investigate.store import registry
from investigate.store.errors import UsageError

kinds = pytest.mark.parametrize("name", registry.names(KINDS))


def planted(n: int, d: int = 64, strength: float = 4.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Activations with a known unit direction u: labels shift them by ``strength`` along it, away from the origin."""
    rng = np.random.default_rng(seed)
    u = rng.standard_normal(d)
    u /= np.linalg.norm(u)
    labels = np.arange(n) % 3 == 0
    x = rng.standard_normal((n, d)) + 7.0 + strength * labels[:, None] * u
    return x, labels, u


@kinds
def test_a_planted_direction_is_recovered(name: str) -> None:
    x, labels, u = planted(2000)
    readout = get_kind(name).fit(x[:1000], labels[:1000], 0)
    assert auroc(scores_of(readout, x[1000:]), labels[1000:]) > 0.98
    assert readout.w @ u / np.linalg.norm(readout.w) > 0.9
    assert readout.w.shape == (64,)


@kinds
def test_noise_holds_nothing(name: str) -> None:
    values = []
    for seed in range(10):
        x, labels, _ = planted(600, strength=0.0, seed=seed)
        readout = get_kind(name).fit(x[:300], labels[:300], 0)
        values.append(auroc(scores_of(readout, x[300:]), labels[300:]))
    assert 0.45 < np.mean(values) < 0.55


@kinds
def test_the_same_seed_gives_the_same_probe(name: str) -> None:
    x, labels, _ = planted(200)
    first, second = (get_kind(name).fit(x, labels, 3) for _ in range(2))
    assert np.array_equal(first.w, second.w)
    assert first.b == second.b


@kinds
def test_equal_activations_give_equal_scores(name: str) -> None:
    readout = get_kind(name).fit(np.ones((10, 4)), np.arange(10) < 5, 0)
    assert np.isfinite(readout.w).all()
    assert np.ptp(scores_of(readout, np.ones((3, 4)))) == 0


@kinds
def test_it_says_what_it_is(name: str) -> None:
    kind = get_kind(name)
    assert isinstance(kind, Kind)
    assert kind.summary


def test_an_unknown_kind_names_those_there_are() -> None:
    with pytest.raises(UsageError, match="mean_difference"):
        get_kind("nothing")
