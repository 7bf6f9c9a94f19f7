"""How far clusters are to be trusted: found again in other samples, and clearer than those of shuffled vectors.

Takes vectors and labels, gives numbers and sentences. Does not know what the vectors stand for.
"""

from __future__ import annotations

import warnings
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .grouping import (
    DEFAULT,
    Algorithm,
    Floats,
    Labels,
    get_algorithm,
    group_vectors,
    scaled_size,
    unit_rows,
)

TRUSTED: Final = 0.6
"""The least stability of a cluster to go by (Hennig 2007)."""
N_BOOTSTRAP: Final = 10
N_DRAWN: Final = 3_000
"""Rows of a repetition, at most: ten of them over all of 100,000 would take ten times as long as the clustering."""
_MIN_SAMPLES: Final = 2
_N_SHUFFLES: Final = 5
_N_SHUFFLED_ROWS: Final = 2000
_CLEARER: Final = 1.5
_LEAST_PERSISTENCE: Final = 0.2
"""How persistent clusters must be beside those of shuffled vectors, and at all, with the smallest cluster of the size
asked for or of twice that. Measured: on 27 sets without clusters (Gaussian, stretched, uniform; 150 to 800 rows) no
sum is above 0.13; on seven sets of real logs the better of the two is 0.64 or more, and 1.9 times that of the shuffled
ones or more."""
_WAY_OUT: Final = (
    "Try --encoder with another encoder, another --level or --min-size, or narrow --where to one environment."
)


def n_drawn(n: int) -> int:
    """How many of n rows a repetition of ``stability`` sees at most."""
    return min(n, N_DRAWN)


def stability(
    vectors: Floats,
    labels: Labels,
    n_bootstrap: int = N_BOOTSTRAP,
    seed: int = 0,
    min_cluster_size: int | None = None,
    algorithm: Algorithm | None = None,
) -> dict[int, float]:
    """How well each cluster is found again in other samples: mean best Jaccard overlap, 0 to 1.

    Hennig, "Cluster-wise assessment of cluster stability" (2007): below 0.6 do not trust it, from 0.75 it is valid. Up
    to 3,000 rows a sample is a bootstrap: a point drawn twice counts once, as equal points would be clusters by
    themselves, so it holds about 63 % of them. Of more rows it is 3,000 without replacement. ``min_cluster_size`` (give
    what the clustering had) shrinks with the sample.
    """
    n, chosen = len(labels), algorithm or get_algorithm(DEFAULT)
    size = min_cluster_size or default_min_cluster_size(n)
    generator = np.random.default_rng(seed)
    overlaps: dict[int, list[float]] = {cluster: [] for cluster in cluster_numbers(labels)}
    for _ in range(n_bootstrap if overlaps else 0):
        if n > N_DRAWN:
            drawn = np.sort(generator.choice(n, N_DRAWN, replace=False))
        else:
            drawn = np.unique(generator.integers(0, n, n))
        sample = vectors[drawn]
        again = group_vectors(sample, scaled_size(size, len(drawn), n), chosen).labels
        best = _best_overlaps(labels[drawn], again)
        for cluster, value in best.items():
            overlaps[cluster].append(value)
    return {cluster: float(np.mean(values)) if values else 0.0 for cluster, values in overlaps.items()}


def default_min_cluster_size(n: int) -> int:
    """Of n items: 5 up to 100, 11 of 500, 35 of 5,000."""
    return max(5, round(float(np.sqrt(n)) / 2))


def cluster_numbers(labels: Labels) -> list[int]:
    """Without noise, in order."""
    return [int(label) for label in np.unique(labels) if label >= 0]


def _best_overlaps(before: Labels, after: Labels) -> dict[int, float]:
    """For each cluster of ``before`` its greatest Jaccard overlap with one of ``after``, from one table of both."""
    table = np.zeros((before.max(initial=-1) + 2, after.max(initial=-1) + 2))
    np.add.at(table, (before + 1, after + 1), 1)
    sizes = table.sum(1, keepdims=True) + table.sum(0, keepdims=True) - table
    overlap = np.divide(table, sizes, out=np.zeros_like(table), where=sizes > 0)
    return {cluster: float(overlap[cluster + 1, 1:].max(initial=0.0)) for cluster in cluster_numbers(before)}


def collapse(labels: Labels, reduced: NDArray[np.float64], size: int, seed: int) -> str | None:
    """Why these labels are no groups, and the way out; None where nothing speaks against them.

    All noise, more than 90 % in one cluster, or no clearer than chance: the clusters that HDBSCAN finds in the
    principal components ``reduced`` (whatever found the labels) are no more persistent than where each component is
    shuffled by itself, which leaves its spread and destroys all groups (as in Horn's parallel analysis, 1965). Of more
    than 2,000 rows a sample answers that.
    """
    counts = np.bincount(labels[labels >= 0])
    if not len(counts):
        return f"No groups: every item is noise. {_WAY_OUT}"
    if len(counts) == 1 or counts.max() > 0.9 * len(labels):
        share = counts.max() / len(labels)
        return f"No groups: the clustering collapsed, with {share:.0%} of the items in one cluster. {_WAY_OUT}"
    generator = np.random.default_rng(seed)
    rows = reduced
    if len(rows) > _N_SHUFFLED_ROWS:
        rows = rows[np.sort(generator.choice(len(rows), _N_SHUFFLED_ROWS, replace=False))]
        size = max(5, scaled_size(size, len(rows), len(reduced)))
    shuffled = [unit_rows(generator.permuted(rows, axis=0)) for _ in range(_N_SHUFFLES)]
    for least in (size, 2 * size):
        found = _persistence(rows, least)
        if found > _LEAST_PERSISTENCE and found > _CLEARER * max(_persistence(each, least) for each in shuffled):
            return None
    return f"No groups: the clusters are no clearer than those of shuffled vectors. {_WAY_OUT}"


def _persistence(rows: NDArray[np.float64], size: int) -> float:
    """Of HDBSCAN's clusters, summed. Few neighbours count, so that small clusters are seen."""
    from hdbscan import HDBSCAN

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        fitted = HDBSCAN(min_cluster_size=size, min_samples=_MIN_SAMPLES, core_dist_n_jobs=1).fit(rows)
    return float(np.nansum(fitted.cluster_persistence_))
