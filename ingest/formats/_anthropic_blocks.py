"""The content blocks of Anthropic messages as parts.

Takes a block as parsed JSON, gives the parts it holds. Knows no format, no row and no message.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...store.types import Part
from ..format import dumps
from ..reasoning import split_reasoning


def block_parts(block: Any, role: str) -> list[Part]:
    """The parts of one content block that is no tool result; none for a block of unknown type or without text."""
    if not isinstance(block, dict):
        return _text_parts(str(block), role)
    kind = block.get("type")
    if kind == "thinking":
        text, location = str(block.get("thinking") or ""), "content.thinking"
        if not text and block.get("signature"):
            return [Part("reasoning", redacted=True, reasoning_kind="encrypted", location=location)]
        return [Part("reasoning", text, reasoning_kind="raw", location=location)]
    if kind == "redacted_thinking":
        return [Part("reasoning", redacted=True, reasoning_kind="encrypted", location="content.redacted_thinking")]
    if kind in ("tool_use", "server_tool_use"):
        arguments = block.get("input", {})
        text = arguments if isinstance(arguments, str) else dumps(arguments).decode("utf-8", "surrogatepass")
        return [Part("tool_call", text, tool_name=_string(block.get("name")), tool_call_id=_string(block.get("id")))]
    if kind in ("image", "document"):
        return [_media(block)]
    return _text_parts(block["text"], role) if isinstance(block.get("text"), str) else []


def _text_parts(text: str, role: str) -> list[Part]:
    # Only a model thinks: a user's text with tags in it is quoted.
    return split_reasoning(text) if role == "assistant" else [Part("text", text)] if text else []


def _media(block: dict[str, Any]) -> Part:
    """An image or a document. Its bytes are left where they are."""
    origin = block.get("source")
    origin = origin if isinstance(origin, dict) else {}
    media_type = str(origin.get("media_type") or block["type"])
    return Part("media", str(origin.get("url") or media_type), media_type=media_type)


def result_parts(block: dict[str, Any], tool_name: str | None) -> Iterator[Part]:
    """A tool result: its text, pieces joined by newlines, then its images."""
    content = block.get("content")
    blocks = content if isinstance(content, list) else [content if content is not None else ""]
    texts, media = [], []
    for piece in blocks:
        if not isinstance(piece, dict):
            texts.append(str(piece))
        elif piece.get("type") in ("image", "document"):
            media.append(_media(piece))
        elif isinstance(piece.get("text"), str):
            texts.append(piece["text"])
        else:
            texts.append(dumps(piece).decode("utf-8", "surrogatepass"))
    failed = block.get("is_error")
    yield Part(
        "tool_result",
        "\n".join(texts),
        tool_name=tool_name,
        tool_call_id=_string(block.get("tool_use_id")),
        is_error=failed if isinstance(failed, bool) else None,
    )
    yield from media


def _string(value: Any) -> str | None:
    return None if value is None else str(value)
