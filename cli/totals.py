"""What stands beside the hits of ``search``: how many parts match, or why nobody can say so.

Takes a question with its answer, tells the person on stderr. Draws no hit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..analysis.text.concept import Concept
    from ..analysis.text.find import Answer, Count, Hit, Question
    from ..store.reader import Reader


def tell_totals(reader: Reader, mode: str, question: Question, found: Answer, shown: list[Hit]) -> None:
    """How many parts match and how many are shown. Of meaning, that it draws no line; of words and meaning together,
    how many have the words."""
    from ..analysis.text.find import count_matches
    from .output import say

    if not shown:
        say("Nothing matches.")
    elif question.like or mode == "semantic":
        say(f"Likeness has degrees and no end, so no part is said to match; {len(shown)} shown, the closest.")
    elif mode == "hybrid":
        say(f"{_words(reader, question)} {len(shown)} shown.")
    elif (matching := count_matches(reader, mode, question)) is not None:
        order = " in the order of episodes" if mode == "regex" and not question.earliest else ""
        say(f"{_amount(matching)} match; {'the first ' if order else ''}{len(shown)}{order} shown.")
    if found.cut_off:
        say(
            f"Copies of a few texts fill the best {found.n_read:,} matches, so fewer hits are shown than were asked "
            "for: --where, --in and -excluded words leave copies out."
        )


def tell_concept(concept: Concept) -> None:
    """What its scores mean, and how far they can be trusted."""
    from .concept import verdict
    from .output import say

    left_out = (
        "parts with its examples are left out"
        if concept.examples
        else "its examples are not left out (none has a place, or it was trained before places were kept)"
    )
    say(
        f"Scores are log-odds of {concept.name} by its classifier: above 0, more like the positive examples than like "
        f"the others. They rank, and are no rate; {left_out}."
    )
    if not concept.report.tells:
        say(verdict(concept))


def _words(reader: Reader, question: Question) -> str:
    """Which of a question's words stand anywhere, for a search that goes on by meaning."""
    from ..analysis.text.find import count_matches
    from ..analysis.text.index import Filters
    from ..analysis.text.tokens import LongWordError, Query, parse_query

    try:
        query, matching = parse_query(question.text), count_matches(reader, "keyword", question)
    except LongWordError:
        return "A word is too long for the index: ranked by meaning alone."
    words = list(dict.fromkeys([*query.terms, *(word for phrase in query.phrases for word in phrase)]))
    index = question.index(reader)
    absent = [word for word in words if not index.count(Query(terms=(word,)), Filters())[0]]
    which = f"the word{'s' * (len(absent) > 1)} {', '.join(absent)}"
    if matching is None or not matching.n_parts:
        reason = f"No part has {which}" if absent else "No part that is searched has these words"
        return f"{reason}: ranked by meaning alone."
    said = f"{_amount(matching)} have words of it; all others are ranked by meaning alone."
    return f"No part has {which}. {said}" if absent else said


def _amount(count: Count) -> str:
    parts = f"{count.n_parts:,} part{'s' * (count.n_parts != 1)}"
    if count.n_episodes is None:
        return parts
    return f"{parts} in {count.n_episodes:,} episode{'s' * (count.n_episodes != 1)}"
