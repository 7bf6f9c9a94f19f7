"""``investigate compare``: what occurs more in one group of episodes than in the other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import JsonOption, SeedOption, WorkspaceOption

RolesOption = Annotated[str, typer.Option("--role", metavar="ROLES", help="Whose words to compare.")]
KindsOption = Annotated[str, typer.Option("--in", metavar="KINDS", help="Which parts' words to compare.")]
FoldOption = Annotated[
    str | None,
    typer.Option(
        "--fold-by", metavar="COLUMN",
        help="Episodes equal in this column are no independent evidence; default: those of one task or group.",
    ),
]  # fmt: skip
ClustersOption = Annotated[
    str | None,
    typer.Option("--clusters", metavar="RUN", help="A run of `cluster`; default: the latest that knows most of both."),
]
RowsOption = Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most this many rows.")]
PageOption = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page with a plot.")]


def command(
    a: Annotated[str, typer.Option("--a", metavar="WHERE", help="Group a: an SQL predicate on episodes.")],
    b: Annotated[str, typer.Option("--b", metavar="WHERE", help="Group b, in the same way.")],
    workspace: WorkspaceOption = None,
    kinds: KindsOption = "text,reasoning",
    roles: RolesOption = "assistant",
    fold_by: FoldOption = None,
    clusters: ClustersOption = None,
    limit: RowsOption = 20,
    html: PageOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Show what tells two groups of episodes apart: terms, clusters, tools, lengths; found in one half, confirmed in
    the other."""
    from ..analysis.text.compare import compare_groups
    from ..store.reader import open_reader
    from ..store.types import KINDS, ROLES
    from ..store.workspace import open_workspace
    from .differences import Output, check_page, tell
    from .selection import choices

    check_page(html)
    opened = open_workspace(workspace)
    chosen_kinds, chosen_roles = choices(kinds, KINDS, "--in") or [], choices(roles, ROLES, "--role") or []
    with open_reader(opened) as reader:
        ids = reader.select_ids(a), reader.select_ids(b)
        found = compare_groups(
            reader, *ids, kinds=chosen_kinds, roles=chosen_roles, fold_by=fold_by, cluster_run=clusters, seed=seed
        )
    parameters = {
        "a": a,
        "b": b,
        "in": chosen_kinds,
        "role": chosen_roles,
        "fold_by": fold_by,
        "clusters": clusters,
        "seed": seed,
    }
    output = Output(("a", "b"), (a, b), fold_by, limit, as_json, html)
    tell(opened, "compare", "Comparison", found, parameters, output)
