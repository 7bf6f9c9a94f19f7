"""A trend in sentences that say no more than was tested, each with its n, interval or p.

Takes a ``Trend``, gives plain text. Knows no numbers of its own and no screen.
"""

from __future__ import annotations

import numpy as np

from ..standardise import wilson
from .trend import ALPHA, Local, Trend

_MOST_NAMED = 3
_COVERED = 0.9
_HELD = {
    "episode": "environments and lengths of episodes",
    "prompt": "environments and lengths of prompts",
    "none": "environments",
}


def verdicts(trend: Trend) -> list[str]:
    """What was found, in order: how often, whether it changed, against the crude trend, where, and rewarded or not."""
    said = [_how_often(trend), _changed(trend), _against_crude(trend), _where(trend), _rewarded(trend)]
    return [sentence for sentence in said if sentence]


def caveats(trend: Trend) -> list[str]:
    """What was counted and how, and what is not known."""
    said = []
    if trend.folded:
        said.append(f"{_counted(trend.folded, 'duplicate')} folded.")
    if trend.without_step:
        said.append(f"{_counted(trend.without_step, 'episode')} without a training_step left out.")
    if trend.unknown:
        said.append(f"{_counted(trend.unknown, 'episode')} left out of which it is not known.")
    if trend.mixed:
        said.append(
            f"The steps are of more than one {' and more than one '.join(trend.mixed)}, which are not held equal; "
            "choose with --where."
        )
    if trend.binned:
        said.append(f"{trend.n_steps:,} training steps in {len(trend.steps)} bins, for enough episodes in each.")
    if not trend.n_grouped:
        said.append("No episode has a group_id, so each counts as independent; where prompts repeat, that is too sure.")
    elif trend.design_effect > 1.05:
        said.append(
            f"Episodes of a group are alike (intraclass correlation {trend.icc:.2f}, {trend.n_groups:,} groups), so "
            f"intervals count {trend.n:,} episodes as about {trend.n / trend.design_effect:,.0f}."
        )
    standard = (
        f"Standardised to the pooled mix of {_counted(trend.n_strata, 'stratum', 'strata')}, {_HELD[trend.length]}"
    )
    if (least := float(trend.curve.covered.min())) < _COVERED:
        standard += (
            f"; in the bin with fewest strata those that occur carry {_percent(least)} of the weight, and the others "
            "are estimated from the bin's shift"
        )
    said.append(f"{standard}.")
    return said


def _how_often(trend: Trend) -> str:
    share = trend.k / trend.n
    low, high = (float(end[0]) for end in wilson(np.array([share]), np.array([trend.n / trend.design_effect])))
    span = f"steps {trend.steps[0][0]}–{trend.steps[-1][1]}"
    return f"{trend.k:,} of {trend.n:,} episodes, {_percent(share)} [{_percent(low)}, {_percent(high)}], over {span}."


def _changed(trend: Trend) -> str:
    change, place, shift = trend.change, trend.change_steps, trend.shift
    if trend.k in (0, trend.n):
        return f"{'Every' if trend.k else 'No'} episode has it, so there is no change to look for."
    if change.p is None:
        return (
            f"Too little to test for a change: with {trend.k:,} of {trend.n:,} episodes no step has ten expected ones "
            "with it, and ten without it, on either side; read the episodes themselves."
        )
    if not trend.alarm or place is None or shift is None:
        return (
            f"No change found at an equal mix of {_HELD[trend.length]} (p {_p_sign(change.p)}, level {ALPHA})."
            f"{_power(change.detectable)}{_lengths(trend)}"
        )
    by = ""
    if change.in_units:
        by = f", placed by {_names([local for local in trend.environments if local.named])}"
    return (
        f"Changed beyond what {_HELD[trend.length]} explain: {_percent(shift.before)} → {_percent(shift.after)} at "
        f"equal composition ({_points(shift.difference)} [{_points(shift.low)}, {_points(shift.high)}] percentage "
        f"points), p {_p_sign(change.p)}; {_when(trend.rest_p, place, by)}."
    )


def _power(detectable: float | None) -> str:
    if detectable is None:
        return ""
    if detectable >= 1:
        return " So few independent episodes cannot be relied on to show a change of any size."
    return (
        f" A lasting change by {100 * detectable:.2g} percentage points in all strata would have been found in 80 % of "
        "cases, where it leaves enough steps on either side."
    )


