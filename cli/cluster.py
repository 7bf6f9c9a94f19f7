"""``investigate cluster``: what kinds of episode there are."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import EncoderOption, JsonOption, SeedOption, WhereOption, WorkspaceOption

_SHOWN = ("cluster_id", "size", "share", "stability", "label", "representatives")


def command(
    workspace: WorkspaceOption = None,
    where: WhereOption = None,
    roles: Annotated[str, typer.Option("--role", metavar="ROLES", help="Whose words to compare.")] = "assistant",
    kinds: Annotated[str, typer.Option("--in", metavar="KINDS", help="Which parts to compare.")] = "text,reasoning",
    min_size: Annotated[int | None, typer.Option("--min-size", metavar="N", min=2, help="Smallest cluster.")] = None,
    encoder: EncoderOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Group episodes by what is said in them; name each group and show its most typical episodes."""
    from ..analysis.text.cluster import as_tables, cluster_episodes
    from ..store.reader import open_reader
    from ..store.types import KINDS, ROLES
    from ..store.workspace import open_workspace
    from ..store.writer import open_writer
    from .encoding import ready_encoder
    from .output import print_json, print_table, say
    from .selection import choices

    opened = open_workspace(workspace)
    chosen = ready_encoder(opened, encoder)
    only = {"kinds": choices(kinds, KINDS, "--in") or [], "roles": choices(roles, ROLES, "--role") or []}
    with open_reader(opened) as reader:
        ids = reader.select_ids(where) if where else None
        found = cluster_episodes(reader, chosen, episode_ids=ids, **only, min_size=min_size, seed=seed)
    with open_writer(opened) as writer:
        run_id = writer.commit_run(
            "cluster", {"where": where, "encoder": found.encoder, "seed": seed}, as_tables(found)
        )
    rows = [
        {"run_id": run_id, **{name: getattr(cluster, name) for name in cluster.__slots__}} for cluster in found.clusters
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(_SHOWN, [[row[name] for name in _SHOWN] for row in rows], right=_SHOWN[:4])
        say(f"{run_id}: {len(found.members)} episodes by {found.encoder}; {found.n_folded} duplicates folded.")
    if found.warning:
        say(f"Warning: {found.warning}")
