"""Turns one Inspect AI sample into an ``Episode``.

Takes the parsed sample and the log it belongs to (the ``EvalLog`` without samples: ``status``, ``eval``, ``results``),
gives the episode. Knows every generation of the sample from 2024 (``score``, ``transcript``) to 2026 (pools); knows
neither zips nor files.

    {"id": 2, "epoch": 1, "input": "…", "target": "…", "messages": […], "scores": {"match": {"value": "C", …}},
     "output": {"model": "…", "choices": [{"message": {…}, "stop_reason": "stop"}]}, "events": […],
     "attachments": {"<hash>": "…"}, "metadata": {…}, "limit": {"type": "message", "limit": 50}}

Quirk: assistant messages with ``"source": "input"`` stood in the prompt; the model did not write them
(``Message.given``).
"""

from __future__ import annotations

import sys
from typing import Any, Final

from ..store.types import Call, Episode, Message
from .inspect_events import further_messages
from .inspect_messages import Attachments, to_message

LETTERS: Final = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0}
"""Inspect's correct, incorrect, partial, no answer; its ``value_to_float`` gives the same numbers."""

RawMessages = list[tuple[dict[str, Any], Message]]


def to_episode(sample: dict[str, Any], log: dict[str, Any], source: str, record: str, digest: str) -> Episode:
    """The episode of one sample. Raises ValueError, LookupError, TypeError or AttributeError where it is no sample."""
    spec = log.get("eval") or {}
    transcript = sample.get("transcript") or {}
    attachments = Attachments({**(transcript.get("content") or {}), **(sample.get("attachments") or {})})
    tool_names: dict[str, str] = {}
    raw_messages = attachments.resolve(sample.get("messages") or _input_messages(sample["input"]))
    main = [(raw, to_message(raw, tool_names)) for raw in raw_messages]
    events = sample.get("events") or transcript.get("events") or []
    further = further_messages(events, _pool(sample), main, attachments, tool_names)
    output = sample.get("output") or {}
    choice: dict[str, Any] = next(iter(output.get("choices") or ()), {})
    scores = _scores(sample, log)
    values = {name: score.get("value") for name, score in scores.items()}
    reward, success = judge(values)
    return Episode(
        source=source,
        record=record,
        digest=digest,
        messages=(*(message for _, message in main), *further),
        calls=_calls(choice, output, spec, main),
        experiment=spec.get("eval_set_id") or spec.get("run_id"),
        model=spec.get("model"),
        environment=spec.get("task"),
        task_id=str(sample["id"]),
        group_id=_group_id(sample, spec),
        reward=reward,
        success=success,
        scores=values,
        stop_reason=choice.get("stop_reason") or (sample.get("limit") or {}).get("type"),
        error=(sample.get("error") or {}).get("message") or output.get("error"),
        started_at=sample.get("started_at") or spec.get("created"),
        metadata=_metadata(sample, log, scores, main, attachments),
    )


def judge(values: dict[str, Any]) -> tuple[float | None, bool | None]:
    """``(reward, success)`` of a sample's score values. Both None unless there is exactly one score: which of several
    counts is the reader's decision. A number is a reward but no success, since what is good about it is not said."""
    if len(values) != 1:
        return None, None
    (value,) = values.values()
    if isinstance(value, bool):
        return float(value), value
    if isinstance(value, int | float):
        finite = -sys.float_info.max <= value <= sys.float_info.max
        return (float(value) if finite else None), None
    if isinstance(value, str) and value in LETTERS:
        return LETTERS[value], {"C": True, "I": False}.get(value)
    return None, None


def _input_messages(given: Any) -> list[Any]:
    """A sample that failed before its first turn has only its input."""
    return [{"role": "user", "content": given}] if isinstance(given, str) else given


def _pool(sample: dict[str, Any]) -> list[Any]:
    """The messages that model events refer to by index; for a short time in early 2026 it stood in ``message_pool``."""
    return (sample.get("events_data") or {}).get("messages") or sample.get("message_pool") or []


def _scores(sample: dict[str, Any], log: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Scores by name. Early logs have one without a name; the results name it."""
    scores = sample.get("scores")
    if scores is None and sample.get("score") is not None:
        results = log.get("results") or {}
        scorers = [*(results.get("scores") or ()), results.get("scorer") or {}]
        scores = {scorers[0].get("name") or "score": sample["score"]}
    items = (scores or {}).items()
    return {name: score if isinstance(score, dict) else {"value": score} for name, score in items}


def _group_id(sample: dict[str, Any], spec: dict[str, Any]) -> str | None:
    """Epochs of one sample are a group: the same prompt, sampled again."""
    epochs = (spec.get("config") or {}).get("epochs") or 1
    return f"{spec.get('task')}:{sample['id']}" if epochs > 1 else None


def _calls(choice: dict[str, Any], output: dict[str, Any], spec: dict[str, Any], main: RawMessages) -> tuple[Call, ...]:
    """The final call, where its logprobs were logged. Inspect keeps tokens as strings, so there are no ids."""
    tokens = (choice.get("logprobs") or {}).get("content")
    if not tokens:
        return ()
    wanted = (choice.get("message") or {}).get("id")
    written = [index for index, (raw, _) in enumerate(main) if raw["role"] == "assistant"]
    same = [index for index in written if wanted and main[index][0].get("id") == wanted]
    call = Call(
        0,
        message_index=next(reversed(same or written), None),
        logprobs=tuple(float(token["logprob"]) for token in tokens),
        completion_text=b"".join(_token_bytes(token) for token in tokens).decode("utf-8", "replace"),
        model=output.get("model"),
        sampling=spec.get("model_generate_config") or {},
    )
    return (call,)


def _token_bytes(token: dict[str, Any]) -> bytes:
    """A token may be a piece of a character, which only its bytes show."""
    given = token.get("bytes")
    return bytes(given) if given is not None else token["token"].encode("utf-8", "replace")


def _metadata(
    sample: dict[str, Any], log: dict[str, Any], scores: dict[str, Any], main: RawMessages, attachments: Attachments
) -> dict[str, Any]:
    spec = log.get("eval") or {}
    usage = list((sample.get("model_usage") or {}).values())
    explanations = {name: score["explanation"] for name, score in scores.items() if score.get("explanation")}
    metadata = {
        "epoch": sample.get("epoch"),
        "status": log.get("status"),
        "eval_id": spec.get("eval_id"),
        "task_args": spec.get("task_args_passed") or spec.get("task_args"),
        "model_args": spec.get("model_args"),
        "tags": spec.get("tags"),
        "sample_metadata": attachments.resolve(sample.get("metadata")),
        "target": attachments.resolve(sample.get("target")),
        "choices": attachments.resolve(sample.get("choices")),
        "input_tokens": sum(model.get("input_tokens") or 0 for model in usage) if usage else None,
        "output_tokens": sum(model.get("output_tokens") or 0 for model in usage) if usage else None,
        "score_explanations": attachments.resolve(explanations),
        "n_error_retries": len(sample.get("error_retries") or ()) or None,
        "limit": sample.get("limit"),
        "unresolved_attachments": len(attachments.missing) or None,
    }
    return {key: value for key, value in metadata.items() if value not in (None, "", [], {})}
