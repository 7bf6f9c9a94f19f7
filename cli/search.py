"""``investigate search``: spans of messages, reasoning and tool output that answer a question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import EncoderOption, JsonOption, WhereOption, WorkspaceOption

if TYPE_CHECKING:
    from ..analysis.text.find import Hit
    from ..store.workspace import Workspace


def command(
    query: Annotated[str, typer.Argument(metavar="QUERY", help='Words, "phrases in quotes", -excluded; or a pattern.')],
    workspace: WorkspaceOption = None,
    mode: Annotated[str, typer.Option("--mode", "-m", help="hybrid, keyword, semantic or regex.")] = "hybrid",
    kinds: Annotated[
        str | None, typer.Option("--in", metavar="KINDS", help="Only in: text,reasoning,tool_call,tool_result,media.")
    ] = None,
    roles: Annotated[
        str | None, typer.Option("--role", metavar="ROLES", help="Only: system,user,assistant,tool.")
    ] = None,
    where: WhereOption = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most this many hits.")] = 10,
    encoder: EncoderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search messages, reasoning and tool output. Every hit is a span: EPISODE@message.part [start, end)."""
    from ..analysis.text.find import Question, find, get_mode
    from ..analysis.text.index import Filters
    from ..store.reader import open_reader
    from ..store.types import KINDS, ROLES
    from ..store.workspace import open_workspace
    from .encoding import ready_encoder
    from .output import say
    from .selection import choices

    get_mode(mode)
    opened = open_workspace(workspace)
    _update_index(opened)
    chosen = ready_encoder(opened, encoder) if mode in ("hybrid", "semantic") else None
    with open_reader(opened) as reader:
        ids = reader.select_ids(where) if where else None
        if ids == []:
            say("No episode passes --where.")
        filters = Filters(ids, choices(kinds, KINDS, "--in"), choices(roles, ROLES, "--role"))
        hits = find(reader, mode, Question(query, filters, limit, chosen))
    _print(hits, as_json)
    if not hits:
        say("Nothing matches.")


def _update_index(opened: Workspace) -> None:
    """Index what ingest left; another writer at work, or a folder that cannot be written, only means that the newest
    episodes are not found yet."""
    from ..analysis.text.index import INDEX_NAME, pending_shards, update_text_index
    from ..store.catalog import connect_for_reading
    from ..store.errors import StoreError
    from ..store.reader import open_reader
    from ..store.writer import open_writer
    from .output import say, track

    with connect_for_reading(opened.catalog_path) as catalog, open_reader(opened) as reader:
        rows = catalog.execute("SELECT shard_id FROM indexed WHERE index_name = ?", (INDEX_NAME,))
        pending = pending_shards(reader, {row[0] for row in rows})
    if not pending:
        return
    try:
        with open_writer(opened) as writer:
            for _ in track(update_text_index(writer), "index", len(pending)):
                pass
    except StoreError as error:
        say(f"{len(pending)} shards are not indexed yet, so their episodes are not found: {error}")


def as_row(hit: Hit) -> dict[str, Any]:
    """The contract of ``search --json``."""
    return {
        "rank": hit.rank,
        "episode_id": hit.span.episode_id,
        "message_index": hit.span.message_index,
        "part_index": hit.span.part_index,
        "start": hit.span.start,
        "end": hit.span.end,
        "role": hit.role,
        "kind": hit.kind,
        "score": hit.score,
        "snippet": hit.snippet,
        "duplicates": hit.duplicates,
    }


def _print(hits: list[Hit], as_json: bool) -> None:
    from .output import one_line, print_json, print_styled

    if as_json:
        print_json(map(as_row, hits))
        return
    for hit in hits:
        span = hit.span
        head = f"{span.episode_id}@{span.message_index}.{span.part_index}"
        facts = f"  {hit.role} · {hit.kind}  [{span.start}, {span.end})  {hit.score:.3f}"
        if hit.duplicates:
            facts += f"  +{hit.duplicates} identical"
        print_styled([(head, "bold cyan"), (facts, "dim"), ("\n  " + one_line(hit.snippet) + "\n", "")])
