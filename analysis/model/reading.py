"""Which tokens of a call are read.

Takes a call and what a person or a recipe asks to read, gives token positions. Only verified spans are read: where a
part could not be aligned, a reading that needs it is refused, not guessed. Knows no model.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ...store.errors import UsageError
from ...store.types import Episode
from .calls import TokenCall, TokenSpan, part_offsets
from .render import Key

MASKS: Final = ("all", "assistant", "reasoning", "last")
"""All tokens; those that the model wrote; those that it thought; the last one before its (last) message."""


@dataclass(frozen=True, slots=True)
class TokenPlace:
    """A token, and the characters ``[start, end)`` of the part that it stands for."""

    position: int
    start: int
    end: int


def places_of(call: TokenCall) -> dict[Key, list[TokenPlace]]:
    """The tokens of each part that has a verified span, in order."""
    return {
        (span.message_index, span.part_index): [
            TokenPlace(span.first_token + i, start, end) for i, (start, end) in enumerate(part_offsets(call, span))
        ]
        for span in call.spans
        if span.last_token_exclusive > span.first_token
    }


def read_tokens(
    call: TokenCall, episode: Episode, *, at: str | None, mask: str, message_index: int | None = None
) -> tuple[set[int], str | None]:
    """Positions to read, and why nothing is read where that is so.

    ``at`` is a regex: the token that holds the last character of its first match in each message that the model wrote.
    Without it, all tokens of ``mask``. ``message_index`` restricts both to one message. The first token of a sequence
    carries a massive activation that says nothing of the text, and is never read. Raises UsageError on a pattern or
    mask that is none.
    """
    if mask not in MASKS:
        raise UsageError(f"There is no mask {mask!r}; there are: {', '.join(MASKS)}.")
    written = [span for span in call.spans if span.written and message_index in (None, span.message_index)]
    if at is not None:
        return _matched(call, episode, written, at)
    if mask == "last":
        last = min(call.n_prompt, len(call.ids)) - 1
        return ({last}, None) if last > 0 else (set(), "Not read: there is no prompt before the message.")
    if not call.aligned:
        return set(), f"Not read, because the parts are not all aligned with tokens: {call.note}"
    spans = (
        call.spans if mask == "all" else [span for span in written if mask == "assistant" or span.kind == "reasoning"]
    )
    positions = {position for span in spans for position in range(span.first_token, span.last_token_exclusive)}
    return positions - {0}, None if positions else f"Not read: there are no {mask} tokens."


def _matched(call: TokenCall, episode: Episode, written: list[TokenSpan], at: str) -> tuple[set[int], str | None]:
    pattern = compiled(at, "--at")
    positions = set()
    found: set[int] = set()
    for span in written:
        match = pattern.search(episode.messages[span.message_index].parts[span.part_index].text)
        if match is None or match.end() == match.start() or span.message_index in found:
            continue
        for offset, (start, end) in enumerate(part_offsets(call, span)):
            if start < match.end() <= end:
                positions.add(span.first_token + offset)
                found.add(span.message_index)
                break
    return positions - {0}, None if positions else f"Not read: nothing that the model wrote matches {at}."


def compiled(pattern: str, option: str) -> re.Pattern[str]:
    """A regular expression. Raises UsageError naming the option it came from."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError(f"{option} {pattern!r} is no regular expression: {error}.") from None
