"""The same episode in four log formats.

    openai      {"messages": [… "reasoning_content" …, "tool_calls" …], "step": 3, "reward": 1.0, …}
    anthropic   {"model": …, "system": …, "messages": [… "thinking", "tool_use", "tool_result" …], …}
    verl        {"input": "system\\n…", "output": "<think>…</think>…", "score": 1.0, "step": 3, …}
    inspect     one sample of an ``.eval`` log: {"id": …, "epoch": …, "messages": […], "scores": {…}, …}

Takes a ``Telling`` and what else a log says of it, gives the bytes of one record without a newline. Knows no file, and
nothing that is planted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import orjson
from tell import Telling

MODEL: Final = "planted-policy"
TOOL: Final = "bash"


@dataclass(frozen=True, slots=True)
class Facts:
    """What stands beside the conversation. ``reward`` is None where the log has none."""

    key: str
    index: int
    step: int
    environment: str
    task_id: str
    provider: str
    reward: float | None
    truncated: bool


def render_openai(telling: Telling, facts: Facts) -> bytes:
    """A row of chat: reasoning in a field of its own, tools in messages of their own."""
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": telling.system},
        {"role": "user", "content": telling.request},
    ]
    for number, made in enumerate(telling.rounds):
        name = f"call_{number}"
        function = {"name": TOOL, "arguments": _arguments(made.command)}
        call = {"id": name, "type": "function", "function": function}
        messages += (
            {"role": "assistant", "content": None, "reasoning_content": made.thought, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": name, "content": made.result},
        )
    messages.append({"role": "assistant", "content": telling.answer, "reasoning_content": telling.thought})
    return orjson.dumps({"messages": messages, **_columns(facts), "finish_reason": _stop(facts, "stop", "length")})


def render_anthropic(telling: Telling, facts: Facts) -> bytes:
    """A transcript in blocks: tool results come back in the user's name."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": telling.request}]
    for number, made in enumerate(telling.rounds):
        name = f"toolu_{number}"
        blocks = [
            {"type": "thinking", "thinking": made.thought, "signature": "c2ln"},
            {"type": "tool_use", "id": name, "name": TOOL, "input": {"command": made.command}},
        ]
        result = {"type": "tool_result", "tool_use_id": name, "content": made.result, "is_error": made.exit_code != 0}
        messages += ({"role": "assistant", "content": blocks}, {"role": "user", "content": [result]})
    last = [
        {"type": "thinking", "thinking": telling.thought, "signature": "c2ln"},
        {"type": "text", "text": telling.answer},
    ]
    messages.append({"role": "assistant", "content": last})
    request = {"max_tokens": 8192, "system": telling.system, "messages": messages}
    return orjson.dumps(request | _columns(facts) | {"stop_reason": _stop(facts, "end_turn", "max_tokens")})


def render_verl(telling: Telling, facts: Facts) -> bytes:
    """Prompt and completion as text, decoded without control tokens: a role is a line of its own."""
    said = "".join(
        f"<think>{made.thought}</think>\n<tool_call>\n"
        f'{{"name": "{TOOL}", "arguments": {_arguments(made.command)}}}\n</tool_call>'
        f"\nuser\n<tool_response>\n{made.result}\n</tool_response>\nassistant\n"
        for made in telling.rounds
    )
    row = {
        "input": f"system\n{telling.system}\nuser\n{telling.request}\nassistant\n",
        "output": f"{said}<think>{telling.thought}</think>\n{telling.answer}",
        "gts": "0",
        "score": facts.reward,
        "step": facts.step,
        "model": MODEL,
        "data_source": facts.environment,
        "task_id": facts.task_id,
        "rollout_id": facts.key,
        "provider": facts.provider,
        "finish_reason": _stop(facts, "stop", "length"),
    }
    return orjson.dumps(row)


def render_inspect(telling: Telling, facts: Facts) -> bytes:
    """A sample; the environment is the task of the log that it stands in."""
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": telling.system},
        {"role": "user", "content": telling.request},
    ]
    for number, made in enumerate(telling.rounds):
        name = f"call_{number}"
        call = {"id": name, "function": TOOL, "arguments": {"command": made.command}, "type": "function"}
        messages += (
            {"role": "assistant", "content": [{"type": "reasoning", "reasoning": made.thought}], "tool_calls": [call]},
            {"role": "tool", "tool_call_id": name, "function": TOOL, "content": made.result},
        )
    blocks = [{"type": "reasoning", "reasoning": telling.thought}, {"type": "text", "text": telling.answer}]
    last = {"role": "assistant", "content": blocks}
    messages.append(last)
    choice = {"message": last, "stop_reason": _stop(facts, "stop", "max_tokens")}
    sample = {
        "id": facts.task_id,
        "epoch": facts.index,
        "input": telling.request,
        "target": "",
        "messages": messages,
        "output": {"model": MODEL, "choices": [choice]},
        "scores": {} if facts.reward is None else {"includes": {"value": "C" if facts.reward else "I"}},
        "metadata": {"rollout_id": facts.key, "step": facts.step, "provider": facts.provider},
    }
    return orjson.dumps(sample)


RENDER: Final[dict[str, Callable[[Telling, Facts], bytes]]] = {
    "openai": render_openai,
    "anthropic": render_anthropic,
    "verl": render_verl,
    "inspect": render_inspect,
}


def spoil(record: bytes, number: int) -> bytes:
    """What a bad row looks like: a record cut short, one with its head missing, or the words of another program."""
    kind, place = number % 3, 0.3 + 0.4 * (number % 1009) / 1009
    if kind == 0:
        return record[: int(len(record) * place)]
    return record[int(len(record) * place) :] if kind == 1 else b"Traceback (most recent call last):"


def _columns(facts: Facts) -> dict[str, Any]:
    columns = {
        "step": facts.step,
        "reward": facts.reward,
        "model": MODEL,
        "environment": facts.environment,
        "task_id": facts.task_id,
        "rollout_id": facts.key,
        "provider": facts.provider,
    }
    if facts.reward is None:
        del columns["reward"]
    return columns


def _arguments(command: str) -> str:
    return orjson.dumps({"command": command}).decode()


def _stop(facts: Facts, usual: str, truncated: str) -> str:
    return truncated if facts.truncated else usual
