"""``investigate export``: episodes in files that other programs open."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import FromOption, WhereOption, WorkspaceOption

FORMATS = ("scout", "jsonl", "parquet", "duckdb")


def command(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="PATH", help="The new file or folder.")],
    episodes: Annotated[
        list[str] | None, typer.Argument(metavar="EPISODE…", help="Number, uid prefix, or SOURCE#RECORD; default: all.")
    ] = None,
    to: Annotated[str, typer.Option("--format", metavar="NAME", help=f"One of {', '.join(FORMATS)}.")] = "jsonl",
    where: WhereOption = None,
    source: FromOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Write episodes for other programs: Inspect Scout, JSON Lines of OpenAI messages, Parquet or DuckDB tables.

    Branches are kept apart from the main line; token ids are in the tables only.
    """
    from ..store import export
    from ..store.errors import UsageError
    from ..store.reader import open_reader
    from ..store.workspace import open_workspace
    from .output import say
    from .selection import selected_ids

    writers = {
        "scout": export.export_scout,
        "jsonl": export.export_jsonl,
        "parquet": export.export_parquet,
        "duckdb": export.export_duckdb,
    }
    if to not in writers:
        raise UsageError(f"--format knows {', '.join(FORMATS)}; not {to!r}.")
    with open_reader(open_workspace(workspace)) as reader:
        if sum(map(bool, (episodes, where, source))) > 1:
            raise UsageError("Choose episodes in one way: EPISODE…, --where SQL or --from -.")
        everything = not (episodes or where or source)
        ids = reader.select_ids() if everything else selected_ids(reader, episodes or None, where, source)
        if not ids:
            raise UsageError("There is no episode to export; see `investigate ingest`.")
        n_written = writers[to](reader, ids, output)
    said = f"{n_written:,} {'episode is' if n_written == 1 else 'episodes are'} in {output}"
    if n_copies := len(ids) - n_written:
        said += f"; {n_copies:,} {'was a copy' if n_copies == 1 else 'were copies'} of them"
    if to == "scout":
        said += f"; open them with `scout view --no-trust-content -T {output}`"
    say(said + ".")
