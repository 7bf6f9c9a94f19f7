"""Messages as a chat template takes them, and the string that it makes of them.

Takes messages of an episode, gives chat dictionaries and rendered text. Any part's text can be replaced on the way,
which is how ``align`` finds where a template puts it. Knows no tokens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ...store.errors import ModelError
from ...store.types import Message, Part

Key = tuple[int, int]
"""``(message_index, part_index)``."""

Numbered = tuple[int, Message]

_TAG: Final = re.compile(r"\.<(/?)(\w+)>(…?)$")
_PROBE: Final = '{"q":  1}'


def is_rendered(part: Part) -> bool:
    """Has it text that the model read or wrote? Not so media, and reasoning that was encrypted or only summarised."""
    return part.kind != "media" and not part.redacted and part.reasoning_kind not in ("summary", "encrypted")


def is_tagged(part: Part) -> bool:
    """Did its reasoning stand between tags in the content?"""
    return _TAG.search(part.location or "") is not None


def left_out(messages: Sequence[Numbered]) -> list[str]:
    """What a rendering cannot contain, one sentence each."""
    notes = []
    for index, message in messages:
        for number, part in enumerate(message.parts):
            if not is_rendered(part):
                what = part.reasoning_kind or "redacted"
                kind = part.kind if part.kind == "media" else f"{what} {part.kind}"
                notes.append(f"{index}.{number} is {kind}, which cannot be replayed, and is left out.")
    return notes


def parse_arguments(text: str) -> dict[str, Any] | None:
    """A tool call's arguments, where they are a JSON object."""
    import orjson

    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


class Renderer:
    """A tokenizer's chat template. Construction costs one small rendering.

    ``strings`` says whether it prints a tool call's arguments as they are when they are a string. Where it does, the
    log's own characters are rendered; where it does not, the parsed object is, as the template's own JSON.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        template = str(tokenizer.chat_template or "")
        self.reasoning_key = "thinking" if "message.thinking" in template else "reasoning_content"
        if "reasoning_content" in template:
            self.reasoning_key = "reasoning_content"
        call = {"type": "function", "id": "call00000", "function": {"name": "f", "arguments": _PROBE}}
        probe: list[dict[str, Any]] = [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
        ]
        try:
            self.strings = _PROBE in self._apply(probe, False)
        except ModelError:
            self.strings = False

    def render(self, messages: Sequence[Numbered], texts: Mapping[Key, str], generation_prompt: bool = False) -> str:
        """The template's text of these messages, with ``texts`` in place of the parts they are for.

        Raises ModelError when the tokenizer has no template, or its template refuses them.
        """
        if not messages:
            return ""
        chat = [entry for index, message in messages for entry in self._entries(index, message, texts)]
        return self._apply(chat, generation_prompt)

    def content(self, index: int, message: Message, texts: Mapping[Key, str]) -> str:
        """What an assistant's message says, with its reasoning tags: the log's text put back together."""
        return str(self._assistant(index, message, texts)["content"])

    def marked(self, part: Part, sentinel: str) -> str:
        """How a sentinel looks where ``part`` is rendered."""
        return f'{{"{sentinel}": 0}}' if self._as_object(part) else sentinel

    def _as_object(self, part: Part) -> bool:
        return part.kind == "tool_call" and not self.strings and parse_arguments(part.text) is not None

    def _apply(self, chat: list[dict[str, Any]], generation_prompt: bool) -> str:
        if not self.tokenizer.chat_template:
            raise ModelError(
                "The tokenizer has no chat template, so messages cannot be rendered for it; replay a log that has "
                "token ids, or save a template with the tokenizer."
            )
        import jinja2

        try:
            return str(
                self.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=generation_prompt)
            )
        except (jinja2.TemplateError, TypeError, ValueError, KeyError, IndexError) as error:
            raise ModelError(
                f"The model's chat template refuses this episode ({error}); replay another episode, or a log that has "
                "token ids."
            ) from error

    def _entries(self, index: int, message: Message, texts: Mapping[Key, str]) -> list[dict[str, Any]]:
        if message.role == "assistant":
            return [self._assistant(index, message, texts)]
        entries: list[dict[str, Any]] = []
        for number, part in enumerate(message.parts):
            if not is_rendered(part):
                continue
            text = texts.get((index, number), part.text)
            entry: dict[str, Any] = {"role": "tool" if part.kind == "tool_result" else message.role}
            if entry["role"] == "tool":
                named = {"name": part.tool_name, "tool_call_id": part.tool_call_id}
                entry |= {key: value for key, value in named.items() if value is not None}
            if entries and entry == {key: value for key, value in entries[-1].items() if key != "content"}:
                entries[-1]["content"] += text
            else:
                entries.append(entry | {"content": text})
        return entries or [{"role": message.role, "content": ""}]

    def _assistant(self, index: int, message: Message, texts: Mapping[Key, str]) -> dict[str, Any]:
        content = ""
        thoughts: list[str] = []
        calls: list[dict[str, Any]] = []
        for number, part in enumerate(message.parts):
            if not is_rendered(part):
                continue
            text = texts.get((index, number), part.text)
            tag = _TAG.search(part.location or "")
            if part.kind == "reasoning" and tag is None:
                thoughts.append(text)
            elif part.kind == "reasoning" and tag is not None:
                opening = "" if tag[1] else f"<{tag[2]}>"
                content += opening + text + ("" if tag[3] else f"</{tag[2]}>")
            elif part.kind == "tool_call" and part.tool_name is not None:
                calls.append(self._call(part, text, f"call0000{len(calls)}"))
            else:
                content += text
        entry: dict[str, Any] = {"role": "assistant", "content": content}
        if thoughts:
            entry[self.reasoning_key] = "\n\n".join(thoughts)
        if calls:
            entry["tool_calls"] = calls
        return entry

    def _call(self, part: Part, text: str, default_id: str) -> dict[str, Any]:
        arguments: Any = text
        if self._as_object(part):
            arguments = parse_arguments(text)
            if arguments is None:  # A sentinel stands here: an object like the one it stands for.
                arguments = {text: 0}
        function = {"name": part.tool_name, "arguments": arguments}
        return {"type": "function", "id": part.tool_call_id or default_id, "function": function}
