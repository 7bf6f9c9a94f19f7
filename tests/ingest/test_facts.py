"""Usual names are facts, everything else is kept."""

from __future__ import annotations

from typing import Any

import pytest
from investigate.ingest.facts import path_facts, read_facts, storable


@pytest.mark.parametrize(
    ("row", "fact", "value"),
    [
        ({"step": 3}, "training_step", 3),
        ({"global_step": "12"}, "training_step", 12),
        ({"iteration": 4.0}, "training_step", 4),
        ({"score": 1}, "reward", 1.0),
        ({"rewards": [0.5]}, "reward", 0.5),
        ({"example_id": 7}, "task_id", "7"),
        ({"model_name": "m"}, "model", "m"),
        ({"data_source": "gsm8k"}, "environment", "gsm8k"),
        ({"run_name": "r"}, "experiment", "r"),
        ({"success": False}, "success", False),
        ({"finish_reason": "length"}, "stop_reason", "length"),
        ({"error": {"message": "boom"}}, "error", "boom"),
        ({"created_at": "2026-01-02T03:04:05Z"}, "started_at", "2026-01-02T03:04:05Z"),
    ],
)
def test_usual_names(row: dict[str, Any], fact: str, value: Any) -> None:
    assert read_facts(row, set()) == {fact: value, "metadata": {}}


@pytest.mark.parametrize(
    "row",
    [
        {"step": True},
        {"step": "late"},
        {"step": 2.5},
        {"reward": True},
        {"reward": "1.0"},
        {"rewards": [1.0, 0.0]},
        {"success": 1},
        {"model": {"name": "m"}},
        {"policy": "Rule one.\nRule two."},
        {"timestamp": 1717171717},
        {"mystery": [1, {"a": None}]},
    ],
)
def test_what_is_no_fact_is_metadata(row: dict[str, Any]) -> None:
    assert read_facts(row, set()) == {"metadata": row}


def test_the_first_usable_name_wins_and_its_rivals_are_kept() -> None:
    facts = read_facts({"id": "row-9", "task_id": "t1", "step": "x", "global_step": 5, "note": None}, set())
    assert facts == {"task_id": "t1", "training_step": 5, "metadata": {"id": "row-9", "step": "x"}}


def test_columns_that_the_caller_read_are_left_alone() -> None:
    assert read_facts({"score": 1.0, "reward": 0.0}, {"reward"}) == {"reward": 1.0, "metadata": {}}


def test_what_no_column_holds_becomes_text() -> None:
    row = {"game": 10035526270536075643, "inner": [{"n": -(2**63)}, 2**63], "loss": float("nan")}
    kept = read_facts(row, set())["metadata"]
    assert kept == {"game": "10035526270536075643", "inner": [{"n": -(2**63)}, str(2**63)], "loss": "nan"}
    assert storable(True) is True
    assert read_facts({"step": 2**70}, set()) == {"metadata": {"step": str(2**70)}}
    assert read_facts({"reward": 10**400}, set()) == {"metadata": {"reward": str(10**400)}}


@pytest.mark.parametrize(
    ("path", "facts"),
    [
        ("out/step_123/x.jsonl", {"training_step": 123}),
        ("out/global_step_40/val/rollouts.jsonl", {"training_step": 40, "split": "val"}),
        ("run/iteration_000123/train_rollouts.jsonl", {"training_step": 123}),
        ("run/checkpoint-500/eval/samples.json", {"training_step": 500, "split": "eval"}),
        ("verl/400.jsonl", {"training_step": 400}),
        ("a.zip!train/step_7.jsonl", {"training_step": 7, "split": "train"}),
        ("step_1/step_2.jsonl", {"training_step": 2}),
        ("1717171717.jsonl", {}),
        ("training/footstep_9000x.jsonl", {}),
        ("400.json", {}),
    ],
)
def test_paths(path: str, facts: dict[str, Any]) -> None:
    assert path_facts(path) == facts
