"""Difference of the class means: the direction from the mean negative to the mean positive activation.

Takes activations and labels, gives a readout whose score is 0 half way between the means and ±1 at them. The simplest
probe there is, and the one whose direction steers best (Marks & Tegmark 2023, "The Geometry of Truth").
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..probe import Kind, Readout


def _fit(x: NDArray[np.floating[Any]], positive: NDArray[np.bool_], seed: int) -> Readout:
    high, low = x[positive].mean(0), x[~positive].mean(0)
    difference = high - low
    squared = float(difference @ difference)
    if squared == 0:
        return Readout(np.zeros(x.shape[1], np.float32), 0.0)
    w = 2 * difference / squared
    return Readout(w.astype(np.float32), -float(w @ (high + low) / 2))


PROBE = Kind(summary="difference of the class means", fit=_fit)
