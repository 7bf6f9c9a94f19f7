"""``investigate cluster``: what kinds of episode, message or chunk there are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from .options import EncoderOption, JsonOption, SeedOption, WhereOption, WorkspaceOption

if TYPE_CHECKING:
    from ..analysis.text.cluster import Cluster, Clusters

_SHOWN: Final = ("cluster_id", "size", "share", "stability", "label", "representatives", "enriched")
_BY: Final = ("training_step", "reward", "model")
_Q: Final = 0.05


def command(
    workspace: WorkspaceOption = None,
    where: WhereOption = None,
    roles: Annotated[str, typer.Option("--role", metavar="ROLES", help="Whose words to compare.")] = "assistant",
    kinds: Annotated[str, typer.Option("--in", metavar="KINDS", help="Which parts to compare.")] = "text,reasoning",
    level: Annotated[str, typer.Option("--level", help="What is grouped: episode, message or chunk.")] = "episode",
    algorithm: Annotated[str, typer.Option("--algorithm", help="hdbscan, fast-hdbscan or evoc.")] = "hdbscan",
    min_size: Annotated[int | None, typer.Option("--min-size", metavar="N", min=2, help="Smallest cluster.")] = None,
    by: Annotated[
        str | None, typer.Option("--by", help="Also the share of each by training_step, reward or model.")
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE.html", help="Write a map to look at.")] = None,
    encoder: EncoderOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Group episodes, messages or chunks by what is said in them; name each group and show its most typical episodes.

    What is no clearer than chance is said, and not stored as groups.
    """
    from ..analysis.text.cluster import as_tables, cluster_episodes
    from ..store.errors import InputError
    from ..store.reader import open_reader
    from ..store.types import KINDS, ROLES
    from ..store.workspace import open_workspace
    from ..store.writer import open_writer
    from .encoding import ready_encoder
    from .output import print_json, say
    from .selection import choices

    choices(by, _BY, "--by")
    if plot is not None and (plot.is_dir() or not plot.absolute().parent.is_dir()):
        raise InputError(f"{plot} cannot be written: it is a folder, or in none; choose another file for --plot.")
    opened = open_workspace(workspace)
    only = {"kinds": choices(kinds, KINDS, "--in") or [], "roles": choices(roles, ROLES, "--role") or []}
    with open_reader(opened) as reader:
        chosen = ready_encoder(reader, encoder)
        ids = reader.select_ids(where) if where else None
        found = cluster_episodes(
            reader, chosen, episode_ids=ids, **only, level=level, algorithm=algorithm, min_size=min_size, seed=seed
        )
        if plot is not None:
            _write_map(plot, found, seed)
    if found.collapse is not None:
        say(f"{_counted(found)} {found.collapse} Nothing is stored.")
        return
    settings = {"where": where, "level": level, "algorithm": algorithm, "encoder": found.encoder, "seed": seed}
    with open_writer(opened) as writer:
        run_id = writer.commit_run("cluster", settings, as_tables(found))
    if as_json:
        print_json(_as_json(run_id, found))
    else:
        _show(found, by)
        say(f"{run_id}: {_counted(found)}")
        say(_trust(found))
    if found.warning:
        say(f"Warning: {found.warning}")


def _counted(found: Clusters) -> str:
    said = f"{len(found.units.places):,} {found.level}s by {found.encoder}; {found.n_folded} duplicates folded"
    n_texts = len(found.units.texts)
    if n_texts < len(found.units.places):
        said += f", {n_texts:,} different texts"
    return said + "."


def _trust(found: Clusters) -> str:
    n = len(found.units.texts)
    sampled = (
        "" if found.n_sampled == n else f" {found.n_sampled:,} texts were clustered, the others joined the nearest."
    )
    return (
        f"Stability: mean Jaccard overlap over 10 samples of at most {found.n_stability:,}; below 0.6 do not trust it. "
        f"Enriched: q < {_Q} over all clusters, environments, models, success and reward.{sampled}"
    )


def _as_json(run_id: str, found: Clusters) -> list[dict[str, Any]]:
    from dataclasses import asdict

    shared = {"run_id": run_id, "level": found.level, "algorithm": found.algorithm, "encoder": found.encoder}
    trust = {"n_sampled": found.n_sampled, "n_stability": found.n_stability}
    return [{**shared, **asdict(cluster), **trust} for cluster in found.clusters]


def _show(found: Clusters, by: str | None) -> None:
    from .output import print_table, print_text, say

    rows = [
        [_enriched(cluster) if name == "enriched" else _cell(cluster, name) for name in _SHOWN]
        for cluster in found.clusters
    ]
    print_table(_SHOWN, rows, right=_SHOWN[:4])
    if by is None:
        return
    values = list(dict.fromkeys(share.value for share in found.clusters[0].prevalence if share.by == by))
    if not values:
        say(f"No episode has a {by}.")
        return
    print_text()
    shares = {
        (cluster.cluster_id, share.value): f"{share.rate:.0%} [{share.low:.0%}, {share.high:.0%}] n={share.n}"
        for cluster in found.clusters
        for share in cluster.prevalence
        if share.by == by
    }
    print_table(
        ("cluster_id", "label", *values),
        [
            [cluster.cluster_id, cluster.label, *(shares[cluster.cluster_id, value] for value in values)]
            for cluster in found.clusters
        ],
        right=("cluster_id",),
    )


def _cell(cluster: Cluster, name: str) -> Any:
    value = getattr(cluster, name)
    return ", ".join(map(str, value)) if isinstance(value, tuple) else value


def _enriched(cluster: Cluster) -> str:
    """The two that are least likely to be chance, with how many times as common the cluster is there."""
    clear = [one for one in cluster.enrichment if one.q < _Q]
    return "; ".join(f"{one.by} {one.value} {_times(one.ratio)}" for one in clear[:2])


def _times(ratio: float) -> str:
    return "only" if ratio == float("inf") else "×>100" if ratio > 100 else f"×{ratio:.2g}"


def _write_map(path: Path, found: Clusters, seed: int) -> None:
    from ..analysis.text.cluster_layout import METHOD, lay_out
    from .cluster_map import Dot, render_map
    from .output import say

    plane = lay_out(found.reduced, seed)[found.units.equals]
    names = {cluster.cluster_id: cluster.label for cluster in found.clusters}
    dots = [
        Dot(x, y, int(label) if found.collapse is None else -1, _place(place), found.units.texts[text])
        for (x, y), label, place, text in zip(
            plane.tolist(), found.labels, found.units.places, found.units.equals, strict=True
        )
    ]
    note = f"{_counted(found)} {METHOD}" + (f" {found.collapse}" if found.collapse else "")
    try:
        path.write_text(render_map("Clusters", note, dots, names), encoding="utf-8")
    except OSError as error:
        from ..store.errors import InputError

        raise InputError(f"Cannot write {path}: {error.strerror}; choose another file for --plot.") from None
    say(f"The map is in {path}.")


def _place(place: tuple[int, int | None, int | None, int | None, int | None]) -> str:
    """As in EPISODE@message.part, as far as the level has it."""
    episode_id, message_index, part_index, start, end = place
    said = str(episode_id)
    if message_index is not None:
        said += f"@{message_index}" + ("" if part_index is None else f".{part_index}")
    return said + ("" if start is None else f" [{start}, {end})")
