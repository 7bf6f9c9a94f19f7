"""Activations on disk, for those who go on with tools of their own.

Takes episodes, a model and layers; gives one safetensors file: a tensor (n_tokens, d_model) per call and layer, named
``episode-12.call-0.layer-8``, with each call's token ids beside it (``episode-12.call-0.ids``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from ...store.errors import InputError
from ...store.types import Episode
from .calls import TokenCall, episode_calls
from .capture import capture
from .layers import parse_layers
from .load import LoadedModel


def plan_saving(
    loaded: LoadedModel, episodes: Sequence[Episode], layers: str
) -> tuple[dict[str, TokenCall], list[int], int]:
    """The calls by name, the layer numbers, and how many bytes their activations take."""
    chosen = parse_layers(layers, loaded.n_layers)
    calls = {
        f"episode-{episode.episode_id}.call-{call.call_index}": call
        for episode in episodes
        for call in episode_calls(episode, loaded.tokenizer)
    }
    n_tokens = sum(len(call.ids) for call in calls.values())
    return calls, chosen, 4 * n_tokens * loaded.d_model * len(chosen)


def save_activations(path: Path, loaded: LoadedModel, calls: dict[str, TokenCall], layers: Sequence[int]) -> None:
    """Capture and write. Raises InputError when the file cannot be written."""
    names = list(calls)
    tensors: dict[str, torch.Tensor] = {}
    for captured in capture(loaded, [list(call.ids) for call in calls.values()], list(layers)):
        name = names[captured.index]
        tensors[f"{name}.ids"] = torch.tensor(calls[name].ids, dtype=torch.int64)
        for layer, activation in captured.activations.items():
            tensors[f"{name}.layer-{layer}"] = activation.contiguous()
    try:
        save_file(tensors, path, metadata={"model": loaded.name, "weights_hash": loaded.weights_hash})
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error}; choose another file for --save-activations.") from None
