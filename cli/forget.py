"""``investigate forget``: take episodes, or all of a source, out of the workspace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from .options import WorkspaceOption

if TYPE_CHECKING:
    from ..store.reader import Reader


_MOST_NAMED: Final = 3
"""More sources are counted, not listed."""


def command(
    names: Annotated[
        list[str], typer.Argument(metavar="SOURCE|FOLDER|ID…", help="Files or folders as ingested, or episode ids.")
    ],
    workspace: WorkspaceOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without it, say only what would go.")] = False,
) -> None:
    """Take episodes out of the workspace and its indexes. The logs are left alone; ingest brings a source back,
    and an episode when its source is read anew."""
    from ..analysis.text.index import forget_in_index
    from ..analysis.text.vectors import forget_in_vectors
    from ..store.compact import forget
    from ..store.reader import open_reader
    from ..store.workspace import open_workspace
    from ..store.writer import open_writer
    from .output import say
    from .words import counted

    opened = open_workspace(workspace)
    with open_reader(opened) as reader:
        ids, sources = _named(reader, names)
        n = len(reader.existing_ids(ids))
    what = counted(n, "episode")
    if sources:
        what += f" of {', '.join(sources) if len(sources) <= _MOST_NAMED else counted(len(sources), 'source')}"
    if not yes:
        say(f"This would forget {what}; add --yes to do it.")
        return
    with open_writer(opened) as writer:
        forget_in_index(writer, ids)
        forget_in_vectors(opened, ids)
        forget(writer, ids, sources)
    say(f"Forgot {what}.")


def _named(reader: Reader, names: list[str]) -> tuple[list[int], list[str]]:
    """The ids meant, and the sources among the names: exact, as a path from here, the end of a stored path, or all
    below a folder or in an archive."""
    from ..store.errors import UsageError
    from ..store.select import resolve

    known = [row["source"] for row in reader.rows("SELECT source FROM sources UNION SELECT source FROM unread")]
    ids: set[int] = set()
    sources: dict[str, None] = {}
    for name in names:
        if matching := _matching(known, name):
            sources |= dict.fromkeys(matching)
            continue
        try:
            ids.add(resolve(reader, name))
        except UsageError as error:
            raise UsageError(f"{error} To forget a file or folder, name it as `investigate sources` does.") from None
    # What was once in them and no longer counts is still in the files.
    within = "SELECT DISTINCT episode_id FROM stored_episodes WHERE source IN (SELECT unnest(?))"
    ids |= {row["episode_id"] for row in reader.rows(within, [list(sources)])}
    return sorted(ids), sorted(sources)


def _matching(known: Sequence[str], name: str) -> list[str]:
    """The sources that a name stands for. Raises UsageError where several files end in it."""
    import os

    from ..store.errors import UsageError

    path = os.path.realpath(name)
    exact = [source for source in known if source in (name, path)]
    ends = exact or [source for source in known if source.endswith("/" + name)]
    if len(ends) > 1:
        raise UsageError(f"{len(ends)} sources end in {name}; type more of the path.")
    # An archive may itself be among the unread, and its members are forgotten with it. Digits are an episode's.
    folders = [] if name.isdecimal() else [f"{of.rstrip('/')}{sign}" for of in (name, path) for sign in "/!"]
    return [source for source in known if source in ends or source.startswith(tuple(folders))]