def _lengths(trend: Trend) -> str:
    if trend.environment_p is None or trend.environment_p > ALPHA:
        return ""
    return (
        f" At an equal mix of environments alone there is a change (p {_p_sign(trend.environment_p)}): either longer "
        "or shorter tasks brought it, or the behaviour itself changes the length"
        + ("; see --length prompt." if trend.length == "episode" else ".")
    )


def _when(rest_p: float, place: tuple[int, int, int], by: str) -> str:
    if rest_p <= ALPHA:
        return (
            f"the best single jump is at step {place[0]}, but a trend is left before and after it "
            f"(p {_p_sign(rest_p)}), so read the curve for when"
        )
    return f"if it is one jump, from step {place[0]} [{place[1]}, {place[2]}] on{by}"


def _against_crude(trend: Trend) -> str:
    if trend.crude_p != trend.crude_p or trend.trend_p != trend.trend_p:
        return ""
    crude = f"crude trend z = {trend.crude_z:+.1f} (Cochran–Armitage, p {_p_sign(trend.crude_p)})"
    fair = f"standardised z = {trend.trend_z:+.1f} (p {_p_sign(trend.trend_p)})"
    text = f"{crude[0].upper()}{crude[1:]}, {fair}"
    if trend.crude_p <= ALPHA < trend.trend_p and not trend.alarm:
        return f"{text}: the mix of what was asked moved; a change within it was not found."
    return f"{text}."


def _where(trend: Trend) -> str:
    named = [local for local in trend.environments if local.named]
    if len(trend.environments) == 1 or not trend.alarm:
        return ""
    untried = sum(local.z is None for local in trend.environments)
    if untried == len(trend.environments):
        return "No environment has enough hits to be tried by itself."
    rest = f"; {untried} of {len(trend.environments)} environments had too few hits to try" if untried else ""
    if not named:
        return f"No single environment shows it by itself at level {ALPHA}{rest}."
    shown = [
        f"{local.environment} ({_percent(local.before)} → {_percent(local.after)} from step {local.step}, "
        f"n = {local.n:,}, p {_p_sign(local.p)})"
        for local in named[:_MOST_NAMED]
        if local.before is not None and local.after is not None and local.p is not None
    ]
    more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    return f"Seen in {', '.join(shown)}{more}{rest}."


def _rewarded(trend: Trend) -> str:
    link = trend.reward
    if trend.k in (0, trend.n):
        return ""
    missing = link.missing_with + link.missing_without
    lost = f"; {_counted(missing, 'reward')} missing" if missing else ""
    if not link.known_with or not link.known_without:
        return (
            f"Whether it is rewarded cannot be told: {_counted(link.known_with, 'reward')} with it, "
            f"{link.known_without:,} without{lost}."
        )
    where = {"group": "the same group and step", "stratum": "the same stratum and bin of steps"}[link.block]
    if link.difference is None or link.low is None or link.high is None:
        return (
            f"Whether it is rewarded cannot be told: episodes with it and without it are together in {where} only in "
            f"{_counted(link.n_units, 'case')}{lost}."
        )
    told = f"{link.difference:+.3g} [{link.low:+.3g}, {link.high:+.3g}]"
    tail = (
        f"({_counted(link.n_with, 'episode')} with it, {link.n_without:,} without, in "
        f"{_counted(link.n_blocks, 'block')}{lost})"
    )
    if link.low > 0 or link.high < 0:
        return f"Reward with it is {'higher' if link.low > 0 else 'lower'} within {where}: {told} {tail}."
    return f"No difference of reward found within {where}: {told} {tail}."


def _names(found: list[Local]) -> str:
    shown = [local.environment for local in found[:_MOST_NAMED]]
    return ", ".join(shown) + (f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else "")


def _counted(n: int, noun: str, plural: str = "") -> str:
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def _percent(share: float) -> str:
    percent = 100 * share
    if 0 < percent < 0.1 or 99.9 < percent < 100:
        return "<0.1 %" if percent < 1 else ">99.9 %"
    return f"{percent:.0f} %" if percent in (0, 100) else f"{percent:.1f} %"


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f}"


def _p_sign(p: float) -> str:
    return f"= {p:.2g}" if p >= 0.001 else "< 0.001"
