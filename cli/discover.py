"""``investigate discover``: what is new against a reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .compare import ClustersOption, FoldOption, KindsOption, PageOption, RolesOption, RowsOption
from .options import EncoderOption, JsonOption, SeedOption, WhereOption, WorkspaceOption

if TYPE_CHECKING:
    from ..store.reader import Reader


def command(
    reference: Annotated[
        str, typer.Option("--reference", metavar="WHERE", help='An SQL predicate, such as "training_step < 100".')
    ],
    later: Annotated[
        str | None,
        typer.Option("--later", metavar="WHERE", help="What is held against it; default: all others."),
    ] = None,
    where: WhereOption = None,
    workspace: WorkspaceOption = None,
    kinds: KindsOption = "text,reasoning",
    roles: RolesOption = "assistant",
    fold_by: FoldOption = None,
    clusters: ClustersOption = None,
    encoder: EncoderOption = None,
    limit: RowsOption = 20,
    html: PageOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Show what episodes have that a reference has not or has less of: in terms, clusters and meaning; found in one
    half, confirmed in the other. --where narrows both sides."""
    from ..analysis.text.discover import discover_new
    from ..analysis.text.embed import pending_chars
    from ..store.reader import open_reader
    from ..store.types import KINDS, ROLES
    from ..store.workspace import open_workspace
    from .differences import Output, check_page, tell
    from .encoding import ready_encoder
    from .output import say
    from .selection import choices

    check_page(html)
    opened = open_workspace(workspace)
    chosen_kinds, chosen_roles = choices(kinds, KINDS, "--in") or [], choices(roles, ROLES, "--role") or []
    with open_reader(opened) as reader:
        chosen = ready_encoder(reader, encoder)
        if chosen is not None and pending_chars(opened, chosen, reader)[0]:
            # What is encoded first is not drawn at random: it may be the reference, or what is held against it.
            say("Not all of the text is encoded, so novelty is left out and words are compared: `investigate index`.")
            chosen = None
        options = ("--later" if later is not None else "--later (all others)", "--reference")
        if where is not None:
            options = (f"{options[0]} with --where", "--reference with --where")
        found = discover_new(
            reader, chosen, *_sides(reader, later, reference, where), kinds=chosen_kinds, roles=chosen_roles,
            fold_by=fold_by, cluster_run=clusters, seed=seed, options=options,
        )  # fmt: skip
    parameters = {
        "reference": reference, "later": later, "where": where, "in": chosen_kinds, "role": chosen_roles,
        "fold_by": fold_by, "clusters": clusters,
        "encoder": chosen.name if chosen else None, "seed": seed,
    }  # fmt: skip
    within = f" AND ({where})" if where is not None else ""
    asked = f"{later or 'all others'}{within}", f"{reference}{within}"
    output = Output(("later", "reference"), asked, fold_by, limit, as_json, html)
    tell(opened, "discover", "Discovery", found, parameters, output)


def _sides(reader: Reader, later: str | None, reference: str, where: str | None) -> tuple[list[int], list[int]]:
    """The episodes that may be new, and those of the reference."""
    passing = set(reader.select_ids(where))
    of_reference = set(reader.select_ids(reference))
    others = passing - of_reference if later is None else set(reader.select_ids(later))
    return sorted(others & passing), sorted(of_reference & passing)
