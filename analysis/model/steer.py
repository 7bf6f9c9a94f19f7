"""Steering: add a direction while the model writes a turn anew, and count what comes of it.

Takes a model with its head, prompts, a direction and an outcome (a regex on what is written), gives one arm per
strength beside an empirical null of random directions of the same norm. Knows no workspace.

Strength 1 is the probe's contrast: the difference of the class means in the residual stream, so that ±1 moves an
activation about as far as the two classes lie apart. Control directions can steer as well as the concept (practice:
rescaled noise lies along what varies most), hence the percentile among at least 20 of the same norm.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from ...store.errors import UsageError
from ..statistics import Rate
from .generate import Positions, sample
from .load import LoadedModel

FEWEST_RANDOM: Final = 20


@dataclass(frozen=True, slots=True)
class Prompt:
    """Where an episode is taken up again: token ids up to there, the last ``n_kept`` of them in the turn itself."""

    episode_id: int
    ids: tuple[int, ...]
    n_kept: int


@dataclass(frozen=True, slots=True)
class Direction:
    """What is added after block ``layer``: ``vector`` (d_model,) times a strength."""

    layer: int
    vector: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done to every prompt. ``outcome`` and ``valid`` are searched in the kept text followed by the new one."""

    strengths: tuple[float, ...]
    outcome: re.Pattern[str]
    valid: re.Pattern[str] | None = None
    n: int = 50
    n_random: int = 20
    positions: Positions = "generated"
    max_new_tokens: int = 256
    temperature: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One continuation. ``direction`` is ``probe``, ``none`` or ``random-7``."""

    episode_id: int
    direction: str
    strength: float
    sample: int
    matched: bool
    valid: bool | None
    text: str


@dataclass(frozen=True, slots=True)
class Arm:
    """The outcomes at one strength, and the null at the same norm: the random directions' rates."""

    strength: float
    rate: Rate
    valid: Rate | None
    random_valid: Rate | None
    episodes: tuple[tuple[int, Rate], ...]
    random_rates: tuple[float, ...]

    @property
    def random_p95(self) -> float:
        return float(np.quantile(self.random_rates, 0.95)) if self.random_rates else float("nan")

    @property
    def random_p5(self) -> float:
        return float(np.quantile(self.random_rates, 0.05)) if self.random_rates else float("nan")

    @property
    def percentile(self) -> float:
        """Share of random directions whose rate is below this arm's, ties counting half."""
        if not self.random_rates:
            return float("nan")
        rates = np.asarray(self.random_rates)
        return float(np.mean(rates < self.rate.rate) + np.mean(rates == self.rate.rate) / 2)


def steer(loaded: LoadedModel, prompts: Sequence[Prompt], direction: Direction, plan: Plan) -> Iterator[Outcome]:
    """Sample all arms of all prompts; the unsteered one (strength 0) is always among them.

    Raises UsageError when the outcome stands in what is kept, so that every arm would count it.
    """
    for prompt in prompts:
        if plan.outcome.search(loaded.tokenizer.decode(_kept(prompt), skip_special_tokens=True)):
            raise UsageError(
                f"--outcome {plan.outcome.pattern} matches what is kept of episode {prompt.episode_id} already."
            )
    labels, vectors = _rows(direction.vector, plan)
    for number, prompt in enumerate(prompts):
        continuations = sample(
            loaded,
            prompt.ids,
            vectors,
            layer=direction.layer,
            positions=plan.positions,
            max_new_tokens=plan.max_new_tokens,
            temperature=plan.temperature,
            seed=plan.seed + 1_000_003 * number,
        )
        for (name, strength, index), ids in zip(labels, continuations, strict=True):
            text = loaded.tokenizer.decode(ids, skip_special_tokens=True)
            # Decoded together: apart, the space between two tokens would be lost.
            whole = loaded.tokenizer.decode(_kept(prompt) + ids, skip_special_tokens=True)
            matched = plan.outcome.search(whole) is not None
            valid = None if plan.valid is None else plan.valid.search(whole) is not None
            yield Outcome(prompt.episode_id, name, strength, index, matched, valid, text)


def _kept(prompt: Prompt) -> list[int]:
    return list(prompt.ids[len(prompt.ids) - prompt.n_kept :])


