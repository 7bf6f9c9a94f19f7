"""Messages from the text of a chat template whose control tokens were dropped in decoding.

    "system\\nYou are …\\nuser\\nWhat is …?\\nassistant\\n"

Takes such a text, gives messages. A guess: a line that holds nothing but the name of a role is taken for the beginning
of a message, though somebody may just have written it. Whoever uses this marks the episode ``approximate_roles``.
"""

from __future__ import annotations

import re
from typing import Final

from ..store.types import Message, Part
from .reasoning import split_reasoning

_ROLE_LINE: Final = re.compile(r"(?:\A|\n)(system|user|assistant|tool)\n")
_RESULT_TAG: Final = "<tool_response>"


def split_prompt(text: str) -> list[Message] | None:
    """The messages of a prompt, the empty one that the model was to fill left out; None where it does not begin with
    the name of a role. Assistant messages are ``given``."""
    marks = list(_ROLE_LINE.finditer(text))
    if not marks or marks[0].start() != 0:
        return None
    found = []
    for mark, end in zip(marks, [*(mark.start() for mark in marks[1:]), len(text)], strict=True):
        piece = text[mark.end() : end]
        if piece.strip() or end < len(text):
            found.append(_message(mark.group(1), piece, given=True))
    return found or None


def split_completion(text: str) -> list[Message]:
    """The messages of a completion: more than one only where the model spoke again after what looks like a tool."""
    marks = list(_ROLE_LINE.finditer(text))
    if not any(mark.group(1) == "assistant" for mark in marks) or marks[0].group(1) not in ("user", "tool"):
        return [_message("assistant", text, given=False)]
    found = [_message("assistant", text[: marks[0].start()], given=False)]
    for mark, end in zip(marks, [*(mark.start() for mark in marks[1:]), len(text)], strict=True):
        found.append(_message(mark.group(1), text[mark.end() : end], given=False))
    return found


def _message(role: str, text: str, given: bool) -> Message:
    if role == "user" and text.lstrip().startswith(_RESULT_TAG):
        role = "tool"
    if role == "tool":
        return Message("tool", (Part("tool_result", text),))
    if role == "assistant":
        return Message("assistant", tuple(split_reasoning(text)) or (Part("text"),), given=given)
    return Message(role, (Part("text", text),))
