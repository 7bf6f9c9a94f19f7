"""Sampling continuations, each row of a batch under its own steering vector.

Takes a model with its head, prompt token ids and one vector per row, gives sampled token ids. Knows no episode.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal

import torch

from ...store.errors import ModelError
from .layers import decoder_blocks
from .load import LoadedModel

Positions = Literal["all", "generated", "last"]
POSITIONS: Final = ("all", "generated", "last")
"""``all``: every token, the prompt's too. ``generated``: every position from which a token is sampled, which begins
with the prompt's last one. ``last``: the prompt's last token alone. They are different interventions."""


def sample(
    loaded: LoadedModel,
    prompt: Sequence[int],
    vectors: torch.Tensor,
    *,
    layer: int,
    positions: Positions = "generated",
    max_new_tokens: int,
    temperature: float,
    seed: int,
    token_budget: int = 65_536,
) -> list[list[int]]:
    """One continuation per row of ``vectors`` (n, d_model), which is added to the residual stream after the block.

    Ends at the model's end-of-sequence token (kept) or after ``max_new_tokens``. The same seed gives the same samples
    on the same machine. At most ``token_budget`` tokens are held at once. Raises ModelError when the prompt leaves no
    room in the model's context.
    """
    room = context_length(loaded) - len(prompt)
    if room < 1:
        raise ModelError(
            f"The prompt has {len(prompt)} tokens and {loaded.name} reads {context_length(loaded)}; "
            "choose an earlier turn."
        )
    continuations = []
    rows_at_once = max(1, token_budget // (len(prompt) + min(max_new_tokens, room)))
    for first in range(0, len(vectors), rows_at_once):
        some = vectors[first : first + rows_at_once].to(loaded.device)
        with _steered(loaded.model, some, layer, positions), torch.random.fork_rng():
            torch.manual_seed(seed + first)
            ids = torch.tensor([list(prompt)] * len(some), device=loaded.device)
            with torch.inference_mode():
                out = loaded.model.generate(
                    ids,
                    attention_mask=torch.ones_like(ids),
                    do_sample=True,
                    temperature=temperature,
                    top_k=0,
                    top_p=1.0,
                    min_p=None,
                    repetition_penalty=1.0,
                    max_new_tokens=min(max_new_tokens, room),
                    pad_token_id=_pad_id(loaded),
                )
        continuations += [_until_end(row[len(prompt) :].tolist(), _end_ids(loaded)) for row in out]
    return continuations


def context_length(loaded: LoadedModel) -> int:
    """How many tokens the model reads at most."""
    return int(getattr(loaded.model.config, "max_position_embeddings", 1 << 30))


@contextmanager
def _steered(model: Any, vectors: torch.Tensor, layer: int, positions: Positions) -> Iterator[None]:
    """While open, block ``layer`` adds row i of ``vectors`` to row i of its output. The first call reads the prompt."""
    calls = itertools.count()

    def add(_module: Any, _inputs: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        reading_prompt = next(calls) == 0
        steered = hidden.clone()
        if positions == "all" or (not reading_prompt and positions == "generated"):
            steered += vectors[:, None].to(hidden.dtype)
        elif reading_prompt:
            steered[:, -1] += vectors.to(hidden.dtype)
        return (steered, *output[1:]) if isinstance(output, tuple) else steered

    hook = decoder_blocks(model)[layer].register_forward_hook(add)
    try:
        yield
    finally:
        hook.remove()


def _end_ids(loaded: LoadedModel) -> set[int]:
    end = loaded.model.generation_config.eos_token_id
    ends = end if isinstance(end, list) else [end]
    return {int(value) for value in [*ends, loaded.tokenizer.eos_token_id] if value is not None}


def _pad_id(loaded: LoadedModel) -> int:
    pad = loaded.tokenizer.pad_token_id
    return int(pad) if pad is not None else min(_end_ids(loaded), default=0)


def _until_end(ids: list[int], ends: set[int]) -> list[int]:
    for position, token in enumerate(ids):
        if token in ends:
            return ids[: position + 1]
    return ids
