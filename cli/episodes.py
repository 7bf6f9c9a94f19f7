"""``investigate episodes``: what is there, one line per episode."""

from __future__ import annotations

from .options import JsonOption, LimitOption, WhereOption, WorkspaceOption

_SHOWN = ("episode_id", "format", "model", "environment", "task_id", "training_step", "reward", "n_messages", "n_chars")


def command(
    workspace: WorkspaceOption = None, where: WhereOption = None, limit: LimitOption = 50, as_json: JsonOption = False
) -> None:
    """List episodes."""
    import orjson

    from ..store.reader import open_reader
    from ..store.workspace import open_workspace
    from .output import print_json, print_table, say

    with open_reader(open_workspace(workspace)) as reader:
        ids = reader.select_ids(where)
        rows = reader.rows("SELECT * FROM episodes WHERE episode_id IN (SELECT unnest(?)) ORDER BY 1", [ids[:limit]])
    if as_json:
        nested = ("scores", "metadata")
        print_json(row | {name: orjson.loads(row[name]) for name in nested} for row in rows)
    else:
        print_table(_SHOWN, [[row[name] for name in _SHOWN] for row in rows], right=("episode_id", *_SHOWN[5:]))
    if len(ids) > limit:
        say(f"{limit} of {len(ids)} episodes; --limit N shows more, --where SQL fewer.")
    elif not ids:
        say("No episode matches.")
