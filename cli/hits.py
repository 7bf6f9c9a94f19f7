"""How a hit of ``search`` looks: a row for programs, lines for people.

Takes hits, gives rows and styled pieces of text; on a terminal wrapped to its width, piped one line a passage. Knows no
command.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final
from unicodedata import east_asian_width

if TYPE_CHECKING:
    from ..analysis.text.find import Hit

_INDENT: Final = "  "
_NARROWEST: Final = 20

Styled = list[tuple[str, str]]


def as_row(hit: Hit, n_context: int | None = None) -> dict[str, Any]:
    """The contract of ``search --json``. A part that was drawn at random has no rank and no score."""
    random = "random" in hit.more
    row = {
        "rank": None if random else hit.rank,
        "episode_id": hit.span.episode_id,
        "message_index": hit.span.message_index,
        "part_index": hit.span.part_index,
        "start": hit.span.start,
        "end": hit.span.end,
        "role": hit.role,
        "kind": hit.kind,
        "score": None if random else hit.score,
        "snippet": hit.snippet,
        "duplicates": hit.duplicates,
        "near_duplicates": hit.near_duplicates,
        "duplicates_at_least": hit.at_least,
        "random": False,
        **hit.more,
    }
    if n_context is not None:
        row["before"], row["after"] = hit.around(n_context)
    return row


def as_lines(hit: Hit, n_context: int | None = None, width: int | None = None, *, scored: bool = True) -> Styled:
    """The place of a hit and what is known of it, then its passage. ``width`` is that of the screen; None wraps
    nothing. Scores that are all the same are left out: then it is not ``scored``."""
    span = hit.span
    place = f"{span.episode_id}@{span.message_index}.{span.part_index}"
    facts = [f"{hit.role} · {hit.kind}", f"[{span.start}, {span.end})", *_facts(hit, scored)]
    before, after = hit.around(n_context) if n_context is not None else ("", "")
    passage = [(before, "dim"), (hit.snippet, ""), (after, "dim")]
    return [
        *_wrapped([(place, "bold cyan"), ("".join(f"  {fact}" for fact in facts), "dim")], width, "", keep_spaces=True),
        ("\n", ""),
        *_wrapped(passage, width, _INDENT),
        ("\n", ""),
    ]


def screen_width() -> int | None:
    """Of the terminal; None where stdout is none."""
    return max(_NARROWEST, shutil.get_terminal_size().columns) if sys.stdout.isatty() else None


def _facts(hit: Hit, scored: bool) -> Iterator[str]:
    if "random" in hit.more:
        yield "random"
        return
    if scored:
        # A hybrid score of 0: none of the words, and a meaning no closer than that of the average part.
        yield f"{hit.score:.3f}" + (", no closer than any part" if "keyword_rank" in hit.more and not hit.score else "")
    if reranked := hit.more.get("rerank"):
        yield f"rank {hit.rank}, was {reranked['rank_before']}"
    if "first_seen_step" in hit.more:
        step = hit.more["first_seen_step"]
        yield "no step" if step is None else f"first at step {step} ({hit.more['first_seen_episode_id']})"
    if hit.duplicates:
        yield f"+{'≥' * hit.at_least}{hit.duplicates:,} identical"
    if hit.near_duplicates:
        # Only of the matches that were read, however many more there are.
        yield f"+≥{hit.near_duplicates:,} alike"


def _wrapped(pieces: Styled, width: int | None, indent: str, *, keep_spaces: bool = False) -> Styled:
    """The pieces with white space made single and, at ``width`` cells, lines broken between words: where there is no
    space, as in Chinese, between letters."""
    letters: Styled = []
    for text, style in pieces:
        for letter in text:
            letter = " " if letter.isspace() else letter
            if keep_spaces or letter != " " or (letters and letters[-1][0] != " "):
                letters.append((letter, style))
    while letters and letters[-1][0] == " ":
        letters.pop()
    lines = [letters] if width is None else list(_broken(letters, width - len(indent)))
    lines = [[(indent, ""), *line] for line in lines]
    flat = [letter for line in lines for letter in (*line, ("\n", ""))][:-1]
    return [("".join(letter for letter, _ in group), style) for style, group in groupby(flat, key=lambda item: item[1])]


def _broken(letters: Styled, width: int) -> Iterator[Styled]:
    line: Styled = []
    cells = 0
    for letter, style in letters:
        wide = 2 if east_asian_width(letter) in "WF" else 1
        if cells + wide > width:
            cut = max((place + 1 for place, (seen, _) in enumerate(line) if seen == " "), default=len(line))
            # A space that does not fit is the end of a line already.
            cut = len(line) if letter == " " or len(line) - cut > width // 2 else cut
            yield line[:cut]
            line = line[cut:]
            cells = sum(2 if east_asian_width(seen) in "WF" else 1 for seen, _ in line)
        if line or letter != " ":
            line.append((letter, style))
            cells += wide
    if line:
        yield line
