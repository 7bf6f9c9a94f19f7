"""What formats of rows of chat have in common.

Takes the head of a file, or a row and what its path says; gives the first row, and an episode with the facts. Knows no
format and no messages beyond their roles.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...store.types import Episode, Message
from ..facts import read_facts
from ..format import digest_of
from ..rows import opening_value


def first_row(head: bytes) -> dict[str, Any] | None:
    """The first row of a file, of an array too; None where it is no object."""
    row = opening_value(head)
    row = row[0] if isinstance(row, list) and row else row
    return row if isinstance(row, dict) else None


def with_facts(blank: Episode, row: dict[str, Any], of_path: dict[str, Any], **known: Any) -> Episode:
    """An episode of which no more than its place and digest is there, with what its row and its path say, less what is
    ``known`` better."""
    facts = of_path | read_facts(row, set()) | {name: value for name, value in known.items() if value is not None}
    scores = {}
    for name in ("metrics", "scores"):
        if isinstance(facts["metadata"].get(name), dict):
            scores.update(facts["metadata"].pop(name))
    return Episode(blank.source, blank.record, blank.digest, scores=scores, **facts)  # a third of what replace() takes


def mark_given(messages: tuple[Message, ...], n_prompt: int) -> tuple[Message, ...]:
    """The messages, those of the assistant among the first ``n_prompt`` as given."""
    return tuple(
        replace(message, given=True) if message.role == "assistant" and index < n_prompt else message
        for index, message in enumerate(messages)
    )


def chosen_and_rejected(
    episode: Episode, chosen: tuple[Message, ...], rejected: tuple[Message, ...], said_by: str | None = None
) -> list[Episode]:
    """Two episodes of one group, from a row that holds the better and the worse of two answers. ``said_by`` is who
    chose, where that is known."""
    group = episode.group_id or episode.digest
    sides = ((0, True, chosen), (1, False, rejected))
    return [
        replace(
            episode,
            record=f"{episode.record}/{index}",
            digest=digest_of(f"{episode.digest}/{index}".encode()),
            messages=messages,
            group_id=group,
            labels=episode.labels | {"chosen": is_chosen},
            provenance=episode.provenance | ({"chosen": said_by} if said_by else {}),
        )
        for index, is_chosen, messages in sides
    ]


def instruction_parts(row: dict[str, Any]) -> list[str]:
    """What the user said in an Alpaca row: the instruction, and the input to it where there is one."""
    if not isinstance(row["instruction"], str):
        raise ValueError("the instruction is no text")
    given = row.get("input")
    return [row["instruction"], given] if isinstance(given, str) and given else [row["instruction"]]
