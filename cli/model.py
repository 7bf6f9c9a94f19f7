"""``investigate model``: which model replays the episodes that were logged under a name."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import JsonOption, WorkspaceOption

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Which model replays which episodes.")


@app.command("set")
def set_model(
    logged_name: Annotated[str, typer.Argument(metavar="LOGGED-NAME", help="The model's name in the logs.")],
    target: Annotated[str, typer.Argument(metavar="PATH-OR-ID", help="A model folder, or a cached hub id.")],
    workspace: WorkspaceOption = None,
) -> None:
    """Replay episodes logged under a name with this model."""
    from pathlib import Path

    from ..store.reader import open_reader
    from ..store.workspace import open_workspace
    from ..store.writer import open_writer
    from .output import say

    path = Path(target).expanduser()
    with open_writer(open_workspace(workspace)) as writer:
        writer.set_model(logged_name, str(path.resolve()) if path.exists() else target)
        with open_reader(writer.workspace) as reader:
            (row,) = reader.rows("SELECT count(*) AS n FROM episodes WHERE model = ?", [logged_name])
    say(f"{row['n']} episodes are logged as {logged_name}; they are replayed with {target}.")


@app.command("list")
def list_models(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """The models named in the logs, how many episodes each has, and what replays them."""
    from ..store.reader import open_reader
    from ..store.workspace import open_workspace
    from .output import print_json, print_table, say

    with open_reader(open_workspace(workspace)) as reader:
        rows = reader.rows(
            "SELECT coalesce(e.model, m.logged_name) AS logged_name, coalesce(n, 0) AS episodes, m.target FROM "
            "(SELECT model, count(*) AS n FROM episodes GROUP BY model) e "
            "FULL JOIN models m ON m.logged_name = e.model ORDER BY episodes DESC, logged_name"
        )
    if as_json:
        print_json(rows)
    else:
        print_table(("logged_name", "episodes", "target"), [list(row.values()) for row in rows], right=("episodes",))
    if not any(row["target"] for row in rows):
        say("No model is set; `investigate model set LOGGED-NAME PATH-OR-ID`.")
