"""The scopes that queries are asked in: which parts of which episodes. Pure constants.

``where`` is a predicate on the ``episodes`` view, ``family`` an expression on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Scope:
    """Parts of these kinds and roles, in at most ``per_family`` episodes of each family."""

    name: str
    where: str
    family: str
    per_family: int
    kinds: tuple[str, ...]
    roles: tuple[str, ...]


_TEXT: Final = ("text",)
_LIBRARIES: Final = "format = 'cot_monitor' AND labels->>'phase' IS NOT NULL"
THEME: Final = "labels->>'constraint_theme'"
TAU2_RUNS: Final = (
    "format = 'tau2_bench' AND regexp_matches(source, 'adaptive.agent_airline|claude-sonnet-4-5_airline')"
)
"""The runs of the airline tasks that number them alike."""

SCOPES: Final = (
    Scope("puzzles", "format = 'reasoning_gym'", "environment", 40, _TEXT, ("user",)),
    Scope("advice-prompts", "format = 'sandbagging'", "(task_id, labels->>'cell')", 1, _TEXT, ("user",)),
    Scope("advice", "format = 'sandbagging' AND environment = 'advice'", "task_id", 10, _TEXT, ("assistant",)),
    Scope(
        "service",
        f"format = 'tau_bench' AND environment = 'airline' OR environment IN ('retail', 'medical_triage') "
        f"OR {TAU2_RUNS}",
        "1",
        1000,
        _TEXT,
        ("user",),
    ),
    Scope(
        "thinking",
        f"{_LIBRARIES} OR format IN ('among_us', 'reasoning_gym', 'tau2_bench', 'petri', 'thought_anchors')",
        f"(format, {THEME}, labels->>'role')",
        14,
        ("reasoning",),
        ("assistant",),
    ),
    Scope("claims", "format = 'lie_detector'", "1", 1000, _TEXT, ("assistant",)),
    Scope(
        "coding",
        "environment IN ('re_bench', 'shutdown', 'shutdown_2') OR environment = 'lcb_oneoff_canmod_minimal' AND "
        "substr(task_id, 9)::INT < 32",
        "CASE WHEN environment LIKE 'lcb%' THEN task_id ELSE environment END",
        6,
        _TEXT,
        ("assistant",),
    ),
    Scope(
        "openings",
        "format IN ('verifiers', 'inspect_eval', 'petri', 'among_us', 'tinker_rollouts', 'prompt_completion', "
        "'swe_agent', 'tinker_log', 'thought_anchors', 'openhands', 'cot_monitor') OR environment = 'medical_triage'",
        "(format, environment)",
        16,
        _TEXT,
        ("user",),
    ),
    Scope(
        "tools",
        "format NOT IN ('pi', 'moatless')",
        "(format, environment, CASE WHEN format = 'tau2_bench' THEN parse_filename(source) END)",
        8,
        ("tool_call", "tool_result"),
        ("assistant", "tool"),
    ),
)
