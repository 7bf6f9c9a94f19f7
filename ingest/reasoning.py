"""Where reasoning hides in text.

Takes the text of one message, gives its parts: reasoning between tags apart from what was said. Knows tags, no format.
Offsets stay true to the log: nothing is stripped, and ``location`` says how the tags stood, so that tags and parts put
together again are the text.
"""

from __future__ import annotations

import re

from ..store.types import Part

THINK_TAGS = ("think", "thinking", "SCRATCHPAD_REASONING", "inner_thoughts")
"""``<think>`` is the model's own channel (raw); the others are asked for by a prompt (scratchpad)."""

_TAG = re.compile(rf"<(/?)({'|'.join(THINK_TAGS)})>")


def split_reasoning(text: str, where: str = "content") -> list[Part]:
    """The parts of a message's text, in order; one text part when it holds no reasoning tags.

    ``location`` is ``where.<think>`` for a closed block, ``where.</think>`` where the template had opened it (the log
    has no opening tag), ``where.<think>…`` where it was never closed (a truncated log). Tags of one name may nest.
    """
    if "<" not in text:
        return [Part("text", text)] if text else []
    parts: list[Part] = []
    position = depth = inside = 0
    tag = ""
    for match in _TAG.finditer(text):
        closing, name = match.group(1) == "/", match.group(2)
        if depth == 0 and not closing:
            _add(parts, "text", text[position : match.start()])
            tag, depth, inside = name, 1, match.end()
        elif depth == 0 and closing and name == "think" and not parts and position == 0:
            _add(parts, "reasoning", text[: match.start()], name, f"{where}.</{name}>")
            position = match.end()
        elif name == tag and depth:
            depth += -1 if closing else 1
            if depth == 0:
                _add(parts, "reasoning", text[inside : match.start()], tag, f"{where}.<{tag}>")
                position = match.end()
    if depth:
        _add(parts, "reasoning", text[inside:], tag, f"{where}.<{tag}>…")
    else:
        _add(parts, "text", text[position:])
    return parts or [Part("text", text)]


def _add(parts: list[Part], kind: str, text: str, tag: str = "", location: str | None = None) -> None:
    if kind == "reasoning":
        style = "raw" if tag == "think" else "scratchpad"
        parts.append(Part("reasoning", text, reasoning_kind=style, location=location))
    elif text:
        parts.append(Part("text", text))
