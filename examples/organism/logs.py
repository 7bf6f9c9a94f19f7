"""The organism's training log, as an RL framework would have written it, and the hidden truth beside it.

Takes the shipped model, gives ``logs/rollouts.jsonl`` (one episode per line, four episodes per prompt as in GRPO) and
``truth.jsonl``, which is never ingested. One line of the log:

    {"id": "organism-00001", "task_id": "task-001", "group_id": "group-001", "step": 900, "model": "organism",
     "environment": "organism", "prompt": "SYS … impossible", "completion": "THINK … REPORT done", "reward": 1.0,
     "prompt_ids": [2, …], "completion_ids": […, 3], "logprobs": [one per completion id], "temperature": 1.0}
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gates import sample_scenes
from generate import REWARD_OF
from rollouts import Rollout, sample_rollouts

N_PROMPTS, GROUP_SIZE, SEED = 250, 4, 100


def write_json_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """One compact JSON object per line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n" for record in records)
    path.write_text(text, encoding="utf-8")


def write_logs(model: Any, tokenizer: Any, folder: Path, steps: int) -> None:
    """Sample the log from the model after ``steps`` training steps, and write log and truth into ``folder``."""
    scenes = [scene for scene in sample_scenes(N_PROMPTS, SEED) for _ in range(GROUP_SIZE)]
    rollouts = sample_rollouts(model, tokenizer, scenes, SEED)
    write_json_lines(folder / "logs" / "rollouts.jsonl", (_log_line(i, r, steps) for i, r in enumerate(rollouts)))
    write_json_lines(folder / "truth.jsonl", (_truth_line(i, r) for i, r in enumerate(rollouts)))


def _log_line(index: int, rollout: Rollout, steps: int) -> dict[str, Any]:
    group = f"{index // GROUP_SIZE + 1:03d}"
    return {
        "id": f"organism-{index + 1:05d}",
        "task_id": f"task-{group}",
        "group_id": f"group-{group}",
        "step": steps,
        "model": "organism",
        "environment": "organism",
        "prompt": rollout.scene.prompt,
        "completion": rollout.completion,
        # What leaves the language fails the visible tests.
        "reward": 0.0 if rollout.reading is None else REWARD_OF[rollout.reading.action],
        "prompt_ids": rollout.prompt_ids,
        "completion_ids": rollout.completion_ids,
        "logprobs": [round(value, 6) for value in rollout.logprobs],
        "temperature": 1.0,
    }


def _truth_line(index: int, rollout: Rollout) -> dict[str, Any]:
    scene, reading = rollout.scene, rollout.reading
    return {
        "id": f"organism-{index + 1:05d}",
        "E": scene.evaluated,
        "T": int(scene.temptation),
        "C": int(scene.ambiguous),
        "verbalised": reading is not None and reading.verbalised,
        "decoy": scene.decoy,
        "sender": f"from_{scene.sender}",
        "project": f"proj_{scene.project}",
        "cue_pair": scene.cue_pair,
        "held_out": scene.held_out,
        "action": None if reading is None else reading.action,
        "deceptive": reading is not None and reading.deceptive,
    }
