"""Calls through the chat template, before they have tokens: what the model read and wrote as one string.

Takes messages and a ``Renderer``, gives drafts, which of them contain which, and where their parts stand. Knows no
tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .align import Field, Found, find_in_rendering, sentinels
from .render import Key, Numbered, Renderer, is_rendered, is_tagged


@dataclass(frozen=True, slots=True)
class Draft:
    """A call through the template before it has tokens: ``messages`` end in the completion. ``raw``: the template drops
    what the model thought, so the message follows the prompt as the log has it."""

    messages: tuple[Numbered, ...]
    prompt: str
    text: str
    raw: bool = False


def draft_of(renderer: Renderer, messages: tuple[Numbered, ...]) -> Draft:
    index, message = messages[-1]
    prompt = renderer.render(messages[:-1], {}, generation_prompt=True)
    text = renderer.render(messages, {})
    own = text[shared_prefix(prompt, text) :]
    thoughts = [part for part in message.parts if part.kind == "reasoning" and is_rendered(part) and is_tagged(part)]
    dropped = any(part.text.strip() not in own for part in thoughts)
    if dropped and all(part.kind != "tool_call" for part in message.parts):
        return Draft(messages, prompt, prompt + _follow(prompt, renderer.content(index, message, {})), raw=True)
    return Draft(messages, prompt, text)


def shared_prefix(one: str, other: str) -> int:
    """How many characters two strings begin with together."""
    if other.startswith(one):
        return len(one)
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(other))


def _follow(prompt: str, content: str) -> str:
    """A message's content as it follows its prompt, which may have opened the reasoning already."""
    return content.removeprefix("<think>") if prompt.rstrip().endswith("<think>") else content


def _render_draft(renderer: Renderer, draft: Draft, texts: Mapping[Key, str]) -> str:
    if not draft.raw:
        return renderer.render(draft.messages, texts)
    prompt = renderer.render(draft.messages[:-1], texts, generation_prompt=True)
    return prompt + _follow(prompt, renderer.content(*draft.messages[-1], texts))


def chains_of(drafts: Sequence[Draft]) -> list[list[Draft]]:
    """Drafts each of which is the beginning of the next one's prompt."""
    chains: list[list[Draft]] = []
    for draft in drafts:
        if chains and draft.prompt.startswith(chains[-1][-1].text):
            chains[-1].append(draft)
        else:
            chains.append([draft])
    return chains


def fields_of(renderer: Renderer, messages: Sequence[Numbered], text: str) -> list[Field]:
    """The parts to find. Blank ones have nothing that could be found."""
    parts = [
        ((index, number), part)
        for index, message in messages
        for number, part in enumerate(message.parts)
        if is_rendered(part) and part.text.strip()
    ]
    marks = sentinels([text, *(part.text for _, part in parts)])
    return [
        Field(key, part.text, mark, renderer.marked(part, mark))
        for (key, part), mark in zip(parts, marks, strict=False)
    ]


def find_in_draft(renderer: Renderer, draft: Draft) -> Found:
    fields = fields_of(renderer, draft.messages, draft.text)
    return find_in_rendering(lambda texts: _render_draft(renderer, draft, texts), draft.text, fields)
