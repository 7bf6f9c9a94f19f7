"""Getting a probe ready for a command: the workspace's own, else trained from its recipe now, and kept.

Takes a name and a loaded model, gives a probe. Shared by ``replay``, ``steer`` and ``probe train``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..analysis.model.load import LoadedModel
    from ..analysis.model.probe import Probe
    from ..store.workspace import Workspace


def ready_probe(workspace: Workspace, loaded: LoadedModel, name: str, kind: str | None = None) -> Probe:
    """The probe of this concept for this model; trained from the recipe of that name where there is none yet."""
    from ..analysis.model.probe import DEFAULT_KIND, find_probe, list_probes
    from ..analysis.model.recipe import find_recipe
    from ..analysis.model.train import identity_of
    from .output import say

    found = find_probe(list_probes(workspace.probes), name, identity_of(loaded), kind)
    if found is not None:
        _say_if_recipe_changed(found, loaded)
        return found
    find_recipe(name, loaded.path)  # Raises where there is none to train from.
    say(f"There is no {name} probe for {loaded.name} yet: training one from the recipe.")
    return train_and_keep(workspace, loaded, name, kind=kind or DEFAULT_KIND)


def _say_if_recipe_changed(probe: Probe, loaded: LoadedModel) -> None:
    from ..analysis.model.recipe import find_recipe
    from ..store.errors import InvestigateError
    from .output import say

    try:
        same = find_recipe(probe.recipe, loaded.path).sha256 == probe.recipe_hash
    except InvestigateError:
        same = False
    if not same:
        say(f"The {probe.concept} probe was trained from another recipe than the one here; `investigate probe train`.")


def train_and_keep(
    workspace: Workspace,
    loaded: LoadedModel,
    name: str,
    *,
    kind: str,
    recipe: Path | None = None,
    layers: str | None = None,
    seed: int = 0,
) -> Probe:
    """Train a probe, keep it in the workspace, and say how good it is."""
    from ..analysis.model.probe import probe_path, write_probe
    from ..analysis.model.recipe import find_recipe
    from ..analysis.model.train import train_probe
    from .output import say

    found = find_recipe(name, loaded.path, recipe)
    if found.status.startswith("untested"):
        say(f"The recipe {found.name} is {found.status}.")
    probe = train_probe(loaded, found, kind=kind, layers=layers, seed=seed)
    path = probe_path(workspace.probes, probe.concept, probe.kind, probe.model)
    write_probe(path, probe)
    say(f"Kept as {path}.")
    for line in card_lines(probe):
        say(line)
    return probe


def card_lines(probe: Probe) -> list[str]:
    """The report card in a few lines."""
    card: dict[str, Any] = probe.card
    where = f"at {probe.read}" if probe.read else f"over {probe.mask} tokens"
    permuted, random = card["label_permutation"], card["random_direction"]
    return [
        f"{probe.concept} ({probe.kind}, layer {probe.layer}, read {where}): AUROC {card['auroc']:.3f} "
        f"[{card['auroc_low']:.3f}, {card['auroc_high']:.3f}] on {card['n_test']} held-out texts in "
        f"{card['n_groups_test']} groups",
        f"  beside it: words of the prompt {_pair(card, 'text_baseline_prompt')}, words read so far "
        f"{_pair(card, 'text_baseline')}, whole text {card['text_baseline_whole']:.3f}, position alone "
        f"{card['length_baseline']:.3f}",
        f"  controls: labels permuted over groups {permuted['mean']:.3f} ± {permuted['sd']:.3f} (n = {permuted['n']}), "
        f"random directions {random['mean']:.3f} (max {random['max']:.3f}), empty pairs {_empty(card)}",
        "  by layer, held out: "
        + ", ".join(
            f"{'embeddings' if layer == '-1' else layer} {value:.3f}"
            for layer, value in card["layer_profile_test"].items()
        ),
        *(f"  {sentence}" for sentence in card["verdict"]),
    ]


def _pair(card: dict[str, Any], name: str) -> str:
    return f"{card[name]:.3f} (groups not held out: {card[name + '_iid']:.3f})"


def _empty(card: dict[str, Any]) -> str:
    return f"{card['empty_pairs']['auroc']:.3f}" if "empty_pairs" in card else "none in the recipe"
