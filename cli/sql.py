"""``investigate sql``: one SELECT over the workspace's views."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import JsonOption, WorkspaceOption


def command(
    query: Annotated[str, typer.Argument(metavar="SELECT…", help="One SELECT in DuckDB's SQL.")],
    workspace: WorkspaceOption = None,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=0, help="At most this many rows.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask in SQL. Views: episodes, messages, parts, calls, skipped, sources, runs, clusters, token_scores, …"""
    from ..store.reader import open_reader
    from ..store.workspace import open_workspace
    from .output import print_json, print_table, say

    with open_reader(open_workspace(workspace)) as reader:
        answer = reader.user_table(query, limit)
    rows = answer.to_pylist()
    if as_json:
        print_json(rows)
    else:
        print_table(answer.column_names, [list(row.values()) for row in rows])
    if not rows:
        say("No row matches.")
