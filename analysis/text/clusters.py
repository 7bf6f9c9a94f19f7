"""Groups of vectors that lie close together.

Takes vectors, gives labels, and the sentence that says so where there are no groups. Does not know what the vectors
stand for; the caller folds exact duplicates beforehand (they are clusters by themselves) and names the clusters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .grouping import DEFAULT, Floats, Labels, get_algorithm, group_vectors, reduce_vectors
from .stability import cluster_numbers, collapse, default_min_cluster_size


@dataclass(frozen=True, slots=True)
class Clustering:
    """What ``cluster_vectors`` found in n vectors."""

    labels: Labels
    """(n,), from 0, largest cluster first; -1 is noise: close to nothing else."""
    probabilities: Floats
    """(n,), how firmly each belongs to its cluster, 0 to 1; 0 for noise."""
    n_clusters: int
    noise_share: float
    reduced: NDArray[np.float64]
    """(n, at most 16), principal components, each row of norm 1 (0 where it is the mean itself)."""
    size: int
    """The smallest cluster that counted as one."""
    n_sampled: int
    """Rows that were clustered; the others joined the nearest of them."""
    collapse: str | None = None
    """Why the labels are no groups, and the way out; None where they are."""
    warning: str | None = None
    """One sentence where the groups speak for few of the items."""


def cluster_vectors(
    vectors: Floats, *, algorithm: str = DEFAULT, min_cluster_size: int | None = None, seed: int = 0
) -> Clustering:
    """Cluster ``(n, d)`` vectors by density: a diffusion map over nearest neighbours, then HDBSCAN (Campello, Moulavi
    and Sander 2013), or another entry of ``clusterings/``.

    ``min_cluster_size`` is by default ``max(5, round(sqrt(n) / 2))``. The seed draws the sample where there are more
    rows than the algorithm takes, and the shuffles behind ``collapse``; else labels do not depend on it. Raises
    UsageError for an unknown algorithm, OptionalDependencyError for one that is not installed.
    """
    n, chosen = len(vectors), get_algorithm(algorithm)
    size = min_cluster_size or default_min_cluster_size(n)
    reduced = reduce_vectors(vectors)
    labels: Labels = np.full(n, -1)
    probabilities: Floats = np.zeros(n)
    why = None
    if n < 2 * size:
        why = (
            f"No groups: {n} different items are too few for two clusters of {size} or more. Loosen --where, or lower "
            "--min-size."
        )
    elif not reduced.any():
        labels, probabilities = np.zeros(n, np.int64), np.ones(n)
        why = "No groups: all items are equal. Loosen --where, --in or --role."
    else:
        found = group_vectors(vectors, size, chosen, seed)
        labels, probabilities = found.labels, found.probabilities
        why = collapse(labels, reduced, size, seed)
    noise_share = float((labels < 0).mean()) if n else 0.0
    warning = None
    if noise_share > 0.8:
        warning = f"{noise_share:.0%} of the items are noise; the clusters speak for few of them."
    return Clustering(
        labels,
        probabilities,
        n_clusters=int(labels.max(initial=-1)) + 1,
        noise_share=noise_share,
        reduced=reduced,
        size=size,
        n_sampled=chosen.n_sampled(n),
        collapse=why,
        warning=warning,
    )


def representatives(vectors: Floats, labels: Labels, k: int = 3) -> dict[int, list[int]]:
    """Rows of the ``k`` most central members of each cluster, the medoid first.

    The medoid is the member with the greatest mean cosine similarity to all members; for rows of norm 1 that is the
    greatest product with their mean, so it is exact. Equals stand in order of their rows.
    """
    chosen = {}
    for cluster in cluster_numbers(labels):
        members = np.flatnonzero(labels == cluster)
        rows = np.asarray(vectors[members], np.float64)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        rows = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
        chosen[cluster] = members[np.argsort(-(rows @ rows.mean(0)), kind="stable")[:k]].tolist()
    return chosen
