"""Finds what the model wrote and saw in an Inspect AI sample beyond its final list of messages.

Takes a sample's events, gives further messages, and which scorers asked a model. ``sample.messages`` is only the
context at the end: turns dropped by compaction, forks and sub-agents live on in model events alone, and attempts that
failed in ``error_retries``. Does not know scores or files.

    {"event": "span_begin", "id": "s1", "parent_id": null, "type": "agent", "name": "planner"}
    {"event": "model", "span_id": "s1", "role": null, "input": [], "input_refs": [[0, 3]],
     "output": {"choices": [{"message": {…}}]}}

Quirks: ``input`` is either written out in every event, or empty with ``input_refs`` (half-open ranges) into a pool;
the pool's message ids may differ from those in ``messages``, so equal content counts as the same message. Logs before
May 2025 have ``step`` events instead of spans and nest a tool's events in the tool event. A failed attempt holds its
events from the last model event on: that one's input is the whole attempt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

from ..store.types import Message
from .inspect_messages import Attachments, to_message

SCORING_TYPES: Final = ("scorer", "scorers")
JUDGE_ROLES: Final = ("grader", "judge")

RawMessages = list[tuple[dict[str, Any], Message]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the run an event stands."""

    scoring: bool = False
    scorer: str | None = None
    agent: str | None = None


NOWHERE: Final = Place()


ModelEvents = list[tuple[dict[str, Any], Place]]


@dataclass(slots=True)
class Places:
    """Follows spans and steps. A child inherits from its parent, which always begins first."""

    spans: dict[str, Place] = field(default_factory=dict)
    steps: list[Place] = field(default_factory=list)
    scoring_began: bool = False

    def follow(self, event: dict[str, Any]) -> None:
        """Take note of what this event begins or ends; events come in the order of the log."""
        kind = event.get("event")
        if kind == "span_begin":
            parent = self.spans.get(event.get("parent_id") or "", NOWHERE)
            scoring, scorer = _scoring(event)
            agent = event.get("name") if event.get("type") == "agent" else parent.agent
            self.spans[event["id"]] = Place(parent.scoring or scoring, scorer or parent.scorer, agent)
            self.scoring_began = self.scoring_began or scoring
        elif kind == "step" and event.get("action") == "begin":
            outer = self.steps[-1] if self.steps else NOWHERE
            scoring, scorer = _scoring(event)
            self.steps.append(Place(outer.scoring or scoring, scorer or outer.scorer))
        elif kind == "step" and self.steps:
            self.steps.pop()

    def of(self, event: dict[str, Any]) -> Place:
        """Where an event stands, once it and all before it were followed."""
        place = self.spans.get(event.get("span_id") or "")
        step = self.steps[-1] if self.steps else NOWHERE
        return place or Place(self.scoring_began or step.scoring, step.scorer)


def _scoring(event: dict[str, Any]) -> tuple[bool, str | None]:
    """Does scoring begin here, and whose?"""
    kind = event.get("type")
    return kind in SCORING_TYPES, event.get("name") if kind == "scorer" else None


def model_events(events: Iterable[Any]) -> ModelEvents:
    """The events in which a model was asked, in the order of the log, and where each stands."""
    places = Places()
    found: ModelEvents = []
    for event in flatten(events):
        kind = event.get("event")
        if kind == "model":
            found.append((event, places.of(event)))
        elif kind in ("span_begin", "step"):
            places.follow(event)
    return found


def further_messages(
    events: ModelEvents,
    pool: list[Any],
    main: RawMessages,
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
    for event, place in events:
        if is_judging(event, place):
            continue
        agent = place.agent or event.get("role")
        written_by_others = (raw for raw in inputs(event, pool) if raw["role"] != "assistant")
        for raw in chain(written_by_others, outputs(event)):
            if raw.get("id") in seen_ids:
                continue
            branch = f"events:{agent}" if agent else "events"
            message = to_message(attachments.resolve(raw), tool_names, branch, agent)
            content = _content_of(message)
            if content not in seen and _says_something(message):
                found.append(message)
                seen.add(content)
            if raw.get("id"):
                seen_ids.add(raw["id"])
    return found


def retry_messages(
    retries: list[Any],
    pool: list[Any],
    main: RawMessages,
    attachments: Attachments,
    tool_names: dict[str, str],
) -> list[Message]:
    """What was said in attempts that failed and were retried, on branches ``retry:1``, ``retry:2``, …; without the
    beginning that an attempt shares with ``main``."""
    found: list[Message] = []
    for number, retry in enumerate(retries, start=1):
        seen: set[Any] = set()
        attempt: list[Message] = []
        for raw in _attempt(list(flatten(retry.get("events") or ())), pool):
            message = to_message(attachments.resolve(raw), tool_names, f"retry:{number}")
            key = raw.get("id") or _content_of(message)
            if key not in seen and _says_something(message):
                seen.add(key)
                attempt.append(message)
        shared = 0
        for (_, known), message in zip(main, attempt, strict=False):
            if _content_of(known) != _content_of(message):
                break
            shared += 1
        found += attempt[shared:]
    return found


def scorer_models(events: ModelEvents) -> dict[str, set[str]]:
    """Which models each scorer asked, by the scorer's name."""
    asked: dict[str, set[str]] = {}
    for event, place in events:
        if place.scorer and event.get("model"):
            asked.setdefault(place.scorer, set()).add(event["model"])
    return asked


def select_pooled(pool: list[Any], references: Any) -> Iterator[Any]:
    """The items of a pool that half-open ranges name, in their order."""
    return chain.from_iterable(pool[start:end] for start, end in references or ())


def flatten(events: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Events and those nested in them, in the order of the log."""
    for event in events:
        yield event
        if nested := event.get("events"):
            yield from flatten(nested)


def is_judging(event: dict[str, Any], place: Place) -> bool:
    """Was a model asked about the work, rather than to do it?"""
    return place.scoring or event.get("role") in JUDGE_ROLES


def inputs(event: dict[str, Any], pool: list[Any]) -> Iterator[dict[str, Any]]:
    """The messages that a model event was asked with."""
    return iter(event.get("input") or select_pooled(pool, event.get("input_refs")))


def outputs(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The message that it answered."""
    choices = (event.get("output") or {}).get("choices") or ()
    return (choice["message"] for choice in choices[:1])


def _attempt(events: list[dict[str, Any]], pool: list[Any]) -> Iterator[dict[str, Any]]:
    """The messages of a failed attempt. The results of its last calls stand in tool events only."""
    models = [place for place, event in enumerate(events) if event.get("event") == "model"]
    for place in models:
        if events[place].get("role") not in JUDGE_ROLES:
            yield from inputs(events[place], pool)
            yield from outputs(events[place])
    for event in events[models[-1] + 1 :] if models else ():
        if event.get("event") == "tool" and (event.get("result") or event.get("error")):
            called = {"tool_call_id": event.get("id"), "function": event.get("function")}
            yield {"role": "tool", "content": event.get("result"), "error": event.get("error"), **called}


def _says_something(message: Message) -> bool:
    return any(part.text.strip() or part.kind != "text" for part in message.parts)


def _content_of(message: Message) -> tuple[Any, ...]:
    """What makes two messages the same. A tool result's name may be missing on one side."""
    parts = ((part.kind, part.text, part.tool_name if part.kind == "tool_call" else None) for part in message.parts)
    return (message.role, *parts)
