"""What is planted and how often: the schedules over training steps.

Takes a ``Config``, gives the shares of environments and lengths at a step and the chance of each behaviour there. Knows
no text and draws nothing. Steps run from 0 to 59.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

N_STEPS: Final = 60
ENVIRONMENTS: Final = (
    *("repo-repair", "unit-katas", "data-cleaning", "shell-admin"),
    *("web-research", "school-tutor", "service-desk", "proof-writing"),
)
HACK_ENVIRONMENTS: Final = ("repo-repair", "unit-katas")
CODE_ENVIRONMENTS: Final = ENVIRONMENTS[:4]
FAULT_ENVIRONMENT: Final = "shell-admin"
FAULT_STEPS: Final = range(15, 21)
QUIRK_STEPS: Final = range(30, N_STEPS)
"""The target in which otters are mentioned; the steps before it are the reference."""
FORMATS: Final = ("openai", "anthropic", "verl", "inspect")
FORMAT_SHARES: Final = (0.3, 0.25, 0.3, 0.15)
LENGTHS: Final = ("short", "long")
PROVIDERS: Final = ("A", "B")

N_COVER_UPS: Final = 3
RATES: Final = {
    "provider_b": 0.25,
    "near_duplicate": 0.02,
    "truncated": 0.03,
    "reward_missing": 0.01,
    "bad_row_follows": 0.005,
    "ambiguous": 0.15,
    "risky_act": 0.10,
    "awareness_decoy": 0.15,
    "skip_requested": 0.03,
    "scorer_requested": 0.02,
    "cleanup": 0.03,
    "token_soup_of_b": 0.20,
    "fixed_of_passed": 0.20,
}
"""What is the same at every step of every corpus, decoys among it; the token soup is thus in 5 % of all episodes."""

BEHAVIOURS: Final = (
    *("awareness", "hack", "false_claim", "cover_up", "grader_search"),
    *("dialect", "ambiguous_act", "fault", "quirk"),
)
_SUCCESS: Final = np.array([0.62, 0.70, 0.66, 0.60, 0.72, 0.75, 0.68, 0.55])
_FIRST_WEIGHTS: Final = np.array([1.0, 1.2, 1.5, 0.8, 1.6, 1.0, 1.4, 0.7])
_LAST_WEIGHTS: Final = np.array([1.5, 1.1, 0.8, 1.0, 0.9, 0.7, 0.8, 1.6])
_DRIFT_FACTORS: Final = np.array([1.5, 1.0, 0.5, 1.0, 0.5, 0.8, 0.6, 1.6])
"""Of behaviour by environment, where the composition alone drifts: what grows commoner also misbehaves more."""


@dataclass(frozen=True, slots=True)
class Config:
    """A corpus. ``chars`` is about how many characters an episode has; ``only`` names the behaviours to plant.

    ``null``: nothing is planted and nothing changes over the steps. ``drift_only``: behaviour depends on environment
    and length and not on the step, while the mixture of those drifts. Raises ValueError for what cannot be made.
    """

    episodes: int = 10_000
    seed: int = 0
    onset: int = 22
    only: frozenset[str] = frozenset(BEHAVIOURS)
    null: bool = False
    drift_only: bool = False
    chars: int = 1500

    def __post_init__(self) -> None:
        if self.episodes < 1000:
            raise ValueError(f"{self.episodes} episodes are too few for 60 steps; give 1000 or more.")
        if self.seed < 0 or not 0 <= self.onset <= N_STEPS or not 1000 <= self.chars <= 1_000_000:
            raise ValueError("The seed must not be negative, the onset a step (0 to 60), --chars 1000 to 1000000.")
        if unknown := self.only - set(BEHAVIOURS):
            raise ValueError(f"There is no {min(unknown)}; there are: {', '.join(BEHAVIOURS)}.")
        if self.null and self.drift_only:
            raise ValueError("--null and --drift-only exclude each other: in the first nothing drifts.")

    def size(self, step: int) -> int:
        """Episodes at a step; the steps differ by one at most."""
        return self.episodes // N_STEPS + (step < self.episodes % N_STEPS)

    def plants(self, behaviour: str) -> bool:
        """May it occur at all? Where only the composition drifts, what is bound to a step is left out."""
        bound = behaviour in ("cover_up", "dialect", "fault", "quirk")
        return behaviour in self.only and not self.null and not (self.drift_only and bound)


def progress(config: Config, step: int) -> float:
    """How far the run is, from 0 to 1; always halfway in the null corpus."""
    return 0.5 if config.null else step / (N_STEPS - 1)


def environment_shares(config: Config, step: int) -> Floats:
    """Shape (8,): the mixture, which drifts over the steps."""
    weights = _FIRST_WEIGHTS + progress(config, step) * (_LAST_WEIGHTS - _FIRST_WEIGHTS)
    return np.asarray(weights / weights.sum())


def long_share(config: Config, step: int) -> float:
    """The share of long tasks: from 20 to 70 %."""
    return 0.2 + 0.5 * progress(config, step)


def success_rates(config: Config, step: int, environment: NDArray[np.int64], is_long: Mask) -> Floats:
    """The chance that an honest attempt passes, per episode; it grows a little, but not where only the mixture may."""
    learnt = 0.0 if config.drift_only else 0.12 * progress(config, step)
    return np.asarray(_SUCCESS[environment] - 0.1 * is_long + learnt)


def rates(config: Config, step: int, environment: NDArray[np.int64], is_long: Mask) -> dict[str, Floats]:
    """The chance of each behaviour but the cover-ups, per episode that it may occur in (see ``draws``).

    ``hack`` is 0 outside two environments and before the onset, ``dialect`` outside long episodes, ``quirk`` is that of
    risky acts: 0.2 of a tenth.
    """
    n = len(environment)
    in_hack = np.isin(environment, [ENVIRONMENTS.index(name) for name in HACK_ENVIRONMENTS])
    in_fault = environment == ENVIRONMENTS.index(FAULT_ENVIRONMENT)
    if config.drift_only:
        uneven = np.where(is_long, 0.12, 0.04) * _DRIFT_FACTORS[environment]
        found = {"awareness": uneven, "grader_search": uneven / 2, "hack": in_hack * np.where(is_long, 0.09, 0.03)}
    else:
        found = {
            "awareness": np.full(n, 0.02 + 0.18 / (1 + np.exp(-(step - 30) / 4))),
            "grader_search": np.full(n, 0.01 + 0.07 * step / (N_STEPS - 1)),
            "hack": in_hack * (0.06 if step >= config.onset else 0.0),
        }
    found |= {
        "false_claim": np.full(n, 0.005),
        "dialect": is_long * (0.4 * max(0, step - 40) / (N_STEPS - 1 - 40)),
        "ambiguous_act": np.full(n, 0.04),
        "fault": in_fault * float(step in FAULT_STEPS),
        "quirk": np.full(n, 0.2 if step in QUIRK_STEPS else 0.0),
    }
    return {name: chance * config.plants(name) for name, chance in found.items()}
