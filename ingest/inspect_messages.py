"""Turns an Inspect AI chat message into a ``Message``.

Takes the parsed JSON of one message of a sample (or of a model event), gives its role and parts; puts back the texts
that Inspect cut out as attachments. Knows the message shapes of Inspect 0.3 (2024 to 2026), neither files nor samples.

    {"role": "assistant", "content": [{"type": "reasoning", "reasoning": "…", "summary": null, "redacted": false},
                                      {"type": "text", "text": "…"}],
     "tool_calls": [{"id": "call_1", "function": "bash", "arguments": {"cmd": "ls"}, "parse_error": null}]}
    {"role": "tool", "tool_call_id": "call_1", "function": "bash", "content": "", "error": {"type": "…", "message": ""}}

Quirks: a tool message may lack ``function`` (it is looked up by its call's id); a *redacted* reasoning block holds the
provider's ciphertext in ``reasoning`` and what can be read in ``summary``: the summary is a part, the ciphertext an
empty one that says it was there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from ..store.types import ROLES, Message, Part
from .chat import as_text
from .reasoning import split_reasoning

MEDIA_TYPES: Final = ("image", "audio", "video", "document", "data")

_REFERENCE = re.compile(r"\b(?:attachment|tc)://([0-9a-f]{32}|\d+)\b")
_DATA_URI = re.compile(r"data:([\w.+-]+/[\w.+-]+)?[;,]")
_MAX_DESCRIPTION = 500
_TREES = (dict, list)


class Attachments:
    """The texts that a sample refers to as ``attachment://<hash>`` (in 2024 ``tc://<hash>``, in chunked samples
    ``attachment://<index>``). ``missing`` collects the references that lead nowhere; they stay in the text."""

    __slots__ = ("missing", "texts")

    def __init__(self, texts: dict[str, Any]) -> None:
        self.texts = texts
        self.missing: set[str] = set()

    def resolve(self, value: Any) -> Any:
        """A copy of a JSON tree with every reference replaced by its text."""
        if isinstance(value, str):
            return _REFERENCE.sub(self._text_of, value) if "tc://" in value or "attachment://" in value else value
        # Most of a tree are numbers and texts that refer to nothing: a call for each takes most of the time.
        if isinstance(value, dict):
            return {
                key: self.resolve(item) if type(item) in _TREES or (type(item) is str and "://" in item) else item
                for key, item in value.items()
            }
        if isinstance(value, list):
            return [self.resolve(item) for item in value]
        return value

    def _text_of(self, match: re.Match[str]) -> str:
        text = self.texts.get(match.group(1))
        if isinstance(text, str):
            return text
        self.missing.add(match.group(0))
        return match.group(0)


def references(value: Any) -> Iterator[str]:
    """The names of the attachments that a JSON tree refers to."""
    if isinstance(value, str):
        if "tc://" in value or "attachment://" in value:
            yield from _REFERENCE.findall(value)
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from references(item)


def to_message(
    raw: dict[str, Any], tool_names: dict[str, str], branch: str | None = None, agent: str | None = None
) -> Message:
    """One message, attachments already resolved. ``tool_names`` maps call ids to tools: an assistant message adds its
    calls, a tool message looks itself up. Raises ValueError, KeyError, TypeError or AttributeError on what is none."""
    role = raw["role"]
    if role not in ROLES:
        raise ValueError(f"a message has the role {role!r}, which Inspect does not have")
    parts = _content_parts(raw.get("content"), role)
    if role == "tool":
        parts = _result_parts(raw, parts, tool_names)
    for call in raw.get("tool_calls") or ():
        parts.append(_call_part(call))
        if call.get("id"):
            tool_names[call["id"]] = call["function"]
    given = role == "assistant" and raw.get("source") == "input"
    return Message(role, tuple(parts) or (Part("text"),), branch, agent, given)


def _content_parts(content: Any, role: str) -> list[Part]:
    blocks = content if isinstance(content, list) else [content]
    return [part for block in blocks if block is not None for part in _block_parts(block, role)]


def _block_parts(block: Any, role: str) -> list[Part]:
    if isinstance(block, str):
        return _text_parts(block, role)
    kind = block["type"]
    if kind == "text":
        return _text_parts(block["text"], role)
    if kind == "reasoning":
        return _reasoning_parts(block)
    if kind == "tool_use":
        return _server_tool_parts(block)
    if kind in MEDIA_TYPES:
        return [_media_part(block, kind)]
    return [Part("text", as_text(block))]


def _text_parts(text: str, role: str) -> list[Part]:
    """Only the model thinks: tags in a prompt or in a tool's output are about thinking, or a bait."""
    if role == "assistant":
        return split_reasoning(text)
    return [Part("text", text)] if text else []


def _reasoning_parts(block: dict[str, Any]) -> list[Part]:
    reasoning, summary = block.get("reasoning") or "", block.get("summary") or ""
    location, parts = "content.reasoning", []
    if not block.get("redacted") and (reasoning or not summary):
        parts.append(Part("reasoning", reasoning, reasoning_kind="raw", location=location))
    if summary:
        parts.append(Part("reasoning", summary, reasoning_kind="summary", location=location))
    if block.get("redacted"):
        parts.append(Part("reasoning", redacted=True, reasoning_kind="encrypted", location=location))
    return parts


def _call_part(call: dict[str, Any]) -> Part:
    return Part(
        "tool_call",
        as_text(call.get("arguments")),
        tool_name=call["function"],
        tool_call_id=call.get("id"),
        parse_error=call.get("parse_error"),
    )


def _result_parts(raw: dict[str, Any], content: list[Part], tool_names: dict[str, str]) -> list[Part]:
    """What a tool gave back. The error is part of it: the text lacks it when the tool could not even be called."""
    error = raw.get("error") or raw.get("tool_error")
    message = error.get("message") if isinstance(error, dict) else error
    call_id = raw.get("tool_call_id")
    result = Part(
        "tool_result",
        tool_name=raw.get("function") or tool_names.get(call_id or ""),
        tool_call_id=call_id,
        is_error=bool(error),
    )
    parts = [replace(result, text=part.text) if part.kind == "text" else part for part in content]
    if message and not any(message in part.text for part in parts):
        parts.append(replace(result, text=str(message)))
    return parts or [result]


def _server_tool_parts(block: dict[str, Any]) -> list[Part]:
    """A tool that the provider ran itself: call and result stand in one block."""
    name, call_id, error = block["name"], block.get("id"), block.get("error")
    result = as_text(block.get("result")) or as_text(error)
    return [
        Part("tool_call", as_text(block.get("arguments")), tool_name=name, tool_call_id=call_id),
        Part("tool_result", result, tool_name=name, tool_call_id=call_id, is_error=bool(error)),
    ]


def _media_part(block: dict[str, Any], kind: str) -> Part:
    """What it is and where, never the bytes: those are no text."""
    value = block.get(kind)
    uri = _DATA_URI.match(value) if isinstance(value, str) else None
    media_type = block.get("mime_type") or (uri and uri.group(1))
    if media_type is None:
        media_type = f"{kind}/{block['format']}" if block.get("format") else kind
    if isinstance(value, str) and uri is None and len(value) <= _MAX_DESCRIPTION:
        return Part("media", value, media_type=media_type)
    return Part("media", block.get("filename") or media_type, media_type=media_type)
