"""What a ranking is worth, and how sure that is.

Takes rankings, graded judgements and texts; gives numbers. Pure: no file, no search, a seed where there is chance. Does
not know which systems are compared, nor where judgements come from.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import log2
from typing import Any, Final, TypeVar

import numpy as np

Item = TypeVar("Item", bound=Hashable)

DEPTH: Final = 10
"""How far down a ranking is read."""

_FUNCTION_WORDS: Final = (
    "a about above across after again against all almost along already also although always am among an and another "
    "any anybody anyone anything are around as at be became because become been before being below between both but "
    "by can cannot could d did do does doing done down during each either else enough ever every everybody everyone "
    "everything few for from had has have having he her here hers herself him himself his how however i if in instead "
    "into is it its itself just ll m many may me might more most much must my myself neither never no nobody none nor "
    "not nothing now of off often on once one only onto or other others our ours ourselves out over own perhaps quite "
    "rather re s same shall she should since so some somebody someone something still such t than that the their "
    "theirs them themselves then there therefore these they this those though through thus to together too toward "
    "towards under until up upon us ve very via was we were what whatever when whenever where whether which while who "
    "whole whom whose why will with within without would yet you your yours yourself yourselves"
)
"""Words that carry no topic; two texts may share them and still share nothing."""


def content_stems(text: str) -> frozenset[str]:
    """The English stems (Snowball) of a text's words, without function words."""
    return frozenset(_analyzer().analyze(text))


@cache
def _analyzer() -> Any:
    import tantivy

    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    builder = builder.filter(tantivy.Filter.lowercase())
    builder = builder.filter(tantivy.Filter.custom_stopword(_FUNCTION_WORDS.split()))
    return builder.filter(tantivy.Filter.stemmer("English")).build()


def first_of_each(found: Iterable[Item], same: Mapping[Item, Item]) -> list[Item]:
    """Each item where it stands first, equals folded into the one that ``same`` names; what it lacks is left out."""
    return list(dict.fromkeys(same[item] for item in found if item in same))


def ndcg(ranking: Sequence[Item], grades: Mapping[Item, int], k: int = DEPTH) -> float:
    """Normalised discounted cumulative gain of the first k, 0 to 1, with gain 2^grade − 1 (Burges et al. 2005) and
    discount log2(rank + 1) (Järvelin and Kekäläinen 2002). An item without a grade has 0. Raises ValueError for
    judgements of which none is above 0, and for a ranking that names an item twice."""
    if len(set(ranking)) < len(ranking):
        raise ValueError("a ranking may name each item once")
    ideal = _gain(sorted(grades.values(), reverse=True)[:k])
    if not ideal:
        raise ValueError("nothing is relevant, so no ranking is better than another")
    return _gain([grades.get(item, 0) for item in ranking[:k]]) / ideal


def _gain(grades: Sequence[int]) -> float:
    return sum(((1 << grade) - 1) / log2(rank + 1) for rank, grade in enumerate(grades, start=1))


@dataclass(frozen=True, slots=True)
class Estimate:
    """The mean of ``n`` values in ``n_groups`` groups with its 95 % interval."""

    mean: float
    low: float
    high: float
    n: int
    n_groups: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap_mean(values: Sequence[float], groups: Sequence[str], *, seed: int = 0, n_draws: int = 5000) -> Estimate:
    """Percentile bootstrap of the mean, drawing whole groups: values of a group are not independent. Of one group the
    interval is NaN. Raises ValueError where there are no values or not a group for each."""
    if not len(values) or len(values) != len(groups):
        raise ValueError("give at least one value, and its group with each")
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.bincount(codes, weights=np.asarray(values, float))
    sizes = np.bincount(codes)
    mean = float(sums.sum() / sizes.sum())
    if len(names) == 1:
        return Estimate(mean, float("nan"), float("nan"), len(values), 1)
    drawn = np.random.default_rng(seed).integers(len(names), size=(n_draws, len(names)))
    low, high = np.quantile(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1), [0.025, 0.975])
    return Estimate(mean, float(low), float(high), len(values), len(names))


def bootstrap_ratio(
    over: Sequence[float], under: Sequence[float], groups: Sequence[str], *, seed: int = 0, n_draws: int = 5000
) -> Estimate:
    """The mean of ``over`` as a share of that of ``under``, both of the same queries, by the same bootstrap."""
    if not len(over) or not len(over) == len(under) == len(groups):
        raise ValueError("give at least one pair of values, and its group with each")
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    above = np.bincount(codes, weights=np.asarray(over, float))
    below = np.bincount(codes, weights=np.asarray(under, float))
    share = float(above.sum() / below.sum()) if below.sum() else float("nan")
    if len(names) == 1 or not below.sum():
        return Estimate(share, float("nan"), float("nan"), len(over), len(names))
    drawn = np.random.default_rng(seed).integers(len(names), size=(n_draws, len(names)))
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = above[drawn].sum(axis=1) / below[drawn].sum(axis=1)
    low, high = np.nanquantile(shares, [0.025, 0.975])
    return Estimate(share, float(low), float(high), len(over), len(names))
