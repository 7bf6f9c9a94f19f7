"""Logistic regression on standardised activations, strongly regularised.

Takes activations and labels, gives a readout whose score is the log-odds, the scaling folded in. As in Goldowsky-Dill
et al. 2025, "Detecting Strategic Deception Using Linear Probes" (λ = 10, no intercept after centring).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from ..probe import Kind, Readout

_LAMBDA = 10.0


def _fit(x: NDArray[np.floating[Any]], positive: NDArray[np.bool_], seed: int) -> Readout:
    mean, scale = x.mean(0), x.std(0)
    scale = np.where(scale > 1e-8, scale, 1.0)
    model = LogisticRegression(C=1 / _LAMBDA, fit_intercept=False, max_iter=2000)
    model.fit((x - mean) / scale, positive)
    w = model.coef_[0] / scale
    return Readout(w.astype(np.float32), -float(w @ mean))


PROBE = Kind(summary="logistic regression (L2, λ = 10) on standardised activations", fit=_fit)
