"""``investigate cluster``: what kinds of episode, message or chunk there are."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from .figures import share
from .options import EncoderOption, JsonOption, SeedOption, WhereOption, WorkspaceOption
from .words import counted

if TYPE_CHECKING:
    from ..analysis.text.cluster import Cluster, Clusters
    from ..analysis.text.cluster_units import Place

_ELSEWHERE: Final = "more / less than elsewhere"
_SHOWN: Final = ("cluster_id", "size", "share", "stability", "label", "e.g.", _ELSEWHERE)
_DROP: Final = ("share", _ELSEWHERE, "size")
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
    """Group episodes, messages or chunks by what is said in them; name each group and show the most typical of them.

    What is no clearer than chance is said, and not stored as groups.
    """
    from ..analysis.text.cluster import as_tables, cluster_episodes
    from ..store.errors import InputError
    from ..store.reader import open_reader
    from ..store.types import KINDS, ROLES
    from ..store.workspace import open_workspace
    from ..store.writer import open_writer
    from .encoding import ready_encoder
    from .selection import choices

    choices(by, _BY, "--by")
    if plot is not None and (plot.is_dir() or not plot.absolute().parent.is_dir()):
        raise InputError(f"{plot} cannot be written: it is a folder, or in none; choose another file for --plot.")
    opened = open_workspace(workspace)
    only = {"kinds": choices(kinds, KINDS, "--in") or [], "roles": choices(roles, ROLES, "--role") or []}
    with open_reader(opened) as reader:
        chosen = ready_encoder(reader, encoder)
        n_retired = reader.n_retired()
        ids = None if where is None else reader.select_ids(where)
        found = cluster_episodes(
            reader, chosen, episode_ids=ids, **only, level=level, algorithm=algorithm, min_size=min_size, seed=seed
        )
    settings: dict[str, Any] = {
        "level": level, "algorithm": algorithm, "encoder": found.encoder, "in": kinds, "role": roles,
        "min_size": min_size, "where": where, "seed": seed,
    }  # fmt: skip
    run_id = None
    if found.collapse is None:
        with open_writer(opened) as writer:
            run_id = writer.commit_run("cluster", settings | {"n_retired": n_retired}, as_tables(found))
    if plot is not None:
        _write_map(plot, found, run_id, settings)
    _tell(run_id, found, by, as_json)


def _tell(run_id: str | None, found: Clusters, by: str | None, as_json: bool) -> None:
    from .output import print_json, say

    if run_id is None:
        say(f"{_counted(found)} {found.collapse} Nothing is stored.")
        return
    if as_json:
        print_json(_as_json(run_id, found))
    else:
        _show(found, by)
        say(f"{run_id}: {_counted(found)}")
        say(_trust(found))
        say(_next(run_id, found))
    if found.warning:
        say(f"Warning: {found.warning}")


def _counted(found: Clusters) -> str:
    said = f"{counted(len(found.units.places), found.level)} by {found.encoder}"
    said += f"; {counted(found.n_folded, 'duplicate')} folded"
    n_texts = len(found.units.texts)
    if n_texts < len(found.units.places):
        said += f", {counted(n_texts, 'different text')}"
    return said + "."


def _trust(found: Clusters) -> str:
    from ..analysis.text.stability import TRUSTED

    n = len(found.units.texts)
    sampled = (
        "" if found.n_sampled == n else f" {found.n_sampled:,} texts were clustered, the others joined the nearest."
    )
    return (
        f"Stability: mean Jaccard overlap over 10 samples of at most {found.n_stability:,}; below {TRUSTED} do not "
        f"trust it. More and less: how many times as common, where q < {_Q} over all clusters, environments, models, "
        f"success and reward, the last two within environments.{sampled}"
    )


def _next(run_id: str, found: Clusters) -> str:
    """What to read, and how to follow it over training."""
    first = found.clusters[0]
    return (
        f"Read one: investigate show {first.representatives[0]}. Over training: investigate trend --cluster "
        f"{run_id}/{first.cluster_id}."
    )


def _as_json(run_id: str, found: Clusters) -> list[dict[str, Any]]:
    from dataclasses import asdict

    shared = {"run_id": run_id, "level": found.level, "algorithm": found.algorithm, "encoder": found.encoder}
    trust = {"n_sampled": found.n_sampled, "n_stability": found.n_stability}
    places = [{"places": [place_text(place) for place in cluster.places]} for cluster in found.clusters]
    return [{**shared, **asdict(one), **place, **trust} for one, place in zip(found.clusters, places, strict=True)]


def _show(found: Clusters, by: str | None) -> None:
    from .output import print_table, print_text, say

    rows = [
        [
            cluster.cluster_id, cluster.size, share(cluster.share), _stability(cluster), cluster.label,
            ", ".join(map(place_text, cluster.places)), _elsewhere(cluster),
        ]
        for cluster in found.clusters
    ]  # fmt: skip
    print_table(_SHOWN, rows, right=_SHOWN[:4], drop=_DROP)
    if by is None:
        return
    values = list(dict.fromkeys(one.value for one in found.clusters[0].prevalence if one.by == by))
    if not values:
        say(f"No episode has a {by}.")
        return
    print_text()
    shares = {
        (cluster.cluster_id, one.value): f"{one.rate:.0%} [{one.low:.0%}, {one.high:.0%}] n={one.n}"
        for cluster in found.clusters
        for one in cluster.prevalence
        if one.by == by
    }
    print_table(
        ("cluster_id", "label", *values),
        [
            [cluster.cluster_id, cluster.label, *(shares[cluster.cluster_id, value] for value in values)]
            for cluster in found.clusters
        ],
        right=("cluster_id",),
    )


def _stability(cluster: Cluster) -> str:
    """Nothing for what is no cluster."""
    return "" if isnan(cluster.stability) else f"{cluster.stability:.2f}"


def _elsewhere(cluster: Cluster) -> str:
    """Of each fact the value that is least likely to be chance, with how many times as common the cluster is there."""
    clear = [one for one in cluster.enrichment if one.q < _Q]
    first = {one.by: one for one in reversed(clear)}
    told = sorted(first.values(), key=lambda one: (one.q, one.p))
    return "; ".join(f"{one.by} {one.value} {_times(one.ratio)}" for one in told)


def _times(ratio: float) -> str:
    if ratio in (0.0, inf):
        return "only" if ratio else "never"
    return "×>100" if ratio > 100 else "×<0.01" if ratio < 0.01 else f"×{ratio:.2g}"


def _write_map(path: Path, found: Clusters, run_id: str | None, settings: Mapping[str, Any]) -> None:
    from ..analysis.text.cluster_layout import METHOD, lay_out
    from .cluster_map import Dot, Group, render_map
    from .output import say

    plane = lay_out(found.reduced, int(settings["seed"]))[found.units.equals]
    groups = {cluster.cluster_id: Group(cluster.label, cluster.stability) for cluster in found.clusters}
    dots = [
        Dot(x, y, int(label) if found.collapse is None else -1, place_text(place), found.units.texts[text])
        for (x, y), label, place, text in zip(
            plane.tolist(), found.labels, found.units.places, found.units.equals, strict=True
        )
    ]
    told = [f"{name} {value}" for name, value in settings.items() if value is not None]
    note = f"{_counted(found)} {run_id or 'Not stored'}: {', '.join(told)}. {METHOD}"
    note += f" {found.collapse}" if found.collapse else ""
    try:
        path.write_text(render_map("Clusters", note, dots, groups), encoding="utf-8")
    except OSError as error:
        from ..store.errors import InputError

        raise InputError(f"Cannot write {path}: {error.strerror}; choose another file for --plot.") from None
    say(f"The map is in {path}.")


def place_text(place: Place) -> str:
    """As in ``EPISODE@message.part``, as far as the level has it."""
    episode_id, message_index, part_index, start, end = place
    said = str(episode_id)
    if message_index is not None:
        said += f"@{message_index}" + ("" if part_index is None else f".{part_index}")
    return said + ("" if start is None else f" [{start}, {end})")
