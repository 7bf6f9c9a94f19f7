"""What one run did with one source.

Takes episodes as they are stored, or the reports of a source's parts; gives counts. Knows no format.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from ..store.schemas import OPTIONAL_COLUMNS
from ..store.types import Episode

_COUNTS: Final = ("episodes", "messages", "parts", "calls", "skipped", "unchanged", "removed", "bytes", "seconds")


@dataclass(slots=True)
class SourceReport:
    """``removed`` episodes are no longer in the source. ``error`` says why it, or the rest of it, could not be read."""

    source: str
    format: str | None
    episodes: int = 0
    messages: int = 0
    parts: int = 0
    calls: int = 0
    skipped: int = 0
    unchanged: int = 0
    removed: int = 0
    bytes: int = 0
    seconds: float = 0.0
    empty: list[str] = field(default_factory=list)
    """Columns of ``episodes`` that say nothing of any of these."""
    error: str | None = None

    def add_episode(self, episode: Episode) -> None:
        """Count an episode that was stored."""
        self.empty = [name for name in self._unseen() if getattr(episode, name) in (None, {})]
        self.episodes += 1
        self.messages += len(episode.messages)
        self.parts += sum(len(message.parts) for message in episode.messages)
        self.calls += len(episode.calls)

    def add(self, of_part: SourceReport) -> None:
        """Count what was done with the next part of the source."""
        if of_part.episodes:
            self.empty = [name for name in self._unseen() if name in of_part.empty]
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(of_part, name))
        self.error = of_part.error

    def _unseen(self) -> list[str]:
        """Columns that may still turn out to be empty."""
        return self.empty if self.episodes else list(OPTIONAL_COLUMNS)