def _rows(vector: NDArray[np.float32], plan: Plan) -> tuple[list[tuple[str, float, int]], torch.Tensor]:
    """What each row of the batch is, and its vector (rows, d_model)."""
    norm = float(np.linalg.norm(vector))
    rng = np.random.default_rng(plan.seed)
    noise = rng.standard_normal((plan.n_random, len(vector)))
    noise *= norm / np.linalg.norm(noise, axis=1, keepdims=True)
    steered = [strength for strength in plan.strengths if strength]
    labels, vectors = [("none", 0.0, i) for i in range(plan.n)], [np.zeros_like(vector)] * plan.n
    for strength in steered:
        labels += [("probe", strength, i) for i in range(plan.n)]
        vectors += [vector * strength] * plan.n
    # The sign of a random direction means nothing, so a null at |s| serves both s and -s.
    for strength in sorted({abs(strength) for strength in steered}):
        for number, direction in enumerate(noise):
            labels += [(f"random-{number}", strength, i) for i in range(plan.n)]
            vectors += [direction * strength] * plan.n
    return labels, torch.tensor(np.asarray(vectors), dtype=torch.float32)


def arms(outcomes: Sequence[Outcome]) -> list[Arm]:
    """Summarise outcomes by strength, the unsteered arm first."""
    own = {outcome.strength for outcome in outcomes if outcome.direction in ("none", "probe")}
    return [_arm(outcomes, strength) for strength in sorted(own, key=lambda s: (s != 0, s))]


def _arm(outcomes: Sequence[Outcome], strength: float) -> Arm:
    own = [o for o in outcomes if o.direction in ("none", "probe") and o.strength == strength]
    beside = [o for o in outcomes if o.direction.startswith("random") and o.strength == abs(strength) != 0]
    null: dict[str, list[bool]] = {}
    for outcome in beside:
        null.setdefault(outcome.direction, []).append(outcome.matched)
    by_episode: dict[int, list[bool]] = {}
    for outcome in own:
        by_episode.setdefault(outcome.episode_id, []).append(outcome.matched)
    return Arm(
        strength,
        _rate(o.matched for o in own),
        _valid_rate(own),
        _valid_rate(beside),
        tuple((episode_id, _rate(matched)) for episode_id, matched in by_episode.items()),
        tuple(float(np.mean(matched)) for matched in null.values()),
    )


def _valid_rate(outcomes: Sequence[Outcome]) -> Rate | None:
    judged = [o.valid for o in outcomes if o.valid is not None]
    return _rate(judged) if judged else None


def difference_interval(baseline: Arm, arm: Arm, seed: int = 0, n_draws: int = 2000) -> tuple[float, float]:
    """95 % interval of arm − baseline from a bootstrap over episodes, each drawn with both of its arms: samples of one
    episode are not independent of each other. (−1, 1) with a single episode."""
    before, after = (np.asarray([rate.rate for _, rate in one.episodes]) for one in (baseline, arm))
    if len(before) < 2:
        return -1.0, 1.0
    drawn = np.random.default_rng(seed).integers(len(before), size=(n_draws, len(before)))
    low, high = np.quantile((after - before)[drawn].mean(1), [0.025, 0.975])
    return float(low), float(high)


def _rate(matched: Sequence[bool] | Iterator[bool]) -> Rate:
    values = list(matched)
    return Rate(sum(values), len(values))


def verdict(baseline: Arm, arm: Arm) -> str:
    """What one arm shows. An effect counts when the intervals are apart, over several episodes also between them, and
    it stands out of the null."""
    change = arm.rate.rate - baseline.rate.rate
    apart = arm.rate.interval[0] > baseline.rate.interval[1] or arm.rate.interval[1] < baseline.rate.interval[0]
    if len(arm.episodes) > 1:
        low, high = difference_interval(baseline, arm)
        apart = apart and not low <= 0 <= high
    shown = f"strength {arm.strength:+g}: {baseline.rate.rate:.2f} → {arm.rate.rate:.2f}"
    if arm.valid is not None and baseline.valid is not None and arm.valid.rate < baseline.valid.rate - 0.1:
        shown += f" ({arm.valid.rate:.0%} of the texts well-formed, {baseline.valid.rate:.0%} unsteered)"
    if not apart:
        return f"{shown}: no effect shown (the intervals overlap)."
    if not arm.random_rates:
        return f"{shown}: a change, but without random directions beside it nothing says it is the concept."
    if len(arm.random_rates) < FEWEST_RANDOM:
        few = f"{len(arm.random_rates)} random directions are too few to call it specific"
        return f"{shown}: a change, but {few}; take {FEWEST_RANDOM}."
    outside = arm.rate.rate > arm.random_p95 if change > 0 else arm.rate.rate < arm.random_p5
    null = f"random directions of the same norm: 5–95 % {arm.random_p5:.2f}–{arm.random_p95:.2f}"
    if not outside:
        return f"{shown}: not specific to the direction ({null})."
    verb = "raises" if change > 0 else "lowers"
    what = "adding the direction" if arm.strength > 0 else "taking the direction away"
    return f"{shown}: {what} {verb} the outcome ({null}, n = {len(arm.random_rates)})."
