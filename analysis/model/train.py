"""Training a probe: a recipe's contrast prompts through a model, and a readout fitted to what they leave there.

Takes a loaded model and a recipe, gives a probe with its report card. Knows no workspace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...store.errors import InputError
from ...store.types import Episode, Message, Part
from ..statistics import auroc
from .calls import TokenCall, episode_calls
from .capture import capture
from .layers import EMBEDDINGS, parse_layers
from .load import LoadedModel
from .probe import ModelIdentity, Probe, get_kind
from .reading import read_tokens
from .recipe import Pair, Recipe
from .report_card import Examples, choose_layer, report_card, scores_of

FEW_LAYERS = 8
"""Models with fewer layers are searched whole; larger ones between a quarter and three quarters of their depth."""


@dataclass(frozen=True, slots=True)
class _Side:
    """One conversation of a pair, as tokens, with the positions that are read."""

    positive: bool
    group: str
    call: TokenCall
    read: tuple[int, ...]


def identity_of(loaded: LoadedModel) -> ModelIdentity:
    """What a probe remembers of a model."""
    names = ("name", "config_hash", "weights_hash", "template_hash", "d_model", "n_layers")
    return ModelIdentity(**{name: getattr(loaded, name) for name in names})


def train_probe(loaded: LoadedModel, recipe: Recipe, *, kind: str, layers: str | None = None, seed: int = 0) -> Probe:
    """Fit a probe to the recipe's training pairs at the layer that cross-validates best; grade it on the test pairs.

    One example per conversation: the mean activation over the tokens that the recipe reads. Raises InputError when a
    recipe does not fit the model's template, UsageError for layers that do not exist.
    """
    chosen = get_kind(kind)
    candidates = parse_layers(layers or ("all" if loaded.n_layers < FEW_LAYERS else "25%-75%"), loaded.n_layers)
    captured = sorted({EMBEDDINGS, 0, *candidates})
    train, test, empty = (
        _examples(loaded, recipe, [pair for pair in recipe.pairs if (pair.kind, pair.split) in wanted], captured)
        for wanted in (
            [("contrast", "train")], [("contrast", "test")], [("empty", "train"), ("empty", "test")],
        )
    )  # fmt: skip
    if train is None or test is None:
        raise InputError(
            f"The recipe {recipe.name} has no contrast pairs in one of its splits; give it train and test."
        )
    layer, profile = choose_layer(chosen, train, candidates, seed)
    x = train.activations[layer]
    readout = chosen.fit(x, train.positive, seed)
    card = report_card(chosen, readout, layer, train, test, seed, profile)
    if empty is not None:
        value = auroc(scores_of(readout, empty.activations[layer]), empty.positive)
        card["empty_pairs"] = {"n": len(empty.positive), "auroc": value}
    return Probe(
        concept=recipe.name,
        kind=kind,
        layer=layer,
        w=readout.w,
        b=readout.b,
        contrast=(x[train.positive].mean(0) - x[~train.positive].mean(0)).astype(np.float32),
        mask=recipe.mask,
        read=recipe.read,
        model=identity_of(loaded),
        recipe=recipe.name,
        recipe_hash=recipe.sha256,
        seed=seed,
        card=card,
    )


def _examples(loaded: LoadedModel, recipe: Recipe, pairs: Sequence[Pair], layers: list[int]) -> Examples | None:
    """Every side of the pairs as one example; None when there is no pair."""
    sides = [side for pair in pairs for side in _sides(loaded, recipe, pair)]
    if not sides:
        return None
    rows: dict[int, list[NDArray[Any]]] = {layer: [np.empty(0)] * len(sides) for layer in layers}
    for captured in capture(loaded, [list(side.call.ids) for side in sides], layers):
        positions = list(sides[captured.index].read)
        for layer in layers:
            rows[layer][captured.index] = captured.activations[layer][positions].mean(0).numpy().astype(np.float64)
    last = [side.read[-1] for side in sides]
    return Examples(
        activations={layer: np.stack(vectors) for layer, vectors in rows.items()},
        positive=np.asarray([side.positive for side in sides]),
        groups=[side.group for side in sides],
        prompt=[side.call.text[: side.call.offsets[max(side.call.n_prompt - 1, 0)][1]] for side in sides],
        seen=[side.call.text[: side.call.offsets[end][1]] for side, end in zip(sides, last, strict=True)],
        whole=[side.call.text for side in sides],
        position=np.asarray(last),
    )


def _sides(loaded: LoadedModel, recipe: Recipe, pair: Pair) -> list[_Side]:
    sides = []
    for positive, group, messages in (
        (True, pair.positive_group, pair.positive), (False, pair.negative_group, pair.negative),
    ):  # fmt: skip
        episode = _as_episode(pair, messages)
        call = episode_calls(episode, loaded.tokenizer)[-1]
        written = [index for index, message in enumerate(episode.messages) if message.role == "assistant"]
        last = written[-1] if written else None
        read, why = read_tokens(call, episode, at=recipe.read, mask=recipe.mask, message_index=last)
        if not read:
            raise InputError(
                f"The recipe {recipe.name} cannot be read on {loaded.name}, pair {pair.pair}: {why} "
                "Is it written for another template? Pass one that fits with --recipe."
            )
        sides.append(_Side(positive, group, call, tuple(sorted(read))))
    return sides


def _as_episode(pair: Pair, messages: Sequence[Any]) -> Episode:
    said = tuple(Message(message["role"], (Part("text", message["content"]),)) for message in messages)
    return Episode(source="recipe", record=pair.pair, digest="", messages=said)
