"""Clusters: planted groups are found, none are found with confidence where there are none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from investigate.analysis.text.clusters import cluster_vectors, representatives, stability
from investigate.analysis.text.encode import tfidf_vectors
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
    assert found.n_clusters == 6
    assert found.warning is None
    assert found.noise_share == pytest.approx(np.mean(found.labels < 0))
    assert list(np.bincount(found.labels[found.labels >= 0])) == sorted(
        np.bincount(found.labels[found.labels >= 0]), reverse=True
    )
    assert np.all(found.probabilities[found.labels < 0] == 0)
    np.testing.assert_allclose(np.linalg.norm(found.reduced, axis=1), 1)
    assert min(stability(vectors, found.labels).values()) > 0.9


def test_labels_do_not_depend_on_seed_or_order() -> None:
    vectors, _ = _blobs([50, 40, 30])
    found = cluster_vectors(vectors, seed=0)
    np.testing.assert_array_equal(cluster_vectors(vectors, seed=5).labels, found.labels)
    order = np.random.default_rng(1).permutation(len(vectors))
    assert adjusted_rand_score(cluster_vectors(vectors[order]).labels, found.labels[order]) > 0.99


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["gaussian", "uniform", "stretched"])
def test_no_confident_clusters_where_there_are_none(kind: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    vectors = generator.random((300, 64)) if kind == "uniform" else generator.normal(size=(300, 64))
    if kind == "stretched":
        vectors *= np.exp(-np.arange(64) / 10)
    found = cluster_vectors(vectors, seed=seed)
    assert found.warning is not None
    assert max(stability(vectors, found.labels).values(), default=0.0) < 0.6


def test_random_words_are_no_topics() -> None:
    generator = np.random.default_rng(0)
    words = np.array([f"word{'abcdefghij'[i % 10]}{'klmnopqrst'[i // 10]}" for i in range(100)])
    texts = [" ".join(generator.choice(words, 40)) for _ in range(200)]
    assert cluster_vectors(tfidf_vectors(texts)).warning is not None


def test_equal_vectors_are_one_cluster_and_said_to_be() -> None:
    found = cluster_vectors(np.full((100, 384), 0.051, np.float32))
    assert found.n_clusters == 1
    assert "equal" in (found.warning or "")


@pytest.mark.parametrize("n", [0, 1, 9])
def test_too_few_are_noise(n: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(n, 8))
    found = cluster_vectors(vectors)
    assert found.n_clusters == 0
    assert np.all(found.labels == -1)
    assert "too few" in (found.warning or "")
    assert stability(vectors, found.labels) == {}
    assert representatives(vectors, found.labels) == {}


def test_a_collapse_is_reported() -> None:
    vectors, _ = _blobs([300, 12], spread=0.2)
    found = cluster_vectors(vectors)
    assert "collapsed" in (found.warning or "")


def test_a_sea_of_noise_is_reported() -> None:
    generator = np.random.default_rng(0)
    scattered = generator.normal(size=(300, 300))
    dense, _ = _blobs([10, 10], spread=0.01)
    found = cluster_vectors(np.vstack([scattered, dense[:, :300]]), min_cluster_size=10)
    assert found.warning is not None


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


@pytest.mark.skipif(not LOGS.is_dir(), reason="needs the shared transcripts")
def test_real_tasks_are_told_apart_without_any_weights() -> None:
    questions: dict[str, str] = {}
    for path in sorted(LOGS.rglob("*.json"))[:12]:
        for result in json.loads(path.read_text())["results"]:
            questions.setdefault(result["question"], path.stem)
    found = cluster_vectors(tfidf_vectors(list(questions)))
    assert adjusted_rand_score(list(questions.values()), found.labels) > 0.8
    assert found.warning is None
