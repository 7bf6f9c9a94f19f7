"""Turns one Inspect AI sample into an ``Episode``.

Takes the parsed sample and the log it belongs to (the ``EvalLog`` without samples: ``status``, ``eval``, ``results``),
gives the episode. Knows every generation of the sample from 2024 (``score``, ``transcript``) to 2026 (pools); knows
neither zips nor files.

    {"id": 2, "epoch": 1, "input": "…", "target": "…", "messages": […], "scores": {"match": {"value": "C", …}},
     "output": {"model": "…", "choices": [{"message": {…}, "stop_reason": "stop"}]}, "events": […],
     "attachments": {"<hash>": "…"}, "metadata": {…}, "limit": {"type": "message", "limit": 50}}

Quirks: assistant messages with ``"source": "input"`` stood in the prompt; the model did not write them
(``Message.given``). A ``uuid`` names the run: an eval that is taken up again copies finished samples, uuid and all,
into its new log, so the same run may stand in two files. A ``store`` is kept where it is small.
"""

from __future__ import annotations

from typing import Any, Final

from ..store.types import Call, Episode
from .facts import path_facts
from .format import dumps
from .inspect_events import RawMessages, further_messages, model_events, retry_messages, scorer_models
from .inspect_messages import Attachments, to_message
from .inspect_scores import judge, provenance, read_scores, score_facts

LARGEST_STORE: Final = 20_000
"""Bytes of a ``store`` that still count as a fact; a larger one repeats what tools and agents passed around."""


def to_episode(sample: dict[str, Any], log: dict[str, Any], source: str, record: str, digest: str) -> Episode:
    """The episode of one sample. Raises ValueError, LookupError, TypeError or AttributeError where it is no sample."""
    spec = log.get("eval") or {}
    transcript = sample.get("transcript") or {}
    attachments = Attachments({**(transcript.get("content") or {}), **(sample.get("attachments") or {})})
    tool_names: dict[str, str] = {}
    raw_messages = attachments.resolve(sample.get("messages") or _input_messages(sample["input"]))
    main = [(raw, to_message(raw, tool_names)) for raw in raw_messages]
    events = model_events(sample.get("events") or transcript.get("events") or [])
    pool = _pool(sample)
    further = further_messages(events, pool, main, attachments, tool_names)
    retried = retry_messages(sample.get("error_retries") or [], pool, main, attachments, tool_names)
    output = sample.get("output") or {}
    choice: dict[str, Any] = next(iter(output.get("choices") or ()), {})
    scores = read_scores(sample, log)
    said = {part.text for _, message in main for part in message.parts}
    values = {name: score.get("value") for name, score in scores.items()}
    reward, success = judge(values)
    return Episode(
        source=source,
        record=record,
        digest=digest,
        messages=(*(message for _, message in main), *further, *retried),
        calls=_calls(choice, output, spec, main),
        experiment=spec.get("eval_set_id") or spec.get("run_id"),
        model=spec.get("model"),
        environment=spec.get("task"),
        task_id=str(sample["id"]),
        group_id=_group_id(sample, spec),
        reward=reward,
        success=success,
        scores=values,
        provenance=provenance(scores, reward, log, scorer_models(events)),
        stop_reason=choice.get("stop_reason") or (sample.get("limit") or {}).get("type"),
        error=(sample.get("error") or {}).get("message") or output.get("error"),
        started_at=sample.get("started_at") or spec.get("created"),
        metadata=_metadata(sample, log, score_facts(scores, said), attachments),
        identity=f"inspect:{sample['uuid']}" if sample.get("uuid") else None,
        **path_facts(source),
    )


def _input_messages(given: Any) -> list[Any]:
    """A sample that failed before its first turn has only its input, of which no model wrote anything."""
    return (
        [{"role": "user", "content": given}] if isinstance(given, str) else [raw | {"source": "input"} for raw in given]
    )


def _pool(sample: dict[str, Any]) -> list[Any]:
    """The messages that model events refer to by index; for a short time in early 2026 it stood in ``message_pool``."""
    return (sample.get("events_data") or {}).get("messages") or sample.get("message_pool") or []


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
    sample: dict[str, Any], log: dict[str, Any], of_scores: dict[str, Any], attachments: Attachments
) -> dict[str, Any]:
    spec = log.get("eval") or {}
    usage = list((sample.get("model_usage") or {}).values())
    of_run = {
        "epoch": sample.get("epoch"),
        "status": log.get("status"),
        "eval_id": spec.get("eval_id"),
        "run_id": spec.get("run_id") if spec.get("eval_set_id") else None,
        "eval_task_id": spec.get("task_id"),
        "task_version": spec.get("task_version"),
        "task_args": spec.get("task_args_passed") or spec.get("task_args"),
        "solver": spec.get("solver"),
        "solver_args": spec.get("solver_args_passed") or spec.get("solver_args"),
        "model_args": spec.get("model_args"),
        "model_roles": spec.get("model_roles"),
        "generate_config": spec.get("model_generate_config"),
        "dataset": (spec.get("dataset") or {}).get("name"),
        "commit": (spec.get("revision") or {}).get("commit"),
        "tags": spec.get("tags"),
        "eval_metadata": spec.get("metadata"),
    }
    of_sample = {
        "sample_metadata": sample.get("metadata"),
        "target": sample.get("target"),
        "choices": sample.get("choices"),
        **of_scores,
        "store": _small(sample.get("store")),
        "error_traceback": (sample.get("error") or {}).get("traceback"),
        "n_error_retries": len(sample.get("error_retries") or ()) or None,
        "error_retries": [retry["message"] for retry in sample.get("error_retries") or () if retry.get("message")],
        "invalidation": sample.get("invalidation"),
        "limit": sample.get("limit"),
        "total_time": sample.get("total_time"),
        "working_time": sample.get("working_time"),
        "input_tokens": sum(model.get("input_tokens") or 0 for model in usage) if usage else None,
        "output_tokens": sum(model.get("output_tokens") or 0 for model in usage) if usage else None,
    }
    metadata = of_run | attachments.resolve(of_sample)
    metadata["unresolved_attachments"] = len(attachments.missing) or None
    return {key: value for key, value in metadata.items() if value not in (None, "", [], {})}


def _small(store: Any) -> Any:
    return store if store and len(dumps(store)) <= LARGEST_STORE else None
