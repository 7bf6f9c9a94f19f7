"""Places in the logs, as people type and copy them: ``EPISODE@message.part``, the same with ``[start, end)``.

Takes what was typed, gives the text that stands there. Does not know what it is wanted for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from ...store.errors import InputError, NotFoundError
from ...store.types import Span
from .index import PartKey

_PLACE: Final = re.compile(
    r"(?P<episode>.+)@(?P<message>\d{1,9})\.(?P<part>\d{1,9})"
    r"(?:\s*\[\s*(?P<start>\d{1,18})\s*[,:]\s*(?P<end>\d{1,18})\s*[)\]])?"
)
NO_PLACE: Final = "{!r} is no place in an episode: give EPISODE@message.part, or the same with [start, end)."


@dataclass(frozen=True, slots=True)
class Place:
    """``episode`` is still to be resolved; ``start`` and ``end`` are None for a whole part."""

    episode: str
    message_index: int
    part_index: int
    start: int | None
    end: int | None

    def __str__(self) -> str:
        return f"{self.episode}@{self.message_index}.{self.part_index}"

    def key(self, episode_id: int) -> PartKey:
        """The part."""
        return PartKey(episode_id, self.message_index, self.part_index)


def parse_place(typed: str) -> Place | None:
    """None where something else was typed."""
    match = _PLACE.fullmatch(typed.strip())
    if match is None:
        return None
    start, end = (None if match[name] is None else int(match[name]) for name in ("start", "end"))
    return Place(match["episode"], int(match["message"]), int(match["part"]), start, end)


def place_of(span: Span) -> Place:
    """The place of a hit."""
    return Place(str(span.episode_id), span.message_index, span.part_index, span.start, span.end)


def text_at(place: Place, part: dict[str, Any] | None) -> str:
    """What stands there. Raises NotFoundError where ``part`` is None, InputError for characters outside of it or a
    part without text."""
    if part is None:
        raise NotFoundError(
            f"There is no part {place}; `investigate show {place.episode}` has the parts of an episode."
        )
    text: str = part["text"] if place.start is None else part["text"][place.start : place.end]
    if not text.strip():
        where = "" if place.start is None else f" [{place.start}, {place.end})"
        raise InputError(f"There is no text at {place}{where}; it has {len(part['text'])} characters.")
    return text
