"""``investigate profile``: what there is and what is wrong with it, before anything is made of it."""

from __future__ import annotations

import os
import shutil
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import JsonOption, WhereOption, WorkspaceOption

if TYPE_CHECKING:
    from ..analysis.text.profile import Profile

_TEXT_WIDTH = 80

PageOption = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page with plots instead.")]
RowsOption = Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most this many rows of a table.")]


def command(
    workspace: WorkspaceOption = None,
    where: WhereOption = None,
    limit: RowsOption = 15,
    html: PageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what is missing, how long, how rewarded, with which tools, and signs of a broken environment."""
    from ..analysis.text.profile import make_profile
    from ..store.reader import open_reader
    from ..store.workspace import open_workspace
    from .output import print_json, say

    if html is not None:
        _check_page(html)
    with open_reader(open_workspace(workspace)) as reader:
        profile = make_profile(reader, where)
    if as_json:
        print_json([{"table": "profile", "episodes": profile.n_episodes, "folded": profile.n_folded}])
        print_json({"table": name, **row} for name, rows in profile.tables.items() for row in rows)
    elif profile.n_episodes and html is None:
        _print(profile, limit)
    if html is not None:
        _write_page(html, profile, where)
    if not profile.n_episodes:
        none = "No episode passes --where; see `investigate episodes`."
        say(none if where else "There is no episode yet: `investigate ingest PATH…` adds some.")


def _print(profile: Profile, limit: int) -> None:
    from .output import print_table, print_text
    from .profile_sections import head_line, sections

    width = min(_TEXT_WIDTH, shutil.get_terminal_size().columns)
    print_text(head_line(profile))
    for section in sections(profile):
        print_text(f"\n{section.title}")
        print_table(section.columns, section.rows[:limit], section.right)
        if section.note:
            print_text(textwrap.fill(section.note, width))
        if len(section.rows) > limit:
            print_text(f"{limit} of {len(section.rows)} rows; --limit N shows more.")


def _check_page(path: Path) -> None:
    """Raises InputError where the page could not be written, before anything is counted for it."""
    from ..store.errors import InputError

    folder = path.absolute().parent
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}; choose another file for --html.")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a file for --html.")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise InputError(f"Cannot write {path}; choose another file for --html.")


def _write_page(path: Path, profile: Profile, where: str | None) -> None:
    from ..store.errors import InputError
    from .output import say
    from .profile_page import render_profile

    try:
        path.write_text(render_profile(profile, where), encoding="utf-8")
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror}; choose another file for --html.") from None
    say(f"Page written to {path}.")
