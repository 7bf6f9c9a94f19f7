"""The values that everything else passes around.

Takes nothing, gives dataclasses that nobody changes, whose fields are the columns of the stored tables (a test
compares them). Knows no file, no database and no log format.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, dataclass_transform

_T = TypeVar("_T")

ROLES: Final = ("system", "user", "assistant", "tool")
KINDS: Final = ("text", "reasoning", "tool_call", "tool_result", "media")
REASONING_KINDS: Final = ("raw", "summary", "encrypted", "scratchpad")

_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def _value(cls: type[_T]) -> type[_T]:
    """A dataclass that nobody changes. The type checker sees to that: to refuse it at run time as well makes a part
    five times as slow to make, and logs are made of millions."""
    return dataclass(slots=True, unsafe_hash=True)(cls)


def without_surrogates(text: str) -> tuple[str, int]:
    """The text with lone surrogates, which neither Arrow nor UTF-8 can hold, as U+FFFD, and how many there were."""
    return (text, 0) if text.isascii() else _SURROGATES.subn("\ufffd", text)


@_value
class Part:
    """A piece of a message.

    ``text`` is what the log has, character for character; a tool call's is its arguments as logged. Lone surrogates,
    which neither Arrow nor UTF-8 can hold, become U+FFFD one for one, so offsets stay true; ``n_replaced`` counts them.
    """

    kind: str
    text: str = ""
    tool_name: str | None = None
    tool_call_id: str | None = None
    is_error: bool | None = None
    """Of a tool result: did the tool fail? None where the log does not say."""
    parse_error: str | None = None
    """Of a tool call: why its arguments could not be parsed, where the log says so."""
    redacted: bool = False
    reasoning_kind: str | None = None
    """Of reasoning: one of REASONING_KINDS."""
    location: str | None = None
    """Of reasoning: where in the record it was found, such as ``reasoning_content`` or ``content.<think>``."""
    media_type: str | None = None
    n_replaced: int = 0

    def __post_init__(self) -> None:
        if not self.text.isascii():
            clean, n = without_surrogates(self.text)
            if n:
                object.__setattr__(self, "text", clean)
                object.__setattr__(self, "n_replaced", self.n_replaced + n)


@_value
class Message:
    """One message of an episode. Its ``message_index`` is its position in ``Episode.messages``, over all branches."""

    role: str
    parts: tuple[Part, ...]
    branch: str | None = None
    """None on the main line; otherwise a name for the fork, retry or compacted context that it belongs to."""
    agent: str | None = None
    """Which agent wrote or received it, where a log has several."""
    given: bool = False
    """It stood in the prompt: an assistant message that the model did not write must not be held against it."""


@_value
class Call:
    """One request to the model: prompt token ids → completion token ids, with their logprobs.

    ``message_index`` is the message that the completion became. ``prompt_text`` and ``completion_text`` are raw strings
    with special tokens kept, where the log has those instead of ids.
    """

    call_index: int
    message_index: int | None = None
    prompt_ids: tuple[int, ...] | None = None
    completion_ids: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    """One per completion id: natural log of the probability the sampler gave it."""
    prompt_text: str | None = None
    completion_text: str | None = None
    model: str | None = None
    sampling: dict[str, Any] = field(default_factory=dict)


@_value
class Episode:
    """One logged run of a policy, prompt to end.

    Readers fill what the log has. ``digest`` is ``digest_of(raw record bytes)``; ``episode_id``, ``uid``, ``revision``
    and the counts are filled when the episode is stored, ``duplicate_of`` when it is read back.
    """

    source: str
    """The file it came from, as an absolute path (``archive!member`` for a file inside an archive)."""
    record: str
    """Which record of the source: a line number (0-based), a member name, an index. Stable when the source grows."""
    digest: str
    format: str = ""
    messages: tuple[Message, ...] = ()
    calls: tuple[Call, ...] = ()
    experiment: str | None = None
    checkpoint: str | None = None
    model: str | None = None
    environment: str | None = None
    split: str | None = None
    task_id: str | None = None
    group_id: str | None = None
    training_step: int | None = None
    reward: float | None = None
    success: bool | None = None
    scores: dict[str, Any] = field(default_factory=dict)
    """What the environment or the evaluation gave for the work, by name, values as logged: rewards, metrics, grades."""
    labels: dict[str, Any] = field(default_factory=dict)
    """What is known to be true of the episode, by name: its condition, its role, what a human said of it."""
    verdicts: dict[str, Any] = field(default_factory=dict)
    """What a monitor or judge of *behaviour* claims of the episode, by name: suspicion, detected lies."""
    provenance: dict[str, str] = field(default_factory=dict)
    """Name of a score, label or verdict → who says so, where the log tells: ``verifier`` (a program checked it),
    ``judge`` or ``judge:MODEL``, ``human``, ``design`` (the condition the episode was run under). ``reward`` is a name
    here too."""
    stop_reason: str | None = None
    error: str | None = None
    started_at: str | None = None
    """ISO 8601, as logged."""
    metadata: dict[str, Any] = field(default_factory=dict)
    identity: str | None = None
    """A name for this very run that is the same wherever the run was logged again (a trace id, a simulation id): all
    records with it are marked as duplicates of the first. None where equal bytes are the only sign."""
    episode_id: int = -1
    uid: str = ""
    revision: int = 0
    n_messages: int = 0
    n_parts: int = 0
    n_chars: int = 0
    duplicate_of: int | None = None


@_value
class Skipped:
    """A record that could not be read. Stored, counted and reported; never silently dropped."""

    source: str
    record: str
    byte_offset: int
    """Where the record begins in its source; -1 where that means nothing."""
    reason: str


@_value
class Span:
    """Characters ``[start, end)`` of one part, in Unicode code points. Every quotation in the program is one."""

    episode_id: int
    message_index: int
    part_index: int
    start: int
    end: int
