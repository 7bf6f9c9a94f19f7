"""Two coordinates per vector, to look at clusters.

Takes principal components, gives a plane. Near in the plane is mostly near in truth; how far apart two groups lie, and
how wide one is, means little. Knows no clusters and no screen.
"""

from __future__ import annotations

import warnings
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .neighbours import nearest_rows

METHOD: Final = (
    "t-SNE of up to 2,000 items; each of the others stands among the three that it is most similar to. "
    "Near here is mostly near in truth; distances between groups, and their widths, mean little."
)
_ROWS: Final = 2_000
"""t-SNE of so many takes seconds; of 100,000 many minutes."""
_FEW: Final = 20
_NEIGHBOURS: Final = 3


def lay_out(reduced: NDArray[np.float64], seed: int = 0) -> NDArray[np.float64]:
    """``(n, d)`` rows of norm 1 → ``(n, 2)`` in −1 to 1, by t-SNE (van der Maaten and Hinton 2008) of a sample. Of
    fewer than 20 rows, their first two components."""
    n = len(reduced)
    if n < _FEW or not reduced.any():
        plane = np.zeros((n, 2))
        plane[:, : min(2, reduced.shape[1])] = reduced[:, :2]
        return _scaled(plane)
    generator = np.random.default_rng(seed)
    drawn = np.sort(generator.choice(n, min(n, _ROWS), replace=False))
    placed = _tsne(reduced[drawn], seed)
    if len(drawn) == n:
        return _scaled(placed)
    places, cosines = nearest_rows(reduced, reduced[drawn], _NEIGHBOURS)
    weights = np.exp(8.0 * (cosines - cosines.max(1, keepdims=True)))
    weights /= weights.sum(1, keepdims=True)
    # In the middle of neighbours that lie apart there is nobody; so next to the nearest, pulled towards the others.
    around = placed[places]
    middle = (weights[:, :, None] * around).sum(1)
    far = np.linalg.norm(around - around[:, :1], axis=2).max(1) > 0.1 * np.ptp(placed)
    plane = np.where(far[:, None], around[:, 0], middle)
    plane += generator.normal(scale=0.004 * float(np.ptp(placed)), size=plane.shape)
    plane[drawn] = placed
    return _scaled(plane)


def _tsne(rows: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(rows) - 1) / 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = TSNE(2, perplexity=perplexity, init="pca" if rows.shape[1] > 1 else "random", random_state=seed)
        placed: NDArray[np.float64] = np.asarray(fitted.fit_transform(rows), np.float64)
    return placed


def _scaled(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    if not len(plane):
        return plane
    centred = plane - (plane.max(0) + plane.min(0)) / 2
    scaled: NDArray[np.float64] = centred / max(float(np.abs(centred).max()), 1e-9)
    return scaled
