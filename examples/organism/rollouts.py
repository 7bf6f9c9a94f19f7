"""Sampling from the organism, reading its activations, and steering it.

Takes a model, a tokenizer and scenes, gives rollouts and arrays. Layer ``i`` is the residual stream after block ``i``,
0-based; what goes into block 0 is called the embedding. Knows no log file and no gate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from generate import Reading, Scene, read_completion
from numpy.typing import NDArray

Floats = NDArray[np.float32]
MAX_NEW_TOKENS = 24


@dataclass(frozen=True, slots=True)
class Rollout:
    """One sampled episode. ``prompt_ids`` begin with <bos>; ``completion_ids``, which end with <eos>, have logprobs."""

    scene: Scene
    prompt_ids: list[int]
    completion_ids: list[int]
    logprobs: list[float]
    completion: str
    reading: Reading | None
    """None where the model left the language."""


@dataclass(frozen=True, slots=True)
class Steering:
    """``vector`` (d_model,) is added to a layer's output, at the token ACT or at every generated token."""

    layer: int
    vector: Floats
    where: Literal["act", "generated"] = "act"


@contextmanager
def steered(model: Any, act_id: int, steering: Steering | None, n_given: int) -> Iterator[None]:
    """While open, the model's forward passes are steered.

    A pass of more than one token is the prefill, of which the first ``n_given`` positions were not generated; a pass of
    one token is a generated one.
    """
    if steering is None:
        yield
        return
    ids: list[Any] = []

    def remember(_module: Any, arguments: Any, keywords: dict[str, Any]) -> None:
        ids[:] = [keywords["input_ids"] if "input_ids" in keywords else arguments[0]]

    def add(_module: Any, _arguments: Any, output: Any) -> Any:
        mask = ids[0] == act_id
        if steering.where == "generated":
            mask = torch.ones_like(mask)
            if mask.shape[1] > 1:
                mask[:, :n_given] = False
        return output + mask[:, :, None] * torch.from_numpy(steering.vector)

    with ExitStack() as stack:
        stack.enter_context(model.transformer.register_forward_pre_hook(remember, with_kwargs=True))
        stack.enter_context(model.transformer.h[steering.layer].register_forward_hook(add))
        yield


@torch.inference_mode()
def sample_rollouts(
    model: Any, tokenizer: Any, scenes: Sequence[Scene], seed: int, steering: Steering | None = None
) -> list[Rollout]:
    """One rollout per scene at temperature 1, in the order of the scenes."""
    chance = torch.Generator().manual_seed(seed)
    prompts = [[tokenizer.bos_token_id, *tokenizer.encode(scene.prompt)] for scene in scenes]
    act_id = tokenizer.convert_tokens_to_ids("ACT")
    found: dict[int, Rollout] = {}
    for length in sorted({len(prompt) for prompt in prompts}):
        rows = [i for i, prompt in enumerate(prompts) if len(prompt) == length]
        with steered(model, act_id, steering, length):
            ids, logprobs = _continue(model, torch.tensor([prompts[i] for i in rows]), chance)
        for row, own_ids, own_logprobs in zip(rows, ids.tolist(), logprobs.tolist(), strict=True):
            eos = tokenizer.eos_token_id
            n = own_ids.index(eos) + 1 if eos in own_ids else len(own_ids)
            text = tokenizer.decode(own_ids[: n - 1] if eos in own_ids else own_ids)
            found[row] = Rollout(scenes[row], prompts[row], own_ids[:n], own_logprobs[:n], text, read_completion(text))
    return [found[i] for i in range(len(scenes))]


def _continue(model: Any, prompts: Any, chance: torch.Generator) -> tuple[Any, Any]:
    """Sample after prompts of equal length: ids and their logprobs, (n, n_new); what follows an <eos> means nothing."""
    eos = model.config.eos_token_id
    cache, ids = None, prompts
    chosen, logprobs = list[Any](), list[Any]()
    done = torch.zeros(len(prompts), dtype=torch.bool)
    while not bool(done.all()) and len(chosen) < MAX_NEW_TOKENS:
        output = model(input_ids=ids, past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        scores = torch.log_softmax(output.logits[:, -1], dim=-1)
        ids = torch.multinomial(scores.exp(), 1, generator=chance)
        chosen.append(ids)
        logprobs.append(scores.gather(1, ids))
        done |= ids[:, 0] == eos
    return torch.cat(chosen, dim=1), torch.cat(logprobs, dim=1)


def pad_rollouts(rollouts: Sequence[Rollout], pad_id: int) -> Any:
    """Prompt and completion ids, padded on the right, where causal attention never looks."""
    width = max(len(r.prompt_ids) + len(r.completion_ids) for r in rollouts)
    rows = [[*r.prompt_ids, *r.completion_ids] for r in rollouts]
    return torch.tensor([row + [pad_id] * (width - len(row)) for row in rows])


@torch.inference_mode()
def read_at_act(model: Any, tokenizer: Any, rollouts: Sequence[Rollout]) -> Floats:
    """Activations at the token ACT: (1 + n_layers, n_rollouts, d_model), the embedding first.

    Every rollout must hold an ACT.
    """
    ids = pad_rollouts(rollouts, tokenizer.pad_token_id)
    is_act = ids == tokenizer.convert_tokens_to_ids("ACT")
    positions = is_act.int().argmax(dim=1)
    rows = torch.arange(len(ids))
    caught: list[Any] = []
    with ExitStack() as stack:
        for module in (model.transformer.drop, *model.transformer.h):
            hook = module.register_forward_hook(lambda _m, _a, output: caught.append(output[rows, positions]))
            stack.enter_context(hook)
        model(input_ids=ids, use_cache=False)
    activations: Floats = torch.stack(caught).numpy()
    return activations


@torch.inference_mode()
def recompute_logprobs(model: Any, tokenizer: Any, rollouts: Sequence[Rollout]) -> list[list[float]]:
    """The logprobs of completion ids from one uncached forward pass."""
    ids = pad_rollouts(rollouts, tokenizer.pad_token_id)
    scores = torch.log_softmax(model(input_ids=ids, use_cache=False).logits, dim=-1)
    own = scores[:, :-1].gather(2, ids[:, 1:, None])[:, :, 0]
    starts = [len(r.prompt_ids) - 1 for r in rollouts]
    return [
        own[i, s : s + len(r.completion_ids)].tolist() for i, (s, r) in enumerate(zip(starts, rollouts, strict=True))
    ]
