"""What one run did with one source.

Takes episodes as they are stored, or the reports of a source's parts; gives counts. Knows no format.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..store.types import Episode

_COUNTS: Final = (
    *("episodes", "messages", "parts", "calls", "skipped", "still_skipped", "unchanged", "removed", "bytes", "seconds"),
)


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
    still_skipped: int = 0
    """Records that an earlier run skipped for the same reason."""
    bytes: int = 0
    seconds: float = 0.0
    empty: list[str] = field(default_factory=list)
    """Columns of ``episodes`` that say nothing of any of these."""
    values: dict[str, int] = field(default_factory=dict)
    """Of a mapping: how many of these episodes have a value for a column of ``episodes``, by its name."""
    unfit: dict[str, int] = field(default_factory=dict)
    """How many of those values the column cannot hold; they are in ``metadata``."""
    error: str | None = None

    def add_episode(self, episode: Episode, n_parts: int, mapped: Sequence[tuple[str, str]] = ()) -> None:
        """Count an episode that was stored, and was read by these pairs of (fact, column)."""
        self.empty = [name for name in self._unseen() if getattr(episode, name) in (None, {})]
        self.episodes += 1
        self.messages += len(episode.messages)
        self.parts += n_parts
        self.calls += len(episode.calls)
        if mapped:
            self._count_unfit(episode, mapped)

    def _count_unfit(self, episode: Episode, mapped: Sequence[tuple[str, str]]) -> None:
        from .mapping import COLUMNS

        of_log = [column for _, column in mapped]
        given = {fact.removeprefix("metadata.") for fact, _ in mapped if fact.startswith("metadata.")}
        for fact, column in mapped:
            if fact not in COLUMNS:
                continue
            held = getattr(episode, fact) is not None
            left = column not in given and episode.metadata.get(column) is not None
            # The path may have a step where the column has none; and another fact may be what the column cannot be.
            unfit = left and (not held or of_log.count(column) == 1)
            self.values[fact] = self.values.get(fact, 0) + (held or left)
            self.unfit[fact] = self.unfit.get(fact, 0) + unfit

    def add(self, of_part: SourceReport) -> None:
        """Count what was done with the next part of the source."""
        if of_part.episodes:
            self.empty = [name for name in self._unseen() if name in of_part.empty]
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(of_part, name))
        for counts, more in ((self.values, of_part.values), (self.unfit, of_part.unfit)):
            for fact, n in more.items():
                counts[fact] = counts.get(fact, 0) + n
        self.error = of_part.error

    def holds_nothing(self) -> bool:
        """Was it read, and is there neither an episode in it nor a record that could not be read?"""
        return self.error is None and not (self.episodes or self.unchanged or self.skipped or self.still_skipped)

    def _unseen(self) -> list[str]:
        """Columns that may still turn out to be empty."""
        from ..store.schemas import OPTIONAL_COLUMNS

        return self.empty if self.episodes else list(OPTIONAL_COLUMNS)
