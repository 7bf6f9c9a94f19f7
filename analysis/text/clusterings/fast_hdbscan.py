"""HDBSCAN by fast-hdbscan (McInnes), on all cores, after a compilation of a minute on first use.

Takes rows, gives the labels of the ``hdbscan`` entry, but for ties, and probabilities of its own.
"""

from __future__ import annotations

import warnings

import numpy as np

from ..grouping import MIN_SAMPLES, Algorithm, Floats, Grouped, needs


def _group(rows: Floats, size: int) -> Grouped:
    with needs("fast-hdbscan"):
        from fast_hdbscan import HDBSCAN
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        # Of more than 30 columns without weights it would take approximate neighbours, by a package of its extra.
        equal = np.ones(len(rows))
        fitted = HDBSCAN(min_cluster_size=size, min_samples=MIN_SAMPLES).fit(rows, sample_weight=equal)
    return Grouped(fitted.labels_, np.nan_to_num(fitted.probabilities_))


ALGORITHM = Algorithm(
    summary="the same by fast-hdbscan; compiles for a minute on first use (extra: clusterings)",
    group=_group,
    diffused=True,
)
