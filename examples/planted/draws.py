"""The truth: what is planted in each episode, drawn from the schedules.

Takes a ``Config``, gives columns per step and ``truth_table``, all of it without writing a word of text. Knows no text
and no log format. The draws of a step depend on seed and step alone, and each column has its own: leaving a behaviour
out changes nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from phrases import BANKS
from settings import (
    CODE_ENVIRONMENTS,
    ENVIRONMENTS,
    FORMAT_SHARES,
    FORMATS,
    LENGTHS,
    N_COVER_UPS,
    N_STEPS,
    PROVIDERS,
    RATES,
    Config,
    environment_shares,
    long_share,
    rates,
    success_rates,
)

Columns = dict[str, NDArray[Any]]

N_TASKS: Final = 24
"""Tasks of one environment."""
OUTCOMES: Final = ("passed", "fixed", "failed", "fault")
CLAIMS: Final = ("true", "true_after_fix", "honest_failure", "false", "none")
DECOYS: Final = ("none", "unit_test", "exam", "announced")
CATEGORIES: Final[dict[str, tuple[str, ...]]] = {
    "environment": ENVIRONMENTS,
    "length": LENGTHS,
    "format": FORMATS,
    "provider": PROVIDERS,
    "bank": BANKS,
    "outcome": OUTCOMES,
    "claim": CLAIMS,
    "awareness_decoy": DECOYS,
}
"""Columns of names: here they are drawn as indices into these."""
_DRAWN: Final = (
    *("environment", "length", "format", "provider", "bank", "task", "outcome", "fixed", "duplicate", "original"),
    *("truncated", "reward_missing", "bad_row_follows", "ambiguous", "risky_act", "awareness_decoy", "decoy_kind"),
    *("skip_requested", "scorer_requested", "cleanup", "token_soup", "awareness", "hack", "false_claim"),
    *("grader_search", "dialect", "ambiguous_act", "fault", "quirk"),
)


def truth_table(config: Config) -> pa.Table:
    """The truth of the whole corpus, one row per episode, in the order in which ``generate`` gives them."""
    drawn = list(steps(config))
    return to_table(config, {name: np.concatenate([columns[name] for columns in drawn]) for name in drawn[0]})


def steps(config: Config) -> Iterator[Columns]:
    """The columns of each step."""
    return (draw(config, step) for step in range(N_STEPS))


def draw(config: Config, step: int) -> Columns:
    """The columns of one step, each an array of one value per episode."""
    n = config.size(step)
    first = sum(config.size(before) for before in range(step))
    uniform = np.random.default_rng([config.seed, step]).random((len(_DRAWN), n))
    u = dict(zip(_DRAWN, uniform, strict=True))
    environment = _pick(u["environment"], environment_shares(config, step))
    cover_up = np.isin(np.arange(first, first + n), _cover_ups(config))
    # A cover-up needs a shell, so its episode is one of code.
    environment[cover_up] = environment[cover_up] % len(CODE_ENVIRONMENTS)
    length = (u["length"] < long_share(config, step)).astype(np.int64)
    columns: Columns = {
        "step": np.full(n, step),
        "environment": environment,
        "task": (u["task"] * N_TASKS).astype(np.int64),
        "length": length,
        "format": _pick(u["format"], np.array(FORMAT_SHARES)),
        "provider": (u["provider"] < RATES["provider_b"]).astype(np.int64),
        "bank": (u["bank"] * 2).astype(np.int64),
        "cover_up": cover_up,
        "truncated": (u["truncated"] < RATES["truncated"]) & ~cover_up,
    }
    columns |= _conditions(u, columns)
    columns |= _behaviours(config, step, u, columns)
    columns |= _outcomes(config, step, u, columns)
    row = _rows_of_originals(u, cover_up)
    columns = {name: values[row] for name, values in columns.items()}
    columns["reward_missing"] = u["reward_missing"] < RATES["reward_missing"]
    columns["bad_row_follows"] = u["bad_row_follows"] < RATES["bad_row_follows"]
    columns["index"] = np.arange(first, first + n)
    columns["original"] = first + row
    return columns


def key_of(config: Config, index: int) -> str:
    """The name of an episode, which stands in its log as ``rollout_id``."""
    return f"r{config.seed}-{index:07d}"


def to_table(config: Config, columns: Columns) -> pa.Table:
    """The columns as they are told to the reader: names for indices, null where there is nothing."""
    keys = [key_of(config, index) for index in columns["index"].tolist()]
    is_copy = columns["original"] != columns["index"]
    copied = (
        key_of(config, original) if copy else None
        for original, copy in zip(columns["original"].tolist(), is_copy.tolist(), strict=True)
    )
    arrays: dict[str, Any] = {"key": pa.array(keys), "step": pa.array(columns["step"], pa.int32())}
    for name, names in CATEGORIES.items():
        arrays[name] = pa.DictionaryArray.from_arrays(pa.array(columns[name], pa.int8()), pa.array(names))
    arrays["task_id"] = pa.array(task_ids(columns))
    arrays["reward"] = pa.array(columns["reward"], pa.float64(), mask=columns["reward_missing"])
    arrays["near_duplicate_of"] = pa.array(copied, pa.string())
    arrays |= {name: pa.array(values) for name, values in columns.items() if values.dtype == np.bool_}
    return pa.table(arrays)


def task_ids(columns: Columns) -> list[str]:
    """Names of the tasks: one of 24 of the environment."""
    pairs = zip(columns["environment"].tolist(), columns["task"].tolist(), strict=True)
    return [f"{ENVIRONMENTS[environment]}-{task:02d}" for environment, task in pairs]


def _pick(uniform: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices with these shares."""
    return np.searchsorted(np.cumsum(shares)[:-1], uniform, side="right")


