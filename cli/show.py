"""``investigate show``: one episode, message by message."""

from __future__ import annotations

import textwrap
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import JsonOption, WorkspaceOption

if TYPE_CHECKING:
    from ..store.types import Episode, Part

_FACT_CHARS = 300
_STYLES = {"system": "magenta", "user": "cyan", "assistant": "green", "tool": "yellow"}


def command(
    episode: Annotated[str, typer.Argument(metavar="ID", help="Number, uid prefix, or SOURCE#RECORD.")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one episode: its facts, then every message with its parts."""
    from ..store.reader import open_reader
    from ..store.select import get_episode, resolve
    from ..store.workspace import open_workspace
    from .output import print_json

    with open_reader(open_workspace(workspace)) as reader:
        found = get_episode(reader, resolve(reader, episode))
    if as_json:
        print_json([as_dict(found)])
    else:
        _print(found)


def as_dict(episode: Episode) -> dict[str, Any]:
    """The contract of ``show --json``."""
    from dataclasses import asdict

    row = asdict(episode)
    messages = row.pop("messages")
    row.pop("calls")
    for message_index, message in enumerate(messages):
        message["message_index"] = message_index
        for part_index, part in enumerate(message["parts"]):
            part["part_index"] = part_index
    return {"episode": row, "messages": messages, "n_calls": len(episode.calls)}


def _print(episode: Episode) -> None:
    from .output import one_line, print_styled, print_text

    hidden = ("messages", "calls", "digest", "revision")
    for name in (field.name for field in fields(episode) if field.name not in hidden):
        value = getattr(episode, name)
        if value not in (None, {}, ""):
            print_text(f"{name:>14}  {textwrap.shorten(one_line(str(value)), _FACT_CHARS, placeholder=' …')}")
    for message_index, message in enumerate(episode.messages):
        notes = "".join(f" [{note}]" for note in (message.agent, message.branch) if note)
        for part_index, part in enumerate(message.parts):
            head = f"{message_index}.{part_index} {message.role} · {_describe(part)}{notes}"
            print_styled([("\n" + one_line(head), f"bold {_STYLES.get(message.role, '')}")])
            print_text(part.text)


def _describe(part: Part) -> str:
    facts = [part.kind, part.tool_name, part.reasoning_kind, part.media_type]
    facts += ["redacted"] * part.redacted + ["failed"] * bool(part.is_error)
    return " ".join(fact for fact in facts if fact)
