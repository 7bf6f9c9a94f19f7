"""Finds what the model wrote and saw in an Inspect AI sample beyond its final list of messages.

Takes a sample's events, gives further messages. ``sample.messages`` is only the context at the end: turns dropped by
compaction, forks and sub-agents live on in model events alone. Does not know scores or files.

    {"event": "span_begin", "id": "s1", "parent_id": null, "type": "agent", "name": "planner"}
    {"event": "model", "span_id": "s1", "role": null, "input": [], "input_refs": [[0, 3]],
     "output": {"choices": [{"message": {…}}]}}

Quirks: ``input`` is either written out in every event, or empty with ``input_refs`` (half-open ranges) into a pool;
the pool's message ids may differ from those in ``messages``, so equal content counts as the same message. Logs before
May 2025 have ``step`` events instead of spans and nest a tool's events in the tool event.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

from ..store.types import Message
from .inspect_messages import Attachments, to_message

SCORING_TYPES: Final = ("scorer", "scorers")
JUDGE_ROLES: Final = ("grader", "judge")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the run an event stands."""

    scoring: bool = False
    agent: str | None = None


@dataclass(slots=True)
class _Places:
    """Follows spans and steps. A child inherits from its parent, which always begins first."""

    spans: dict[str, _Place] = field(default_factory=dict)
    steps: list[bool] = field(default_factory=list)
    scoring_began: bool = False

    def follow(self, event: dict[str, Any]) -> None:
        kind = event.get("event")
        scoring = event.get("type") in SCORING_TYPES
        if kind == "span_begin":
            parent = self.spans.get(event.get("parent_id") or "", _Place())
            agent = event.get("name") if event.get("type") == "agent" else parent.agent
            self.spans[event["id"]] = _Place(parent.scoring or scoring, agent)
            self.scoring_began = self.scoring_began or scoring
        elif kind == "step" and event.get("action") == "begin":
            self.steps.append(scoring)
        elif kind == "step" and self.steps:
            self.steps.pop()

    def of(self, event: dict[str, Any]) -> _Place:
        place = self.spans.get(event.get("span_id") or "")
        return place or _Place(self.scoring_began or any(self.steps))


def further_messages(
    events: list[Any],
    pool: list[Any],
    main: list[tuple[dict[str, Any], Message]],
    attachments: Attachments,
    tool_names: dict[str, str],
) -> list[Message]:
    """Messages of model events that are not in ``main``, in the order of the log, each once; scorers' and judges' are
    left out. An assistant's come from outputs, all others from inputs: an input's assistant messages are earlier
    outputs, often with their reasoning removed. ``branch`` is ``events``, or ``events:<agent or model role>``.
    """
    seen_ids = {raw["id"] for raw, _ in main if raw.get("id")}
    seen = {_content_of(message) for _, message in main}
    found: list[Message] = []
    places = _Places()
    for event in _flatten(events):
        places.follow(event)
        place = places.of(event)
        if event.get("event") != "model" or place.scoring or event.get("role") in JUDGE_ROLES:
            continue
        agent = place.agent or event.get("role")
        for raw in chain(_inputs(event, pool), _outputs(event)):
            if raw.get("id") in seen_ids:
                continue
            branch = f"events:{agent}" if agent else "events"
            message = to_message(attachments.resolve(raw), tool_names, branch, agent)
            content = _content_of(message)
            if content not in seen and any(part.text.strip() or part.kind != "text" for part in message.parts):
                found.append(message)
                seen.add(content)
            if raw.get("id"):
                seen_ids.add(raw["id"])
    return found


def select_pooled(pool: list[Any], references: Any) -> Iterator[Any]:
    """The items of a pool that half-open ranges name, in their order."""
    return chain.from_iterable(pool[start:end] for start, end in references or ())


def _flatten(events: list[Any]) -> Iterator[dict[str, Any]]:
    for event in events:
        yield event
        if nested := event.get("events"):
            yield from _flatten(nested)


def _inputs(event: dict[str, Any], pool: list[Any]) -> Iterator[dict[str, Any]]:
    messages = event.get("input") or select_pooled(pool, event.get("input_refs"))
    return (raw for raw in messages if raw["role"] != "assistant")


def _outputs(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
    choices = (event.get("output") or {}).get("choices") or ()
    return (choice["message"] for choice in choices[:1])


def _content_of(message: Message) -> tuple[Any, ...]:
    """What makes two messages the same. A tool result's name may be missing on one side."""
    parts = ((part.kind, part.text, part.tool_name if part.kind == "tool_call" else None) for part in message.parts)
    return (message.role, *parts)
