"""Clusters: planted groups are found, and where there are none that is said."""

from __future__ import annotations

import importlib.util
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from investigate.analysis.text.clusters import cluster_vectors, representatives
from investigate.analysis.text.encode import tfidf_vectors
from investigate.analysis.text.grouping import SAMPLE_ROWS, algorithm_names, get_algorithm
from investigate.analysis.text.stability import stability
from investigate.store.errors import OptionalDependencyError, UsageError
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

LOGS = Path(__file__).resolve().parents[4] / "shared" / "transcripts" / "reasoning-gym-training" / "eval"


def _blobs(sizes: list[int], spread: float = 0.6, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    generator = np.random.default_rng(seed)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    centres = generator.normal(size=(len(sizes), 384))
    return (centres[truth] + spread * generator.normal(size=(len(truth), 384))).astype(np.float32), truth


def test_planted_blobs_are_found() -> None:
    vectors, truth = _blobs([80, 60, 40, 30, 20, 12])
    found = cluster_vectors(vectors, seed=0)
    assert adjusted_rand_score(truth, found.labels) >= 0.95
    assert 6 <= found.n_clusters <= 7
    assert (found.collapse, found.warning) == (None, None)
    assert found.noise_share == pytest.approx(np.mean(found.labels < 0))
    assert list(np.bincount(found.labels[found.labels >= 0])) == sorted(
        np.bincount(found.labels[found.labels >= 0]), reverse=True
    )
    assert np.all(found.probabilities[found.labels < 0] == 0)
    np.testing.assert_allclose(np.linalg.norm(found.reduced, axis=1), 1)
    # A blob no larger than the neighbours that are looked at may fall apart, and is then said to be unstable.
    steady = stability(vectors, found.labels)
    assert min(steady[cluster] for cluster in range(4)) > 0.9
    assert len(steady) == 6 or min(steady[5], steady[6]) < 0.6


def test_labels_do_not_depend_on_seed_or_order() -> None:
    vectors, _ = _blobs([50, 40, 30])
    found = cluster_vectors(vectors, seed=0)
    np.testing.assert_array_equal(cluster_vectors(vectors, seed=5).labels, found.labels)
    order = np.random.default_rng(1).permutation(len(vectors))
    assert adjusted_rand_score(cluster_vectors(vectors[order]).labels, found.labels[order]) > 0.99


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["gaussian", "uniform", "stretched"])
def test_no_groups_where_there_are_none(kind: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    vectors = generator.random((300, 64)) if kind == "uniform" else generator.normal(size=(300, 64))
    if kind == "stretched":
        vectors *= np.exp(-np.arange(64) / 10)
    found = cluster_vectors(vectors, seed=seed)
    assert "No groups" in (found.collapse or "")


def test_random_words_are_no_topics() -> None:
    generator = np.random.default_rng(0)
    words = np.array([f"word{'abcdefghij'[i % 10]}{'klmnopqrst'[i // 10]}" for i in range(100)])
    texts = [" ".join(generator.choice(words, 40)) for _ in range(200)]
    assert cluster_vectors(tfidf_vectors(texts)).collapse is not None


def test_equal_vectors_are_one_cluster_and_said_to_be() -> None:
    found = cluster_vectors(np.full((100, 384), 0.051, np.float32))
    assert found.n_clusters == 1
    assert "equal" in (found.collapse or "")


@pytest.mark.parametrize("n", [0, 1, 9])
def test_too_few_are_noise(n: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(n, 8))
    found = cluster_vectors(vectors)
    assert found.n_clusters == 0
    assert np.all(found.labels == -1)
    assert "too few" in (found.collapse or "")
    assert stability(vectors, found.labels) == {}
    assert representatives(vectors, found.labels) == {}


def test_a_collapse_is_reported() -> None:
    vectors, _ = _blobs([300, 12], spread=0.2)
    found = cluster_vectors(vectors)
    assert "No groups" in (found.collapse or "")


def test_a_sea_of_noise_is_reported() -> None:
    generator = np.random.default_rng(0)
    scattered = generator.normal(size=(300, 300))
    dense, _ = _blobs([10, 10], spread=0.01)
    found = cluster_vectors(np.vstack([scattered, dense[:, :300]]), min_cluster_size=10)
    assert found.collapse is not None or found.warning is not None


def test_what_lies_around_groups_is_noise() -> None:
    """A graph of neighbours alone would make one large stable group of it."""
    vectors, truth = _blobs([60, 60, 60])
    around = np.random.default_rng(1).normal(size=(400, 384))
    labels = cluster_vectors(np.vstack([vectors, around])).labels
    assert adjusted_rand_score(truth, labels[:180]) > 0.95
    assert (labels[180:] < 0).mean() > 0.95


def test_representatives_are_the_medoids() -> None:
    vectors, truth = _blobs([30, 20])
    labels = np.where(truth == 0, 0, 1)
    labels[:3] = -1
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    chosen = representatives(vectors, labels, k=2)
    for cluster in (0, 1):
        members = np.flatnonzero(labels == cluster)
        mean_similarity = (unit[members] @ unit[members].T).mean(1)
        assert chosen[cluster] == members[np.argsort(-mean_similarity)[:2]].tolist()


def test_stability_tells_a_split_blob_from_a_whole_one() -> None:
    vectors, truth = _blobs([100, 100, 100])
    labels = truth.copy()
    labels[200:] = 2 + np.arange(100) % 2
    steady = stability(vectors, labels)
    assert steady[0] > 0.95
    assert steady[1] > 0.95
    assert steady[2] < 0.6
    assert steady == stability(vectors, labels, seed=0)


def test_three_large_groups_are_no_chance() -> None:
    """The smallest cluster asked for is far below them: many small clusters of shuffled vectors must not outweigh."""
    vectors, truth = _blobs([50, 50, 50], spread=2.5)
    found = cluster_vectors(vectors)
    assert found.collapse is None
    assert adjusted_rand_score(truth, found.labels) > 0.9


def test_rows_beyond_the_sample_join_the_nearest() -> None:
    generator = np.random.default_rng(0)
    truth = np.repeat(np.arange(4), SAMPLE_ROWS * 11 // 40)
    vectors = generator.normal(size=(4, 24))[truth] + 0.4 * generator.normal(size=(len(truth), 24))
    found = cluster_vectors(vectors.astype(np.float16))
    assert found.n_sampled == SAMPLE_ROWS < len(vectors)
    assert adjusted_rand_score(truth, found.labels) > 0.9
    assert min(stability(vectors, found.labels, n_bootstrap=2, min_cluster_size=found.size).values()) > 0.75


def test_algorithms_are_listed_and_an_unknown_one_is_named() -> None:
    assert algorithm_names() == ["evoc", "fast-hdbscan", "hdbscan"]
    with pytest.raises(UsageError, match=r"kmeans.*evoc, fast-hdbscan, hdbscan"):
        cluster_vectors(np.zeros((50, 4)), algorithm="kmeans")


@pytest.mark.parametrize(("name", "module"), [("evoc", "evoc"), ("fast-hdbscan", "fast_hdbscan")])
def test_an_absent_algorithm_says_how_to_get_it(name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(OptionalDependencyError, match=r"investigate\[clusterings\]"):
        cluster_vectors(_blobs([50, 40, 30])[0], algorithm=name)


@pytest.mark.slow
@pytest.mark.parametrize("name", algorithm_names())
def test_every_algorithm_finds_planted_blobs(name: str) -> None:
    if importlib.util.find_spec(name.replace("-", "_")) is None:
        pytest.skip(f"{name} is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what numba says of what it compiles
        vectors, truth = _blobs([80, 60, 40, 30])
        found = cluster_vectors(vectors, algorithm=name)
        # EVoC 0.3.2 splits these few into more than there are (0.49), far above chance.
        assert adjusted_rand_score(truth, found.labels) > (0.4 if name == "evoc" else 0.9)
        if name == "fast-hdbscan":
            assert (found.labels == cluster_vectors(vectors).labels).all()
        labels = get_algorithm(name).group(vectors, 10).labels
    assert labels.shape == (len(vectors),)
    assert labels.min() >= -1


@pytest.mark.skipif(not LOGS.is_dir(), reason="needs the shared transcripts")
def test_real_tasks_are_told_apart_without_any_weights() -> None:
    questions: dict[str, str] = {}
    for path in sorted(LOGS.rglob("*.json"))[:12]:
        for result in json.loads(path.read_text())["results"]:
            questions.setdefault(result["question"], path.stem)
    found = cluster_vectors(tfidf_vectors(list(questions)))
    assert adjusted_rand_score(list(questions.values()), found.labels) > 0.8
    assert found.collapse is None
