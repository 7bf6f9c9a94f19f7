"""Inspect Scout transcript databases: folders of ``transcripts_*.parquet``, one row per transcript.

    {"transcript_id": "…", "source_type": "eval_log", "source_id": "<eval id>", "source_uri": "logs/x.eval",
     "date": "2025-09-23T08:09:58-04:00", "task_set": "ctf", "task_id": "7", "task_repeat": 1, "agent": "react",
     "agent_args": "{…}", "model": "openai/gpt-…", "model_options": "{…}", "score": "C", "success": true,
     "message_count": 5, "total_time": 21.4, "total_tokens": 1281, "error": null, "limit": null,
     "messages": "[{\\"role\\": …}]", "events": "[…]", "timelines": "[…]", "events_data": "{\\"messages\\": […]}",
     "any other column": "is metadata"}

Messages and events are Inspect's, as JSON in a string, and are read as those of its logs are. Only ``transcript_id`` is
required. Quirks:

- ``score`` is JSON or a bare text: ``C`` stands for itself, ``1.0`` for a number, ``{"a": 1}`` for scores by name.
- Of ``source_type: eval_log`` the id is the sample's uuid: the same run as in the Inspect log it was taken from.
- Columns that hold JSON in a string are metadata as what they hold.
- Transcripts from an Inspect log have its scores in a column ``scores``, each as in the log.
- What ``investigate export --format scout`` writes is such a folder (``source_type: investigate``), with columns
  ``labels``, ``verdicts``, ``provenance``, ``branches`` and the like; those are read as what they were.
- ``_index/*.idx`` is Parquet too, but holds no messages; results of scans (``scans/…/<scanner>.parquet``) neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ...store.types import Episode, Message
from ..format import Format, Item, Source, loads
from ..inspect_events import ModelEvents, further_messages, model_events, scorer_models
from ..inspect_messages import Attachments, to_message
from ..inspect_scores import judge, provenance, read_scores, score_facts
from ..rows import opening_value, read_rows

_STANDARD: Final = ("source_type", "source_id", "source_uri", "task_set", "task_repeat", "message_count")
_NO_METADATA: Final = frozenset(
    (
        *("transcript_id", "date", "task_set", "task_id", "model", "score", "score_explanation", "success", "error"),
        *("message_count", "limit", "messages", "events", "timelines", "events_data"),
    )
)
_COPIES: Final = frozenset(("id", "sample_id", "input", "log", "epoch"))
"""Of a transcript from an Inspect log: what other columns or the messages say too, as does ``score_<name>``."""

EXPORTED: Final = "investigate"
_OF_EXPORT: Final[tuple[str, ...]] = (
    *("scores", "labels", "verdicts", "provenance", "branches", "metadata", "experiment", "checkpoint", "split"),
    *("group_id", "training_step", "reward", "stop_reason", "identity"),
)
_FROM: Final = ("source_uri", "source_record", "source_format")


def sniff(head: bytes, path: Path) -> float:
    """By the columns of the first row."""
    row = opening_value(head)
    if not isinstance(row, dict) or "transcript_id" not in row or "filename" in row or "scanner_name" in row:
        return 0.0
    standard = sum(name in row for name in _STANDARD)
    if isinstance(row.get("messages"), str):
        return 0.95 if standard else 0.75
    # The columns stand in their order, and a long one before the messages may fill the head.
    return 0.9 if standard >= 3 and "messages" not in row and "limit" not in row else 0.0


def read(source: Source) -> Iterator[Item]:
    """An episode per row."""

    def to_episodes(row: dict[str, Any], record: str, digest: str) -> Iterator[Episode]:
        row = {name: value for name, value in row.items() if value not in (None, "")}
        held = {name: _held(value) for name, value in row.items() if name not in _NO_METADATA}
        exported = row.get("source_type") == EXPORTED
        mine = {name: held.pop(name) for name in _OF_EXPORT if name in held} if exported else {}
        events = model_events(loads(row["events"]) if "events" in row else [])
        messages = _messages(row, events, mine.pop("branches", {}))
        facts = _exported_facts(mine, held) if exported else _facts(row, held, events, messages)
        known = {"started_at": row.get("date"), "model": row.get("model"), "environment": row.get("task_set")}
        known |= {
            "task_id": row.get("task_id"),
            "error": row.get("error"),
            "success": row.get("success") if isinstance(row.get("success"), bool) else None,
        }
        known = {name: value for name, value in known.items() if value is not None}
        yield Episode(source.name, record, digest, messages=messages, **facts | known)

    yield from read_rows(source, to_episodes)


def _facts(
    row: dict[str, Any], held: dict[str, Any], events: ModelEvents, messages: tuple[Message, ...]
) -> dict[str, Any]:
    """Keyword arguments of ``Episode`` from what Scout itself writes."""
    of_log = row.get("source_type") == "eval_log"
    if of_log:
        held = {name: value for name, value in held.items() if name not in _COPIES and not name.startswith("score_")}
    raw = held.get("scores") if of_log else None
    scores = read_scores({"scores": raw}, {}) if isinstance(raw, dict) else _scores(row.get("score"))
    values = {name: score.get("value") for name, score in scores.items()}
    reward, success = judge(values)
    said = {part.text for message in messages for part in message.parts}
    details = {name: value for name, value in score_facts(scores, said).items() if value}
    metadata = {name: value for name, value in held.items() if name != "scores"} | details
    return {
        "experiment": row.get("source_id"),
        "group_id": f"{row.get('task_set')}:{row.get('task_id')}" if row.get("task_repeat") else None,
        "scores": values,
        "reward": reward,
        "success": success,
        "provenance": provenance(scores, reward, {}, scorer_models(events)),
        "stop_reason": row.get("limit"),
        "metadata": {name: value for name, value in metadata.items() if value not in ([], {})},
        "identity": f"{'inspect' if of_log else 'scout'}:{row['transcript_id']}",
    }


def _exported_facts(mine: dict[str, Any], held: dict[str, Any]) -> dict[str, Any]:
    """The same from what our own export writes; the rest of its columns says where the episode came from."""
    metadata = mine.pop("metadata", {})
    return mine | {"metadata": {name: held[name] for name in _FROM if name in held} | metadata}


def _messages(row: dict[str, Any], events: ModelEvents, branches: dict[str, Any]) -> tuple[Message, ...]:
    """The main line, then what only the events show, then the branches of an export."""
    names: dict[str, str] = {}
    raw = loads(row["messages"]) if row.get("messages") else []
    main = [(message, to_message(message, names, agent=_agent(message))) for message in raw]
    pools = loads(row["events_data"]) if row.get("events_data") else None
    messages = [message for _, message in main]
    messages += further_messages(events, (pools or {}).get("messages") or [], main, Attachments({}), names)
    for branch, told in branches.items():
        messages += [to_message(message, names, branch, _agent(message)) for message in told]
    if not messages:
        raise ValueError("has no messages")
    return tuple(messages)


def _agent(message: dict[str, Any]) -> str | None:
    """Who wrote it, where our own export says so."""
    agent = (message.get("metadata") or {}).get("agent")
    return agent if isinstance(agent, str) else None


def _held(value: Any) -> Any:
    """What a column holds: an object or a list as JSON, or just itself."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return loads(value)
        except ValueError:
            return value
    return value


def _scores(score: Any) -> dict[str, dict[str, Any]]:
    """A score without a name, or scores by name, in the shape of a log's."""
    if isinstance(score, str):
        try:
            score = loads(score)
        except ValueError:
            return {"score": {"value": score}}
    if score is None:
        return {}
    return {name: {"value": value} for name, value in (score if isinstance(score, dict) else {"score": score}).items()}


FORMAT = Format(summary="Inspect Scout transcript databases (Parquet)", sniff=sniff, read=read)
