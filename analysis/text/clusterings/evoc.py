"""EVoC (McInnes): a nearest-neighbour graph of the whole vectors, embedded and clustered in one go.

Takes vectors as they are; gives labels and membership strengths of the most persistent
layer.
"""

from __future__ import annotations

import warnings

import numpy as np

from ..grouping import Algorithm, Floats, Grouped, needs


def _group(rows: Floats, size: int) -> Grouped:
    with needs("evoc"):
        from evoc import EVoC
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        fitted = EVoC(base_min_cluster_size=size, random_state=0).fit(np.asarray(rows, np.float32))
    return Grouped(fitted.labels_, np.nan_to_num(fitted.membership_strengths_))


ALGORITHM = Algorithm(
    summary="EVoC of the vectors themselves; compiles for a minute on first use (extra: clusterings)",
    group=_group,
    diffused=False,
)