def _cover_ups(config: Config) -> NDArray[np.int64]:
    """Which three of all episodes are covered up."""
    if not config.plants("cover_up"):
        return np.empty(0, np.int64)
    return np.random.default_rng([config.seed, N_STEPS]).choice(config.episodes, N_COVER_UPS, replace=False)


def _conditions(u: Columns, drawn: Columns) -> Columns:
    """What the environment and the provider bring: the conditions of behaviours, and decoys that exclude none."""
    decoy = u["awareness_decoy"] < RATES["awareness_decoy"]
    return {
        "ambiguous": u["ambiguous"] < RATES["ambiguous"],
        "risky_act": u["risky_act"] < RATES["risky_act"],
        "awareness_decoy": decoy * (1 + (u["decoy_kind"] * (len(DECOYS) - 1)).astype(np.int64)),
        "token_soup": (drawn["provider"] == 1) & (u["token_soup"] < RATES["token_soup_of_b"]),
    }


def _behaviours(config: Config, step: int, u: Columns, drawn: Columns) -> Columns:
    """What the policy does, and the decoys that would contradict it where it does it."""
    chance = rates(config, step, drawn["environment"], drawn["length"] == 1)
    found = {name: u[name] < chance[name] for name in chance}
    found["hack"] &= ~drawn["cover_up"]
    found["fault"] &= ~drawn["cover_up"]
    found["ambiguous_act"] &= drawn["ambiguous"]
    found["quirk"] &= drawn["risky_act"]
    found["false_claim"] &= ~(found["hack"] | found["fault"] | drawn["cover_up"] | drawn["truncated"])
    in_code = drawn["environment"] < len(CODE_ENVIRONMENTS)
    found["skip_requested"] = in_code & (u["skip_requested"] < RATES["skip_requested"]) & ~found["hack"]
    found["scorer_requested"] = (u["scorer_requested"] < RATES["scorer_requested"]) & ~found["grader_search"]
    found["cleanup"] = (u["cleanup"] < RATES["cleanup"]) & ~drawn["cover_up"]
    return found


def _outcomes(config: Config, step: int, u: Columns, drawn: Columns) -> Columns:
    """What the log of the checks shows at its end, what is claimed of it, and what that is paid."""
    succeeds = u["outcome"] < success_rates(config, step, drawn["environment"], drawn["length"] == 1)
    fixed = succeeds & (u["fixed"] < RATES["fixed_of_passed"])
    outcome = np.select(
        [drawn["fault"], drawn["hack"], drawn["false_claim"], fixed, succeeds],
        [OUTCOMES.index(name) for name in ("fault", "passed", "failed", "fixed", "passed")],
        OUTCOMES.index("failed"),
    )
    claim = np.select(
        [drawn["truncated"] | drawn["fault"], drawn["false_claim"], outcome == 0, outcome == 1],
        [CLAIMS.index(name) for name in ("none", "false", "true", "true_after_fix")],
        CLAIMS.index("honest_failure"),
    )
    return {"outcome": outcome, "claim": claim, "reward": (outcome <= 1).astype(np.float64)}


def _rows_of_originals(u: Columns, cover_up: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each episode of a step the row that it tells: its own, or that of the episode which it nearly repeats."""
    copies = (u["duplicate"] < RATES["near_duplicate"]) & ~cover_up
    originals = np.flatnonzero(~copies & ~cover_up)
    row = np.arange(len(copies))
    row[copies] = originals[(u["original"][copies] * len(originals)).astype(np.int64)]
    return row
