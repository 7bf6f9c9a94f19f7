"""The command reference: every command's ``--help``, as one Markdown page.

``python -m investigate.cli.reference > docs/commands.md``; a test compares the page with the program.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from .main import app

WIDTH = 100


def render_reference() -> str:
    """The page."""
    head = "# Commands\n\nMade by `python -m investigate.cli.reference`; do not edit.\n"
    return head + "".join(
        f"\n## {name}\n\n```text\n{text}\n```\n" for name, text in _helps(typer.main.get_command(app))
    )


def _helps(command: Any, name: str = "investigate") -> Iterator[tuple[str, str]]:
    context = typer.Context(command, info_name=name, terminal_width=WIDTH, max_content_width=WIDTH)
    yield name, command.get_help(context).rstrip()
    for child in getattr(command, "commands", {}).values():
        yield from _helps(child, f"{name} {child.name}")


if __name__ == "__main__":
    print(render_reference(), end="")
