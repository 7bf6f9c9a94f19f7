"""What is said beside the table of ``compare`` and ``discover``: what it rests on, what could have been found, legend.

Takes a comparison and what its sides are called, gives sentences. Prints nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .figures import number, share

if TYPE_CHECKING:
    from ..analysis.text.compare import Comparison
    from ..analysis.text.differences import Difference

LEGEND: Final = (
    "Counts, effect and q are of the half in which a difference was found; “held out” is the effect in the other, "
    "with its counts. The effect is a log-odds ratio with a Dirichlet prior, or, where no counts stand, Cliff’s delta "
    "(−1 to 1). Rows about the same episodes are one theme: the first is shown, “more rows” counts the others. A "
    "difference is no cause. Numbers below “e.g.” are episodes: investigate show ID."
)
_LITTLE: Final = 5.0
"""Independent episodes: of five against five no arrangement has p below 0.004."""


def sentences(found: Comparison, names: tuple[str, str], fold_by: str | None) -> list[str]:
    """What the table rests on, and what chance alone would give."""
    a, b = names
    units = "sets of episodes that share a task, group or content" if fold_by is None else f"values of {fold_by}"
    tried = ", ".join(f"{n:,} {kind.replace('_', ' ')}" for kind, n in found.tried.items() if n)
    chance = ", ".join(f"{shuffle.found} / {shuffle.confirmed}" for shuffle in found.shuffles)
    shown = len(found.differences)
    merged = ""
    if shown:
        which = "which" if found.n_kept == found.n_found else f"the {found.n_kept:,} strongest of which"
        merged = f", {which} make {shown:,} rows on {len(leaders(found)):,} themes"
    largest = [f" (the largest of {n:,})" if n > 1 else "" for n in found.power.largest]
    return [
        f"{a}: {found.n_a:,} episodes in {found.n_units_a:,} independent {units}{largest[0]}; {b}: {found.n_b:,} in "
        f"{found.n_units_b:,}{largest[1]}; {found.n_folded:,} copies folded.",
        *_worth(found, names),
        *_clusters(found, names),
        f"Tried {sum(found.tried.values()):,} ({tried}); found {found.n_found:,} at a false discovery rate of 5 % in "
        f"one half{merged}; confirmed {found.n_confirmed:,} in the other, at 5 % for all of them together.",
        f"With the labels shuffled over units, found / confirmed: {chance}.",
        *_by_chance(found),
    ]


def _worth(found: Comparison, names: tuple[str, str]) -> list[str]:
    """What either side is worth where episodes are no independent evidence; empty where all are."""
    power = found.power
    if max(power.largest) < 2:
        return []
    worth = [number(value) for value in power.worth]
    said = (
        f"Where the episodes of one set are all alike, {names[0]} is worth {worth[0]} independent ones in one half, "
        f"{names[1]} {worth[1]}."
    )
    if power.by_set:
        said += " A few sets hold most of a side, so each counts once, for its share of episodes"
    elif min(power.worth) < _LITTLE:
        said += f" With less than {_LITTLE:.0f}, little could be found"
    else:
        return [said]
    return [f"{said}; --fold-by COLUMN says which episodes belong together (--fold-by episode_id: none do)."]


def _clusters(found: Comparison, names: tuple[str, str]) -> list[str]:
    clusters = found.clusters
    if clusters is None:
        return []
    knows = f"knows {share(clusters.a)} of {names[0]} and {share(clusters.b)} of {names[1]}"
    if clusters.used:
        return [f"Clusters are those of {clusters.run_id}, which {knows}."]
    return [f"Clusters are left out: {clusters.run_id} {knows}. Cluster these, or name a run with --clusters."]


def _by_chance(found: Comparison) -> list[str]:
    """How many of the confirmed the shuffled labels confirm too; empty where they confirm nothing."""
    mean = sum(shuffle.confirmed for shuffle in found.shuffles) / max(len(found.shuffles), 1)
    if not mean:
        return []
    return [
        f"Shuffled labels confirm {number(mean)} on average: about so many of the {found.n_confirmed:,} would be "
        "confirmed by chance, or by what units differ in whichever side they are on."
    ]


def nothing_found(found: Comparison, names: tuple[str, str]) -> str:
    """A null with what it could have seen."""
    power = found.power
    grouped = max(power.largest) > 1
    if power.detectable is None:
        return (
            f"No difference between {names[0]} and {names[1]} could have been found: they have too few independent "
            "episodes or sets for so many features; widen both"
            + (", or say with --fold-by COLUMN which episodes belong together." if grouped else ".")
        )
    if power.by_set:
        seen = f"from {share(power.detectable)} of the sets of the other on"
    else:
        seen = f"from {share(power.detectable)} of the episodes of the other on"
    if grouped and not power.by_set:
        alike = power.detectable_alike
        seen += ", if the episodes of one set are independent; if they are all alike, "
        seen += "hardly anything would have been" if alike is None else f"from {share(alike)} on"
    return (
        f"No difference found between {names[0]} and {names[1]}. Something that one of them never has would have been "
        f"found, in 80 % of cases, {seen}."
    )


def leaders(found: Comparison) -> list[Difference]:
    """The first row of each theme."""
    return found.differences[: max((row.theme for row in found.differences), default=0)]
