"""HDBSCAN (Campello, Moulavi and Sander 2013) by the package of that name: compiled beforehand, so it starts at once.

Takes rows, gives labels and probabilities.
"""

from __future__ import annotations

import warnings

import numpy as np

from ..grouping import MIN_SAMPLES, Algorithm, Floats, Grouped


def _group(rows: Floats, size: int) -> Grouped:
    from hdbscan import HDBSCAN

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        fitted = HDBSCAN(min_cluster_size=size, min_samples=MIN_SAMPLES, core_dist_n_jobs=1).fit(rows)
    return Grouped(fitted.labels_, np.nan_to_num(fitted.probabilities_))


ALGORITHM = Algorithm(summary="HDBSCAN of a diffusion map over nearest neighbours", group=_group, diffused=True)
