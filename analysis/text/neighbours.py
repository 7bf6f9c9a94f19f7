"""Vectors redrawn by who is near whom: a diffusion map of the graph of nearest neighbours.

Takes vectors, gives coordinates in which items that many short steps join lie together. Knows no clusters.

After Coifman and Lafon, "Diffusion maps" (2006), with the edge weights of UMAP (McInnes, Healy and Melville 2018) in
place of one width for all: exact, without a random start, and compiled beforehand, where UMAP takes minutes to compile.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

N_NEIGHBOURS: Final = 20
N_COMPONENTS: Final = 32
N_STEPS: Final = 4
_DENSE: Final = 400
"""So many rows are solved whole sooner than one eigenvector at a time."""
_BLOCK: Final = 2_048

Floats = NDArray[np.floating]


def nearest_rows(rows: Floats, among: Floats, k: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """(n, k): the places of the k most similar rows of ``among``, best first, and the cosines; all are of norm 1."""
    others = np.ascontiguousarray(among.T, np.float32)
    places, cosines = np.empty((len(rows), k), np.intp), np.empty((len(rows), k), np.float32)
    for first in range(0, len(rows), _BLOCK):
        products = rows[first : first + _BLOCK].astype(np.float32) @ others
        best = np.argpartition(-products, k - 1, axis=1)[:, :k]
        found = np.take_along_axis(products, best, axis=1)
        # By place among equals, so that nothing depends on how the partition fell.
        order = np.lexsort((best, -found), axis=1)
        places[first : first + _BLOCK] = np.take_along_axis(best, order, axis=1)
        cosines[first : first + _BLOCK] = np.take_along_axis(found, order, axis=1)
    return places, cosines


def nearest_row(rows: Floats, among: Floats) -> NDArray[np.intp]:
    """(n,): the place of the most similar row of ``among``, the first of equals.."""
    others = np.ascontiguousarray(among.T, np.float32)
    blocks = (rows[first : first + _BLOCK].astype(np.float32) for first in range(0, len(rows), _BLOCK))
    return np.concatenate([(block @ others).argmax(1) for block in blocks])


def diffusion_map(rows: Floats) -> NDArray[np.float64]:
    """``(n, d)`` rows of norm 1 → ``(n, at most 32)``, each of norm 1 (0 for a row that nothing is known of).

    The eigenvectors of the random walk over 20 neighbours each, weighted by their eigenvalues after four steps. Takes
    n² · d products: for tens of thousands of rows, not for more.
    """
    from scipy.sparse.linalg import LinearOperator, eigsh

    n = len(rows)
    if n < 3:
        return np.zeros((n, 1))
    walk, root = _walk(rows)
    steady = root / np.linalg.norm(root)
    k = min(N_COMPONENTS, n - 2)
    # The steady state says nothing. It is taken out beforehand: where the graph falls apart there are several vectors
    # with its eigenvalue, and which mixture of them would come first is chance.
    if n <= _DENSE:
        values, axes = np.linalg.eigh(walk.toarray() - np.outer(steady, steady))
        values, axes = values[-k:], axes[:, -k:]
    else:
        deflated = LinearOperator((n, n), matvec=lambda x: walk @ x - steady * (steady @ x), dtype=np.float64)
        start = np.random.default_rng(0).normal(size=n)
        values, axes = eigsh(deflated, k, which="LA", v0=start, tol=1e-6)
    spread = axes / root[:, None] * np.maximum(values, 0) ** N_STEPS
    norms = np.linalg.norm(spread, axis=1, keepdims=True)
    unit: NDArray[np.float64] = np.divide(spread, norms, out=np.zeros_like(spread), where=norms > 1e-12)
    return unit


def _walk(rows: Floats) -> tuple[Any, NDArray[np.float64]]:
    """The symmetric form of the walk, and the root of each row's degree."""
    from scipy.sparse import csr_array, diags_array

    n = len(rows)
    k = min(N_NEIGHBOURS, n - 1)
    places, cosines = nearest_rows(rows, rows, k + 1)
    own = places == np.arange(n)[:, None]
    # A row whose equals fill the list may not be on it: then the last one goes.
    own[~own.any(1), -1] = True
    places, cosines = places[~own].reshape(n, k), cosines[~own].reshape(n, k)
    angles = np.arccos(np.clip(cosines.astype(np.float64), -1, 1))
    least = angles.min(1, keepdims=True)
    width = np.maximum(np.median(angles, axis=1, keepdims=True) - least, 1e-6)
    weights = np.exp(-(angles - least) / width)
    directed = csr_array((weights.ravel(), (np.repeat(np.arange(n), k), places.ravel())), (n, n))
    # Fuzzy union: an edge is there if either end has it.
    graph = directed + directed.T - directed * directed.T
    root = np.sqrt(np.asarray(graph.sum(axis=1)).ravel())
    inverse = diags_array(1 / root)
    return (inverse @ graph @ inverse).tocsr(), root
